"""Quotas: what a subscription may have of a kind in a region, and the usages lists that say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure import sizes
from crdbmesh_simulator.azure.errors import refusal

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.state import Resource, Subscription

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
    for family in sizes.FAMILIES:
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


def require_cores(subscription: Subscription, location: str, size: sizes.Size, replaced: Resource | None) -> None:
    """Refuse a VM whose cores exceed the region's quota, or its family's."""
    freed = sizes.find(_size_name(replaced)) if replaced is not None else None
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
    held = (sizes.find(_size_name(vm)) for vm in _vms(subscription, location))
    return sum(size.vcpus for size in held if size is not None and family in (None, size.family))


def _vms(subscription: Subscription, location: str) -> Iterator[Resource]:
    return (vm for vm in subscription.of_type("Microsoft.Compute/virtualMachines") if vm.location == location)


def _size_name(vm: Resource) -> str:
    return str(vm.properties["hardwareProfile"]["vmSize"])
