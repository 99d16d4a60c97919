"""The data disks of a machine: what is sent to Azure, and how the machine finds, formats, mounts and grows them.

Each is a resource of its own, which stays when its VM goes. Sources: learn.microsoft.com, "Azure managed disk types"
(limits of Premium SSD v2), "Expand virtual hard disks on a Linux VM", "Azure virtual machine utilities" (links by
LUN), "SCSI to NVMe conversion"; CockroachDB, "Production checklist" (500 IOPS and 30 MB/s for each vCPU) and "WAL
failover" (a side disk of 25 GiB, as durable as the store's).
"""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from crdbmesh.desired import Body
from crdbmesh.desired import azure as resources
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Mesh

V2 = "PremiumV2_LRS"
GIB = 2**30
ONLINE_GIB = 4095
"""The size beyond which a disk, other than Premium SSD v2, does not grow while its machine runs."""
IOPS_A_VCPU, MBPS_A_VCPU = 500, 30
_LEAST, _MOST = (3000, 125), (80000, 1200)
"""The least and most IOPS and MB/s of a Premium SSD v2; the least is free."""
_TIERS = {
    32: (120, 25), 64: (240, 50), 128: (500, 100), 256: (1100, 125), 512: (2300, 150), 1024: (5000, 200),
    4096: (7500, 250), 8192: (16000, 500), 16384: (18000, 750), 32767: (20000, 900),
}  # fmt: skip
"""The IOPS and MB/s of a Premium SSD by its size in GiB."""
_NVME = "MSFT NVMe Accelerator"


@dataclass(frozen=True, slots=True)
class Role:
    """A disk that every machine has, by what it is for.

    Attributes:
        name: the end of the disk's name in Azure; with `crdbmesh-` before it, its file system's label.
        lun: the number by which the machine finds it.
        path: its mount point.
    """

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

    @property
    def links(self) -> tuple[str, str]:
        """Return the links by which the machine may find it: azure-vm-utils', and the Azure Linux agent's."""
        return f"/dev/disk/azure/data/by-lun/{self.lun}", f"/dev/disk/azure/scsi1/lun{self.lun}"


DATA = Role("data", 0, "/var/lib/rancher/k3s/storage")
"""The disk of the database's volumes: its path is where k3s makes local volumes by default (docs.k3s.io)."""
WAL = Role("wal", 1, "/var/lib/crdbmesh/wal")
"""The side disk to which CockroachDB's log of writes fails over while the other stalls."""
DROP_IN = "10-crdbmesh-disks.conf"


def roles(mesh: Mesh) -> tuple[Role, ...]:
    """Return the disks that each machine of a mesh has; those of release 0.1 have none."""
    return () if mesh.layout < 2 else (DATA, WAL) if mesh.cockroach.wal_failover_gib else (DATA,)


@dataclass(frozen=True, slots=True)
class Speed:
    """The IOPS and MB/s of a disk, or the most that a machine's size takes."""

    iops: int
    mbps: int

    def covers(self, other: "Speed") -> bool:
        """Return True when this is at least as much as another."""
        return self.iops >= other.iops and self.mbps >= other.mbps

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.iops} IOPS and {self.mbps} MB/s"


def advised(vcpus: int, most: Speed) -> Speed:
    """Return the speed that CockroachDB's docs ask for a machine's vCPUs, within what its size takes."""
    return Speed(min(IOPS_A_VCPU * vcpus, most.iops), min(MBPS_A_VCPU * vcpus, most.mbps))


def speed_of(found: Mapping[str, object], kind: str, gib: int) -> Speed:
    """Return the speed of a disk: its own figures, or those of its size."""
    if kind != V2:
        return Speed(*next((speed for most, speed in _TIERS.items() if gib <= most), (20000, 900)))
    return Speed(*(int(str(found.get(name) or least)) for name, least in zip(_SPEED, _LEAST, strict=True)))


_SPEED = ("diskIOPSReadWrite", "diskMBpsReadWrite")


def default_gib(mesh: Mesh, machine: Machine) -> int:
    """Return the size that holds the database's volumes on a machine, with a quarter more."""
    region = mesh.region(machine.region)
    return math.ceil(region.replicas / len(region.machines)) * mesh.cockroach.storage_gib * 5 // 4


