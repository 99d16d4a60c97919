"""The spec of a mesh: what the user wants, validated, with every default filled in.

`Mesh` is what a YAML spec file describes and what `crdbmesh up`'s flags override; `Region` and `Machine` are the
views of it that the steps use. Reading files and flags is `config`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from crdbmesh.topology import addressing, names

_RESERVED = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "224.0.0.0/4", "240.0.0.0/4")
)

_TAKEN_PORTS = (
    (2379, 2382),
    (4240, 4245),
    (6443, 6444),
    (9234, 9234),
    (9878, 9893),
    (9962, 9964),
    (10010, 10010),
    (10248, 10259),
    (30000, 32767),
)
"""TCP ports at which etcd, k3s and Cilium listen on a machine, and NodePorts, first and last (docs.k3s.io and
docs.cilium.io, "Requirements")."""


def _checked(pattern: str, rule: str) -> BeforeValidator:
    compiled = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and not compiled.fullmatch(value):
            raise ValueError(rule)
        return value

    return BeforeValidator(check)


def _source(value: Any) -> Any:
    if value == "*":
        return value
    try:
        return str(IPv4Network(str(value)))
    except ValueError as error:
        raise ValueError(f"must be an IPv4 address or range such as 203.0.113.7/32, or '*' ({error})") from error


def _location(value: Any) -> Any:
    if not isinstance(value, str) or re.fullmatch(r"[a-z][a-z0-9]*", value):
        return value
    short = "".join(value.lower().split())
    meant = f"; write {short}" if re.fullmatch(r"[a-z][a-z0-9]*", short) else ""
    raise ValueError(
        f"must be an Azure region's short name such as eastus: lower-case letters and digits{meant}",
    )


def _zone(value: Any) -> Any:
    # YAML reads [1, 2] as numbers.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


MeshName = Annotated[
    str,
    Field(min_length=1, max_length=24),
    _checked(r"[a-z]([-a-z0-9]*[a-z0-9])?", "must be lower-case letters, digits and hyphens, starting with a letter"),
]
RegionName = Annotated[
    str,
    Field(min_length=1, max_length=32),
    BeforeValidator(_location),
]
Source = Annotated[str, BeforeValidator(_source)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RegionSpec(_Model):
    """One region as the user writes it: a bare name, or a name with what should differ from the default.

    Attributes:
        name: Azure location; also the name of its cluster, its Kubernetes namespace and its DNS zone.
        vnet, subnet, pods, services: address ranges; derived from `network.base` when left out.
        cluster_id: Cilium cluster id, 1 to 255; the region's place in the list when left out.
        machines: how many machines; `machines.per_region` when left out.
        size: VM size; `machines.size` when left out.
        zones: availability zones to spread over; all that Azure offers for the size when left out, none when empty.
    """

    name: RegionName
    vnet: IPv4Network | None = None
    subnet: IPv4Network | None = None
    pods: IPv4Network | None = None
    services: IPv4Network | None = None
    cluster_id: int | None = Field(default=None, ge=1, le=255)
    machines: int | None = Field(default=None, ge=1, le=50)
    size: str | None = Field(default=None, min_length=1)
    zones: tuple[Annotated[Literal["1", "2", "3"], BeforeValidator(_zone)], ...] | None = None


class NetworkSpec(_Model):
    """Address base and peering options."""

    base: IPv4Network = IPv4Network("10.0.0.0/8")
    gateway_transit: bool = False


class MachinesSpec(_Model):
    """What every machine is, unless its region says otherwise."""

    per_region: int = Field(default=3, ge=1, le=50)
    size: str = Field(default="Standard_D4s_v5", min_length=1)
    image: Annotated[str, _checked(r"[^:\s]+:[^:\s]+:[^:\s]+:[^:\s]+", "must be publisher:offer:sku:version")] = (
        "Canonical:ubuntu-24_04-lts:server:latest"
    )
    disk_gib: int = Field(default=128, ge=30, le=4095)
    disk_type: Literal["Premium_LRS", "StandardSSD_LRS", "Premium_ZRS", "StandardSSD_ZRS"] = "Premium_LRS"


class SSHSpec(_Model):
    """How crdbmesh logs in to the machines."""

    user: Annotated[
        str,
        Field(max_length=32),
        _checked(
            r"(?!(root|admin|administrator|user|guest|test)$)[a-z_][-a-z0-9_]*",
            "must be a Linux user name that Azure allows",
        ),
    ] = "crdbmesh"
    port: int = Field(default=22, ge=1, le=65535)


class CockroachSpec(_Model):
    """The CockroachDB pods of every region.

    Attributes:
        replicas: pods per region; one per machine, at most three, when left out.
        cpu, memory_gib: requested, and the memory also the limit, per pod.
        storage_gib: size of each pod's volume.
    """

    replicas: int | None = Field(default=None, ge=1, le=50)
    cpu: float = Field(default=2, gt=0, le=128)
    memory_gib: int = Field(default=8, ge=1, le=1024)
    storage_gib: int = Field(default=60, ge=1, le=4000)


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a region: number from 1, private address, VM size."""

    region: str
    number: int
    address: IPv4Address
    size: str
    zone: str | None

    @property
    def node(self) -> str:
        """Its Kubernetes node name and host name."""
        return names.node(self.region, self.number)


