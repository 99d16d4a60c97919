"""What is there already and contradicts the spec in a way that nothing can change in place.

Read from what carries the mesh's tag in Azure, and from the spec that the last `up` kept. Fixed are: in Azure a VNet's
range with machines in it, a VM's zone, user and image, a resource's location; in k3s `cluster-cidr`, `service-cidr` and
a node's role; in Cilium a cluster's id and name, which are in every identity and every peer; and data leaves a
CockroachDB node by decommissioning only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from crdbmesh import home as homes
from crdbmesh import inventory
from crdbmesh.access import Access
from crdbmesh.clients.azure import compute, network
from crdbmesh.errors import CloudError, ConfigError, CredentialError, Finding
from crdbmesh.inventory import Body, Inventory
from crdbmesh.topology import addressing, config, folder, names
from crdbmesh.topology.mesh import Machine, Mesh, Region

AGAIN = "there is no way in place: back up (SQL BACKUP), `crdbmesh down`, `crdbmesh up` with the new spec, restore"
REMOVE = (
    "decommission the CockroachDB node on it, drain and delete its Kubernetes node, delete its pod's volume claim and "
    "its VM"
)
REPLACE = f"replace the machines, one at a time: {REMOVE}, run `up`"


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checks compare: the spec, what is in Azure, and the spec that the last `up` kept (or None)."""

    access: Access
    mesh: Mesh
    found: Inventory
    kept: Mesh | None


def existing(access: Access) -> Iterator[Finding]:
    """Every contradiction between the spec and what is there, each with its reason and the way to do it.

    What cannot be read is a finding too: going on without having looked could lose data.

    Raises:
        CredentialError: Azure does not accept the credential.
        ConfigError: a file of the local folder cannot be read.
    """
    try:
        yield from _contradictions(access)
    except CredentialError:
        raise
    except CloudError as error:
        reason = f"cannot tell whether it fits the spec: {error}"
        yield Finding("existing", access.mesh.name, reason, error.hint or "run it again a little later")


def _contradictions(access: Access) -> Iterator[Finding]:
    mesh = access.mesh
    found = inventory.find(access.session, mesh.name, access.group)
    if not found.resources and not found.machines:
        return
    scene = Scene(access, mesh, found, _kept(access))
    yield from _folder(scene)
    elsewhere = list(_group(scene))
    yield from elsewhere
    if elsewhere:
        # In the wrong group nothing would be found, and everything would seem to be new.
        return
    for check in (_first_region, _gone_regions, _plans, _fewer_machines, _roles, _sizes, _zones, _disks, _ssh):
        yield from check(scene)


def _folder(scene: Scene) -> Iterator[Finding]:
    wanted = folder.secrets(scene.mesh)
    home = scene.access.home
    have = {secret.file for secret in wanted if home.read(secret.file) is not None}
    lost = folder.lost(wanted, have, scene.found.machines.keys())
    if not lost:
        return
    whole = not have
    there = f"{len(scene.found.machines)} of the mesh's machines are in Azure, made with secrets that are not here: "
    yield Finding(
        "folder",
        str(home.folder),
        there + folder.describe(lost, whole=whole),
        folder.remedy(scene.mesh.name, whole=whole),
    )


def _group(scene: Scene) -> Iterator[Finding]:
    bodies = [*scene.found.vnets.values(), *scene.found.machines.values()]
    groups = sorted({inventory.group_of(body) for body in bodies})
    wanted = scene.mesh.group_name
    if not groups or wanted.lower() in {group.lower() for group in groups}:
        return
    yield Finding(
        "group",
        wanted,
        f"the mesh's resources are in {', '.join(groups)}, and crdbmesh does not move them",
        f"put `group: {groups[0]}` into the spec, or run `crdbmesh down` first",
    )


