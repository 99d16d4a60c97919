"""The spec of a mesh, with every default filled in.

`Mesh` has the fields of a YAML spec file; `Region` and `Machine` are the views of it that steps use. `load` makes a
`Mesh` from files and flags.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from crdbmesh.spec import addressing, names
from crdbmesh.spec.birth import LAYOUT
from crdbmesh.spec.fields import OWN, Container, DatabaseName, Image, LoginName, MeshName, RegionName, Source, Zone
from crdbmesh.spec.versions import NEWEST, Model, Versions

DEFAULT_NAME = "crdbmesh"


class RegionSpec(Model):
    """A region as the user writes it: a bare name, or a name with fields that differ from the defaults.

    Attributes:
        name: Azure location; also the name of its cluster, its Kubernetes namespace and its DNS zone.
        vnet, subnet, pods, services: address ranges; by default derived from `network.base`.
        cluster_id: Cilium cluster id, 1 to 255; by default the region's place in the list.
        machines: the number of machines; by default `machines.per_region`.
        size: VM size; by default `machines.size`.
        zones: availability zones to spread over; by default all that Azure offers for the size, none when empty.
    """

    name: RegionName
    vnet: IPv4Network | None = None
    subnet: IPv4Network | None = None
    pods: IPv4Network | None = None
    services: IPv4Network | None = None
    cluster_id: int | None = Field(default=None, ge=1, le=255)
    machines: int | None = Field(default=None, ge=1, le=50)
    size: str | None = Field(default=None, min_length=1)
    zones: tuple[Zone, ...] | None = None


class NetworkSpec(Model):
    """Address base and peering options.

    Attributes:
        node_ports: whether NodePorts are open to `allow_from`; machines of the mesh reach each other's in any case.
        encryption: `wireguard` encrypts what pods of different machines say to each other, within regions and between.
    """

    base: IPv4Network = IPv4Network("10.0.0.0/8")
    gateway_transit: bool = False
    node_ports: bool = False
    encryption: Literal["none", "wireguard"] = "none"


class DataDiskSpec(Model):
    """The disk of each machine that holds the database's volumes, and outlives the machine.

    Attributes:
        size_gib: by default enough for the volumes, with room; it may grow.
        type: by default PremiumV2_LRS where the machine's zone offers it, and Premium_LRS elsewhere.
        iops, mbps: of PremiumV2_LRS only; by default 500 and 30 for each vCPU, as far as the machine's size goes.
    """

    size_gib: int | None = Field(default=None, ge=8, le=32767)
    type: Literal["PremiumV2_LRS", "Premium_LRS"] | None = None
    iops: int | None = Field(default=None, ge=3000, le=80000)
    mbps: int | None = Field(default=None, ge=125, le=1200)


class MachinesSpec(Model):
    """The machines, unless their region differs."""

    per_region: int = Field(default=3, ge=1, le=50)
    size: str = Field(default="Standard_D8s_v5", min_length=1)
    image: Image = "Canonical:ubuntu-24_04-lts:server:latest"
    disk_gib: int = Field(default=128, ge=30, le=4095)
    disk_type: Literal["Premium_LRS", "StandardSSD_LRS", "Premium_ZRS", "StandardSSD_ZRS"] = "Premium_LRS"
    data_disk: DataDiskSpec = DataDiskSpec()


class SSHSpec(Model):
    """The user and port for SSH to the machines."""

    user: LoginName = "crdbmesh"
    port: int = Field(default=22, ge=1, le=65535)


class CockroachSpec(Model):
    """The CockroachDB pods of every region.

    Attributes:
        replicas: pods per region; by default one per machine, at most three.
        cpu, memory_gib: the requests of each pod; the memory is its limit too.
        storage_gib: size of each pod's volume.
        wal_failover_gib: size of the side disk to which the log of writes fails over; 0 for none, else at least 25.
        clients: the number of regions, the first of the list, with a client pod and root's client certificate; two by
            default, so that losing the first leaves SQL.
        replication_factor: replicas of each range; by default five from four regions on, and three before.
    """

    replicas: int | None = Field(default=None, ge=1, le=50)
    cpu: float = Field(default=6, gt=0, le=128)
    memory_gib: int = Field(default=24, ge=1, le=1024)
    storage_gib: int = Field(default=60, ge=1, le=4000)
    wal_failover_gib: int = Field(default=32, ge=0, le=1024)
    clients: int = Field(default=2, ge=1)
    replication_factor: Literal[3, 5, 7, 9] | None = None


class BackupSpec(Model):
    """Backups of the whole database into Azure's Blob Storage, by a managed identity and without keys.

    Attributes:
        container: the container's URL; by default one that `up` makes, in a resource group that `down` leaves.
        full, incremental: how often a full backup is made, and one of what has changed since.
        retention_days: the days after which backups are deleted, of a container that `up` makes.
    """

    container: Container | None = None
    full: Literal["@daily", "@weekly"] = "@daily"
    incremental: Literal["@hourly", "@daily"] = "@hourly"
    retention_days: int = Field(default=30, ge=8, le=3650)


class DatabaseSpec(Model):
    """A database over all of the mesh's regions.

    Attributes:
        survive: whether it goes on serving without a whole region, for which it needs three, or without a zone.
        primary: the region where what has no other place is kept; by default the first when the database is made.
    """

    name: DatabaseName
    survive: Literal["zone", "region"] = "region"
    primary: RegionName | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of a region: its number from 1, private address, VM size and zone."""

    region: str
    number: int
    address: IPv4Address
    size: str
    zone: str | None

    @property
    def node(self) -> str:
        """Return its Kubernetes node name, which is also its host name."""
        return names.node(self.region, self.number)


