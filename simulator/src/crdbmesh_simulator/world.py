"""The state of the simulated world, shared by its doors.

One lock guards all of it: every door and controller takes `world.lock` for each read-modify-write and never holds
it while waiting for time or for a socket. State changes only through a door (ARM, SSH, Kubernetes) or a named fault.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.faults import Faults

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.state import Subscription
    from crdbmesh_simulator.filesystem import FileSystem
    from crdbmesh_simulator.inodes import Inode
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster
    from crdbmesh_simulator.machines.machine_os import MachineOS
    from crdbmesh_simulator.network import Network

_MOST_COMMANDS = 50_000


@dataclass(frozen=True, slots=True)
class Unknown:
    """A request that the world does not know how to answer: a gap in the simulator, or a mistake of its client."""

    door: str
    what: str


@dataclass(slots=True, eq=False)
class Disk:
    """A disk and what is on it, which lasts as long as the disk itself, whatever VM it belongs to.

    The ARM door makes one with a VM's OS disk, gives it to the VM's `Machine`, and keeps it as long as the resource
    `Microsoft.Compute/disks`. A VM that is made anew has a new one.
    `gib`: size. `files`: the file system; None until a machine has booted from the disk for the first time. Of a data
    disk: `signature`: the file system's tags as blkid tells them, none when it is blank; `root`: its root directory;
    `filesystem_gib`: its size. k3s's datastore, certificates and local-path folders are files. `volumes`: what programs
    in containers keep on volumes of this node, by the volume's identity: the folder of a hostPath or local volume, the
    uid of a pod and the name of its emptyDir; there each by a name of its own: files, a database's store.
    """

    gib: int = 30
    files: FileSystem | None = None
    signature: dict[str, str] = field(default_factory=dict)
    root: Inode | None = None
    filesystem_gib: int = 0
    volumes: dict[tuple[str, ...], dict[str, object]] = field(default_factory=dict)


@dataclass(slots=True)
class Machine:
    """The hardware side of an Azure VM, from power-on until it is deleted.

    Its addresses are not here: they are whatever its NIC and public IP say in ARM at the moment (see `Network`).
    `data`: its data disks by LUN; `nvme`: whether it sees them by NVMe rather than SCSI.
    """

    vm_id: str
    name: str
    location: str
    zone: str | None
    size: str
    vcpus: int
    memory_gib: float
    computer_name: str
    admin: str
    authorized_keys: list[str]
    custom_data: bytes
    nic_id: str
    disk: Disk = field(default_factory=Disk)
    booted_at: float = 0.0
    os: MachineOS | None = None
    data: dict[int, Disk] = field(default_factory=dict)
    nvme: bool = False

    @property
    def key(self) -> str:
        """The VM's resource id in lower case, as ARM compares ids."""
        return self.vm_id.lower()

    def kept(self, identity: tuple[str, ...]) -> dict[str, object]:
        """What programs keep on a volume of the node, which is on the disk that holds its folder."""
        is_folder = identity[0] == "host" and self.os is not None
        disk = self.os.devices.holding(identity[1]) if is_folder and self.os is not None else self.disk
        return disk.volumes.setdefault(identity, {})


@dataclass
class World:
    """Everything there is.

    Attributes:
        clock: the one source of time.
        random: the one source of chance; the same seed gives the same names, addresses and latencies.
        subscription: ARM state; set by the ARM door's setup.
        network: what can reach what, computed from ARM state at each question.
        machines: powered-on machines by `Machine.key`.
        clusters: k3s clusters, alive or not, in order of creation.
        writes: requests that changed, or asked to change, state: counted at the doors, by door name
            (`arm`, `ssh`, `kube`). For SSH: files written, and commands that change the host.
        unknown: requests that nothing here understands; an honest run leaves it empty.
        commands: what process lists have shown: how often each argument vector ran in a place (a host name, or
            `node/namespace/pod`), of SSH sessions, of scripts and of commands in containers; the oldest go first.
        faults: what goes wrong in it on purpose; nothing, until rates are set.
        boot, halt: set by the SSH door; called by the ARM door when a VM is powered on or deleted.
    """

    clock: Clock = field(default_factory=Clock)
    seed: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    machines: dict[str, Machine] = field(default_factory=dict)
    clusters: list[Cluster] = field(default_factory=list)
    writes: collections.Counter[str] = field(default_factory=collections.Counter)
    unknown: list[Unknown] = field(default_factory=list)
    commands: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - reproducible worlds, not cryptography
        self.faults = Faults(self.seed)
        self.subscription: Subscription
        self.network: Network
        self.boot: Callable[[Machine], None] = lambda _machine: None
        self.halt: Callable[[Machine], None] = lambda _machine: None

    def wrote(self, door: str) -> None:
        """Count one write at `door`."""
        with self.lock:
            self.writes[door] += 1

    def not_known(self, door: str, what: str) -> None:
        """Record a request that `door` does not understand."""
        with self.lock:
            self.unknown.append(Unknown(door, what))

    def ran(self, place: str, argv: Sequence[str]) -> None:
        """Note that a process list at `place` showed this argument vector."""
        key = (place, tuple(argv))
        with self.lock:
            self.commands[key] = self.commands.get(key, 0) + 1
            if len(self.commands) > _MOST_COMMANDS:
                del self.commands[next(iter(self.commands))]
