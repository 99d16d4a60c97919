"""The owner of each Azure resource, and with it what `down` deletes.

A resource belongs to a mesh if it carries the mesh's tag. In a resource group of the mesh's own, which is one that
carries the tag itself, it also does if it has one of the mesh's names and nobody's tag: its tags were lost. In a group
that is shared with others nobody can tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.errors import CloudError
from crdbmesh.local.contents import Place
from crdbmesh.spec import names

Resource = Mapping[str, Any]
"""A resource as ARM shows or lists it: `id`, `type`, `name`, `location`, `tags`."""

_REGION = r"(?P<region>[a-z][a-z0-9]*)"
_MACHINE = rf"{_REGION}-(?P<number>[1-9][0-9]?)"
_OF_MACHINE = re.compile(rf"{_MACHINE}(-ip|-nic|-os)?")
_NAMES = {
    kinds.VNET.type.lower(): re.compile(_REGION),
    kinds.NSG.type.lower(): re.compile(rf"{_REGION}-nsg|lease"),
    kinds.VM.type.lower(): re.compile(_MACHINE),
    kinds.NIC.type.lower(): re.compile(rf"{_MACHINE}-nic"),
    kinds.PUBLIC_IP.type.lower(): re.compile(rf"{_MACHINE}-ip"),
    kinds.DISK.type.lower(): re.compile(rf"{_MACHINE}-os"),
}
"""The pattern of a resource's name after the mesh's name and a dash, by type; see `spec.names`."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """The belongings of a mesh in Azure, by the way in which `down` deletes them.

    Attributes:
        groups: resource groups that are the mesh's own, with nothing else's in them: deleted whole, with this content.
        resources: what is deleted one by one: the mesh's resources in groups that are shared.
        kept: the mesh's own groups in which other people's resources were found, and those resources: they stay.
    """

    groups: Mapping[str, tuple[Resource, ...]]
    resources: tuple[Resource, ...]
    kept: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Return the number of resources and groups that will be deleted."""
        return len(self.groups) + len(self._everything())

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions it is in, by its tags."""
        found = {(resource.get("tags") or {}).get(names.TAG_REGION) for resource in self._everything()}
        return tuple(sorted(region for region in found if region))

    def lease(self, mesh: str) -> Resource | None:
        """Return the resource that holds the mesh's lease, or None."""
        return next((one for one in self._everything() if one["name"] == names.lease(mesh)), None)

    def names(self) -> tuple[str, ...]:
        """List what is deleted, for people to read."""
        return (
            *(f"resource group {group}{_summary(content)}" for group, content in self.groups.items()),
            *(_shown(resource) for resource in self.resources),
        )

    def _everything(self) -> list[Resource]:
        return [*(resource for content in self.groups.values() for resource in content), *self.resources]


def find(session: Session, mesh: str) -> Belongings:
    """Find what belongs to a mesh."""
    whole: dict[str, tuple[Resource, ...]] = {}
    kept: list[str] = []
    singles: dict[str, Resource] = {}
    for group in own_groups(session, mesh):
        content = arm.list_group_resources(session, group)
        ours = _ours(content, mesh, group)
        foreign = [resource for resource in content if not _is_part_of(resource, ours)]
        if foreign:
            kept += [f"resource group {group}", *map(_shown, foreign)]
            singles.update(ours)
        else:
            whole[group] = tuple(content)
    in_whole = {group.lower() for group in whole}
    for resource in arm.list_tagged(session, names.TAG, mesh):
        if group_of(resource).lower() not in in_whole:
            singles[_key(resource)] = resource
    return Belongings(whole, tuple(singles.values()), tuple(kept))


def find_remaining(session: Session, mesh: str) -> Belongings:
    """Find what is still there after a deletion.

    Azure's lists lag behind deletions, so each thing that is listed is looked for itself.
    """
    listed = find(session, mesh)
    groups = {name: content for name, content in listed.groups.items() if arm.find_group(session, name) is not None}
    return Belongings(groups, tuple(resource for resource in listed.resources if _is_there(session, resource)))


def own_groups(session: Session, mesh: str) -> tuple[str, ...]:
    """List the resource groups that are the mesh's own: those that carry its tag."""
    return tuple(str(group["name"]) for group in arm.list_groups(session, names.TAG, mesh))


def belongs(resource: Resource, mesh: str, own: Collection[str]) -> bool:
    """Return True when a resource is the mesh's.

    `own` are the resource groups that are the mesh's own.
    """
    owner = owner_of(resource)
    if owner is not None:
        return owner == mesh
    pattern = _NAMES.get(str(resource.get("type", "")).lower())
    tail = _after(mesh, resource)
    is_named = pattern is not None and tail is not None and pattern.fullmatch(tail) is not None
    return is_named and group_of(resource).lower() in {group.lower() for group in own}


def owner_of(resource: Resource) -> str | None:
    """Return the mesh whose tag a resource or a group carries, or None."""
    owner = (resource.get("tags") or {}).get(names.TAG)
    return None if owner is None else str(owner)


def group_of(resource: Resource) -> str:
    """Return the name of the resource group that a resource is in."""
    return kinds.ResourceId.parse(str(resource["id"])).group


def place_of(resource: Resource, mesh: str) -> Place | None:
    """Return the machine of the mesh that a resource is, or is part of, by its name; None if it is of none."""
    found = _OF_MACHINE.fullmatch(_after(mesh, resource) or "")
    return (found["region"], int(found["number"])) if found else None


def region_of(vnet: Resource, mesh: str) -> str | None:
    """Return the region whose VNet this is by its name, or None."""
    tail = _after(mesh, vnet)
    return tail if tail is not None and re.fullmatch(_REGION, tail) else None


def _ours(content: Collection[Resource], mesh: str, group: str) -> dict[str, Resource]:
    """Return the mesh's resources of a group. A disk without a tag belongs to its machine's owner."""
    ours = {_key(resource): resource for resource in content if belongs(resource, mesh, {group})}
    for resource in content:
        machine = str(resource.get("managedBy") or "").lower()
        if machine and owner_of(resource) is None:
            ours.pop(_key(resource), None)
            if machine in ours:
                ours[_key(resource)] = resource
    return ours


def _is_part_of(resource: Resource, ours: Mapping[str, Resource]) -> bool:
    """Return True for one of `ours` or a child of one, such as an extension that a policy put on a machine."""
    key = _key(resource)
    return key in ours or any(key.startswith(f"{parent}/") for parent in ours)


def _is_there(session: Session, resource: Resource) -> bool:
    try:
        return arm.find_resource(session, str(resource["id"])) is not None
    except CloudError:
        # What cannot be read may still be there.
        return True


def _after(mesh: str, resource: Resource) -> str | None:
    head, dash, tail = str(resource.get("name", "")).lower().partition(f"{mesh}-")
    return tail if dash and not head else None


def _key(resource: Resource) -> str:
    return str(resource["id"]).lower()


def _shown(resource: Resource) -> str:
    return f"{resource['type']} {resource['name']}"


def _summary(content: tuple[Resource, ...]) -> str:
    counts = Counter(str(resource["type"]).rpartition("/")[2] for resource in content)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f" with {listed}" if listed else ""
