"""Microsoft.Network/virtualNetworks: address space, inline subnets, one writer at a time."""

from __future__ import annotations

from typing import Any, ClassVar

from crdbmesh_simulator.azure import subnets
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, Tracking, not_here
from crdbmesh_simulator.azure.children import find, require_names
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.etags import etag_header, touch
from crdbmesh_simulator.azure.kinds import Identity, Kind, in_progress, unchanged
from crdbmesh_simulator.azure.operations import Operation
from crdbmesh_simulator.azure.state import Resource, Subscription

KEEPS_SUBNETS_SINCE = "2023-09-01"
"""From this api-version on, a PUT that does not mention `subnets` leaves them alone; before, it deleted them."""


class VirtualNetworks(Kind):
    """VNets."""

    type: ClassVar[str] = "Microsoft.Network/virtualNetworks"
    tracking: ClassVar[Tracking] = NETWORK

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create or replace a VNet with its subnets; its peerings stay."""
        subscription = call.subscription
        given = body.get("properties", {})
        spaces = _read_space(given, identity)
        peerings = list(existing.properties["virtualNetworkPeerings"]) if existing else []
        _require_known_peerings(call, given, peerings)
        if existing is not None:
            _require_space_fits_peers(subscription, existing, spaces)
        prepared = self._read_subnets(call, identity, spaces, given, existing)
        properties = {
            **{name: value for name, value in given.items() if name not in ("subnets", "virtualNetworkPeerings")},
            "provisioningState": "Updating",
            "resourceGuid": existing.properties["resourceGuid"] if existing else subscription.guid(),
            "subnets": prepared,
            "virtualNetworkPeerings": peerings,
            "enableDdosProtection": given.get("enableDdosProtection", False),
            "privateEndpointVNetPolicies": given.get("privateEndpointVNetPolicies", "Disabled"),
        }
        properties.setdefault("dhcpOptions", {"dnsServers": []})
        if existing is not None and unchanged(existing, properties, body):
            return Answer(200, self.render(call, existing), etag_header(existing.body))
        resource = self.commit(subscription, identity, body, {"properties": properties}, existing)
        return self.begin(call, "PutVirtualNetworkOperation", resource, existing)

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a VNet that nothing uses; peerings from the other side become Disconnected."""
        self.require_idle(call, resource)
        for subnet in resource.properties["subnets"]:
            subnets.require_unused(call.subscription, subnet)
        return self.begin_deletion(call, resource, "DeleteVirtualNetworkOperation")

    def vanish(self, subscription: Subscription, resource: Resource) -> None:
        """The VNet is gone, and the other ends of its peerings know."""
        super().vanish(subscription, resource)
        for other in subscription.of_type(self.type):
            for peering in other.properties["virtualNetworkPeerings"]:
                if peering["properties"]["remoteVirtualNetwork"]["id"].lower() == resource.key:
                    peering["properties"]["peeringState"] = "Disconnected"
                    touch(subscription, other)

    def render(self, call: Call, resource: Resource) -> Body:
        """The VNet, with what uses its subnets, and `Updating` while anything below it is being written."""
        subscription = call.subscription
        body = super().render(call, resource)
        if subscription.operations.holding(resource.id) and resource.state == "Succeeded":
            body["properties"]["provisioningState"] = "Updating"
        body["properties"]["subnets"] = [
            subnets.render(subscription, subnet) for subnet in body["properties"]["subnets"]
        ]
        body["properties"]["virtualNetworkPeerings"] = [
            render_peering(subscription, resource, peering) for peering in body["properties"]["virtualNetworkPeerings"]
        ]
        return body

    def require_idle(self, call: Call, resource: Resource) -> None:
        """One writer at a time."""
        operation = call.subscription.operations.holding(resource.id)
        if operation is not None:
            raise in_progress(call, operation)

    def _read_subnets(
        self, call: Call, identity: Identity, spaces: list[subnets.Prefix], given: Body, existing: Resource | None
    ) -> list[Body]:
        before = list(existing.properties["subnets"]) if existing else []
        if "subnets" not in given and call.api_version >= KEEPS_SUBNETS_SINCE:
            for subnet in before:
                subnets.require_within(identity, spaces, subnet)
            return before
        wanted: list[Body] = []
        entries = given.get("subnets", [])
        require_names([entry["name"] for entry in entries])
        for entry in entries:
            old = find(before, entry["name"])
            wanted.append(subnets.prepare(call, identity, spaces, entry, siblings=wanted, existing=old))
        for subnet in before:
            if find(wanted, subnet["name"]) is None:
                subnets.require_unused(call.subscription, subnet)
        return wanted


