"""VM sizes and their families, as the resource SKUs list describes them, images of VMs, and quotas with their usages.

Names of families: as `GET .../locations/L/usages` spells them (older ones `standardDSv5Family`, newer ones
`StandardDsv6Family`). Capabilities: Microsoft's documentation of each series.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.errors import body, refusal

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.state import Resource, Subscription


@dataclass(frozen=True, slots=True)
class Size:
    """A VM size.

    `gen1`: whether it boots generation 1 images (all boot generation 2). `controllers`: its disk controllers, as the
    SKU's capability lists them.
    """

    name: str
    family: str
    vcpus: int
    memory_gib: float
    arm64: bool = False
    accelerated: bool = True
    premium: bool = True
    gen1: bool = True
    controllers: str = "SCSI"

    @property
    def data_disks(self) -> int:
        """How many data disks it takes."""
        return min(64, 2 * self.vcpus)

    @property
    def architecture(self) -> str:
        """`x64` or `Arm64`."""
        return "Arm64" if self.arm64 else "x64"


@dataclass(frozen=True, slots=True)
class Restriction:
    """A setting: a size, or all of a family, that the subscription may not use in a region, or in one zone of it."""

    name: str
    location: str
    zone: str | None = None

    def meets(self, size: Size, location: str) -> bool:
        """Whether it is about this size there."""
        return location == self.location and self.name.lower() in (size.name.lower(), size.family.lower())


def _series(pattern: str, family: str, gib_per_vcpu: float, counts: str, **more: Any) -> list[Size]:
    return [
        Size(pattern.format(count), family, int(count), int(count) * gib_per_vcpu, **more) for count in counts.split()
    ]


_SERIES = tables.read(__package__, "offers")["sizes"]["series"]
_SIZES = [size for *row, more in _SERIES for size in _series(*row, **more)]
SIZES = {size.name.lower(): size for size in _SIZES}
"""Sizes by their name in lower case."""

FAMILIES = sorted({size.family for size in _SIZES}, key=str.lower)

_UNOFFERED_FAMILIES = {"standardMSFamily"}
_ZONELESS = {("standardbasv2family", "westeurope"): ["3"], ("standardbsv2family", "westeurope"): ["3"]}


def find(name: str) -> Size | None:
    """The size of this name, or None."""
    return SIZES.get(name.lower())


def restricted_zones(size: Size, location: str, more: Iterable[Restriction] = ()) -> list[str]:
    """Zones of the region in which this subscription may not use the size."""
    zones = {one.zone for one in more if one.zone is not None and one.meets(size, location)}
    return sorted(zones.union(_ZONELESS.get((size.family.lower(), location), [])))


def offered(size: Size, location: str, more: Iterable[Restriction] = ()) -> bool:
    """Whether this subscription may use the size in the region at all."""
    if size.family in _UNOFFERED_FAMILIES:
        return False
    return not any(one.zone is None and one.meets(size, location) for one in more)


@functools.lru_cache(maxsize=4096)
def sku(size: Size, region: regions.Region, more: tuple[Restriction, ...] = ()) -> dict[str, Any]:
    """The size's entry in the resource SKUs list; nobody changes it."""
    capabilities = body(
        "capabilities",
        size=size,
        memory=f"{size.memory_gib:g}",
        generations="V1,V2" if size.gen1 else "V2",
        spot=not size.name.startswith("Standard_B"),
        threads=1 if size.arm64 else 2,
        iops=1600 * size.vcpus,
        rate=36_250_000 * size.vcpus,
        nics=2 if size.vcpus < 8 else 8,
    )
    listed = [{"name": name, "value": str(value)} for name, value in capabilities.items()]
    restrictions, short = _restrictions(size, region, more), size.name.removeprefix("Standard_")
    found: dict[str, Any] = body(
        "sku", size=size, region=region, capabilities=listed, restrictions=restrictions, short=short
    )
    return found


def _restrictions(size: Size, region: regions.Region, more: Iterable[Restriction]) -> list[dict[str, Any]]:
    if not offered(size, region.name, more):
        kind, info = "Location", {"locations": [region.name]}
    elif zones := restricted_zones(size, region.name, more):
        kind, info = "Zone", {"locations": [region.name], "zones": zones}
    else:
        return []
    return [
        {"type": kind, "values": [region.name], "restrictionInfo": info, "reasonCode": "NotAvailableForSubscription"}
    ]


PUBLISHER = "Canonical"


@dataclass(frozen=True, slots=True)
class Image:
    """A platform image."""

    offer: str
    sku: str
    version: str
    os_version: str
    arm64: bool = False
    generation: str = "V2"
    disk_gib: int = 30


IMAGES = [Image(*row, **more) for *row, more in tables.read(__package__, "offers")["images"]["canonical"]]


