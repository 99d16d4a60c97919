"""Child resources: what the types of them have in common."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from crdbmesh_simulator.azure import schemas
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, accepted
from crdbmesh_simulator.azure.errors import (
    Body,
    child_not_found,
    invalid_reference,
    missing_reference,
    not_provisioned,
    refusal,
    resource_not_found,
    retryable,
)
from crdbmesh_simulator.azure.etags import etag_header, require_match, touch
from crdbmesh_simulator.azure.kinds import Identity, find_group, open_group, page
from crdbmesh_simulator.azure.operations import Operation
from crdbmesh_simulator.azure.state import Resource, Subscription

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?")


def require_names(names: Iterable[str]) -> None:
    """Refuse names that a child cannot have. Raises ArmError: 400."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise refusal("InvalidResourceName", name=name)


def find(children: Iterable[Body], name: str) -> Body | None:
    """The child of this name, or None."""
    return next((child for child in children if str(child["name"]).lower() == name.lower()), None)


class ChildKind(ABC):
    """A type of resource that lives in the body of another, its parent, and is read and written by itself too.

    `parent`: the parent's type. `collection`: where in the parent's properties it is, which is its own type's last part
    too. `operation`: what its operations are called, less `Put` or `Delete`.
    """

    parent: ClassVar[str]
    collection: ClassVar[str]
    operation: ClassVar[str]

    def get(self, call: Call) -> Answer:
        """One child."""
        parent = self._parent_for_read(call)
        child = find(parent.properties[self.collection], call.names["child"])
        if child is None:
            raise child_not_found(f"{parent.id}/{self.collection}/{call.names['child']}")
        return Answer(200, self.render(call, parent, child), etag_header(child))

    def list_all(self, call: Call) -> Answer:
        """All children of a parent."""
        parent = self._parent_for_read(call)
        return page(call, [self.render(call, parent, child) for child in parent.properties[self.collection]])

    def put(self, call: Call) -> Answer:
        """Create or replace a child."""
        open_group(call.subscription, call.names["group"])
        parent, name = self._parent_for_write(call), call.names["child"]
        body = schemas.accept(f"{self.parent.replace('/', '.')}.{self.collection}", call.body())
        old = find(parent.properties[self.collection], name)
        require_names([name])
        name = old["name"] if old else name
        require_match(call, f"{parent.id}/{self.collection}/{name}", old)
        return self.write(call, parent, name, body, old)

    def delete(self, call: Call) -> Answer:
        """Delete a child; absent is done."""
        subscription, parent = call.subscription, self._parent_for_write(call)
        child = find(parent.properties[self.collection], call.names["child"])
        require_match(call, f"{parent.id}/{self.collection}/{call.names['child']}", child)
        if child is None:
            return Answer(204)
        holder = subscription.operations.holding(child["id"])
        if holder is None or not holder.deletes:
            held = self.require_deletable(call, parent, child)
            child["properties"]["provisioningState"] = "Deleting"
            touch(subscription, parent)

            def end() -> None:
                self.vanish(subscription, parent, child)

            kind = f"Delete{self.operation}"
            holder = subscription.start(kind, NETWORK, child["id"], parent.location, end, locks=held)
        return accepted(call, holder, 202, None)

    def render(self, call: Call, parent: Resource, child: Body) -> Body:  # noqa: ARG002 - what some types need
        """A child as a GET answers it."""
        return copy.deepcopy(child)

    @abstractmethod
    def write(self, call: Call, parent: Resource, name: str, body: Body, old: Body | None) -> Answer:
        """Apply the type's rules and begin the operation; `old` is what is there now."""

    @abstractmethod
    def require_deletable(self, call: Call, parent: Resource, child: Body) -> list[str]:
        """Apply the type's rules of deletion; return the ids of the resources that the deletion holds."""

    def begin(self, call: Call, parent: Resource, child: Body, old: Body | None, held: list[str]) -> Answer:
        """Store a child, in the place of `old`, and begin the operation, which holds these resources."""
        subscription, children = call.subscription, parent.properties[self.collection]
        if old is None:
            children.append(child)
        else:
            children[children.index(old)] = child
        touch(subscription, parent)

        def end() -> None:
            child["properties"]["provisioningState"] = "Succeeded"
            touch(subscription, parent)

        kind = f"Put{self.operation}"
        operation = subscription.start(kind, NETWORK, child["id"], parent.location, end, locks=held)
        return accepted(call, operation, 200 if old else 201, self.render(call, parent, child))

    def vanish(self, subscription: Subscription, parent: Resource, child: Body) -> None:
        """The child is gone."""
        parent.properties[self.collection].remove(child)
        touch(subscription, parent)

    def _parent_for_read(self, call: Call) -> Resource:
        parent = self._parent(call)
        if parent is None:
            raise resource_not_found(self.parent, call.names["name"], call.names["group"])
        return parent

    def _parent_for_write(self, call: Call) -> Resource:
        parent = self._parent(call)
        if parent is None:
            raise refusal("ParentResourceNotFound", name=call.names["name"])
        return parent

    def _parent(self, call: Call) -> Resource | None:
        group = find_group(call.subscription, call.names["group"])
        scope = f"/subscriptions/{call.subscription.id}/resourceGroups/{group.name}"
        return call.subscription.find(f"{scope}/providers/{self.parent}/{call.names['name']}")


def find_reference(subscription: Subscription, owner: Identity, by: str, given: Body, kind: str, path: str) -> Resource:
    """The resource that `given` refers to.

    `subscription`: where it is. `owner`: the top-level resource that refers to it. `by`: the id of what exactly refers
    to it: the owner, or a child of it. `given`: `{"id": ...}`. `kind`: the type that it must have. `path`: where in the
    body `given` stands. Raises ArmError: 400, 429.
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