def busy_with(subscription: Subscription, resource: Resource) -> Operation | None:
    """The operation that changes the VNet or a subnet of it, peerings apart."""
    operation = subscription.operations.holding(resource.id)
    return operation if operation is not None and "Peering" not in operation.kind else None


def space(resource: Resource) -> list[subnets.Prefix]:
    """A VNet's address space now."""
    return [subnets.read_prefix(text, resource.id) for text in resource.properties["addressSpace"]["addressPrefixes"]]


def render_peering(subscription: Subscription, vnet: Resource, peering: Body) -> Body:
    """A peering as it looks from `vnet` now: the remote's address space and the level of synchronisation follow it."""
    properties: dict[str, Any] = dict(peering["properties"])
    remote = subscription.find(properties["remoteVirtualNetwork"]["id"])
    local_now = vnet.properties["addressSpace"]["addressPrefixes"]
    properties["localAddressSpace"] = {"addressPrefixes": list(properties["localAddressSpace"]["addressPrefixes"])}
    properties["localVirtualNetworkAddressSpace"] = {"addressPrefixes": list(local_now)}
    if remote is not None:
        remote_now = remote.properties["addressSpace"]["addressPrefixes"]
        properties["remoteVirtualNetworkAddressSpace"] = {"addressPrefixes": list(remote_now)}
    properties["peeringSyncLevel"] = sync_level(subscription, vnet, peering)
    return {**peering, "properties": properties}


def sync_level(subscription: Subscription, vnet: Resource, peering: Body) -> str:
    """`FullyInSync`, or which side's address space the other has not taken over."""
    properties = peering["properties"]
    remote = subscription.find(properties["remoteVirtualNetwork"]["id"])
    if remote is None or properties["peeringState"] != "Connected":
        return "RemoteNotInSync"
    back = counterpart(remote, vnet)
    remote_known = properties["remoteAddressSpace"]["addressPrefixes"]
    remote_behind = remote_known != remote.properties["addressSpace"]["addressPrefixes"]
    local_known = back["properties"]["remoteAddressSpace"]["addressPrefixes"] if back else None
    local_behind = local_known != vnet.properties["addressSpace"]["addressPrefixes"]
    if remote_behind and local_behind:
        return "LocalAndRemoteNotInSync"
    if remote_behind:
        return "RemoteNotInSync"
    return "LocalNotInSync" if local_behind else "FullyInSync"


def counterpart(vnet: Resource, remote: Resource) -> Body | None:
    """The peering of `vnet` that leads to `remote`, or None."""
    peerings: list[Body] = vnet.properties["virtualNetworkPeerings"]
    for peering in peerings:
        if peering["properties"]["remoteVirtualNetwork"]["id"].lower() == remote.key:
            return peering
    return None


def _read_space(given: Body, identity: Identity) -> list[subnets.Prefix]:
    texts = given.get("addressSpace", {}).get("addressPrefixes", [])
    if not texts:
        raise refusal("InvalidAddressSpace", identity=identity)
    spaces = [subnets.read_prefix(text, identity.id) for text in texts]
    subnets.require_allowed(spaces, identity.id)
    for index, one in enumerate(spaces):
        if shared := subnets.common([one], spaces[index + 1 :]):
            raise refusal("NetcfgInvalidVirtualNetworkSite", identity=identity, shared=subnets.listed(shared))
    return spaces


def _require_known_peerings(call: Call, given: Body, known: list[Body]) -> None:
    names = {peering["name"].lower() for peering in known}
    for peering in given.get("virtualNetworkPeerings", []):
        if str(peering.get("name", "")).lower() not in names:
            raise not_here(call, "a peering created inline in the PUT of a virtual network")


def _require_space_fits_peers(subscription: Subscription, vnet: Resource, spaces: list[subnets.Prefix]) -> None:
    for peering in vnet.properties["virtualNetworkPeerings"]:
        remote = subscription.find(peering["properties"]["remoteVirtualNetwork"]["id"])
        if remote is None:
            continue
        if shared := subnets.common(spaces, space(remote)):
            raise refusal(
                "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet, VNet",
                vnet=vnet,
                remote=remote,
                shared=subnets.listed(shared),
            )
