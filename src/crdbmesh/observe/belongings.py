"""The owner of each Azure resource, and with it what `down` deletes."""

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.errors import CloudError
from crdbmesh.local import birth, contents
from crdbmesh.local.contents import Place
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import names

Resource = Mapping[str, Any]
"""A resource as ARM shows or lists it: `id`, `type`, `name`, `location`, `tags`."""

_REGION = r"(?P<region>[a-z][a-z0-9]*)"
_MACHINE = rf"{_REGION}-(?P<number>[1-9][0-9]?)"
_OF_MACHINE = re.compile(rf"{_MACHINE}(-ip|-nic|-os|-data|-wal)?")
_NAMES = {
    kinds.VNET.type.lower(): re.compile(_REGION),
    kinds.AVAILABILITY_SET.type.lower(): re.compile(rf"{_REGION}-set"),
    kinds.NSG.type.lower(): re.compile(rf"{_REGION}-nsg|lease"),
    kinds.VM.type.lower(): re.compile(_MACHINE),
    kinds.NIC.type.lower(): re.compile(rf"{_MACHINE}-nic"),
    kinds.PUBLIC_IP.type.lower(): re.compile(rf"{_MACHINE}-ip"),
    kinds.DISK.type.lower(): re.compile(rf"{_MACHINE}-(os|data|wal)"),
}
"""The pattern of a resource's name after the mesh's name and a dash, by type; see `spec.names`."""


class Ownership:
    """Tells whose Azure resources are: the one place that does.

    A resource is the mesh's if it has one of the mesh's names, the type that goes with the name, and either is in a
    resource group of the mesh's own or is recorded in the mesh's local folder, which records each before it is made. A
    group is the mesh's own if the folder records it, or if it has the mesh's name and the id of the mesh's birth.

    Tags prove nothing, with one exception: a mesh of an earlier release has no id, and a lost folder records nothing.
    Then the mesh's tag stands for the record, in the `group` that the spec names. `is_proven` is False when the folder
    is lost: what is not in a group of the mesh's own is then for the user to confirm.
    """

    def __init__(self, session: Session, folder: LocalFolder, mesh: str, group: str | None = None) -> None:
        self.mesh = mesh
        self._session = session
        self._folder = folder
        self._group = group
        self._groups: dict[str, bool] = {}

    @property
    def mesh_id(self) -> str | None:
        """Return the id of the mesh's birth, or None."""
        born = birth.read(self._folder)
        return born.mesh_id if born is not None else None

    @property
    def is_proven(self) -> bool:
        """Return True when the local folder knows the mesh."""
        return self.mesh_id is not None or self._folder.exists() or bool(self.created())

    def created(self) -> dict[str, str]:
        """Return the ids of the groups and resources that the folder records, by themselves in lower case."""
        lines = (self._folder.read(contents.CREATED) or "").splitlines()
        return {line.lower(): line for line in lines}

    def owns(self, resource: Resource) -> bool:
        """Return True when a resource is the mesh's."""
        pattern = _NAMES.get(str(resource.get("type", "")).lower())
        tail = _after(self.mesh, resource)
        if pattern is None or tail is None or not pattern.fullmatch(tail):
            return False
        group = group_of(resource)
        if self.owns_group(group) or _key(resource) in self.created():
            return True
        is_there = self._group is None or self._group.lower() == group.lower()
        return self.mesh_id is None and is_there and owner_of(resource) == self.mesh

    def owns_group(self, name: str) -> bool:
        """Return True when the resource group of that name exists and is the mesh's own."""
        if name.lower() not in self._groups:
            self._groups[name.lower()] = self.is_own(arm.find_group(self._session, name))
        return self._groups[name.lower()]

    def is_own(self, group: Resource | None) -> bool:
        """Return True when a resource group is the mesh's own."""
        if group is None:
            return False
        tags, mesh_id = group.get("tags") or {}, self.mesh_id
        is_recorded, has_name = _key(group) in self.created(), group["name"].lower() == self.mesh.lower()
        if mesh_id is not None and names.TAG_ID in tags:
            return tags[names.TAG_ID] == mesh_id and (is_recorded or has_name)
        return is_recorded or (mesh_id is None and has_name and owner_of(group) == self.mesh)

    def foreign(self, what: str, resource: Resource) -> tuple[str, str]:
        """Return the reason and the remedy for a resource that has one of the mesh's names and is not the mesh's."""
        file = self._folder.path / contents.CREATED
        remedy = f"choose another --name or `group`; if it is this mesh's own, add its id to {file}: {resource['id']}"
        return (
            f"{what} exists in {group_of(resource)} and is not this mesh's: {describe_owner(owner_of(resource))}",
            remedy,
        )


def of(world: World) -> Ownership:
    """Return the ownership of the mesh of a run."""
    mesh = world.mesh
    return world.once("ownership", lambda: Ownership(world.session, world.folder, mesh.name, mesh.group_name))