def _first_region(scene: Scene) -> Iterator[Finding]:
    first = _first(scene)
    listed = [region.name for region in scene.mesh.regions]
    if first is None or first == listed[0] or first not in listed:
        return
    order = ",".join([first, *(name for name in listed if name != first)])
    yield Finding(
        "regions[0]",
        listed[0],
        f"the mesh's first region is {first}: its lease and its database's client pod are there, "
        "and the database is initialised there",
        f"list it first, and new regions at the end: {_suggested(scene) or order}",
    )


def _gone_regions(scene: Scene) -> Iterator[Finding]:
    listed = [region.name for region in scene.mesh.regions]
    new = [name for name in listed if name not in scene.found.regions]
    for name in scene.found.regions:
        if name in listed:
            continue
        machines = [names.machine(scene.mesh.name, name, number) for number in scene.found.numbers(name)]
        if not machines:
            yield Finding(
                "regions",
                name,
                "there are resources of the mesh in this region, which the spec does not list; it has no machines",
                f"list it again, or delete what carries the tag {names.TAG_REGION}={name} (no data is in it)",
            )
            continue
        renamed = f"; {', '.join(new)} is new, and a region cannot be renamed or moved" if new else ""
        reason = f"the mesh has machines there ({', '.join(machines)}), and the spec does not list it{renamed}"
        yield Finding("regions", name, reason, _leaving(name, first=name == _first(scene)))


def _leaving(name: str, *, first: bool) -> str:
    if first:
        return f"list it again; to leave the first region {AGAIN}"
    return (
        "list it again. To leave it: add its successor at the end of the list, run `up`; take it out of multi-region "
        "databases (ALTER DATABASE … DROP REGION); decommission its nodes (`cockroach node decommission`), wait until "
        f"they hold no replica; delete what carries the tag {names.TAG_REGION}={name}; then leave it out, with vnet, "
        "pods, services and cluster_id of the regions after it written out"
    )


def _plans(scene: Scene) -> Iterator[Finding]:
    """The address plan and the Cilium ids of regions that are there; they follow from a region's place in the list."""
    for index, region in enumerate(scene.mesh.all_regions()):
        changes = [*_network_changes(scene, region), *_cluster_changes(scene, region)]
        if not changes:
            continue
        order = _suggested(scene)
        back = f"put new regions at the end of the list: {order}" if order else "put its part of the spec back"
        yield Finding(
            f"regions[{index}]",
            region.name,
            f"it is there already, and would change: {'; '.join(changes)}",
            f"{back}. To change it on purpose {AGAIN}",
        )


def _network_changes(scene: Scene, region: Region) -> Iterator[str]:
    vnet = scene.found.vnets.get(region.name)
    if vnet is None:
        return
    prefixes = inventory.prefixes_of(vnet)
    if prefixes and str(region.ranges.vnet) not in prefixes:
        yield f"VNet {', '.join(prefixes)} to {region.ranges.vnet}"
    subnet = inventory.subnet_of(vnet)
    if subnet is not None and subnet != str(region.ranges.subnet):
        yield f"subnet {subnet} to {region.ranges.subnet}"


def _cluster_changes(scene: Scene, region: Region) -> Iterator[str]:
    before = _before(scene, region.name)
    if before is None or not scene.found.numbers(region.name):
        return
    if before.ranges.pods != region.ranges.pods:
        yield f"pods {before.ranges.pods} to {region.ranges.pods}"
    if before.ranges.services != region.ranges.services:
        yield f"services {before.ranges.services} to {region.ranges.services}"
    if before.cluster_id != region.cluster_id:
        yield f"Cilium cluster id {before.cluster_id} to {region.cluster_id}"


def _fewer_machines(scene: Scene) -> Iterator[Finding]:
    for region in scene.mesh.all_regions():
        wanted = len(region.machines)
        numbers = scene.found.numbers(region.name)
        more = [names.machine(scene.mesh.name, region.name, number) for number in numbers if number > wanted]
        if not more:
            continue
        yield Finding(
            "machines",
            f"{wanted} in {region.name}",
            f"there are more: {', '.join(more)}; they hold data, and `up` deletes nothing",
            f"put the number back; with less than three servers etcd has no majority to spare: {AGAIN}"
            if wanted < 3 <= max(numbers)
            else f"put the number back. To remove a machine, the last first: {REMOVE}; then run `up` with one less",
        )