def find_image(publisher: str, offer: str, sku: str, version: str) -> Image | None:
    """The image, or None; `version` may be `latest`."""
    if publisher.lower() != PUBLISHER.lower():
        return None
    for image in IMAGES:
        if (image.offer.lower(), image.sku.lower()) == (offer.lower(), sku.lower()):
            return image if version.lower() in ("latest", image.version) else None
    return None


CORES = "cores"
PUBLIC_ADDRESSES = "PublicIPAddresses"

_USUAL_FAMILY = 100
_OFFERS = tables.read(__package__, "offers")
_COMPUTE, _NETWORK = _OFFERS["compute_usages"], _OFFERS["network_usages"]


@dataclass(slots=True)
class Limits:
    """Limits by name; one for a location comes before one for all, and before the usual one."""

    everywhere: dict[str, int] = field(default_factory=dict)
    by_location: dict[tuple[str, str], int] = field(default_factory=dict)

    def of(self, name: str, location: str) -> int:
        """The limit in force."""
        for key, limit in self.by_location.items():
            if (key[0].lower(), key[1].lower()) == (location.lower(), name.lower()):
                return limit
        for given, limit in self.everywhere.items():
            if given.lower() == name.lower():
                return limit
        return int({**_COMPUTE, **_NETWORK}.get(name, ("", _USUAL_FAMILY))[1])


def compute_usages(subscription: Subscription, location: str) -> list[dict[str, Any]]:
    """`GET .../Microsoft.Compute/locations/L/usages`."""
    entries = []
    for name, (text, *_) in _COMPUTE.items():
        used = _cores(subscription, location) if name == CORES else _count(subscription, name, location)
        entries.append(_usage(name, text, used, subscription.limits.of(name, location)))
    for family in FAMILIES:
        text = f"{family.removesuffix('Family').replace('standard', 'Standard ')} Family vCPUs"
        used_cores = _cores(subscription, location, family)
        entries.append(_usage(family, text, used_cores, subscription.limits.of(family, location)))
    return entries


def network_usages(subscription: Subscription, location: str) -> list[dict[str, Any]]:
    """`GET .../Microsoft.Network/locations/L/usages`."""
    path = f"/subscriptions/{subscription.id}/providers/Microsoft.Network/locations/{location}/usages"
    return [
        {
            "id": f"{path}/{name}",
            **_usage(name, text, _count(subscription, name, location), subscription.limits.of(name, location)),
        }
        for name, (text, *_) in _NETWORK.items()
    ]


def require_cores(subscription: Subscription, location: str, size: Size, replaced: Resource | None) -> None:
    """Refuse a VM whose cores exceed the region's quota, or its family's."""
    freed = find(_size_name(replaced)) if replaced is not None else None
    checks: list[tuple[str, str, str | None]] = [
        (CORES, "Total Regional Cores", None),
        (size.family, f"{size.family} Cores", size.family),
    ]
    for name, text, family in checks:
        used = _cores(subscription, location, family)
        if freed is not None and family in (None, freed.family):
            used -= freed.vcpus
        limit = subscription.limits.of(name, location)
        if subscription.world.faults.happens("arm.quota", location, f"{location} {size.name}"):
            limit = used
        if used + size.vcpus <= limit:
            continue
        raise refusal(
            "OperationNotAllowed, quota",
            text=text,
            location=location,
            limit=limit,
            used=used,
            size=size,
            needed=used + size.vcpus,
            page="regional-quota-requests" if family is None else "per-vm-quota-requests",
        )


def require_public_address(subscription: Subscription, location: str) -> None:
    """Refuse a public address beyond the region's limit."""
    limit = subscription.limits.of(PUBLIC_ADDRESSES, location)
    if _count(subscription, PUBLIC_ADDRESSES, location) < limit:
        return
    raise refusal("PublicIPCountLimitReached", limit=limit)


def _usage(name: str, text: str, used: int, limit: int) -> dict[str, Any]:
    return {"currentValue": used, "limit": limit, "unit": "Count", "name": {"value": name, "localizedValue": text}}


def _count(subscription: Subscription, name: str, location: str) -> int:
    kind = {**_COMPUTE, **_NETWORK}[name][2]
    return sum(resource.location == location for resource in subscription.of_type(kind)) if kind else 0


def _cores(subscription: Subscription, location: str, family: str | None = None) -> int:
    held = (find(_size_name(vm)) for vm in _vms(subscription, location))
    return sum(size.vcpus for size in held if size is not None and family in (None, size.family))


def _vms(subscription: Subscription, location: str) -> Iterator[Resource]:
    return (vm for vm in subscription.of_type("Microsoft.Compute/virtualMachines") if vm.location == location)


def _size_name(vm: Resource) -> str:
    return str(vm.properties["hardwareProfile"]["vmSize"])
