"""Checks that the spec asks of existing machines only what can be changed in place.

These cannot: a VM's zone, its user, its disk's type, the hardware of its size; a k3s node's role. And data leaves a
CockroachDB node by decommissioning only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from crdbmesh.desired import cockroach, disks
from crdbmesh.desired.azure import capabilities
from crdbmesh.errors import Finding
from crdbmesh.observe import disks as observed
from crdbmesh.observe import firewall
from crdbmesh.observe import machines as vms
from crdbmesh.observe.belongings import Resource
from crdbmesh.observe.inventory import Inventory
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Mesh, Region

AGAIN = "it cannot be done in place: back up (SQL BACKUP), `crdbmesh down`, `crdbmesh up` with the new spec, restore"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The spec, the resources in Azure, and the spec that the last `up` kept, or None."""

    world: World
    mesh: Mesh
    found: Inventory
    kept: Mesh | None

    @property
    def remove(self) -> str:
        """The remedy that removes a machine for good."""
        return (
            f"decommission the CockroachDB node on it (`{cockroach.decommission(self.mesh)}`), drain and delete its "
            "Kubernetes node, delete its pod's volume claim and its VM"
        )

    @property
    def replace(self) -> str:
        """The remedy that makes machines anew."""
        return f"replace the machines, one at a time: {self.remove}, run `up`"

    def before(self, region: str) -> Region | None:
        """Return a region as the last `up` here kept it, or None."""
        kept = self.kept
        return kept.region(region) if kept and any(spec.name == region for spec in kept.regions) else None

    def machines(self) -> Iterator[tuple[Machine, Resource]]:
        """Yield the spec's machines that exist, with their VMs."""
        for machine in self.mesh.all_machines():
            vm = self.found.machines.get((machine.region, machine.number))
            if vm is not None:
                yield machine, vm


def other_sizes(compared: Comparison) -> Iterator[tuple[Machine, str, str]]:
    """Yield the machines that have another size than the spec's, with their names and the size they have."""
    for machine, vm in compared.machines():
        if size := vms.other_size(vm, machine):
            yield machine, names.machine(compared.mesh.name, machine.region, machine.number), size


def changed(compared: Comparison) -> Iterator[Finding]:
    """Yield every machine that would have to be made anew, with the reason and remedy."""
    for check in (_fewer, _roles, _sizes, _zones, _disks, _ssh):
        yield from check(compared)


def _fewer(compared: Comparison) -> Iterator[Finding]:
    for region in compared.mesh.all_regions():
        wanted = len(region.machines)
        numbers = compared.found.numbers(region.name)
        more = [names.machine(compared.mesh.name, region.name, number) for number in numbers if number > wanted]
        if not more:
            continue
        reason = f"there are more: {', '.join(more)}; they hold data, and `up` deletes nothing"
        remedy = f". To remove a machine, the last first: {compared.remove}; then run `up` with one fewer"
        if wanted < 3 <= max(numbers):
            remedy = f"; with fewer than three servers etcd does not survive the loss of one: {AGAIN}"
        yield Finding("machines", f"{wanted} in {region.name}", reason, f"put the number back{remedy}")


def _roles(compared: Comparison) -> Iterator[Finding]:
    for region in compared.mesh.all_regions():
        before = compared.before(region.name)
        if before is None:
            continue
        agents = {machine.number for machine in before.agents} & set(compared.found.numbers(region.name))
        for machine in region.servers:
            if machine.number in agents:
                name = names.machine(compared.mesh.name, region.name, machine.number)
                reason = f"{name} is a k3s agent and cannot become a server in place"
                remedy = f"{compared.remove}, then run `up`, which makes it anew as a server"
                yield Finding("machines", f"{len(region.machines)} in {region.name}", reason, remedy)


def _sizes(compared: Comparison) -> Iterator[Finding]:
    for machine, name, size in other_sizes(compared):
        if why := cannot_resize(compared.world, machine, size):
            remedy = f"choose a size of its kind, or {compared.replace}"
            value = f"{machine.size} in {machine.region}"
            yield Finding("machines.size", value, f"{name} is a {size}, and {why}", remedy)


