"""Azure Resource Manager's errors: status, code and text as the real services give them.

Envelope: `{"error": {"code", "message", "target"?, "details": []}}` (Azure REST API guidelines; recordings of Azure's
own clients). Codes and texts are those of Microsoft.Network, Microsoft.Compute and Azure Resource Manager itself.
"""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


class ArmError(Exception):
    """An error answer.

    Attributes:
        retry_after_s: simulated seconds the service asks to wait, or None.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        details: list[Body] | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = details or []
        self.retry_after_s = retry_after_s
        self.headers = headers or {}

    def error(self) -> Body:
        """The `error` member, as envelopes and failed operations carry it."""
        error: Body = {"code": self.code, "message": self.message, "details": self.details}
        if self.target is not None:
            error["target"] = self.target
        return error


def resource_not_found(kind: str, name: str, group: str) -> ArmError:
    """404 of a top-level resource."""
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}/{name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def child_not_found(resource_id: str) -> ArmError:
    """404 of a child resource whose parent exists."""
    return ArmError(404, "NotFound", f"Resource {resource_id} not found.")


def parent_not_found(parent_name: str) -> ArmError:
    """404 of a child resource whose parent does not exist."""
    return ArmError(
        404,
        "ParentResourceNotFound",
        f"Can not perform requested operation on nested resource. Parent resource '{parent_name}' not found.",
    )


def group_not_found(group: str) -> ArmError:
    """404 of a resource group, and of anything said to be in it."""
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")


def invalid_reference(referenced: str, by: str) -> ArmError:
    """A referenced resource is missing, or in another region."""
    return ArmError(
        400,
        "InvalidResourceReference",
        f"Resource {referenced} referenced by resource {by} was not found. Please make sure that the referenced "
        "resource exists, and that both resources are in the same region.",
        details=[{"code": "NotFound", "message": f"Resource {referenced} not found."}],
    )


def missing_reference(path: str) -> ArmError:
    """A reference without an id."""
    return ArmError(
        400,
        "InvalidRequestFormat",
        "Cannot parse the request.",
        details=[{"code": "MissingJsonReferenceId", "message": f"Value for reference id is missing. Path {path}."}],
    )


def invalid_name(name: str) -> ArmError:
    """A resource, or a child of one, may not be called so."""
    return ArmError(
        400,
        "InvalidResourceName",
        f"Resource name {name} is invalid. The name can be up to 80 characters long. It must begin with a word "
        "character, and it must end with a word character or with '_'. The name may contain word characters or "
        "'.', '-', '_'.",
    )


def same_names(parent: str, name: str) -> ArmError:
    """A body with two children of one name."""
    message = f"Resource {parent} has two child resources with the same name ({name})."
    details = [{"code": "DuplicateResourceName", "message": message}]
    return ArmError(400, "InvalidRequestFormat", "Cannot parse the request.", details=details)


def not_provisioned(resource: str, used_by: str, state: str, operation: str) -> ArmError:
    """A referenced resource is busy."""
    return ArmError(
        400,
        "ReferencedResourceNotProvisioned",
        f"Cannot proceed with operation because resource {resource} used by resource {used_by} is not in Succeeded "
        f"state. Resource is in {state} state and the last operation that updated/is updating the resource is "
        f"{operation}.",
    )


def retryable(detail: ArmError | Body, *, retry_after_s: float) -> ArmError:
    """The network provider's 429 for what works a little later."""
    inner = detail.error() if isinstance(detail, ArmError) else detail
    return ArmError(429, "RetryableError", "A retryable error occurred.", details=[inner], retry_after_s=retry_after_s)


def busy(resource: str, operation: str, operation_id: str, *, retry_after_s: float) -> ArmError:
    """429 for a resource that another operation is updating."""
    message = (
        f"Operation {operation} ({operation_id}) is updating resource {resource}. "
        f"The call can be retried in {max(1, round(retry_after_s))} seconds."
    )
    return retryable({"code": "RetryableErrorDueToAnotherOperation", "message": message}, retry_after_s=retry_after_s)


def invalid_parameter(message: str, target: str | None = None, *, status: int = 400) -> ArmError:
    """The compute provider's refusal of a value."""
    return ArmError(status, "InvalidParameter", message, target=target)


def change_not_allowed(path: str) -> ArmError:
    """The compute provider's refusal to change what is fixed at creation."""
    return ArmError(409, "PropertyChangeNotAllowed", f"Changing property '{path}' is not allowed.", target=path)