@dataclass(frozen=True, slots=True)
class Belongings:
    """The belongings of a mesh in Azure, by the way in which `down` deletes them.

    Attributes:
        groups: resource groups that are the mesh's own, with nothing else's in them: deleted whole, with this content.
        resources: what is deleted one by one: the mesh's resources in groups that are shared.
        kept: what stays because it is not the mesh's: what others put into the mesh's own groups, with these groups,
            and what carries the mesh's tag elsewhere.
        severed: the halves of peerings on other people's VNets that the deletion leaves Disconnected.
        unproven: what would be among the resources, but only a tag says so, since the local folder is lost.
    """

    groups: Mapping[str, tuple[Resource, ...]]
    resources: tuple[Resource, ...]
    kept: tuple[str, ...] = ()
    unproven: tuple[Resource, ...] = ()
    severed: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Return the number of resources and groups that will be deleted."""
        return len(self.groups) + len(self.everything())

    def lease(self, mesh: str) -> Resource | None:
        """Return the resource that holds the mesh's lease, or None."""
        return next((one for one in self.everything() if one["name"] == names.lease(mesh)), None)

    def names(self) -> tuple[str, ...]:
        """List what is deleted, by ids."""
        return (
            *(f"resource group {group}{_summary(content)}" for group, content in self.groups.items()),
            *(str(resource["id"]) for resource in self.resources),
        )

    def everything(self) -> list[Resource]:
        """Return the resources that are deleted, with their groups or one by one."""
        return [*(resource for content in self.groups.values() for resource in content), *self.resources]

    def confirmed(self, ids: Collection[str]) -> Self:
        """Return these with the unproven resources of these ids among those that are deleted."""
        chosen = [one for one in self.unproven if one["id"] in ids]
        left = tuple(one for one in self.unproven if one not in chosen)
        return replace(self, resources=(*self.resources, *chosen), unproven=left)


def find(session: Session, ownership: Ownership) -> Belongings:
    """Find what belongs to a mesh, and what only seems to."""
    mesh = ownership.mesh
    tagged = {_key(one): {**one, "tags": {names.TAG: mesh}} for one in arm.list_tagged(session, names.TAG, mesh)}
    marked = [str(group["name"]) for group in arm.list_groups(session, names.TAG, mesh)]
    recorded = [line.split("/")[4] for line in ownership.created().values()]
    whole: dict[str, tuple[Resource, ...]] = {}
    singles: dict[str, Resource] = {}
    kept: list[str] = []
    places = [mesh, *marked, *recorded, *(group_of(one) for one in tagged.values())]
    for group in {place.lower(): place for place in reversed(places)}.values():
        content = arm.list_group_resources(session, group)
        ours = _ours(content, ownership)
        foreign = [one for one in content if not _is_part_of(one, ours)]
        if ownership.owns_group(group):
            if not foreign:
                whole[group] = tuple(content)
                continue
            kept += [f"resource group {group}", *(str(one["id"]) for one in foreign)]
        else:
            kept += [f"resource group {group}"] if group in marked else []
            kept += [str(one["id"]) for one in foreign if _key(one) in tagged]
        singles.update(ours)
    unproven = [one for one in singles.values() if not ownership.is_proven and not ownership.owns_group(group_of(one))]
    proven = tuple(one for one in singles.values() if one not in unproven)
    return Belongings(whole, proven, tuple(kept), tuple(unproven))


def find_remaining(session: Session, ownership: Ownership, confirmed: Collection[str] = ()) -> Belongings:
    """Find what is still there after a deletion, in which resources of the `confirmed` ids were deleted too.

    Azure's lists lag behind deletions, so each thing that is listed is looked for itself.
    """
    listed = find(session, ownership).confirmed(confirmed)
    groups = {name: content for name, content in listed.groups.items() if arm.find_group(session, name) is not None}
    resources = tuple(resource for resource in listed.resources if _is_there(session, resource))
    return Belongings(groups, resources)


def find_severed(session: Session, found: Belongings) -> tuple[str, ...]:
    """Find the halves, or else the VNets, of others' peerings that a deletion leaves Disconnected; return their ids."""
    ours = {_key(one) for one in found.everything()}
    severed = []
    for vnet in found.everything():
        at = kinds.ResourceId.parse(str(vnet["id"]))
        for peering in kinds.PEERING.list(session, at.group, *at.names) if at.kind is kinds.VNET else ():
            if (remote := remote_of(peering)) in ours:
                continue
            halves: list[dict[str, Any]] = []
            if session.subscription_id.lower() in remote:
                there = kinds.ResourceId.parse(remote)
                with contextlib.suppress(CloudError):
                    halves = kinds.PEERING.list(session, there.group, *there.names)
            severed += [str(half["id"]) for half in halves if remote_of(half) == _key(vnet)] or [remote]
    return tuple(severed)


def remote_of(peering: Resource) -> str:
    """Return the id, in lower case, of the VNet that a peering leads to."""
    remote = (peering.get("properties") or {}).get("remoteVirtualNetwork") or {}
    return str(remote.get("id", "")).lower()


def owner_of(resource: Resource) -> str | None:
    """Return the mesh whose tag a resource or a group carries, or None."""
    owner = (resource.get("tags") or {}).get(names.TAG)
    return None if owner is None else str(owner)


def describe_owner(owner: str | None) -> str:
    """Say whose a resource seems to be, by its tag."""
    return f"its tag is the mesh {owner}'s" if owner else "it carries no mesh's tag"


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


def _ours(content: Collection[Resource], ownership: Ownership) -> dict[str, Resource]:
    """Return the mesh's resources of a group. A disk on somebody else's machine is not the mesh's."""
    ours = {_key(resource): resource for resource in content if ownership.owns(resource)}
    attached = {key: str(one.get("managedBy") or "").lower() for key, one in ours.items()}
    return {key: one for key, one in ours.items() if not attached[key] or attached[key] in ours}


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


def _summary(content: tuple[Resource, ...]) -> str:
    counts = Counter(str(resource["type"]).rpartition("/")[2] for resource in content)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f" with {listed}" if listed else ""
