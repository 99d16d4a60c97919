"""References from one network resource to another: to what is there, of the right type and region, and ready."""

from __future__ import annotations

from crdbmesh_simulator.azure.errors import Body, invalid_reference, missing_reference, not_provisioned, retryable
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.operations import Operation
from crdbmesh_simulator.azure.state import Resource, Subscription


def find_reference(subscription: Subscription, owner: Identity, by: str, given: Body, kind: str, path: str) -> Resource:
    """The resource that `given` refers to.

    Args:
        subscription: where it is.
        owner: the top-level resource that refers to it.
        by: the id of what exactly refers to it: the owner, or a child of it.
        given: `{"id": ...}`.
        kind: the type that it must have.
        path: where in the body `given` stands.

    Raises:
        ArmError: 400, 429.
    """
    referenced = given.get("id")
    if not referenced:
        raise missing_reference(path)
    found = subscription.find(str(referenced))
    if found is None or found.type != kind or found.location != owner.location or found.deletion is not None:
        raise invalid_reference(str(referenced), by)
    require_provisioned(subscription, owner.id, found, subscription.operations.holding(found.id))
    return found


def require_provisioned(subscription: Subscription, by: str, found: Resource, operation: Operation | None) -> None:
    """Refuse a reference to what an operation is changing, or has left Failed. Raises ArmError: 400, 429."""
    if operation is not None:
        left_s = max(1.0, operation.ends_at - subscription.now)
        problem = not_provisioned(found.id, by, "Updating", operation.kind)
        raise retryable(problem.error(), retry_after_s=left_s)
    if found.state == "Failed":
        raise not_provisioned(found.id, by, found.state, found.failed_by)
