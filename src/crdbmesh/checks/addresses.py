"""Checks of addresses: the mesh's ranges against existing networks, and the sources that may connect."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from crdbmesh.checks.base import Found, Refused, Remark, refusal, warning
from crdbmesh.checks.facts import Facts
from crdbmesh.clients import caller as callers
from crdbmesh.clients.kube.endpoint import find_proxy
from crdbmesh.desired.azure import opened, resource_id
from crdbmesh.errors import CloudError, ConfigError
from crdbmesh.observe import belongings
from crdbmesh.spec import names
from crdbmesh.spec.fields import OWN
from crdbmesh.spec.mesh import Region

_VNETS = "Microsoft.Network/virtualNetworks"


def ranges(facts: Facts) -> Iterator[Remark]:
    """Check that no range of the mesh overlaps a network that ours are peered with, which Azure refuses.

    Another network of the subscription may have the same range, as long as nobody peers the two.
    """
    ours = _own_vnets(facts)
    peered = list(_foreign_peerings(facts, ours))
    for region, remote, space in peered:
        yield from _meets(facts, region, remote, space)
    known = {*ours, *(remote for _, remote, _ in peered)}
    strangers = [
        vnet
        for vnet in facts.vnets()
        if str(vnet.get("id", "")).lower() not in known and not belongings.of(facts.world).owns(vnet)
    ]
    shared: dict[str, list[str]] = {}
    for region in facts.mesh.all_regions():
        block = region.ranges.vnet
        yield Found(f"{region.name} {block}")
        if same := [str(vnet.get("name")) for vnet in strangers if _overlapping(block, _space(vnet, "addressSpace"))]:
            shared[str(block)] = same
    if shared:
        vnets = _some(dict.fromkeys(name for same in shared.values() for name in same))
        yield warning("ranges", _some(shared), f"also used by {vnets} (so no peering with it)", "")


def _some(names: Iterable[str]) -> str:
    """Return the first of some names, and that there are more."""
    first, *more = names
    return f"{first}, …" if more else first


def _own_vnets(facts: Facts) -> dict[str, Region]:
    """Return the mesh's regions by the ids of their VNets in lower case."""
    mesh, subscription = facts.mesh, facts.session.subscription_id
    return {
        resource_id(subscription, mesh.group_name, _VNETS, names.network(mesh.name, region.name)).lower(): region
        for region in mesh.all_regions()
    }


def _foreign_peerings(facts: Facts, ours: Mapping[str, Region]) -> Iterator[tuple[Region, str, list[IPv4Network]]]:
    """Yield each peering of ours with a network of others: our region, the other's id in lower case, its space."""
    for vnet in facts.vnets():
        region = ours.get(str(vnet.get("id", "")).lower())
        if region is None:
            continue
        for peering in _properties(vnet).get("virtualNetworkPeerings") or []:
            remote = belongings.remote_of(peering)
            if remote not in ours:
                yield region, remote, _space(peering, "remoteVirtualNetworkAddressSpace", "remoteAddressSpace")


def _meets(facts: Facts, own: Region, remote: str, space: list[IPv4Network]) -> Iterator[Remark]:
    """Find the mesh's ranges that overlap the address space of a network peered with a region's VNet."""
    name = remote.rpartition("/")[2]
    for index, region in enumerate(facts.mesh.all_regions()):
        for field, block in region.ranges.named().items():
            shared = _overlapping(block, space)
            if not shared:
                continue
            where = f"regions[{index}].{field}"
            reason = f"overlaps {shared[0]} of the VNet {name}, which is peered with our VNet in {own.name}"
            if field == "vnet" and region.name != own.name:
                remedy = f"set another vnet for {region.name} (or network.base), or remove that peering"
                yield refusal(where, str(block), f"{reason}: Azure refuses to peer the two regions", remedy)
            elif field != "vnet":
                remedy = "set another range, or remove that peering, if pods need to reach that network"
                yield warning(where, str(block), reason, remedy)


def caller(facts: Facts) -> Iterator[Remark]:
    """Check that the caller's own address is known and allowed, and that a proxy on the way can be used."""
    try:
        find_proxy("https://192.0.2.1:6443")
    except ConfigError as error:
        yield from map(Refused, error.findings)
    allowed = facts.mesh.allow_from if facts.knows_mesh else (OWN,)
    if "*" in allowed:
        yield Found("everyone on the internet")
        what = opened(facts.mesh) if facts.knows_mesh else "SSH and the Kubernetes API"
        reason = f"{what} will be open to the whole internet"
        remedy = "name who may connect with --allow-from; without it, only your own address may"
        yield warning("allow_from", "*", reason, remedy)
        return
    try:
        own = callers.find_address(facts.cloud)
    except CloudError as error:
        if OWN not in allowed:
            yield Found(f"{', '.join(allowed)}; your own address is unknown")
            return
        yield refusal("allow_from", OWN, str(error), error.hint or "give --allow-from")
        return
    named = ", ".join(f"your own address, {own.address}" if source == OWN else source for source in allowed)
    if OWN in allowed:
        yield Found(named)
        if not own.sure:
            reason = f"no two services agree that {own.address} is your address ({own.told})"
            yield warning("allow_from", OWN, reason, f"make sure that it is, or pass --allow-from {own.address}")
        return
    if any(IPv4Address(own.address) in IPv4Network(source) for source in allowed):
        yield Found(f"{named}; your address is {own.address}")
        return
    yield Found(f"{named}; not your address ({own.address})")
    reason = f"your address is {own.address}, which is not among them, so `up` could not reach the machines from here"
    remedy = (
        f"add --allow-from {own.address}, or `own`, which follows your address; or connect from one that is allowed. "
        "If SSH leaves by another address than the web does, pass --no-address-lookup"
    )
    yield refusal("allow_from", named, reason, remedy)


def _space(body: Mapping[str, Any], *fields: str) -> list[IPv4Network]:
    """Return the IPv4 ranges in the first of some fields of a resource that has any."""
    space: Mapping[str, Any] = next(filter(None, map(_properties(body).get, fields)), {})
    return [IPv4Network(text) for text in space.get("addressPrefixes") or [] if ":" not in text]


def _overlapping(block: IPv4Network, space: list[IPv4Network]) -> list[IPv4Network]:
    return [prefix for prefix in space if prefix.overlaps(block)]


def _properties(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body.get("properties") or {}
    return found