@dataclass(frozen=True, slots=True)
class Region:
    """A region with every value derived."""

    name: str
    cluster_id: int
    ranges: addressing.Ranges
    machines: tuple[Machine, ...]
    replicas: int
    zones: tuple[str, ...] | None

    @property
    def servers(self) -> tuple[Machine, ...]:
        """Return the machines that run a k3s server with an etcd member: one, or three (two are worse than one)."""
        return self.machines[:3] if len(self.machines) >= 3 else self.machines[:1]

    @property
    def pods_a_machine(self) -> int:
        """Return the most database pods that a machine has."""
        return -(-self.replicas // len(self.machines))

    @property
    def agents(self) -> tuple[Machine, ...]:
        """Return the machines that run a k3s agent."""
        return self.machines[len(self.servers) :]

    @property
    def dns_port(self) -> int:
        """Return the NodePort of this region's DNS."""
        return names.dns_port(self.cluster_id)


class Mesh(Model):
    """The whole spec.

    Attributes:
        name: the mesh's name; also its resource group's, unless `group` is set.
        regions: at least one.
        allow_from: the sources that may connect from outside; `own`, which is the default, is the address from which
            `up` is run, and `*` means everyone.
        group: the resource group for everything, which may be shared with others.
        network, machines, ssh, cockroach: see their classes.
        database: a database to make over all regions; none by default.
        backup: where and how often it is backed up; not at all by default.
        license_file: a file with CockroachDB's license key; none by default.
        profile: what the defaults are for: `production`, or a small and cheap `demo`.
        layout: the layout of what is sent beyond the fields of the spec; that of the mesh's birth. See `birth.LAYOUT`.
        versions: what the mesh runs; by default what it was made with.
        patience: a factor for every deadline of `up`.
        tags: tags for every Azure resource, besides our own.
    """

    name: MeshName = DEFAULT_NAME
    regions: tuple[RegionSpec, ...] = Field(min_length=1)
    allow_from: tuple[Source, ...] = Field(default=(OWN,), min_length=1)
    group: str | None = Field(default=None, min_length=1, max_length=90, pattern=r"^[-\w._()]*[-\w_()]$")
    network: NetworkSpec = NetworkSpec()
    machines: MachinesSpec = MachinesSpec()
    ssh: SSHSpec = SSHSpec()
    cockroach: CockroachSpec = CockroachSpec()
    database: DatabaseSpec | None = None
    backup: BackupSpec | None = None
    license_file: Path | None = None
    profile: Literal["production", "demo"] = "production"
    layout: int = Field(default=LAYOUT, ge=1, le=LAYOUT)
    versions: Versions = NEWEST
    patience: float = Field(default=1.0, gt=0, le=20)
    tags: dict[str, str] = Field(default_factory=dict)
    _own: str | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _regions_by_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("regions"), (list, tuple)):
            regions = [{"name": item} if isinstance(item, str) else item for item in value["regions"]]
            return {**value, "regions": regions}
        return value

    @property
    def own(self) -> str | None:
        """Return the address that `own` stands for, or None while it is not known."""
        return self._own

    @property
    def sources(self) -> tuple[str, ...]:
        """Return `allow_from` with the address that `own` stands for."""
        own = (f"{self._own}/32",) if self._own else ()
        return tuple(dict.fromkeys(one for source in self.allow_from for one in (own if source == OWN else (source,))))

    def with_own(self, address: str) -> Self:
        """Return a copy in which an address stands for `own`."""
        copied = self.model_copy()
        copied._own = address  # noqa: SLF001 - of its own class
        return copied

    @property
    def group_name(self) -> str:
        """Return the name of the resource group."""
        return self.group or self.name

    def all_regions(self) -> tuple[Region, ...]:
        """Return every region with its ranges, ids and machines, in the spec's order."""
        return self._all_regions

    @functools.cached_property
    def _all_regions(self) -> tuple[Region, ...]:
        return tuple(_region(self, index) for index in range(len(self.regions)))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with some fields changed, that derives its regions anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_all_regions", None)
        return copied

    def cluster_ids(self) -> list[int]:
        """Return the Cilium id of every region's cluster, in the spec's order."""
        return [spec.cluster_id or index + 1 for index, spec in enumerate(self.regions)]

    def ranges(self, index: int) -> addressing.Ranges:
        """Return the ranges of the region at `index`: the given ones, and the others derived from the base."""
        spec = self.regions[index]
        if spec.vnet and spec.pods and spec.services:
            vnet, pods, services = spec.vnet, spec.pods, spec.services
        else:
            derived = addressing.derive(self.network.base, index)
            vnet, services = spec.vnet or derived.vnet, spec.services or derived.services
            pods = spec.pods or derived.pods
        subnet = spec.subnet or addressing.default_subnet(vnet)
        return addressing.Ranges(vnet=vnet, subnet=subnet, pods=pods, services=services)

    def region(self, name: str) -> Region:
        """Return the region called `name`; raise KeyError when there is none."""
        for region in self.all_regions():
            if region.name == name:
                return region
        raise KeyError(name)

    def client_regions(self) -> tuple[Region, ...]:
        """Return the regions with a client pod, in the order in which they are asked."""
        return self.all_regions()[: self.cockroach.clients]

    def pairs(self) -> list[tuple[Region, Region]]:
        """Return every unordered pair of regions."""
        return list(combinations(self.all_regions(), 2))

    def others(self, region: Region) -> tuple[Region, ...]:
        """Return every region but this one."""
        return tuple(other for other in self.all_regions() if other.name != region.name)

    def all_machines(self) -> Iterator[Machine]:
        """Yield every machine of every region."""
        for region in self.all_regions():
            yield from region.machines


def _region(mesh: Mesh, index: int) -> Region:
    spec = mesh.regions[index]
    ranges = mesh.ranges(index)
    count = spec.machines or mesh.machines.per_region
    size = spec.size or mesh.machines.size
    machines = tuple(
        Machine(
            region=spec.name,
            number=number,
            address=addressing.machine_address(ranges.subnet, number),
            size=size,
            zone=spec.zones[(number - 1) % len(spec.zones)] if spec.zones else None,
        )
        for number in range(1, count + 1)
    )
    return Region(
        name=spec.name,
        cluster_id=mesh.cluster_ids()[index],
        ranges=ranges,
        machines=machines,
        replicas=mesh.cockroach.replicas or min(count, 3),
        zones=spec.zones,
    )
