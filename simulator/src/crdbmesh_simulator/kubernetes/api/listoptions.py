"""What a list or a watch may ask for, and what it may not.

After `staging/src/k8s.io/apimachinery/pkg/apis/meta/internalversion/validation` of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import FieldError

_OPTIONS = Resource("meta.k8s.io", "v1", "listoptions", "ListOptions", namespaced=False)
_MATCHES = ("Exact", "NotOlderThan")
_NUMBERS = ("limit", "timeoutSeconds")


def check(query: Mapping[str, str], *, watch: bool) -> None:
    """Refuse options that contradict each other, or are none.

    Raises:
        StatusError: 400 or 422.
    """
    for name in _NUMBERS:
        text = query.get(name) or "0"
        if not text.lstrip("-").isdigit():
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    errors = _watch_errors(query) if watch else _list_errors(query)
    if errors:
        raise status.unprocessable(_OPTIONS, "", errors)


def _list_errors(query: Mapping[str, str]) -> list[FieldError]:
    errors: list[FieldError] = []
    match, version = query.get("resourceVersionMatch"), query.get("resourceVersion")
    if match:
        if query.get("continue"):
            errors.append(_forbidden("resourceVersionMatch is forbidden for continue"))
        if match not in _MATCHES:
            errors.append(_unsupported(match))
        if not version:
            errors.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        elif match == "Exact" and version == "0":
            errors.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        errors.append(status.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if not errors and query.get("continue") and version not in (None, "", "0"):
        raise status.bad_request("specifying resource version is not allowed when using continue")
    return errors


def _watch_errors(query: Mapping[str, str]) -> list[FieldError]:
    match = query.get("resourceVersionMatch")
    if "sendInitialEvents" not in query:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        return [_forbidden(why)] if match else []
    if not match:
        return [_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")]
    return [] if match == "NotOlderThan" else [_unsupported(match)]


def _forbidden(why: str) -> FieldError:
    return status.forbidden_field("resourceVersionMatch", why)


def _unsupported(match: str) -> FieldError:
    return status.not_supported("resourceVersionMatch", match, _MATCHES)
