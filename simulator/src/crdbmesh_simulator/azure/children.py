"""Child resources: where their parent is, and what is said when it is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.errors import (
    Body,
    child_not_found,
    refusal,
    resource_not_found,
    unreadable,
)
from crdbmesh_simulator.azure.kinds import find_group
from crdbmesh_simulator.azure.state import Resource

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?")


def require_names(parent_id: str, names: Iterable[str]) -> None:
    """Refuse names that a child cannot have, and names that two children have. Raises ArmError: 400."""
    seen: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise refusal("InvalidResourceName", name=name)
        if name.lower() in seen:
            message = f"Resource {parent_id} has two child resources with the same name ({name})."
            raise unreadable("DuplicateResourceName", message)
        seen.add(name.lower())


def find(children: Iterable[Body], name: str) -> Body | None:
    """The child of this name, or None."""
    return next((child for child in children if str(child["name"]).lower() == name.lower()), None)


def parent_for_read(call: Call, kind: str) -> Resource:
    """The parent, for a read. Raises ArmError: 404, of the parent itself."""
    parent = _parent(call, kind)
    if parent is None:
        raise resource_not_found(kind, call.names["name"], call.names["group"])
    return parent


def find_parent(call: Call, kind: str) -> Resource:
    """The parent, for a write. Raises ArmError: 404, of a nested resource."""
    parent = _parent(call, kind)
    if parent is None:
        raise refusal("ParentResourceNotFound", name=call.names["name"])
    return parent


def read_child(parent: Resource, collection: str, name: str) -> Body:
    """The child of this name. Raises ArmError: 404."""
    child = find(parent.properties[collection], name)
    if child is None:
        raise child_not_found(f"{parent.id}/{collection}/{name}")
    return child


def _parent(call: Call, kind: str) -> Resource | None:
    group = find_group(call.subscription, call.names["group"])
    path = f"/subscriptions/{call.subscription.id}/resourceGroups/{group.name}/providers/{kind}/{call.names['name']}"
    return call.subscription.find(path)
