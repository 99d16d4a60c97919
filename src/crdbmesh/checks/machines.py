"""Checks that the spec asks of existing machines only what can be changed in place.

These cannot: a VM's zone, its user, its disk's type, the hardware of its size; a k3s node's role. And data leaves a
CockroachDB node by decommissioning only.
"""

from collections.abc import Iterator, Mapping

from crdbmesh.checks.comparison import AGAIN, Comparison
from crdbmesh.errors import Finding
from crdbmesh.observe import firewall
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine


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
        yield Finding(
            "machines",
            f"{wanted} in {region.name}",
            f"there are more: {', '.join(more)}; they hold data, and `up` deletes nothing",
            f"put the number back; with fewer than three servers etcd does not survive the loss of one: {AGAIN}"
            if wanted < 3 <= max(numbers)
            else f"put the number back. To remove a machine, the last first: {compared.remove}; then run `up` with one "
            "fewer",
        )


def _roles(compared: Comparison) -> Iterator[Finding]:
    for region in compared.mesh.all_regions():
        before = compared.before(region.name)
        if before is None:
            continue
        agents = {machine.number for machine in before.agents} & set(compared.found.numbers(region.name))
        for machine in region.servers:
            if machine.number in agents:
                name = names.machine(compared.mesh.name, region.name, machine.number)
                yield Finding(
                    "machines",
                    f"{len(region.machines)} in {region.name}",
                    f"{name} is a k3s agent and cannot become a server in place",
                    f"{compared.remove}, then run `up`, which makes it anew as a server",
                )


def _sizes(compared: Comparison) -> Iterator[Finding]:
    for machine, vm in compared.machines():
        size = str(vm.get("properties", {}).get("hardwareProfile", {}).get("vmSize", ""))
        if not size or size.lower() == machine.size.lower():
            continue
        if why := cannot_resize(compared.world, machine, size):
            yield Finding(
                "machines.size",
                f"{machine.size} in {machine.region}",
                f"{names.machine(compared.mesh.name, machine.region, machine.number)} is a {size}, and {why}",
                f"choose a size of its kind, or {compared.replace}",
            )


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
    if sku is None:
        return None
    return {str(one.get("name")): str(one.get("value")) for one in sku.get("capabilities") or []}


def _controllers(capabilities: Mapping[str, str]) -> list[str]:
    return [one.strip() for one in capabilities.get("DiskControllerTypes", "SCSI").split(",")]


def _zones(compared: Comparison) -> Iterator[Finding]:
    for machine, vm in compared.machines():
        zones = compared.mesh.region(machine.region).zones
        if zones is None:
            continue
        is_in = next(iter(vm.get("zones") or []), None)
        if is_in != machine.zone:
            yield Finding(
                "regions.zones",
                f"{machine.zone or 'none'} for {names.machine(compared.mesh.name, machine.region, machine.number)}",
                f"it is in {f'zone {is_in}' if is_in else 'no zone'}, and Azure does not move a VM between zones",
                f"put `zones` back, or {compared.replace}",
            )


def _disks(compared: Comparison) -> Iterator[Finding]:
    wanted_gib, wanted_type = compared.mesh.machines.disk_gib, compared.mesh.machines.disk_type
    for machine, vm in compared.machines():
        disk = vm.get("properties", {}).get("storageProfile", {}).get("osDisk", {})
        name = names.machine(compared.mesh.name, machine.region, machine.number)
        size = disk.get("diskSizeGB")
        if size is not None and int(size) != wanted_gib:
            cannot = "Azure cannot make a disk smaller" if int(size) > wanted_gib else "`up` does not grow disks"
            os_disk = names.os_disk(compared.mesh.name, machine.region, machine.number)
            yield Finding(
                "machines.disk_gib",
                str(wanted_gib),
                f"the disk of {name} has {size} GiB, and {cannot}",
                "put it back"
                if int(size) > wanted_gib
                else f"deallocate {name}, grow its disk {os_disk} and start it again, one machine at a time; then `up`",
            )
        kind = (disk.get("managedDisk") or {}).get("storageAccountType")
        if kind is not None and str(kind).lower() != wanted_type.lower():
            yield Finding(
                "machines.disk_type",
                wanted_type,
                f"the disk of {name} is {kind}, and a disk's type is not changed while its machine runs",
                f"put it back, or {compared.replace}",
            )


def _ssh(compared: Comparison) -> Iterator[Finding]:
    users = {
        str(user)
        for _, vm in compared.machines()
        if (user := vm.get("properties", {}).get("osProfile", {}).get("adminUsername"))
    }
    wanted = compared.mesh.ssh
    if users and users != {wanted.user}:
        yield Finding(
            "ssh.user",
            wanted.user,
            f"the machines were made with the user {', '.join(sorted(users))}, which cannot be renamed",
            f"put `ssh.user: {min(users)}` back",
        )
    port = _port(compared) if compared.found.machines else None
    if port is not None and port != wanted.port:
        yield Finding(
            "ssh.port",
            str(wanted.port),
            f"the machines' first boot set SSH to port {port}, and `up` does not change it on an existing machine",
            f"put `ssh.port: {port}` back",
        )


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