def cannot_resize(world: World, machine: Machine, size: str) -> str | None:
    """Return the reason why Azure cannot resize a machine from `size`, or None.

    Source: learn.microsoft.com, "Change the size of a virtual machine" (temporary disk) and "VM sizes" (architecture).
    """
    have, want = (_capabilities(world, machine.region, name) for name in (size, machine.size))
    if have is None or want is None:
        return None
    one, other = have.get("CpuArchitectureType", "x64"), want.get("CpuArchitectureType", "x64")
    if one != other:
        return f"a machine of architecture {one} cannot become one of {other}"
    if (have.get("MaxResourceVolumeMB", "0") == "0") != (want.get("MaxResourceVolumeMB", "0") == "0"):
        return "Azure does not resize between sizes with a temporary disk and sizes without"
    if not set(_controllers(have)) & set(_controllers(want)):
        one, other = ", ".join(_controllers(have)), ", ".join(_controllers(want))
        return f"its disk controllers are {one}, those of the other size {other}"
    return None


def _capabilities(world: World, location: str, size: str) -> dict[str, str] | None:
    sku = world.sizes(location).get(size.lower())
    return None if sku is None else capabilities(sku)


def _controllers(capabilities: Mapping[str, str]) -> list[str]:
    return [one.strip() for one in capabilities.get("DiskControllerTypes", "SCSI").split(",")]


def _zones(compared: Comparison) -> Iterator[Finding]:
    for machine, vm in compared.machines():
        zones = compared.mesh.region(machine.region).zones
        if zones is None:
            continue
        is_in = next(iter(vm.get("zones") or []), None)
        if is_in != machine.zone:
            name = names.machine(compared.mesh.name, machine.region, machine.number)
            reason = f"it is in {f'zone {is_in}' if is_in else 'no zone'}, and Azure does not move a VM between zones"
            remedy = f"put `zones` back, or {compared.replace}"
            yield Finding("regions.zones", f"{machine.zone or 'none'} for {name}", reason, remedy)


def _disks(compared: Comparison) -> Iterator[Finding]:
    for machine, role in product(compared.mesh.all_machines(), disks.roles(compared.mesh)):
        if (refusal := observed.disk(compared.world, machine, role).refusal) is not None:
            yield Finding("machines.data_disk", role.name, str(refusal), refusal.hint or "put it back")
    wanted_gib, wanted_type = compared.mesh.machines.disk_gib, compared.mesh.machines.disk_type
    for machine, vm in compared.machines():
        disk = vm.get("properties", {}).get("storageProfile", {}).get("osDisk", {})
        name = names.machine(compared.mesh.name, machine.region, machine.number)
        size = disk.get("diskSizeGB")
        if size is not None and int(size) != wanted_gib:
            os_disk = names.disk(compared.mesh.name, machine.region, machine.number, "os")
            why = "`up` does not grow disks"
            remedy = f"deallocate {name}, grow its disk {os_disk} and start it again, one machine at a time; then `up`"
            if int(size) > wanted_gib:
                why, remedy = "Azure cannot make a disk smaller", "put it back"
            reason = f"the disk of {name} has {size} GiB, and {why}"
            yield Finding("machines.disk_gib", str(wanted_gib), reason, remedy)
        kind = (disk.get("managedDisk") or {}).get("storageAccountType")
        if kind is not None and str(kind).lower() != wanted_type.lower():
            reason = f"the disk of {name} is {kind}, and a disk's type is not changed while its machine runs"
            yield Finding("machines.disk_type", wanted_type, reason, f"put it back, or {compared.replace}")


def _ssh(compared: Comparison) -> Iterator[Finding]:
    users = {
        str(user)
        for _, vm in compared.machines()
        if (user := vm.get("properties", {}).get("osProfile", {}).get("adminUsername"))
    }
    wanted = compared.mesh.ssh
    if users and users != {wanted.user}:
        reason = f"the machines were made with the user {', '.join(sorted(users))}, which cannot be renamed"
        yield Finding("ssh.user", wanted.user, reason, f"put `ssh.user: {min(users)}` back")
    port = _port(compared) if compared.found.machines else None
    if port is not None and port != wanted.port:
        reason = f"the machines' first boot set SSH to port {port}, and `up` does not change it on an existing machine"
        yield Finding("ssh.port", str(wanted.port), reason, f"put `ssh.port: {port}` back")


def _port(compared: Comparison) -> int | None:
    """Return the machines' SSH port: of the kept spec first, since the firewall's rule may have been changed."""
    if compared.kept is not None:
        return compared.kept.ssh.port
    session, group = compared.world.session, compared.world.group
    for region in compared.found.vnets:
        rule = firewall.find_ssh_rule(session, group, compared.mesh.name, region)
        if rule is not None:
            return rule.port
    return None
