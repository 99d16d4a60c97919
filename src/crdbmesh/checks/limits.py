"""Checks of quotas: vCPUs, public addresses, networks and interfaces that are still missing against Azure's limits.

The names of the quotas are those of `GET .../Microsoft.Compute/locations/L/usages` and
`GET .../Microsoft.Network/locations/L/usages`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from crdbmesh.checks import places
from crdbmesh.checks.facts import Facts
from crdbmesh.checks.remarks import Found, Remark, refusal
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of network resource, with the names of the limits that it counts against."""

    type: str
    text: str
    quotas: tuple[str, ...]


_KINDS = (
    _Kind("microsoft.network/virtualnetworks", "VNet", ("virtualnetworks",)),
    _Kind("microsoft.network/networksecuritygroups", "network security group", ("networksecuritygroups",)),
    _Kind("microsoft.network/networkinterfaces", "network interface", ("networkinterfaces",)),
    _Kind(
        "microsoft.network/publicipaddresses",
        "public IP address",
        (
            "publicipaddresses",
            "staticpublicipaddresses",
            "standardskupublicipaddresses",
            "ipv4standardskupublicipaddresses",
        ),
    ),
)


def vcpus(facts: Facts) -> Iterator[Remark]:
    """Check that each region's quotas, total and of the size's family, are enough for the missing machines."""

    def look(region: Region) -> Iterator[Remark]:
        size = places.size_of(region)
        offer = facts.offers(region.name).get(size.lower())
        if offer is None:
            # The check of sizes reports that the size is not offered.
            return
        wanted = places.missing_machines(facts, region)
        needed = offer.vcpus * wanted
        cores = facts.cores(region.name)
        free = {name: limit - used for name, (used, limit) in cores.items()}
        left = min((free[name] for name in ("cores", offer.family.lower()) if name in free), default=None)
        yield Found(
            f"{region.name}: needs {needed} more vCPUs, {left if left is not None else 'an unknown number'} available"
        )
        short = [name for name in ("cores", offer.family.lower()) if free.get(name, needed) < needed]
        if short:
            told = " and ".join(f"the quota {_shown(name, offer.family)} has {free[name]} available" for name in short)
            yield refusal(
                "machines",
                f"{wanted} of {size} in {region.name}",
                f"they need {needed} vCPUs, and {told}",
                _more_vcpus(facts, region, family="cores" not in short),
            )
        if free.get("virtualmachines", wanted) < wanted:
            yield refusal(
                "machines",
                f"{wanted} in {region.name}",
                f"the quota virtualMachines has {free['virtualmachines']} available",
                "ask Azure for more quota (portal: Quotas), or choose fewer machines or another region",
            )

    yield from facts.each(facts.places(), look)


def _more_vcpus(facts: Facts, region: Region, *, family: bool) -> str:
    ask = "ask Azure for more quota (portal: Quotas)"
    if family:
        other = places.propose(facts, places.size_of(region), places.wish_of(facts, region))
        if other.startswith("take "):
            return f"{ask}, or {other}"
    return f"{ask}, or choose fewer or smaller machines or another region"


def _shown(name: str, family: str) -> str:
    return family if name == family.lower() else name


def network(facts: Facts) -> Iterator[Remark]:
    """Check that each region's limits are enough for the missing networks, firewalls, interfaces and addresses."""
    have = {(str(one.get("type", "")).lower(), str(one.get("name", "")).lower()) for one in facts.content()}
    first = facts.mesh.regions[0].name

    def look(region: Region) -> Iterator[Remark]:
        limits = facts.limits(region.name)
        wanted = _wanted(facts.mesh.name, region, first=region.name == first)
        for kind in _KINDS:
            missing = sum((kind.type, name.lower()) not in have for name in wanted[kind.type])
            left = [(limits[name][1] - limits[name][0], limits[name][1]) for name in kind.quotas if name in limits]
            if not left or not missing:
                continue
            free, limit = min(left)
            if free >= missing:
                continue
            many = f"{missing} {kind.text}{'' if missing == 1 else 'es' if kind.text.endswith('s') else 's'}"
            yield refusal(
                "regions",
                f"{many} in {region.name}",
                f"the limit there is {limit}, of which {max(free, 0)} are available",
                "ask Azure for a higher limit (portal: Quotas), delete unused ones, or choose another region",
            )
        yield Found(f"{region.name}: {_most(limits)}")

    yield from facts.each(facts.places(), look)


def _wanted(mesh: str, region: Region, *, first: bool) -> dict[str, list[str]]:
    """Return the names of a region's network resources by type; the lease is in the first region."""
    vnets, groups, interfaces, addresses = (kind.type for kind in _KINDS)
    numbers = [machine.number for machine in region.machines]
    return {
        vnets: [names.network(mesh, region.name)],
        groups: [names.firewall(mesh, region.name), *([names.lease(mesh)] if first else [])],
        interfaces: [names.nic(mesh, region.name, number) for number in numbers],
        addresses: [names.address(mesh, region.name, number) for number in numbers],
    }


def _most(limits: dict[str, tuple[int, int]]) -> str:
    """Return how many public addresses are available; they run out first."""
    left = [limits[name][1] - limits[name][0] for name in _KINDS[-1].quotas if name in limits]
    return f"{min(left)} public IP addresses available" if left else "Azure names no limit for public IP addresses"
