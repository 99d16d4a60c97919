"""Peerings of a VNet: two directed halves, each with its state.

A half alone is Initiated; with its counterpart both are Connected; when one goes away the other is Disconnected and
blocks a new counterpart until it is itself written again or deleted. An operation on a half holds both VNets.
"""

from __future__ import annotations

import copy
from typing import ClassVar

from crdbmesh_simulator.azure import errors, subnets, vnets
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.children import ChildKind
from crdbmesh_simulator.azure.errors import Body, invalid_reference, missing_reference, not_provisioned, refusal
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import in_progress
from crdbmesh_simulator.azure.state import Resource, Subscription

VNETS = "Microsoft.Network/virtualNetworks"
_COMPUTED = ("peeringState", "peeringSyncLevel", "remoteAddressSpace", "remoteVirtualNetworkAddressSpace")


class Peerings(ChildKind):
    """The halves of peerings."""

    parent: ClassVar[str] = VNETS
    collection: ClassVar[str] = "virtualNetworkPeerings"
    operation: ClassVar[str] = "VirtualNetworkPeeringOperation"

    def render(self, call: Call, parent: Resource, child: Body) -> Body:
        """A half as it looks now."""
        return vnets.render_peering(call.subscription, parent, copy.deepcopy(child))

    def write(self, call: Call, parent: Resource, name: str, body: Body, old: Body | None) -> Answer:
        """Create or replace one half."""
        subscription, given = call.subscription, body.get("properties", {})
        peering_id = f"{parent.id}/virtualNetworkPeerings/{name}"
        remote = _find_remote(call, given, peering_id)
        _require_rules(call, parent, remote, old, peering_id)
        operation = subscription.operations.holding(parent.id)
        if operation is not None:
            raise in_progress(call, operation)
        operation = subscription.operations.holding(remote.id)
        if operation is not None:
            state = "Deleting" if operation.kind == "DeleteVirtualNetworkOperation" else "Updating"
            raise not_provisioned(remote.id, peering_id, state, operation.kind)
        for end in (parent, remote):
            if end.state == "Failed":
                raise not_provisioned(end.id, peering_id, end.state, end.failed_by)
        peering = _prepare(call, parent, remote, given, old, peering_id)
        touch(subscription, remote)
        return self.begin(call, parent, peering, old, [parent.id, remote.id])

    def require_deletable(self, call: Call, parent: Resource, child: Body) -> list[str]:
        """Neither VNet is being written; a deletion holds both."""
        held = [parent.id, str(child["properties"]["remoteVirtualNetwork"]["id"])]
        for end in held:
            operation = call.subscription.operations.holding(end)
            if operation is not None:
                raise in_progress(call, operation)
        return held

    def vanish(self, subscription: Subscription, parent: Resource, child: Body) -> None:
        """One half is gone; the other becomes Disconnected."""
        super().vanish(subscription, parent, child)
        remote = subscription.find(str(child["properties"]["remoteVirtualNetwork"]["id"]))
        back = vnets.counterpart(remote, parent) if remote is not None else None
        if remote is not None and back is not None:
            back["properties"]["peeringState"] = "Disconnected"
            touch(subscription, remote)


PEERINGS = Peerings()


def _find_remote(call: Call, given: Body, peering_id: str) -> Resource:
    remote_id = given.get("remoteVirtualNetwork", {}).get("id")
    if not remote_id:
        raise missing_reference("properties.remoteVirtualNetwork")
    remote = call.subscription.find(remote_id)
    if remote is None or remote.type != VNETS:
        raise invalid_reference(remote_id, peering_id)
    return remote


def _require_rules(call: Call, vnet: Resource, remote: Resource, old: Body | None, peering_id: str) -> None:
    if old is not None and old["properties"]["remoteVirtualNetwork"]["id"].lower() != remote.key:
        raise refusal("RemoteVirtualNetworkCannotBeChanged", peering_id=peering_id)
    there = vnets.counterpart(vnet, remote)
    if there is not None and there is not old:
        raise refusal("AnotherPeeringAlreadyReferencesRemoteVnet", there=there, remote=remote, peering_id=peering_id)
    _require_disjoint(call, vnet, remote, peering_id)
    back = vnets.counterpart(remote, vnet)
    if back is not None and back["properties"]["peeringState"] == "Disconnected":
        raise refusal("RemotePeeringIsDisconnected", peering_id=peering_id, back=back, vnet=vnet)


def _require_disjoint(call: Call, vnet: Resource, remote: Resource, peering_id: str) -> None:
    shared = subnets.common(vnets.space(vnet), vnets.space(remote))
    if shared:
        raise refusal(
            "VnetAddressSpacesOverlap", peering_id=peering_id, vnet=vnet, remote=remote, shared=subnets.listed(shared)
        )
    for peering in vnet.properties["virtualNetworkPeerings"]:
        other = call.subscription.find(peering["properties"]["remoteVirtualNetwork"]["id"])
        if other is None or other is remote:
            continue
        shared = subnets.common(vnets.space(other), vnets.space(remote))
        if shared:
            raise refusal(
                "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet",
                peering_id=peering_id,
                remote=remote,
                vnet=vnet,
                other=other,
                shared=subnets.listed(shared),
            )


def _prepare(call: Call, vnet: Resource, remote: Resource, given: Body, old: Body | None, peering_id: str) -> Body:
    back = vnets.counterpart(remote, vnet)
    local_space = list(vnet.properties["addressSpace"]["addressPrefixes"])
    remote_space = list(remote.properties["addressSpace"]["addressPrefixes"])
    was_connected = old is not None and old["properties"]["peeringState"] == "Connected"
    if old is not None and was_connected and not call.flag("syncRemoteAddressSpace"):
        remote_space = old["properties"]["remoteAddressSpace"]["addressPrefixes"]
        local_space = old["properties"]["localAddressSpace"]["addressPrefixes"]
    properties = {
        **errors.body("peering"),
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
    return peering


def _shared_guid(call: Call, old: Body | None, back: Body | None) -> str:
    for half in (back, old):
        if half is not None:
            return str(half["properties"]["resourceGuid"])
    return call.subscription.guid()
