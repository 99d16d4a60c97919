"""VM sizes and their families, as the resource SKUs list describes them, and the images of VMs.

Names of families: as `GET .../locations/L/usages` spells them (older ones `standardDSv5Family`, newer ones
`StandardDsv6Family`). Capabilities: Microsoft's documentation of each series.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.errors import body


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


def sku(size: Size, region: regions.Region, more: Iterable[Restriction] = ()) -> dict[str, Any]:
    """The size's entry in the resource SKUs list."""
    capabilities = body(
        "capabilities",
        size=size,
        memory=f"{size.memory_gib:g}",
        generations="V1,V2" if size.gen1 else "V2",
        spot=not size.name.startswith("Standard_B"),
        threads=1 if size.arm64 else 2,
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
