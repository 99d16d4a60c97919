"""Subnets of a VNet: inline in its body, and as a resource of their own."""

from __future__ import annotations

import copy
from typing import Any

from crdbmesh_simulator.azure import prefixes
from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.children import find_reference
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Subscription

VNETS = "Microsoft.Network/virtualNetworks"
PRIVATE_SINCE = "2025-07-01"
"""VNets' subnets made with this api-version or a later one have no default outbound access."""

_REFERENCES = {
    "networkSecurityGroup": "Microsoft.Network/networkSecurityGroups",
    "routeTable": "Microsoft.Network/routeTables",
    "natGateway": "Microsoft.Network/natGateways",
}


def prepare(
    call: Call,
    vnet: Identity,
    spaces: list[prefixes.Prefix],
    entry: Body,
    *,
    siblings: list[Body],
    existing: Body | None,
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
        if prefixes.common(mine, ranges(sibling)):
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


def require_within(vnet: Identity, spaces: list[prefixes.Prefix], subnet: Body) -> None:
    """Refuse a subnet without a range, or with one outside its VNet."""
    for prefix in ranges(subnet):
        if not prefixes.contains(spaces, prefix) or (prefix.version == 4 and prefix.prefixlen > 29):
            raise refusal("NetcfgInvalidSubnet", subnet=subnet, vnet=vnet)


def ranges(subnet: Body) -> list[prefixes.Prefix]:
    """A subnet's address ranges."""
    properties = subnet["properties"]
    texts = properties.get("addressPrefixes") or [properties.get("addressPrefix", "")]
    if not all(texts):
        raise refusal("AddressPrefixStringCannotBeNullOrEmpty", subnet=subnet)
    return [prefixes.read(str(text), str(subnet["id"])) for text in texts]


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
