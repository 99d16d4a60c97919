"""Failures of the Kubernetes API: `metav1.Status` answers with the wording of the real API server.

Messages after `staging/src/k8s.io/apimachinery/pkg/api/errors` and `pkg/util/validation/field` of Kubernetes 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.resources import Resource


class StatusError(Exception):
    """A request that the API refuses.

    `code`: HTTP status. `reason`: machine-readable reason, such as `NotFound`. `details`: the `details` of the Status
    object. `empty_details`: whether the Status has them even when there are none. `plain`: whether the answer is the
    message as text, as where no API is installed at all.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        empty_details: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.empty_details = empty_details
        self.plain = plain

    def status(self) -> dict[str, Any]:
        """The Status object that answers the request."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details or self.empty_details:
            status["details"] = self.details
        status["code"] = self.code
        return status


@dataclass(frozen=True, slots=True)
class FieldError:
    """One reason why an object is not valid; `detail` is the text after the path."""

    reason: str
    field: str
    detail: str

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}"


def required(field: str, detail: str = "") -> FieldError:
    """A field without which the object is not valid."""
    return FieldError("FieldValueRequired", field, f"Required value: {detail}" if detail else "Required value")


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """A field whose value is not valid."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {_shown(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """A field whose value is not among those that are known."""
    known = ", ".join(f'"{word}"' for word in sorted(supported))
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {_shown(value)}: supported values: {known}")


def duplicate(field: str, value: Any) -> FieldError:
    """A value that may be there once only."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {_shown(value)}")


def forbidden_field(field: str, detail: str) -> FieldError:
    """A field that must not be set, or changed."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def too_long(field: str, limit: int, detail: str = "") -> FieldError:
    """A field that holds too much."""
    return FieldError("FieldValueTooLong", field, f"Too long: {detail or f'may not be more than {limit} bytes'}")


def not_found(resource: Resource, name: str) -> StatusError:
    """404: no such object."""
    return StatusError(404, "NotFound", f'{resource.group_resource} "{name}" not found', _details(resource, name))


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: the name is taken."""
    message = f'{resource.group_resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str | None = None) -> StatusError:
    """409: the object is not what the client believes it is."""
    cause = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {cause}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """403: not allowed by admission."""
    message = f'{resource.group_resource} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(resource, name))


def unprocessable(resource: Resource, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422: the object is not valid."""
    unique = list(dict.fromkeys(errors))
    texts = [str(error) for error in unique]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = resource.kind if not resource.group else f"{resource.kind}.{resource.group}"
    causes = [{"reason": error.reason, "message": error.detail, "field": error.field} for error in unique]
    details = {**_details(resource, name), "kind": resource.kind, "causes": causes}
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {joined}', details)


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def unreadable(resource: Resource, problem: str) -> StatusError:
    """400: an object that cannot be read as its kind."""
    what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
    return bad_request(f"{what}: {problem}")


def method_not_allowed() -> StatusError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, empty_details=True)


def unknown_path() -> StatusError:
    """404: nothing is served at that path."""
    return StatusError(404, "NotFound", "404 page not found", plain=True)


def unknown_resource() -> StatusError:
    """404: the API version is served, and nothing at that path in it."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", empty_details=True)


def expired(asked: int, oldest: int) -> StatusError:
    """410: a watch from a version that has been compacted away."""
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def unauthorized() -> StatusError:
    """401."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def _details(resource: Resource, name: str) -> dict[str, Any]:
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in details.items() if value}


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
