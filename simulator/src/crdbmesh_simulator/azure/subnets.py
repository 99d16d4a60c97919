"""Subnets of a VNet: inline in its body, and as a resource of their own; what address prefixes may be."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Iterable
from typing import Any

from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.children import find_reference
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Subscription

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

_NEVER = [
    ipaddress.ip_network(text)
    for text in ("224.0.0.0/4", "255.255.255.255/32", "127.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32")
]


def read_prefix(text: str, resource_id: str) -> Prefix:
    """The prefix. Raises ArmError: 400, it is none, or has bits set beyond its length."""
    try:
        prefix = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise refusal("InvalidAddressPrefixFormat", text=text, resource_id=resource_id) from None
    if "/" not in text or prefix != _strict(text):
        raise refusal("InvalidCIDRNotation", text=text, resource_id=resource_id, prefix=prefix)
    return prefix


def require_allowed(spaces: Iterable[Prefix], vnet_id: str) -> None:
    """Refuse ranges that a VNet cannot have (Microsoft's virtual network FAQ). Raises ArmError: 400."""
    for prefix in spaces:
        if common([prefix], _NEVER):
            raise refusal("NetcfgInvalidIPAddressPrefix", prefix=prefix, vnet_id=vnet_id, never=listed(_NEVER))


def contains(outer: Iterable[Prefix], inner: Prefix) -> bool:
    """Whether one of `outer` holds all of `inner`."""
    return any(_within(inner, prefix) for prefix in outer)


def common(first: Iterable[Prefix], second: Iterable[Prefix]) -> list[Prefix]:
    """Where two address spaces overlap."""
    others = list(second)
    shared: list[Prefix] = []
    for one in first:
        for other in others:
            if _within(one, other):
                shared.append(one)
            elif _within(other, one):
                shared.append(other)
    return shared


def listed(prefixes: Iterable[Prefix]) -> str:
    """As error messages list them."""
    return ", ".join(str(prefix) for prefix in prefixes)


def _within(inner: Prefix, outer: Prefix) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _strict(text: str) -> Prefix | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


VNETS = "Microsoft.Network/virtualNetworks"
PRIVATE_SINCE = "2025-07-01"
"""VNets' subnets made with this api-version or a later one have no default outbound access."""

_REFERENCES = {
    "networkSecurityGroup": "Microsoft.Network/networkSecurityGroups",
    "routeTable": "Microsoft.Network/routeTables",
    "natGateway": "Microsoft.Network/natGateways",
}


def prepare(
    call: Call, vnet: Identity, spaces: list[Prefix], entry: Body, *, siblings: list[Body], existing: Body | None
) -> Body:
    """A subnet to store, checked against its VNet and its siblings. Raises ArmError: 400."""
    name = str(existing["name"] if existing else entry["name"])
    properties: dict[str, Any] = copy.deepcopy(entry.get("properties", {}))
    subnet: Body = {
        "name": name,
        "id": f"{vnet.id}/subnets/{name}",
        "type": f"{VNETS}/subnets",
        "etag": call.subscription.etag(),
        "properties": properties,
    }
    require_within(vnet, spaces, subnet)
    mine = ranges(subnet)
    for sibling in siblings:
        if common(mine, ranges(sibling)):
            raise refusal("NetcfgSubnetRangesOverlap", name=name, sibling=sibling, vnet=vnet)
    _resolve_references(call.subscription, vnet, subnet)
    properties["provisioningState"] = "Updating"
    properties.setdefault("delegations", [])
    properties.setdefault("privateEndpointNetworkPolicies", "Disabled")
    properties.setdefault("privateLinkServiceNetworkPolicies", "Enabled")
    if "defaultOutboundAccess" not in properties:
        if existing is not None and "defaultOutboundAccess" in existing["properties"]:
            properties["defaultOutboundAccess"] = existing["properties"]["defaultOutboundAccess"]
        elif existing is None and call.api_version >= PRIVATE_SINCE:
            properties["defaultOutboundAccess"] = False
    return subnet


def require_within(vnet: Identity, spaces: list[Prefix], subnet: Body) -> None:
    """Refuse a subnet without a range, or with one outside its VNet."""
    for prefix in ranges(subnet):
        if not contains(spaces, prefix) or (prefix.version == 4 and prefix.prefixlen > 29):
            raise refusal("NetcfgInvalidSubnet", subnet=subnet, vnet=vnet)


def ranges(subnet: Body) -> list[Prefix]:
    """A subnet's address ranges."""
    properties = subnet["properties"]
    texts = properties.get("addressPrefixes") or [properties.get("addressPrefix", "")]
    if not all(texts):
        raise refusal("AddressPrefixStringCannotBeNullOrEmpty", subnet=subnet)
    return [read_prefix(str(text), str(subnet["id"])) for text in texts]


def in_use(subscription: Subscription, subnet: Body) -> list[str]:
    """Ids of the IP configurations in a subnet."""
    key = str(subnet["id"]).lower()
    return [
        str(configuration["id"])
        for _, configuration in subscription.ip_configurations()
        if configuration["properties"]["subnet"]["id"].lower() == key
    ]


def require_unused(subscription: Subscription, subnet: Body) -> None:
    """Refuse to delete a subnet that something is in."""
    users = in_use(subscription, subnet)
    if users:
        raise refusal("InUseSubnetCannotBeDeleted", subnet=subnet, users=users)


def render(subscription: Subscription, subnet: Body) -> Body:
    """A subnet, with what is in it."""
    body = copy.deepcopy(subnet)
    users = in_use(subscription, subnet)
    if users:
        body["properties"]["ipConfigurations"] = [{"id": user} for user in users]
    return body


def _resolve_references(subscription: Subscription, vnet: Identity, subnet: Body) -> None:
    properties = subnet["properties"]
    for name, kind in _REFERENCES.items():
        if name in properties:
            find_reference(subscription, vnet, str(subnet["id"]), properties[name], kind, f"properties.{name}")
