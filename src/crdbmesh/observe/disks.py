"""Judges the data disks: as resources of Azure, and as the file systems that a machine has mounted."""

from dataclasses import dataclass, replace

from crdbmesh.clients.azure import kinds
from crdbmesh.desired import Body, disks
from crdbmesh.desired.disks import Role
from crdbmesh.errors import RefusedError
from crdbmesh.observe import resource
from crdbmesh.observe.resource import Observed
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a disk at a device, as its machine finds it: blkid's tags, its size, its mount unit's state."""

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
        device, probed, _ = (tags.pop(name, "") for name in ("DEVICE", "PROBED", "DEVNAME"))
        return cls(device, tags, probed == "2" and not tags, blocks * size / 2**30, lines[-1] if lines else "")


def find(world: World, machine: Machine, role: Role) -> Body | None:
    """Return a disk as Azure has it, or None."""
    name = names.disk(world.mesh.name, machine.region, machine.number, role.name)
    return kinds.DISK.find(world.session, world.group, name)


def disk(world: World, machine: Machine, role: Role) -> Observed:
    """Judge a data disk in Azure. It is not made smaller, nor of another type, nor moved to another zone."""
    found = find(world, machine, role)
    zone = next(iter(found.get("zones") or []), None) if found is not None else world.zone_of(machine)
    offered = zone is not None and zone in world.disk_zones(machine.region, disks.V2)
    have = (found or {}).get("sku", {}).get("name")
    kind = world.mesh.machines.data_disk.type or have or (disks.V2 if offered else "Premium_LRS")
    fair = disks.advised(world.capabilities(machine))
    wanted = disks.data_disk(world.mesh, machine, role, found, zone=zone, kind=kind, fair=fair)
    name = names.disk(world.mesh.name, machine.region, machine.number, role.name)
    seen = resource.judge(world, kinds.DISK, name, found, wanted)
    if found is None or seen.refusal is not None:
        return seen
    if have != kind:
        return replace(seen, refusal=resource.unchangeable(seen.title, "type", have, kind))
    gib, more = int(found["properties"].get("diskSizeGB") or 0), wanted["properties"]["diskSizeGB"]
    if more < gib:
        reason = f"{seen.title} has {gib} GiB, the spec says {more}, and Azure cannot make a disk smaller"
        return replace(seen, refusal=RefusedError(reason, hint=f"put {gib} GiB into the spec"))
    if kind != disks.V2 and gib <= disks.ONLINE_GIB < more and found.get("managedBy"):
        reason = f"{seen.title} has {gib} GiB, and beyond {disks.ONLINE_GIB} GiB it grows only while nothing runs on it"
        hint = (
            "one machine at a time: drain its node, `az vm deallocate`, `az disk update --size-gb`, `az vm start`; `up`"
        )
        return replace(seen, refusal=RefusedError(reason, hint=hint))
    return seen


def content(world: World, machine: Machine, role: Role) -> Content:
    """Read what a machine finds on a disk. Raise RefusedError when that is something, and not our file system."""
    script = disks.look(role)
    said = world.host(machine).run(script, sudo=True, timeout_s=60, describe=f"look at the {role.name} disk")
    return require_own(machine, role, Content.parse(said.stdout))


def require_own(machine: Machine, role: Role, seen: Content) -> Content:
    """Return what is on a disk, if that is our file system or nothing; raise RefusedError."""
    if not seen.device or seen.is_blank or seen.tags.get("LABEL") == role.label:
        return seen
    known = " ".join(f"{key}={seen.tags[key]}" for key in ("TYPE", "PTTYPE", "LABEL", "UUID") if key in seen.tags)
    raise RefusedError(
        f"{machine.node}: the {role.name} disk at {seen.device} has something on it that is not crdbmesh's "
        f"({known or 'unclear'}), and crdbmesh formats blank disks only",
        hint=f"look at it; then put back the right disk at LUN {role.lun}, or, if nobody needs what is on it, run "
        f"`wipefs --all {seen.device}` on {machine.node}, and `up`",
    )


def missing(machine: Machine, role: Role, seen: Content, found: Body | None) -> str | None:
    """Return what is not as it must be of a disk that Azure has (`found`) and its machine sees, or None."""
    at, gib = f"{machine.node}: the {role.name} disk", int((found or {}).get("properties", {}).get("diskSizeGB") or 0)
    if not seen.device:
        return f"{at} has not appeared at LUN {role.lun}"
    if seen.is_blank:
        return f"{at} is blank"
    if seen.mounted != "active":
        return f"{at} is not mounted at {role.path} ({seen.mounted or 'unknown'})"
    # A file system of whole block groups may leave a part of one, which has 128 MiB.
    return f"{at} has {gib} GiB, its file system {seen.gib:g}" if seen.gib < gib - 0.125 else None
