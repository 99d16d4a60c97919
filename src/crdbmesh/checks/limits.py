"""Checks of quotas: vCPUs, public addresses, networks and interfaces that are still missing against Azure's limits.

The names of the quotas are those of `GET .../Microsoft.Compute/locations/L/usages` and
`GET .../Microsoft.Network/locations/L/usages`.
"""

from collections.abc import Iterator

from crdbmesh.checks import places
from crdbmesh.checks.base import Found, Remark, refusal
from crdbmesh.checks.facts import Facts
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

_TITLES = {
    "virtualnetworks": "VNet",
    "networksecuritygroups": "network security group",
    "networkinterfaces": "network interface",
    "publicipaddresses": "public IP address",
}
"""The kinds of network resource that Azure limits, which are also the names of their limits."""
_ADDRESSES = (
    "publicipaddresses",
    "staticpublicipaddresses",
    "standardskupublicipaddresses",
    "ipv4standardskupublicipaddresses",
)
"""The limits that a public IP address counts against."""


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
        free = facts.cores(region.name)
        left = min((free[name] for name in ("cores", offer.family.lower()) if name in free), default=None)
        yield Found(
            f"{region.name}: needs {needed} more vCPUs, {left if left is not None else 'an unknown number'} available"
        )
        short = [name for name in ("cores", offer.family.lower()) if free.get(name, needed) < needed]
        if short:
            shown = {"cores": "cores", offer.family.lower(): offer.family}
            told = " and ".join(f"the quota {shown[name]} has {free[name]} available" for name in short)
            remedy = _more_vcpus(facts, region, family="cores" not in short)
            value = f"{wanted} of {size} in {region.name}"
            yield refusal("machines", value, f"they need {needed} vCPUs, and {told}", remedy)
        if free.get("virtualmachines", wanted) < wanted:
            reason = f"the quota virtualMachines has {free['virtualmachines']} available"
            remedy = "ask Azure for more quota (portal: Quotas), or choose fewer machines or another region"
            yield refusal("machines", f"{wanted} in {region.name}", reason, remedy)

    yield from facts.each(facts.places(), look)


def _more_vcpus(facts: Facts, region: Region, *, family: bool) -> str:
    ask = "ask Azure for more quota (portal: Quotas)"
    if family:
        other = places.propose(facts, places.size_of(region), places.wish_of(facts, region))
        if other.startswith("take "):
            return f"{ask}, or {other}"
    return f"{ask}, or choose fewer or smaller machines or another region"


def network(facts: Facts) -> Iterator[Remark]:
    """Check that each region's limits are enough for the missing networks, firewalls, interfaces and addresses."""
    have = {(str(one.get("type", "")).lower(), str(one.get("name", "")).lower()) for one in facts.content()}
    first = facts.mesh.regions[0].name

    def look(region: Region) -> Iterator[Remark]:
        limits = facts.limits(region.name)
        wanted = _wanted(facts.mesh.name, region, first=region.name == first)
        for kind, title in _TITLES.items():
            missing = sum((f"microsoft.network/{kind}", name.lower()) not in have for name in wanted[kind])
            left = _left(limits, *(_ADDRESSES if kind == "publicipaddresses" else [kind]))
            if not left or not missing:
                continue
            free, limit = min(left)
            if free >= missing:
                continue
            many = f"{missing} {title}{'' if missing == 1 else 'es' if title.endswith('s') else 's'}"
            reason = f"the limit there is {limit}, of which {max(free, 0)} are available"
            remedy = "ask Azure for a higher limit (portal: Quotas), delete unused ones, or choose another region"
            yield refusal("regions", f"{many} in {region.name}", reason, remedy)
        # Public addresses run out first.
        left = _left(limits, *_ADDRESSES)
        most = (
            f"{min(left)[0]} public IP addresses available" if left else "Azure names no limit for public IP addresses"
        )
        yield Found(f"{region.name}: {most}")

    yield from facts.each(facts.places(), look)


def _wanted(mesh: str, region: Region, *, first: bool) -> dict[str, list[str]]:
    """Return the names of a region's network resources by type; the lease is in the first region."""
    numbers = [machine.number for machine in region.machines]
    return {
        "virtualnetworks": [names.network(mesh, region.name)],
        "networksecuritygroups": [names.firewall(mesh, region.name), *([names.lease(mesh)] if first else [])],
        "networkinterfaces": [names.nic(mesh, region.name, number) for number in numbers],
        "publicipaddresses": [names.address(mesh, region.name, number) for number in numbers],
    }


def _left(limits: dict[str, tuple[int, int]], *quotas: str) -> list[tuple[int, int]]:
    """Return what is available of each of some limits, and the limit."""
    return [(limits[name][1] - limits[name][0], limits[name][1]) for name in quotas if name in limits]