@dataclass(frozen=True, slots=True)
class Region:
    """One region with everything derived."""

    name: str
    cluster_id: int
    ranges: addressing.Ranges
    machines: tuple[Machine, ...]
    replicas: int
    zones: tuple[str, ...] | None

    @property
    def servers(self) -> tuple[Machine, ...]:
        """The machines with a k3s server and an etcd member: one, or three (two would survive less than one)."""
        return self.machines[:3] if len(self.machines) >= 3 else self.machines[:1]

    @property
    def agents(self) -> tuple[Machine, ...]:
        """The machines that only run pods."""
        return self.machines[len(self.servers) :]

    @property
    def dns_port(self) -> int:
        """The NodePort at which this region's names are resolved."""
        return names.dns_port(self.cluster_id)


class Mesh(_Model):
    """The whole spec.

    Attributes:
        name: the mesh's name; also its resource group's, unless `group` says otherwise.
        regions: at least one.
        allow_from: who may connect from outside; the caller's own address when empty, everyone with `*`.
        group: a resource group to put everything in, which may be shared with others.
        network, machines, ssh, cockroach: see their classes.
        patience: every deadline of `up` is multiplied by it.
        tags: put on every Azure resource, beside our own.
    """

    name: MeshName = "crdbmesh"
    regions: tuple[RegionSpec, ...] = Field(min_length=1)
    allow_from: tuple[Source, ...] = ()
    group: str | None = Field(default=None, min_length=1, max_length=90, pattern=r"^[-\w._()]*[-\w_()]$")
    network: NetworkSpec = NetworkSpec()
    machines: MachinesSpec = MachinesSpec()
    ssh: SSHSpec = SSHSpec()
    cockroach: CockroachSpec = CockroachSpec()
    patience: float = Field(default=1.0, gt=0, le=20)
    tags: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _regions_by_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("regions"), (list, tuple)):
            regions = [{"name": item} if isinstance(item, str) else item for item in value["regions"]]
            return {**value, "regions": regions}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list(_problems(self))
        if problems:
            raise InconsistentError(problems)
        return self

    @property
    def group_name(self) -> str:
        """The resource group everything is put in."""
        return self.group or self.name

    def all_regions(self) -> tuple[Region, ...]:
        """Every region with its ranges, ids and machines, in the spec's order."""
        return tuple(_region(self, index) for index in range(len(self.regions)))

    def region(self, name: str) -> Region:
        """The region called `name`.

        Raises:
            KeyError: there is none.
        """
        for region in self.all_regions():
            if region.name == name:
                return region
        raise KeyError(name)

    def pairs(self) -> list[tuple[Region, Region]]:
        """Every unordered pair of regions."""
        return list(combinations(self.all_regions(), 2))

    def others(self, region: Region) -> tuple[Region, ...]:
        """Every region but this one."""
        return tuple(other for other in self.all_regions() if other.name != region.name)

    def all_machines(self) -> Iterator[Machine]:
        """Every machine of every region."""
        for region in self.all_regions():
            yield from region.machines


class InconsistentError(ValueError):
    """Values that are each fine but do not go together.

    Attributes:
        problems: (field, value, reason, remedy) of each.
    """

    def __init__(self, problems: list[tuple[str, str, str, str]]) -> None:
        super().__init__("; ".join(f"{field} = {value}: {reason}" for field, value, reason, _ in problems))
        self.problems = problems


def _region(mesh: Mesh, index: int) -> Region:
    spec = mesh.regions[index]
    ranges = _ranges(mesh, index)
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
        cluster_id=_cluster_ids(mesh)[index],
        ranges=ranges,
        machines=machines,
        replicas=mesh.cockroach.replicas or min(count, 3),
        zones=spec.zones,
    )


def _cluster_ids(mesh: Mesh) -> list[int]:
    return [spec.cluster_id or index + 1 for index, spec in enumerate(mesh.regions)]


def _ranges(mesh: Mesh, index: int) -> addressing.Ranges:
    spec = mesh.regions[index]
    if spec.vnet and spec.pods and spec.services:
        vnet, pods, services = spec.vnet, spec.pods, spec.services
    else:
        derived = addressing.derive(mesh.network.base, index)
        vnet, pods, services = (
            spec.vnet or derived.vnet,
            spec.pods or derived.pods,
            spec.services or derived.services,
        )
    return addressing.Ranges(
        vnet=vnet, subnet=spec.subnet or addressing.default_subnet(vnet), pods=pods, services=services
    )


