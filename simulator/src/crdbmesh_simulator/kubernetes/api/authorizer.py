"""Authentication and authorization of requests.

A client is known by its certificate (common name and organizations), after
`staging/src/k8s.io/apiserver/pkg/authentication/request/x509` of Kubernetes 1.36; k3s starts its API server with
`--anonymous-auth=false`. Only administrators (`system:masters`) may do anything but discovery: roles and their bindings
are kept and count for nothing, and no token is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.api import status

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.authority import Authority

_MASTERS = "system:masters"
_DISCOVERY = ("/api", "/apis", "/openapi", "/healthz", "/livez", "/readyz", "/version")


@dataclass(frozen=True, slots=True)
class User:
    """The user that a request comes from."""

    name: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Action:
    """The action that a request asks for: on a resource, or on another path."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    sub: str = ""


def identify(authority: Authority, certificate: Mapping[str, Any] | None, now: float) -> User:
    """Return the user that a client certificate names.

    Args:
        authority: the cluster's.
        certificate: as `ssl.SSLSocket.getpeercert` gives it, or None when the client sent none.
        now: simulated seconds since the epoch.

    Raises:
        StatusError: 401, there is no certificate, or it has expired.
    """
    if not certificate or authority.is_expired(int(str(certificate["serialNumber"]), 16), now):
        raise status.unauthorized()
    names = [pair for group in certificate.get("subject", ()) for pair in group]
    common = next((value for key, value in names if key == "commonName"), "")
    return User(common, frozenset(value for key, value in names if key == "organizationName"))


def check(user: User, action: Action) -> None:
    """Refuse what the user may not do.

    Raises:
        StatusError: 403.
    """
    if _MASTERS in user.groups:
        return
    if action.path:
        if action.verb == "get" and f"/{action.path.split('/')[1]}" in _DISCOVERY:
            return
        message = f'forbidden: User "{user.name}" cannot {action.verb} path "{action.path}"'
        raise status.StatusError(403, "Forbidden", message, empty_details=True)
    kind = f"{action.resource}.{action.group}" if action.group else action.resource
    target = f"{action.resource}/{action.sub}" if action.sub else action.resource
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    named = f' "{action.name}"' if action.name else ""
    message = (
        f'{kind}{named} is forbidden: User "{user.name}" cannot {action.verb} resource "{target}" '
        f'in API group "{action.group}" {where}'
    )
    details = {"name": action.name, "group": action.group, "kind": action.resource}
    raise status.StatusError(403, "Forbidden", message, {key: value for key, value in details.items() if value})
