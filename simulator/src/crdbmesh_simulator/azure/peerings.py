"""Peerings of a VNet: two directed halves, each with its state.

A half alone is Initiated; with its counterpart both are Connected; when one goes away the other is Disconnected and
blocks a new counterpart until it is itself written again or deleted. An operation on a half holds both VNets.
"""

from __future__ import annotations

import copy
from typing import Any

from crdbmesh_simulator.azure import prefixes, schemas, vnets
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, accepted, not_here
from crdbmesh_simulator.azure.children import find, find_parent, parent_for_read, read_child, require_names
from crdbmesh_simulator.azure.errors import (
    Body,
    invalid_reference,
    missing_reference,
    not_provisioned,
    refusal,
)
from crdbmesh_simulator.azure.etags import etag_header, require_match, touch
from crdbmesh_simulator.azure.kinds import in_progress, open_group, page
from crdbmesh_simulator.azure.state import Resource

VNETS = "Microsoft.Network/virtualNetworks"
_SCHEMA = "Microsoft.Network.virtualNetworks.virtualNetworkPeerings"
_DEFAULTS: dict[str, Any] = {
    "allowVirtualNetworkAccess": True,
    "allowForwardedTraffic": False,
    "allowGatewayTransit": False,
    "useRemoteGateways": False,
    "doNotVerifyRemoteGateways": False,
    "peerCompleteVnets": True,
}
_COMPUTED = ("peeringState", "peeringSyncLevel", "remoteAddressSpace", "remoteVirtualNetworkAddressSpace")
_UNSUPPORTED = ("enableOnlyIPv6Peering", "localSubnetNames", "remoteSubnetNames")


def get(call: Call) -> Answer:
    """One peering."""
    vnet = parent_for_read(call, VNETS)
    peering = read_child(vnet, "virtualNetworkPeerings", call.names["child"])
    return Answer(200, _render(call, vnet, peering), etag_header(peering))


def list_all(call: Call) -> Answer:
    """All peerings of a VNet."""
    vnet = parent_for_read(call, VNETS)
    return page(call, [_render(call, vnet, peering) for peering in vnet.properties["virtualNetworkPeerings"]])


def put(call: Call) -> Answer:
    """Create or replace one half."""
    subscription = call.subscription
    open_group(subscription, call.names["group"])
    vnet = find_parent(call, VNETS)
    given = schemas.accept(_SCHEMA, call.body()).get("properties", {})
    old = find(vnet.properties["virtualNetworkPeerings"], call.names["child"])
    require_names(vnet.id, [call.names["child"]])
    name = old["name"] if old else call.names["child"]
    peering_id = f"{vnet.id}/virtualNetworkPeerings/{name}"
    require_match(call, peering_id, old)
    remote = _find_remote(call, given, vnet, peering_id)
    _require_rules(call, vnet, remote, given, old, peering_id)
    operation = subscription.operations.holding(vnet.id)
    if operation is not None:
        raise in_progress(call, operation)
    operation = subscription.operations.holding(remote.id)
    if operation is not None:
        state = "Deleting" if operation.kind == "DeleteVirtualNetworkOperation" else "Updating"
        raise not_provisioned(remote.id, peering_id, state, operation.kind)
    for end in (vnet, remote):
        if end.state == "Failed":
            raise not_provisioned(end.id, peering_id, end.state, end.failed_by)
    peering = _store(call, vnet, remote, given, old, peering_id)
    touch(subscription, vnet)
    touch(subscription, remote)

    def done() -> None:
        peering["properties"]["provisioningState"] = "Succeeded"
        touch(subscription, vnet)

    operation = subscription.start(
        "PutVirtualNetworkPeeringOperation", NETWORK, peering_id, vnet.location, done, locks=[vnet.id, remote.id]
    )
    return accepted(call, operation, 200 if old else 201, _render(call, vnet, peering))


def delete(call: Call) -> Answer:
    """Delete one half; the other becomes Disconnected."""
    subscription = call.subscription
    vnet = find_parent(call, VNETS)
    peering = find(vnet.properties["virtualNetworkPeerings"], call.names["child"])
    require_match(call, f"{vnet.id}/virtualNetworkPeerings/{call.names['child']}", peering)
    if peering is None:
        return Answer(204)
    holder = subscription.operations.holding(peering["id"])
    if holder is not None and holder.deletes:
        return accepted(call, holder, 202, None)
    remote_id = str(peering["properties"]["remoteVirtualNetwork"]["id"])
    for held in (vnet.id, remote_id):
        operation = subscription.operations.holding(held)
        if operation is not None:
            raise in_progress(call, operation)
    peering["properties"]["provisioningState"] = "Deleting"
    touch(subscription, vnet)

    def done() -> None:
        vnet.properties["virtualNetworkPeerings"].remove(peering)
        touch(subscription, vnet)
        remote = subscription.find(remote_id)
        back = vnets.counterpart(remote, vnet) if remote is not None else None
        if remote is not None and back is not None:
            back["properties"]["peeringState"] = "Disconnected"
            touch(subscription, remote)

    operation = subscription.start(
        "DeleteVirtualNetworkPeeringOperation", NETWORK, peering["id"], vnet.location, done, locks=[vnet.id, remote_id]
    )
    return accepted(call, operation, 202, None)


