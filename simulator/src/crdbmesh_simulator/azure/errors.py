"""Azure Resource Manager's errors: status, code and text as the real services give them.

Envelope: `{"error": {"code", "message", "target"?, "details": []}}` (Azure REST API guidelines; recordings of Azure's
own clients). Codes and texts stand in `refusals.toml`.
"""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator import tables

Body = dict[str, Any]

_REFUSALS: dict[str, tuple[int, str]] = tables.read(__package__, "refusals")


def body(name: str, /, **blanks: Any) -> Any:
    """A body, or a part of one, of `bodies.yaml`, with its blanks filled in."""
    return tables.fill(tables.read_yaml(__package__, "bodies")[name], blanks)


class ArmError(Exception):
    """An error answer. `retry_after_s`: simulated seconds the service asks to wait, or None."""

    def __init__(
        self, status: int, code: str, message: str, *, target: str | None = None, details: list[Body] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = details or []
        self.retry_after_s: float | None = None
        self.headers: dict[str, str] = {}

    def error(self) -> Body:
        """The `error` member, as envelopes and failed operations carry it."""
        error: Body = {"code": self.code, "message": self.message, "details": self.details}
        if self.target is not None:
            error["target"] = self.target
        return error


def refusal(
    key: str,
    /,
    *,
    target: str | None = None,
    details: list[Body] | None = None,
    retry_after_s: float | None = None,
    headers: dict[str, str] | None = None,
    **values: Any,
) -> ArmError:
    """The error that stands under `key` in `refusals.toml`, with `values` put into its text."""
    status, text = _REFUSALS[key]
    error = ArmError(status, key.partition(",")[0], text.format(**values), target=target, details=details)
    error.retry_after_s, error.headers = retry_after_s, headers or {}
    return error


def resource_not_found(kind: str, name: str, group: str) -> ArmError:
    """404 of a top-level resource."""
    return refusal("ResourceNotFound", kind=kind, name=name, group=group)


def child_not_found(resource_id: str) -> ArmError:
    """404 of a child resource whose parent exists."""
    return refusal("NotFound", id=resource_id)


def group_not_found(group: str) -> ArmError:
    """404 of a resource group, and of anything said to be in it."""
    return refusal("ResourceGroupNotFound", group=group)


def invalid_reference(referenced: str, by: str) -> ArmError:
    """400: a referenced resource is missing, or in another region."""
    details = [{"code": "NotFound", "message": f"Resource {referenced} not found."}]
    return refusal("InvalidResourceReference", referenced=referenced, by=by, details=details)


def unreadable(code: str, message: str) -> ArmError:
    """The network provider's 400 for a body that it cannot read, and why in its details."""
    return refusal("InvalidRequestFormat", details=[{"code": code, "message": message}])


def missing_reference(path: str) -> ArmError:
    """400: a reference without an id."""
    return unreadable("MissingJsonReferenceId", f"Value for reference id is missing. Path {path}.")


def not_provisioned(resource: str, used_by: str, state: str, operation: str) -> ArmError:
    """400: a referenced resource is busy."""
    return refusal(
        "ReferencedResourceNotProvisioned", resource=resource, used_by=used_by, state=state, operation=operation
    )


def retryable(detail: Body, *, retry_after_s: float | None = None) -> ArmError:
    """The network provider's 429 for what works a little later."""
    return refusal("RetryableError", details=[detail], retry_after_s=retry_after_s)


def superseded(message: str, *, retry_after_s: float | None = None) -> ArmError:
    """429: another operation is, or was, in the way."""
    detail = {"code": "RetryableErrorDueToAnotherOperation", "message": message}
    return retryable(detail, retry_after_s=retry_after_s)


def change_not_allowed(path: str) -> ArmError:
    """The compute provider's refusal to change what is fixed at creation."""
    return refusal("PropertyChangeNotAllowed", path=path, target=path)