def _roles(scene: Scene) -> Iterator[Finding]:
    for region in scene.mesh.all_regions():
        before = _before(scene, region.name)
        if before is None:
            continue
        agents = {machine.number for machine in before.agents} & set(scene.found.numbers(region.name))
        for machine in region.servers:
            if machine.number in agents:
                name = names.machine(scene.mesh.name, region.name, machine.number)
                yield Finding(
                    "machines",
                    f"{len(region.machines)} in {region.name}",
                    f"{name} is a k3s agent and would become a server, which k3s cannot make of it",
                    f"{REMOVE}, then run `up`: it is made anew, as a server",
                )


def _sizes(scene: Scene) -> Iterator[Finding]:
    for machine, vm in _machines(scene):
        size = str(vm.get("properties", {}).get("hardwareProfile", {}).get("vmSize", ""))
        if not size or size.lower() == machine.size.lower():
            continue
        if why := _cannot_resize(scene.access, machine, size):
            yield Finding(
                "machines.size",
                f"{machine.size} in {machine.region}",
                f"{names.machine(scene.mesh.name, machine.region, machine.number)} is a {size}, and {why}",
                f"choose a size of its kind, or {REPLACE}",
            )


def _cannot_resize(access: Access, machine: Machine, size: str) -> str | None:
    """Why Azure cannot make one size of another, or None.

    Source: learn.microsoft.com, "Change the size of a virtual machine" (temporary disk) and "VM sizes" (architecture).
    """
    by_name = {
        str(sku.get("name", "")).lower(): {
            str(one.get("name")): str(one.get("value")) for one in sku.get("capabilities") or []
        }
        for sku in compute.list_skus(access.session, machine.region)
        if sku.get("resourceType") == "virtualMachines"
    }
    have, want = by_name.get(size.lower()), by_name.get(machine.size.lower())
    if have is None or want is None:
        return None
    one, other = have.get("CpuArchitectureType", "x64"), want.get("CpuArchitectureType", "x64")
    if one != other:
        return f"a machine of the architecture {one} cannot become one of {other}"
    if (have.get("MaxResourceVolumeMB", "0") == "0") != (want.get("MaxResourceVolumeMB", "0") == "0"):
        return "Azure does not resize between sizes with a temporary disk and sizes without"
    if not set(_controllers(have)) & set(_controllers(want)):
        return f"its disks speak {', '.join(_controllers(have))}, those of the other {', '.join(_controllers(want))}"
    return None


def _controllers(capabilities: Mapping[str, str]) -> list[str]:
    return [one.strip() for one in capabilities.get("DiskControllerTypes", "SCSI").split(",")]


def _zones(scene: Scene) -> Iterator[Finding]:
    for machine, vm in _machines(scene):
        zones = scene.mesh.region(machine.region).zones
        if zones is None:
            continue
        is_in = next(iter(vm.get("zones") or []), None)
        if is_in != machine.zone:
            yield Finding(
                "regions.zones",
                f"{machine.zone or 'none'} for {names.machine(scene.mesh.name, machine.region, machine.number)}",
                f"it is in {f'zone {is_in}' if is_in else 'no zone'}, and Azure does not move a VM between zones",
                f"put `zones` back, or {REPLACE}",
            )


