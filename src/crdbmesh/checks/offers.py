"""VM sizes as Azure offers them in a region, from ARM's SKU list, and the choice of another size."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from crdbmesh.desired.azure import usable_zones

_BURSTABLE = "standard_b"

_SYSTEM_CPU = 0.25
_SYSTEM_GIB = 0.5
"""Requests of k3s's own pods on a machine (CoreDNS, metrics-server) and the client pod; Cilium requests nothing."""
_USABLE = 0.95
"""The share of a size's memory that pods can have, less the firmware's, the kernel's and the eviction threshold."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A VM size in a region.

    Attributes:
        family: the family whose quota it counts against.
        architecture: `x64` or `Arm64`.
        generations: hypervisor generations of images that it boots: `V1`, `V2`.
        premium: True when it can have premium disks.
        zones: the zones in which the subscription may use it.
        restricted: the reason why the subscription may not use it there at all, or empty.
    """

    name: str
    family: str
    vcpus: int
    memory_gib: float
    architecture: str
    generations: frozenset[str]
    premium: bool
    zones: tuple[str, ...]
    restricted: str

    @classmethod
    def of(cls, sku: Mapping[str, Any], location: str) -> Self:
        """Make the offer from an entry of the SKU list."""
        can = {str(one.get("name")): str(one.get("value")) for one in sku.get("capabilities") or []}
        barred = [
            str(one.get("reasonCode") or "restricted")
            for one in sku.get("restrictions") or []
            if str(one.get("type", "")).lower() == "location"
        ]
        return cls(
            name=str(sku["name"]),
            family=str(sku.get("family", "")),
            vcpus=int(_number(can.get("vCPUs"))),
            memory_gib=_number(can.get("MemoryGB")),
            architecture=can.get("CpuArchitectureType", "x64"),
            generations=frozenset(can.get("HyperVGenerations", "V1,V2").replace(" ", "").split(",")),
            premium=can.get("PremiumIO", "True").lower() == "true",
            zones=usable_zones(dict(sku), location),
            restricted=barred[0] if barred else "",
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """The requirements on a size.

    Attributes:
        architecture, generation: those of the image.
        premium: True when the disk is a premium one.
        pods: the number of CockroachDB pods on a machine.
        cpu, memory_gib: the requests of each of them.
        reserved: the vCPUs and the GiB that pods do not get.
    """

    architecture: str
    generation: str
    premium: bool
    pods: int
    cpu: float
    memory_gib: float
    reserved: tuple[float, float] = (0, 0)

    def missing(self, offer: Offer) -> str:
        """Return the reason why an offer does not meet the requirements, or empty."""
        if offer.restricted:
            return f"is restricted for this subscription ({offer.restricted})"
        if offer.architecture.lower() != self.architecture.lower():
            return f"is an {offer.architecture} size, and the image is for {self.architecture}"
        if self.generation not in offer.generations:
            return f"does not boot images of generation {self.generation}"
        if self.premium and not offer.premium:
            return "cannot have a premium disk"
        return ""

    def too_small(self, offer: Offer) -> str:
        """Return the reason why Kubernetes could not schedule the pods on a machine of this size, or empty."""
        # A figure that Azure does not give is taken as enough.
        cpu = self.pods * self.cpu + _SYSTEM_CPU + self.reserved[0]
        memory_gib = self.pods * self.memory_gib + _SYSTEM_GIB + self.reserved[1]
        if (not offer.vcpus or offer.vcpus >= cpu) and (
            not offer.memory_gib or offer.memory_gib * _USABLE >= memory_gib
        ):
            return ""
        pods = "the CockroachDB pod requests" if self.pods == 1 else f"each of {self.pods} CockroachDB pods requests"
        return (
            f"has {offer.vcpus} vCPUs and {offer.memory_gib:g} GiB, but {pods} {self.cpu:g} vCPUs and "
            f"{self.memory_gib:g} GiB beside Kubernetes' own, and could not be scheduled"
        )


def nearest(asked: Offer, candidates: Iterable[Offer]) -> Offer | None:
    """Return the smallest candidate with at least as many vCPUs and as much memory as the asked one, or None."""
    enough = [one for one in candidates if one.vcpus >= asked.vcpus and one.memory_gib >= asked.memory_gib]
    if not enough:
        return None

    def distance(one: Offer) -> tuple[int, float, bool, float, str]:
        alike = difflib.SequenceMatcher(None, one.name.lower(), asked.name.lower()).ratio()
        burstable = one.name.lower().startswith(_BURSTABLE) != asked.name.lower().startswith(_BURSTABLE)
        return one.vcpus, one.memory_gib, burstable, -alike, one.name

    return min(enough, key=distance)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
