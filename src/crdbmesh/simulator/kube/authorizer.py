"""Who asks, and whether they may.

Client certificates (common name and organizations), service account tokens, and RBAC, after
`staging/src/k8s.io/apiserver/pkg/authentication` and `plugin/pkg/auth/authorizer/rbac` of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh.simulator.kube import status
from crdbmesh.simulator.kube.jsonvalue import Obj
from crdbmesh.simulator.kube.resources import Resource

if TYPE_CHECKING:
    from crdbmesh.simulator.kube.cluster import Cluster
    from crdbmesh.simulator.kube.store import Store

_MASTERS = "system:masters"
_RBAC = "rbac.authorization.k8s.io/v1"
_REVIEWS = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})
PUBLIC = frozenset({"/livez", "/readyz", "/healthz", "/version", "/version/"})
_DISCOVERY = ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz")


@dataclass(frozen=True, slots=True)
class User:
    """Who a request comes from."""

    name: str
    groups: frozenset[str]
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", frozenset({"system:unauthenticated"}))


@dataclass(frozen=True, slots=True)
class Action:
    """What is asked for: something with a resource, or with another path."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def identify(cluster: Cluster, certificate: Mapping[str, Any] | None, authorization: str, now: float) -> User:
    """The user of a request, from its client certificate or its bearer token.

    Raises:
        StatusError: 401 for a token that is not valid.
    """
    if certificate:
        names = [pair for group in certificate.get("subject", ()) for pair in group]
        common = next((value for key, value in names if key == "commonName"), "")
        groups = frozenset(value for key, value in names if key == "organizationName")
        return User(common, groups | {"system:authenticated"})
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return ANONYMOUS
    claims = cluster.authority.verify_token(token.strip(), now=now)
    account = None if claims is None else _account(cluster.store, claims)
    if claims is None or account is None:
        raise status.unauthorized()
    namespace = str(claims["kubernetes.io"]["namespace"])
    groups = frozenset({"system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"})
    return User(str(claims["sub"]), groups, uid=str(account["metadata"]["uid"]))


def _account(store: Store, claims: Mapping[str, Any]) -> Obj | None:
    about = claims["kubernetes.io"]
    accounts = store.resource("ServiceAccount", "v1")
    found = store.peek(accounts, str(about["namespace"]), str(about["serviceaccount"]["name"]))
    return found if found is not None and found["metadata"]["uid"] == about["serviceaccount"]["uid"] else None


def is_allowed(store: Store, user: User, action: Action) -> bool:
    """Whether RBAC lets the user do that."""
    if _MASTERS in user.groups:
        return True
    if "system:authenticated" not in user.groups:
        return action.path in PUBLIC
    if action.path:
        return action.verb == "get" and action.path.startswith(_DISCOVERY)
    if action.resource in _REVIEWS and action.verb == "create":
        return True
    return any(_covers(rule, action) for rule in _rules(store, user, action.namespace))


def check(store: Store, user: User, action: Action) -> None:
    """Refuse what the user may not do.

    Raises:
        StatusError: 403, or 401 when nobody has said who asks.
    """
    if is_allowed(store, user, action):
        return
    if user is ANONYMOUS:
        raise status.unauthorized()
    if action.path:
        message = f'forbidden: User "{user.name}" cannot {action.verb} path "{action.path}"'
        raise status.StatusError(403, "Forbidden", message)
    kind = f"{action.resource}.{action.group}" if action.group else action.resource
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    named = f' "{action.name}"' if action.name else ""
    message = (
        f'{kind}{named} is forbidden: User "{user.name}" cannot {action.verb} resource "{action.resource}" '
        f'in API group "{action.group}" {where}'
    )
    details = {"name": action.name, "group": action.group, "kind": action.resource}
    raise status.StatusError(403, "Forbidden", message, {key: value for key, value in details.items() if value})


def _rules(store: Store, user: User, namespace: str) -> Iterator[Obj]:
    roles = store.resource("ClusterRole", _RBAC)
    for binding in store.peek_all(store.resource("ClusterRoleBinding", _RBAC)):
        if _binds(binding, user, ""):
            yield from (store.peek(roles, None, str(binding["roleRef"]["name"])) or {}).get("rules") or []
    if not namespace:
        return
    local = store.resource("Role", _RBAC)
    for binding in store.peek_all(store.resource("RoleBinding", _RBAC), namespace):
        if not _binds(binding, user, namespace):
            continue
        reference = binding["roleRef"]
        if reference.get("kind") == "ClusterRole":
            role = store.peek(roles, None, str(reference["name"]))
        else:
            role = store.peek(local, namespace, str(reference["name"]))
        yield from (role or {}).get("rules") or []


def _binds(binding: Obj, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
        if kind == "ServiceAccount" and account == user.name:
            return True
    return False


def _covers(rule: Obj, action: Action) -> bool:
    def has(key: str, wanted: str) -> bool:
        listed = rule.get(key) or []
        return "*" in listed or wanted in listed

    if not has("verbs", action.verb) or not has("apiGroups", action.group) or not has("resources", action.resource):
        return False
    names = rule.get("resourceNames")
    return not names or action.name in names


def action_of(verb: str, resource: Resource, namespace: str | None, name: str | None, sub: str | None) -> Action:
    """The action of a request for a resource."""
    kind = f"{resource.plural}/{sub}" if sub else resource.plural
    return Action(verb, resource.group, kind, namespace or "", name or "")
