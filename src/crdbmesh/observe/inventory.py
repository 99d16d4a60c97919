"""Finds a mesh's Azure resources: VNets and machines in full, everything else as ARM lists it.

Whose a resource is decides `belongings`, also when the local folder is lost.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.desired import Body
from crdbmesh.local import contents
from crdbmesh.local.contents import Place
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import belongings
from crdbmesh.observe.belongings import Ownership, Resource
from crdbmesh.observe.resource import location_of
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh


@dataclass(frozen=True, slots=True)
class Inventory:
    """The Azure resources of one mesh.

    Attributes:
        mesh: its name.
        vnets: its VNets by region, as ARM shows them.
        machines: its VMs by region and number, as ARM shows them.
        places: every machine of which there is a VM, an interface, an address or a disk.
        resources: everything of it that carries its tag, as ARM lists resources.
        groups: the resource groups that these are in, the one with the most first.
    """

    mesh: str
    vnets: Mapping[str, Resource]
    machines: Mapping[Place, Resource]
    places: frozenset[Place]
    resources: tuple[Resource, ...]
    groups: tuple[str, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions in which it has anything."""
        return tuple(sorted({*self.vnets, *(region for region, _ in self.places)}))

    @property
    def first_region(self) -> str | None:
        """The mesh's first region, which is where its lease is; None when the lease is not there."""
        lease = names.lease(self.mesh)
        leases = [resource for resource in self.resources if resource["name"] == lease]
        return location_of(leases[0]) if leases else None

    def numbers(self, region: str) -> tuple[int, ...]:
        """The numbers of a region's VMs."""
        return tuple(sorted(number for at, number in self.machines if at == region))


def find(
    session: Session, ownership: Ownership, *, vnets: Iterable[Body] | None = None, vms: Iterable[Body] | None = None
) -> Inventory:
    """Find the resources of a mesh.

    `vnets` and `vms` are those of the whole subscription, if they are known already.
    """
    mesh = ownership.mesh
    tagged = [{**one, "tags": {names.TAG: mesh}} for one in arm.list_tagged(session, names.TAG, mesh)]
    resources = tuple(filter(ownership.owns, tagged))
    ours = list(filter(ownership.owns, kinds.VNET.list(session) if vnets is None else vnets))
    by_region = [(belongings.region_of(vnet, mesh), vnet) for vnet in ours]
    own_vms = filter(ownership.owns, kinds.VM.list(session) if vms is None else vms)
    machines = {place: vm for vm in own_vms if (place := belongings.place_of(vm, mesh))}
    places = {place for resource in resources if (place := belongings.place_of(resource, mesh))}
    groups = [name for name, _ in Counter(belongings.group_of(resource) for resource in resources).most_common()]
    own_vnets = {region: vnet for region, vnet in by_region if region}
    return Inventory(mesh, own_vnets, machines, frozenset({*places, *machines}), resources, tuple(groups))


def list_machines(world: World) -> frozenset[Place]:
    """List the machines of a mesh that have a VM."""
    vms = filter(belongings.of(world).owns, kinds.VM.list(world.session))
    return frozenset(place for vm in vms if (place := belongings.place_of(vm, world.mesh.name)))


def describe_lost_secrets(mesh: Mesh, folder: LocalFolder, machines: Collection[Place]) -> tuple[str, str] | None:
    """Describe the secrets that are not in the local folder although these machines were made with them.

    Return what is lost and what that means, and what can be done about it; None when nothing is lost.
    """
    wanted = contents.secrets(mesh)
    have = {secret.file for secret in wanted if folder.read(secret.file) is not None}
    lost = contents.lost(wanted, have, machines)
    if not lost:
        return None
    return contents.describe(lost, whole=not have), contents.remedy(mesh.name, whole=not have)


def list_meshes(session: Session) -> dict[str, tuple[str, ...]]:
    """List the meshes of the subscription by their tags: name to regions."""
    found: dict[str, set[str]] = {}
    for body in [*kinds.VNET.list(session), *kinds.VM.list(session)]:
        tags = body.get("tags") or {}
        if name := tags.get(names.TAG):
            found.setdefault(str(name), set()).add(str(tags.get(names.TAG_REGION) or body.get("location")))
    return {name: tuple(sorted(regions)) for name, regions in sorted(found.items())}
