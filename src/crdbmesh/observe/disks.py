"""Judges the data disks: as resources of Azure, and as the file systems that a machine has mounted."""

from dataclasses import dataclass, replace

from crdbmesh.clients.azure import kinds
from crdbmesh.desired import Body, disks
from crdbmesh.desired import azure as resources
from crdbmesh.desired.disks import Role, Speed
from crdbmesh.errors import RefusedError
from crdbmesh.observe import resource
from crdbmesh.observe.resource import Observed
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a disk, as its machine finds it.

    Attributes:
        device: where the machine finds it; empty while it does not.
        tags: those of the file system or of anything else on it, as blkid tells them.
        is_blank: True when there is no signature of anything on it.
        gib: the size of its file system.
        mounted: the state of its mount unit: `active`.
    """

    device: str
    tags: dict[str, str]
    is_blank: bool
    gib: float
    mounted: str

    @classmethod
    def parse(cls, text: str) -> "Content":
        """Read what the script of `desired.disks.look` prints."""
        lines = text.splitlines()
        tags = dict(line.split("=", 1) for line in lines if "=" in line)
        sizes = dict(line.split(":", 1) for line in lines if ":" in line and "=" not in line)
        blocks, size = (int(sizes.get(f"Block {what}", "0").strip() or 0) for what in ("count", "size"))
        device, probed = tags.pop("DEVICE", ""), tags.pop("PROBED", "")
        tags.pop("DEVNAME", None)
        return cls(device, tags, probed == "2" and not tags, blocks * size / disks.GIB, lines[-1] if lines else "")


def disk(world: World, machine: Machine, role: Role) -> Observed:
    """Judge a data disk in Azure. It is not made smaller, nor of another type, nor moved to another zone."""
    name = names.disk(world.mesh.name, machine.region, machine.number, role.name)
    found = kinds.DISK.find(world.session, world.group, name)
    wanted = wish(world, machine, role, found)
    seen = resource.judge(world, kinds.DISK, name, found, wanted)
    if found is None or seen.refusal is not None:
        return seen
    have, gib = int(found["properties"].get("diskSizeGB") or 0), wanted["properties"]["diskSizeGB"]
    kind, zones = found.get("sku", {}).get("name"), [list(body.get("zones") or []) for body in (found, wanted)]
    if kind != wanted["sku"]["name"]:
        return replace(seen, refusal=resource.unchangeable(seen.title, "type", kind, wanted["sku"]["name"]))
    if zones[0] != zones[1]:
        return replace(seen, refusal=resource.unchangeable(seen.title, "zone", *("".join(one) or 0 for one in zones)))
    if gib < have:
        reason = f"{seen.title} has {have} GiB, the spec says {gib}, and Azure cannot make a disk smaller"
        return replace(seen, refusal=RefusedError(reason, hint=f"set `machines.data_disk: {{size_gib: {have}}}`"))
    if kind != disks.V2 and have <= disks.ONLINE_GIB < gib and found.get("managedBy"):
        vm = names.machine(world.mesh.name, machine.region, machine.number)
        reason = f"{seen.title} has {have} GiB, and grows beyond {disks.ONLINE_GIB} GiB only while {vm} is deallocated"
        hint = (
            f"one machine at a time: drain its node, `az vm deallocate -g {world.group} -n {vm}`, `az disk update -g "
        )
        hint += f"{world.group} -n {name} --size-gb {gib}`, `az vm start`, wait for `crdbmesh status`; then `up`"
        return replace(seen, refusal=RefusedError(reason, hint=hint))
    return seen


def wish(world: World, machine: Machine, role: Role, found: Body | None) -> Body:
    """Return the disk that is wanted, by what the spec, the region and the machine's size say, and what is there."""
    zone = next(iter(found.get("zones") or []), None) if found is not None else world.zone_of(machine)
    have = str((found or {}).get("sku", {}).get("name", ""))
    offered = zone is not None and zone in world.disk_zones(machine.region, disks.V2)
    kind = world.mesh.machines.data_disk.type or have or (disks.V2 if offered else "Premium_LRS")
    return disks.data_disk(world.mesh, machine, role, found, zone=zone, kind=kind, fair=fair(world, machine))


def fair(world: World, machine: Machine) -> Speed:
    """Return the speed that CockroachDB's docs ask for a machine, within what its size takes."""
    can = resources.capabilities(world.sizes(machine.region).get(machine.size.lower()) or {})
    iops, rate = int(float(can.get("UncachedDiskIOPS", 80000))), float(can.get("UncachedDiskBytesPerSecond", 1.2e9))
    return disks.advised(int(float(can.get("vCPUs", 0))), Speed(iops, int(rate // 1_000_000)))


def content(world: World, machine: Machine, role: Role) -> Content:
    """Read what a machine finds on a disk."""
    script = disks.look(role)
    said = world.host(machine).run(script, sudo=True, timeout_s=60, describe=f"look at the {role.name} disk")
    return Content.parse(said.stdout)


def require_own(machine: Machine, role: Role, seen: Content) -> None:
    """Refuse to touch a disk with something on it that is not our file system. Raise RefusedError."""
    if seen.device and not seen.is_blank and seen.tags.get("LABEL") != role.label:
        known = " ".join(f"{key}={seen.tags[key]}" for key in ("TYPE", "PTTYPE", "LABEL", "UUID") if key in seen.tags)
        raise RefusedError(
            f"{machine.node}: the {role.name} disk at {seen.device} has something on it that is not crdbmesh's "
            f"({known or 'unclear'}), and crdbmesh formats blank disks only",
            hint=f"look at it; then put back the right disk at LUN {role.lun}, or, if nobody needs what is on it, run "
            f"`wipefs --all {seen.device}` on {machine.node}, and `up`",
        )


def missing(machine: Machine, role: Role, seen: Content, gib: int) -> str | None:
    """Return what is not as it must be on a machine, or None."""
    at = f"{machine.node}: the {role.name} disk"
    if not seen.device:
        return f"{at} has not appeared at LUN {role.lun}"
    if seen.is_blank:
        return f"{at} is blank"
    if seen.mounted != "active":
        return f"{at} is not mounted at {role.path} ({seen.mounted or 'unknown'})"
    # A file system of whole block groups may leave a part of one, which has 128 MiB.
    return f"{at} has {gib} GiB, its file system {seen.gib:g}" if seen.gib < gib - 0.125 else None