def _problems(mesh: Mesh) -> Iterator[tuple[str, str, str, str]]:
    yield from _duplicates(mesh)
    derived_all = all(spec.vnet and spec.pods and spec.services for spec in mesh.regions)
    room = addressing.capacity(mesh.network.base)
    if not derived_all and len(mesh.regions) > room:
        yield (
            "network.base",
            str(mesh.network.base),
            f"has room for {room} regions, the spec has {len(mesh.regions)}",
            "give a wider base such as 10.0.0.0/8, or vnet, pods and services for each region",
        )
        return
    yield from _range_problems(mesh)
    if _is_taken(mesh.ssh.port):
        yield (
            "ssh.port",
            str(mesh.ssh.port),
            "k3s or Cilium listens there on every machine",
            "choose another, such as 22",
        )
    for index, source in enumerate(mesh.allow_from):
        if source != "*" and IPv4Network(source).prefixlen == 0:
            yield (f"allow_from[{index}]", source, "opens the firewall to everyone", "write '*' if you mean that")
    ranges = [IPv4Network(source) for source in mesh.allow_from if source != "*"]
    if [block.prefixlen for block in collapse_addresses(ranges)] == [0] and all(block.prefixlen for block in ranges):
        together = ", ".join(mesh.allow_from)
        yield ("allow_from", together, "opens the firewall to everyone, taken together", "write '*' if you mean that")
    for tag in mesh.tags:
        if tag.lower().startswith(names.TAG):
            yield (
                f"tags.{tag}",
                mesh.tags[tag],
                "tags starting with 'crdbmesh' are crdbmesh's own",
                "rename the tag",
            )
        elif not 1 <= len(tag) <= 512 or len(mesh.tags[tag]) > 256 or set(tag) & set("<>%&\\?/"):
            yield (
                f"tags.{tag}"[:80],
                mesh.tags[tag][:80],
                "Azure allows names of 1 to 512 characters without < > % & \\ ? / and values of up to 256",
                "rename or shorten the tag",
            )
    if len(mesh.tags) > 40:
        yield ("tags", str(len(mesh.tags)), "Azure allows 50 tags, of which crdbmesh keeps 10", "remove some")


def _is_taken(port: int) -> bool:
    return any(first <= port <= last for first, last in _TAKEN_PORTS)


def _duplicates(mesh: Mesh) -> Iterator[tuple[str, str, str, str]]:
    seen: set[str] = set()
    for index, spec in enumerate(mesh.regions):
        if spec.name in seen:
            yield (f"regions[{index}].name", spec.name, "is listed twice", "list each region once")
        seen.add(spec.name)
    ids: dict[int, str] = {}
    for index, (spec, cluster_id) in enumerate(zip(mesh.regions, _cluster_ids(mesh), strict=True)):
        if cluster_id > 255:
            yield (f"regions[{index}].cluster_id", str(cluster_id), "Cilium allows 1 to 255", "use fewer regions")
        elif cluster_id in ids:
            yield (
                f"regions[{index}].cluster_id",
                str(cluster_id),
                f"is also the id of {ids[cluster_id]}",
                "give every region its own cluster_id, 1 to 255",
            )
        ids.setdefault(cluster_id, spec.name)


def _range_problems(mesh: Mesh) -> Iterator[tuple[str, str, str, str]]:
    used: list[tuple[str, IPv4Network]] = []
    for index, spec in enumerate(mesh.regions):
        ranges = _ranges(mesh, index)
        count = spec.machines or mesh.machines.per_region
        at = f"regions[{index}]"
        if not ranges.subnet.subnet_of(ranges.vnet):
            yield (
                f"{at}.subnet",
                str(ranges.subnet),
                f"is not inside the VNet {ranges.vnet}",
                "choose one inside it",
            )
        elif ranges.subnet.num_addresses - 5 < count:
            yield (
                f"{at}.subnet",
                str(ranges.subnet),
                f"has no room for {count} machines (Azure keeps 5 addresses)",
                "choose a wider subnet",
            )
        if ranges.pods.prefixlen > 24 or 2 ** (24 - ranges.pods.prefixlen) < count:
            yield (f"{at}.pods", str(ranges.pods), f"has no /24 for each of {count} nodes", "choose a wider range")
        if not 12 <= ranges.services.prefixlen <= 24:
            yield (f"{at}.services", str(ranges.services), "must be a /12 to /24", "choose such a range")
        for field, block in ranges.named().items():
            for reserved in _RESERVED:
                if block.overlaps(reserved):
                    yield (
                        f"{at}.{field}",
                        str(block),
                        f"overlaps {reserved}, which is reserved",
                        "choose another",
                    )
            for other, taken in used:
                if block.overlaps(taken):
                    yield (f"{at}.{field}", str(block), f"overlaps {other} = {taken}", "choose disjoint ranges")
            used.append((f"{at}.{field}", block))
