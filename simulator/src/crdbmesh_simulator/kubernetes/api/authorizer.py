"""Who asks, and whether they may.

Client certificates (common name and organizations), service account tokens, impersonation, and RBAC, after
`staging/src/k8s.io/apiserver/pkg/authentication` and `plugin/pkg/auth/authorizer/rbac` of Kubernetes 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster
    from crdbmesh_simulator.kubernetes.api.store import Store

_MASTERS = "system:masters"
_AUTHENTICATION = "authentication.k8s.io"
_IMPERSONATE = "impersonate-"
_RBAC = "rbac.authorization.k8s.io/v1"
_REVIEWS = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})
_DISCOVERY = ("/api", "/apis", "/openapi")
_EXACT = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


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
    sub: str = ""

    @property
    def target(self) -> str:
        """The resource as rules name it: `pods`, `pods/log`."""
        return f"{self.resource}/{self.sub}" if self.sub else self.resource


def identify(cluster: Cluster, certificate: Mapping[str, Any] | None, authorization: str, now: float) -> User:
    """The user of a request, from its client certificate or its bearer token.

    Raises:
        StatusError: 401 for a token that is not valid, and for nothing at all.
    """
    if certificate:
        names = [pair for group in certificate.get("subject", ()) for pair in group]
        common = next((value for key, value in names if key == "commonName"), "")
        groups = frozenset(value for key, value in names if key == "organizationName")
        return User(common, groups | {"system:authenticated"})
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        # k3s starts its API server with `--anonymous-auth=false`.
        raise status.unauthorized()
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
    known = "system:authenticated" in user.groups
    if action.path:
        if known and action.verb == "get" and _is_discovery(action.path):
            return True
        return any(_covers_path(rule, action) for rule in _rules(store, user, ""))
    if known and action.resource in _REVIEWS and action.verb == "create":
        return True
    return any(_covers(rule, action) for rule in _rules(store, user, action.namespace))


def _is_discovery(path: str) -> bool:
    """Whether the role `system:discovery`, which everybody known has, lets one read that path."""
    return path in _EXACT or any(path == base or path.startswith(f"{base}/") for base in _DISCOVERY)


def rules_of(store: Store, user: User, namespace: str) -> Obj:
    """What a user may do in a namespace, as a SelfSubjectRulesReview says it."""
    if _MASTERS in user.groups:
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
        return {"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": False}
    about = [
        {"verbs": ["create"], "apiGroups": [group], "resources": [name]}
        for group, name in (
            (_AUTHENTICATION, "selfsubjectreviews"),
            ("authorization.k8s.io", "selfsubjectaccessreviews"),
            ("authorization.k8s.io", "selfsubjectrulesreviews"),
        )
    ]
    urls = [{"verbs": ["get"], "nonResourceURLs": [*sorted(_EXACT), *(f"{base}/*" for base in _DISCOVERY)]}]
    for rule in _rules(store, user, namespace):
        kept = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        (urls if rule.get("nonResourceURLs") else about).append({key: rule[key] for key in kept if rule.get(key)})
    return {"resourceRules": about, "nonResourceRules": urls, "incomplete": False}


def check(store: Store, user: User, action: Action) -> None:
    """Refuse what the user may not do.

    Raises:
        StatusError: 403.
    """
    if is_allowed(store, user, action):
        return
    if action.path:
        message = f'forbidden: User "{user.name}" cannot {action.verb} path "{action.path}"'
        raise status.StatusError(403, "Forbidden", message, empty_details=True)
    kind = f"{action.resource}.{action.group}" if action.group else action.resource
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    named = f' "{action.name}"' if action.name else ""
    message = (
        f'{kind}{named} is forbidden: User "{user.name}" cannot {action.verb} resource "{action.target}" '
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

    if not has("verbs", action.verb) or not has("apiGroups", action.group):
        return False
    if not has("resources", action.target) and f"*/{action.sub}" not in (rule.get("resources") or []):
        return False
    names = rule.get("resourceNames")
    return not names or action.name in names


def _covers_path(rule: Obj, action: Action) -> bool:
    verbs, urls = rule.get("verbs") or [], [str(each) for each in rule.get("nonResourceURLs") or []]
    if "*" not in verbs and action.verb not in verbs:
        return False
    return any(action.path.startswith(url[:-1]) if url.endswith("*") else action.path == url for url in urls)


def action_of(verb: str, resource: Resource, namespace: str | None, name: str | None, sub: str | None) -> Action:
    """The action of a request for a resource. A namespace counts as being in itself."""
    if resource.kind == "Namespace" and not resource.group:
        namespace = name
    return Action(verb, resource.group, resource.plural, namespace or "", name or "", sub=sub or "")


# Impersonation.


def impersonate(store: Store, user: User, headers: Mapping[str, Any]) -> User:
    """Whom a request acts as: its own user, or another that `Impersonate-*` headers name, if it may.

    Raises:
        StatusError: 403; 500 for groups, a uid or extras without a user.
    """
    given: dict[str, list[str]] = {}
    for key, value in headers.items():
        if key.lower().startswith(_IMPERSONATE):
            given.setdefault(key.lower().removeprefix(_IMPERSONATE), []).append(str(value))
    given = {key: values for key, values in given.items() if any(values)}
    if not given:
        return user
    name = given.get("user", [""])[0]
    if not name:
        why = f"requested {json.dumps(sorted(given))} without impersonating a user"
        raise status.StatusError(500, "InternalError", f"Internal error occurred: {why}")
    groups = frozenset(given.get("group", []))
    extra = {key.removeprefix("extra-"): tuple(values) for key, values in given.items() if key.startswith("extra-")}
    words = name.split(":")
    if words[:2] == ["system", "serviceaccount"] and len(words) == 4:
        actions = [Action("impersonate", "", "serviceaccounts", words[2], words[3])]
        groups = groups or frozenset({"system:serviceaccounts", f"system:serviceaccounts:{words[2]}"})
    else:
        actions = [Action("impersonate", "", "users", "", name)]
    actions += [Action("impersonate", "", "groups", "", each) for each in sorted(given.get("group", []))]
    actions += [Action("impersonate", _AUTHENTICATION, "uids", "", each) for each in given.get("uid", [])]
    actions += [
        Action("impersonate", _AUTHENTICATION, "userextras", "", value, sub=key)
        for key, values in extra.items()
        for value in values
    ]
    for action in actions:
        check(store, user, action)
    everybody = "system:unauthenticated" if name == ANONYMOUS.name else "system:authenticated"
    return User(name, groups | {everybody}, uid=given.get("uid", [""])[0], extra=extra)