def data_disk(
    mesh: Mesh, machine: Machine, role: Role, found: Body | None, *, zone: str | None, kind: str, fair: Speed
) -> Body:
    """Return a disk. What the spec leaves open is as it was `found`; of a new disk it is as `fair` as it can be.

    Nobody reads it but its machine: neither its public nor a private endpoint exports it.
    """
    spec, have = mesh.machines.data_disk, (found or {}).get("properties") or {}
    asked = mesh.cockroach.wal_failover_gib if role is WAL else spec.size_gib
    gib = asked or int(have.get("diskSizeGB") or default_gib(mesh, machine))
    properties: Body = {
        "creationData": {"createOption": "Empty"},
        "diskSizeGB": gib,
        "networkAccessPolicy": "DenyAll",
        "publicNetworkAccess": "Disabled",
    }
    if kind == V2 and role is DATA:
        iops = min(max(_LEAST[0], fair.iops), max(_LEAST[0], 500 * gib), _MOST[0])
        iops = spec.iops or int(have.get(_SPEED[0]) or iops)
        mbps = spec.mbps or int(have.get(_SPEED[1]) or min(max(_LEAST[1], fair.mbps), iops // 4, _MOST[1]))
        properties |= dict(zip(_SPEED, (iops, mbps), strict=True))
    body: Body = {
        "location": machine.region,
        "tags": resources.tags(mesh, machine.region),
        "sku": {"name": kind},
        "properties": properties,
    }
    return body | ({"zones": [zone]} if zone is not None else {})


def attached(mesh: Mesh, machine: Machine, subscription: str) -> list[Body]:
    """Return the data disks of a VM, which outlive it."""
    found = []
    for role in roles(mesh):
        name = names.disk(mesh.name, machine.region, machine.number, role.name)
        disk_id = resources.resource_id(subscription, mesh.group_name, "Microsoft.Compute/disks", name)
        options = {"createOption": "Attach", "caching": "None", "deleteOption": "Detach"}
        found.append({"name": name, "lun": role.lun, **options, "managedDisk": {"id": disk_id}})
    return found


def look(role: Role) -> str:
    """Return the script that finds a disk and shows what is on it; it prints nothing while there is no such disk.

    Without links, as on images without azure-vm-utils, an NVMe disk is found by its namespace: LUN 0 is the second.
    `blkid -p` reads the disk itself, and ends with 2 when it finds no signature of anything.
    """
    nvme = f"/dev/nvme0n{role.lun + 2}"
    return "\n".join(
        [
            f"for one in {' '.join(role.links)} {nvme}; do",
            f'test "$one" != {nvme} || grep -qs "{_NVME}" /sys/class/nvme/nvme0/model || continue',
            'test -e "$one" || continue',
            'echo "DEVICE=$one"',
            'code=0; blkid -p -o export "$one" || code=$?',
            'echo "PROBED=$code"',
            'dumpe2fs -h "$one" 2>/dev/null || true',
            "break",
            "done",
            f"systemctl is-active {role.unit} || true",
        ]
    )


def formatting(role: Role, device: str) -> str:
    """Return the script that makes a file system on a disk, and refuses if there is a signature of anything on it."""
    return "\n".join(
        [
            f"code=0; blkid -p -o export {shlex.quote(device)} || code=$?",
            f'test "$code" = 2 || {{ echo "{device} is not blank; it is left as it is" >&2; exit 1; }}',
            f"mkfs.ext4 -q -m 0 -L {role.label} {shlex.quote(device)}",
        ]
    )


def growing(device: str) -> str:
    """Return the script that lets the kernel see how large its disks are, and a file system fill its own."""
    look_again = 'for one in /sys/class/block/sd*/device/rescan; do test ! -e "$one" || echo 1 > "$one"; done'
    return f"{look_again}\nresize2fs {shlex.quote(device)}"


def mount_unit(role: Role, uuid: str) -> str:
    """Return the systemd unit that mounts a file system by its UUID (systemd.mount(5))."""
    mount = f"What=/dev/disk/by-uuid/{uuid}\nWhere={role.path}\nType=ext4\nOptions=noatime\n"
    return (
        f"[Unit]\nDescription=crdbmesh's {role.name} disk\n\n[Mount]\n{mount}\n[Install]\nWantedBy=multi-user.target\n"
    )


def drop_in(mesh: Mesh) -> str:
    """Return the drop-in of k3s's unit, with which k3s does not start without its disks."""
    return f"[Unit]\nRequiresMountsFor={' '.join(role.path for role in roles(mesh))}\n"