def _disks(scene: Scene) -> Iterator[Finding]:
    wanted_gib, wanted_type = scene.mesh.machines.disk_gib, scene.mesh.machines.disk_type
    for machine, vm in _machines(scene):
        disk = vm.get("properties", {}).get("storageProfile", {}).get("osDisk", {})
        name = names.machine(scene.mesh.name, machine.region, machine.number)
        size = disk.get("diskSizeGB")
        if size is not None and int(size) != wanted_gib:
            cannot = "Azure cannot make a disk smaller" if int(size) > wanted_gib else "`up` does not grow disks"
            way = f"deallocate {name}, grow its disk {names.os_disk(scene.mesh.name, machine.region, machine.number)}"
            yield Finding(
                "machines.disk_gib",
                str(wanted_gib),
                f"the disk of {name} has {size} GiB, and {cannot}",
                "put it back"
                if int(size) > wanted_gib
                else f"{way} and start it again, one machine at a time; then `up`",
            )
        kind = (disk.get("managedDisk") or {}).get("storageAccountType")
        if kind is not None and str(kind).lower() != wanted_type.lower():
            yield Finding(
                "machines.disk_type",
                wanted_type,
                f"the disk of {name} is {kind}, and a disk's type is not changed while its machine runs",
                f"put it back, or {REPLACE}",
            )


def _ssh(scene: Scene) -> Iterator[Finding]:
    users = {
        str(user)
        for _, vm in _machines(scene)
        if (user := vm.get("properties", {}).get("osProfile", {}).get("adminUsername"))
    }
    wanted = scene.mesh.ssh
    if users and users != {wanted.user}:
        yield Finding(
            "ssh.user",
            wanted.user,
            f"the machines were made with the user {', '.join(sorted(users))}, which cannot be renamed",
            f"put `ssh.user: {min(users)}` back",
        )
    port = _port(scene) if scene.found.machines else None
    if port is not None and port != wanted.port:
        yield Finding(
            "ssh.port",
            str(wanted.port),
            f"the machines' first boot set SSH to port {port}, and a machine that exists is not told another",
            f"put `ssh.port: {port}` back",
        )


def _port(scene: Scene) -> int | None:
    """The port that the machines listen at; the firewall's rule may have been changed, so the kept spec comes first."""
    if scene.kept is not None:
        return scene.kept.ssh.port
    session, group = scene.access.session, scene.access.group
    for region in scene.found.vnets:
        rule = inventory.ssh_rule(network.find_nsg(session, group, names.firewall(scene.mesh.name, region)))
        if rule is not None:
            return rule.port
    return None


def _machines(scene: Scene) -> Iterator[tuple[Machine, Body]]:
    """The machines of the spec that are there, with their VMs."""
    for machine in scene.mesh.all_machines():
        vm = scene.found.machines.get((machine.region, machine.number))
        if vm is not None:
            yield machine, vm


def _first(scene: Scene) -> str | None:
    """The mesh's first region: where its lease is."""
    lease = names.lease(scene.mesh.name)
    for resource in scene.found.resources:
        if resource["name"] == lease:
            return str(resource["location"]).lower().replace(" ", "")
    return scene.kept.regions[0].name if scene.kept else None


def _before(scene: Scene, region: str) -> Region | None:
    kept = scene.kept
    return kept.region(region) if kept and any(spec.name == region for spec in kept.regions) else None


def _kept(access: Access) -> Mesh | None:
    if access.home.read(homes.SPEC) is None:
        return None
    try:
        return config.mesh(config.read_file(access.home.folder / homes.SPEC))
    except ConfigError:
        return None


def _suggested(scene: Scene) -> str | None:
    """The order of regions in which those that are there keep their ranges; None if no other order does that."""
    mesh, places = scene.mesh, {}
    derived = [
        str(addressing.derive(mesh.network.base, at).vnet) for at in range(addressing.capacity(mesh.network.base))
    ]
    for name, vnet in scene.found.vnets.items():
        if at := [derived.index(prefix) for prefix in inventory.prefixes_of(vnet) if prefix in derived]:
            places[name] = at[0]
    listed = [region.name for region in mesh.regions]
    if sorted(places.values()) != list(range(len(scene.found.vnets))) or not set(places) <= set(listed):
        return None
    there = sorted(places, key=lambda name: places[name])
    order = [*there, *(name for name in listed if name not in places)]
    return ",".join(order) if order != listed else None
