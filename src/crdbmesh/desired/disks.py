"""The data disks of a machine: what is sent to Azure, and how the machine finds, formats, mounts and grows them.

Sources: learn.microsoft.com, "Azure managed disk types" (limits of Premium SSD v2), "Expand virtual hard disks on a
Linux VM", "Azure virtual machine utilities" (links by LUN), "SCSI to NVMe conversion"; CockroachDB, "Production
checklist" (500 IOPS and 30 MB/s for each vCPU) and "WAL failover" (a side disk of 25 GiB, as durable as the store's).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from crdbmesh.desired import Body
from crdbmesh.desired import azure as resources
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Mesh

V2 = "PremiumV2_LRS"
ONLINE_GIB = 4095
"""The size beyond which a disk, other than Premium SSD v2, does not grow while its machine runs."""
_SPEED = ("diskIOPSReadWrite", "diskMBpsReadWrite")


@dataclass(frozen=True, slots=True)
class Role:
    """A disk that every machine has: the end of its name in Azure, the number that it is found by, its mount point."""

    name: str
    lun: int
    path: str

    @property
    def label(self) -> str:
        """Return the label of its file system."""
        return f"crdbmesh-{self.name}"

    @property
    def unit(self) -> str:
        """Return the name of its systemd mount unit, which must be its path."""
        return f"{self.path.strip('/').replace('/', '-')}.mount"


DATA = Role("data", 0, "/var/lib/rancher/k3s/storage")
WAL = Role("wal", 1, "/var/lib/crdbmesh/wal")


def roles(mesh: Mesh) -> tuple[Role, ...]:
    """Return the disks that each machine has: for k3s's local volumes, and for logs while the first stalls."""
    return () if mesh.layout < 2 else (DATA, WAL) if mesh.cockroach.wal_failover_gib else (DATA,)


class Speed(NamedTuple):
    """The IOPS and MB/s of a disk, or the most that a machine's size takes."""

    iops: int
    mbps: int


LEAST, MOST = Speed(3000, 125), Speed(80000, 1200)
"""The bounds of a Premium SSD v2; the least is free."""


def advised(size: Mapping[str, str]) -> Speed:
    """Return the speed that CockroachDB's docs ask for, within what a VM size can do, by its capabilities."""
    iops, rate = float(size.get("UncachedDiskIOPS", MOST.iops)), float(size.get("UncachedDiskBytesPerSecond", 1.2e9))
    vcpus = int(float(size.get("vCPUs", 0)))
    return Speed(min(500 * vcpus, int(iops)), min(30 * vcpus, int(rate) // 1_000_000))


def wanted_gib(mesh: Mesh, machine: Machine) -> int:
    """Return the size of a machine's data disk: the spec's, or what holds its volumes and a quarter more."""
    volumes_gib = mesh.region(machine.region).pods_a_machine * mesh.cockroach.storage_gib
    return mesh.machines.data_disk.size_gib or volumes_gib * 5 // 4


def data_disk(
    mesh: Mesh, machine: Machine, role: Role, found: Body | None, *, zone: str | None, kind: str, fair: Speed
) -> Body:
    """Return a disk, which nobody may export. What the spec leaves open is as it was `found`, at least as is `fair`."""
    spec, have = mesh.machines.data_disk, (found or {}).get("properties") or {}
    gib = int((have.get("diskSizeGB") if spec.size_gib is None else None) or wanted_gib(mesh, machine))
    properties: dict[str, Any] = {
        "creationData": {"createOption": "Empty"},
        "diskSizeGB": mesh.cockroach.wal_failover_gib if role is WAL else gib,
        "networkAccessPolicy": "DenyAll",
        "publicNetworkAccess": "Disabled",
    }
    if kind == V2 and role is DATA:
        most, before = max(LEAST.iops, 500 * gib), [int(have.get(name) or 0) for name in _SPEED]
        iops = spec.iops or max(before[0], min(max(LEAST.iops, fair.iops), most))
        mbps = spec.mbps or max(before[1], min(max(LEAST.mbps, fair.mbps), iops // 4, MOST.mbps))
        properties |= dict(zip(_SPEED, (iops, mbps), strict=True))
    tags, zones = resources.tags(mesh, machine.region), {"zones": [zone]} if zone is not None else {}
    return {"location": machine.region, "tags": tags, "sku": {"name": kind}, "properties": properties, **zones}


def attached(mesh: Mesh, machine: Machine, subscription: str) -> list[Body]:
    """Return the data disks of a VM, which outlive it."""
    options = {"createOption": "Attach", "caching": "None", "deleteOption": "Detach"}
    named = {names.disk(mesh.name, machine.region, machine.number, role.name): role.lun for role in roles(mesh)}
    at = resources.resource_id(subscription, mesh.group_name, "Microsoft.Compute/disks")
    return [{"name": name, "lun": lun, **options, "managedDisk": {"id": f"{at}/{name}"}} for name, lun in named.items()]


def look(role: Role) -> str:
    """Return the script that finds a disk and shows what is on it; it prints no device while there is no such disk.

    Links by LUN come from azure-vm-utils or, for SCSI, the Azure Linux agent. Without them an NVMe disk is found by its
    namespace: LUN 0 is the second. `blkid -p` reads the disk itself, and ends with 2 when it finds no signature at all.
    """
    nvme = f"/dev/nvme0n{role.lun + 2}"
    return f"""\
for one in /dev/disk/azure/data/by-lun/{role.lun} /dev/disk/azure/scsi1/lun{role.lun} {nvme}; do
test "$one" != {nvme} || grep -qs "MSFT NVMe Accelerator" /sys/class/nvme/nvme0/model || continue
test -e "$one" || continue
echo "DEVICE=$one"
code=0; blkid -p -o export "$one" || code=$?
echo "PROBED=$code"
dumpe2fs -h "$one" 2>/dev/null || true
break
done
systemctl is-active {role.unit} || true
"""


def formatting(role: Role, device: str) -> str:
    """Return the script that makes a file system on a disk, and refuses if there is a signature of anything on it."""
    return f"""\
code=0; blkid -p -o export {device} || code=$?
test "$code" = 2 || {{ echo "{device} is not blank; it is left as it is" >&2; exit 1; }}
mkfs.ext4 -q -m 0 -L {role.label} {device}
"""


def growing(device: str) -> str:
    """Return the script that lets the kernel see how large its disks are, and a file system fill its own."""
    look_again = 'for one in /sys/class/block/sd*/device/rescan; do test ! -e "$one" || echo 1 > "$one"; done\n'
    return f"{look_again}resize2fs {device}"


def mount_unit(role: Role, uuid: str) -> str:
    """Return the systemd unit that mounts a file system by its UUID (systemd.mount(5))."""
    mount = f"What=/dev/disk/by-uuid/{uuid}\nWhere={role.path}\nType=ext4\nOptions=noatime\n"
    return (
        f"[Unit]\nDescription=crdbmesh's {role.name} disk\n\n[Mount]\n{mount}\n[Install]\nWantedBy=multi-user.target\n"
    )


def drop_in(mesh: Mesh) -> str:
    """Return the drop-in of k3s's unit, with which k3s does not start without its disks."""
    return f"[Unit]\nRequiresMountsFor={' '.join(role.path for role in roles(mesh))}\n"