def _find_remote(call: Call, given: Body, vnet: Resource, peering_id: str) -> Resource:
    remote_id = given.get("remoteVirtualNetwork", {}).get("id")
    if not remote_id:
        raise missing_reference("properties.remoteVirtualNetwork")
    remote = call.subscription.find(remote_id)
    if remote is None or remote.type != VNETS:
        raise invalid_reference(remote_id, peering_id)
    if remote is vnet:
        raise refusal("CannotPeerVnetWithItself", peering_id=peering_id, vnet=vnet)
    return remote


def _require_rules(
    call: Call, vnet: Resource, remote: Resource, given: Body, old: Body | None, peering_id: str
) -> None:
    unsupported = [name for name in _UNSUPPORTED if given.get(name)]
    if unsupported or given.get("peerCompleteVnets") is False:
        raise not_here(call, f"a peering of subnets: {unsupported or ['peerCompleteVnets']}")
    if old is not None and old["properties"]["remoteVirtualNetwork"]["id"].lower() != remote.key:
        raise refusal("RemoteVirtualNetworkCannotBeChanged", peering_id=peering_id)
    there = vnets.counterpart(vnet, remote)
    if there is not None and there is not old:
        raise refusal("AnotherPeeringAlreadyReferencesRemoteVnet", there=there, remote=remote, peering_id=peering_id)
    _require_disjoint(call, vnet, remote, peering_id)
    back = vnets.counterpart(remote, vnet)
    if back is not None and back["properties"]["peeringState"] == "Disconnected":
        raise refusal("RemotePeeringIsDisconnected", peering_id=peering_id, back=back, vnet=vnet)
    if given.get("useRemoteGateways"):
        raise refusal("RemoteVnetHasNoGateways", peering_id=peering_id, remote=remote)


def _require_disjoint(call: Call, vnet: Resource, remote: Resource, peering_id: str) -> None:
    shared = prefixes.common(vnets.space(vnet), vnets.space(remote))
    if shared:
        raise refusal(
            "VnetAddressSpacesOverlap", peering_id=peering_id, vnet=vnet, remote=remote, shared=prefixes.listed(shared)
        )
    for peering in vnet.properties["virtualNetworkPeerings"]:
        other = call.subscription.find(peering["properties"]["remoteVirtualNetwork"]["id"])
        if other is None or other is remote:
            continue
        shared = prefixes.common(vnets.space(other), vnets.space(remote))
        if shared:
            raise refusal(
                "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet",
                peering_id=peering_id,
                remote=remote,
                vnet=vnet,
                other=other,
                shared=prefixes.listed(shared),
            )


def _store(call: Call, vnet: Resource, remote: Resource, given: Body, old: Body | None, peering_id: str) -> Body:
    back = vnets.counterpart(remote, vnet)
    local_space = list(vnet.properties["addressSpace"]["addressPrefixes"])
    remote_space = list(remote.properties["addressSpace"]["addressPrefixes"])
    was_connected = old is not None and old["properties"]["peeringState"] == "Connected"
    if old is not None and was_connected and not call.flag("syncRemoteAddressSpace"):
        remote_space = old["properties"]["remoteAddressSpace"]["addressPrefixes"]
        local_space = old["properties"]["localAddressSpace"]["addressPrefixes"]
    properties = {
        **_DEFAULTS,
        **{name: value for name, value in given.items() if name not in _COMPUTED},
        "provisioningState": "Updating",
        "peeringState": "Connected" if back is not None else "Initiated",
        "remoteVirtualNetwork": {"id": remote.id},
        "localAddressSpace": {"addressPrefixes": local_space},
        "remoteAddressSpace": {"addressPrefixes": remote_space},
        "remoteVirtualNetworkAddressSpace": {"addressPrefixes": remote_space},
        "resourceGuid": _shared_guid(call, old, back),
    }
    peering: Body = {
        "name": peering_id.rpartition("/")[2],
        "id": peering_id,
        "type": f"{VNETS}/virtualNetworkPeerings",
        "etag": call.subscription.etag(),
        "properties": properties,
    }
    if back is not None:
        back["properties"]["peeringState"] = "Connected"
    if back is not None and not was_connected:
        back["properties"]["remoteAddressSpace"] = {"addressPrefixes": list(local_space)}
    halves = vnet.properties["virtualNetworkPeerings"]
    if old is None:
        halves.append(peering)
    else:
        halves[halves.index(old)] = peering
    return peering


def _shared_guid(call: Call, old: Body | None, back: Body | None) -> str:
    for half in (back, old):
        if half is not None:
            return str(half["properties"]["resourceGuid"])
    return call.subscription.guid()


def _render(call: Call, vnet: Resource, peering: Body) -> Body:
    return vnets.render_peering(call.subscription, vnet, copy.deepcopy(peering))
