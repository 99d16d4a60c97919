"""Peerings: two halves and their states."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def pair(shared: Any, group: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return shared.vnet(group, "a", "10.1.0.0/16"), shared.vnet(group, "b", "10.2.0.0/16", location="westus")


def half(vnet: dict[str, Any], name: str) -> str:
    return f"{vnet['id']}/virtualNetworkPeerings/{name}"


def state(shared: Any, path: str) -> tuple[str, str]:
    properties = shared.ask("GET", path).body["properties"]
    return properties["peeringState"], properties["peeringSyncLevel"]


def test_one_half_is_initiated_and_two_are_connected(shared: Any, pair: Any, bodies: Any) -> None:
    a, b = pair
    first = shared.ask("PUT", half(a, "to-b"), bodies.peering(b))
    assert first.status == 201
    assert first.body["properties"]["provisioningState"] == "Updating"
    assert first.body["properties"]["peeringState"] == "Initiated"
    assert first.body["properties"]["peeringSyncLevel"] == "RemoteNotInSync"
    shared.wait(first)
    assert state(shared, half(a, "to-b")) == ("Initiated", "RemoteNotInSync")
    second = shared.ask("PUT", half(b, "to-a"), bodies.peering(a))
    assert second.body["properties"]["peeringState"] == "Connected"
    assert second.body["properties"]["peeringSyncLevel"] == "FullyInSync"
    shared.wait(second)
    assert state(shared, half(a, "to-b")) == ("Connected", "FullyInSync")
    properties = shared.ask("GET", half(a, "to-b")).body["properties"]
    assert properties["remoteAddressSpace"] == {"addressPrefixes": ["10.2.0.0/16"]}
    assert properties["remoteVirtualNetworkAddressSpace"] == {"addressPrefixes": ["10.2.0.0/16"]}
    assert properties["resourceGuid"] == second.body["properties"]["resourceGuid"]
    assert properties["allowVirtualNetworkAccess"] is True
    assert properties["useRemoteGateways"] is False
    (listed,) = shared.ask("GET", f"{a['id']}/virtualNetworkPeerings").body["value"]
    assert listed["name"] == "to-b"
    (inline,) = shared.ask("GET", a["id"]).body["properties"]["virtualNetworkPeerings"]
    assert inline == listed


def test_a_half_that_goes_leaves_the_other_disconnected(shared: Any, pair: Any, bodies: Any) -> None:
    a, b = pair
    shared.done("PUT", half(a, "to-b"), bodies.peering(b))
    shared.done("PUT", half(b, "to-a"), bodies.peering(a))
    shared.done("DELETE", half(b, "to-a"))
    assert shared.ask("GET", half(b, "to-a")).status == 404
    assert shared.ask("DELETE", half(b, "to-a")).status == 204
    assert state(shared, half(a, "to-b"))[0] == "Disconnected"
    refused = shared.ask("PUT", half(b, "to-a"), bodies.peering(a))
    assert (refused.status, refused.code) == (400, "RemotePeeringIsDisconnected")
    shared.done("PUT", half(a, "to-b"), bodies.peering(b))
    assert state(shared, half(a, "to-b"))[0] == "Initiated"
    shared.done("PUT", half(b, "to-a"), bodies.peering(a))
    assert state(shared, half(a, "to-b"))[0] == "Connected"


def test_a_vnet_that_goes_leaves_its_peer_disconnected(shared: Any, pair: Any, bodies: Any) -> None:
    a, b = pair
    shared.done("PUT", half(a, "to-b"), bodies.peering(b))
    shared.done("PUT", half(b, "to-a"), bodies.peering(a))
    shared.done("DELETE", b["id"])
    assert state(shared, half(a, "to-b"))[0] == "Disconnected"


def test_overlapping_vnets_are_not_peered(shared: Any, group: str, bodies: Any) -> None:
    a, b = shared.vnet(group, "a", "10.1.0.0/16"), shared.vnet(group, "b", "10.1.0.0/16")
    reply = shared.ask("PUT", half(a, "to-b"), bodies.peering(b))
    assert (reply.status, reply.code) == (400, "VnetAddressSpacesOverlap")
    assert reply.message.endswith("Overlapping address prefixes: 10.1.0.0/16")


def test_peers_of_one_vnet_do_not_overlap_either(shared: Any, group: str, bodies: Any) -> None:
    hub = shared.vnet(group, "hub", "10.0.0.0/16")
    one, two = shared.vnet(group, "one", "10.1.0.0/16"), shared.vnet(group, "two", "10.1.0.0/16")
    shared.done("PUT", half(hub, "to-one"), bodies.peering(one))
    reply = shared.ask("PUT", half(hub, "to-two"), bodies.peering(two))
    assert (reply.status, reply.code) == (400, "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet")
    assert one["id"] in reply.message


def test_two_peerings_to_one_vnet_are_not_made(shared: Any, pair: Any, bodies: Any) -> None:
    a, b = pair
    shared.done("PUT", half(a, "to-b"), bodies.peering(b))
    reply = shared.ask("PUT", half(a, "again"), bodies.peering(b))
    assert (reply.status, reply.code) == (400, "AnotherPeeringAlreadyReferencesRemoteVnet")


def test_a_peering_leads_to_a_vnet_that_is_there(shared: Any, pair: Any, bodies: Any) -> None:
    a, b = pair
    absent = {"id": f"{b['id']}x"}
    assert shared.ask("PUT", half(a, "p"), bodies.peering(absent)).code == "InvalidResourceReference"
    reply = shared.ask("PUT", half(a, "p"), {"properties": {}})
    assert reply.body["error"]["details"][0]["code"] == "MissingJsonReferenceId"
    assert shared.ask("PUT", half(a, "p"), bodies.peering(b, colour="red")).code == "InvalidRequestFormat"
    assert shared.ask("PUT", half(absent, "p"), bodies.peering(b)).code == "ParentResourceNotFound"


def test_a_peering_holds_both_of_its_vnets(slow: Any, bodies: Any) -> None:
    group = slow.group("both")
    a, b, c = (slow.vnet(group, name, f"10.{number}.0.0/16") for number, name in enumerate("abc"))
    begun = slow.ask("PUT", half(a, "to-b"), bodies.peering(b))
    near = slow.ask("PUT", half(a, "to-c"), bodies.peering(c))
    assert (near.status, near.code) == (409, "AnotherOperationInProgress")
    back = slow.ask("PUT", half(b, "to-a"), bodies.peering(a))
    assert (back.status, back.code) == (409, "AnotherOperationInProgress")
    far = slow.ask("PUT", half(c, "to-b"), bodies.peering(b))
    assert (far.status, far.code) == (400, "ReferencedResourceNotProvisioned")
    assert "PutVirtualNetworkPeeringOperation" in far.message
    nic = slow.ask("PUT", f"{group}/providers/Microsoft.Network/networkInterfaces/n", bodies.nic(a))
    assert nic.status == 201
    slow.wait(begun)
    assert slow.done("PUT", half(c, "to-b"), bodies.peering(b)).status == 200


def test_a_changed_address_space_is_out_of_sync_until_it_is_synchronised(shared: Any, pair: Any, bodies: Any) -> None:
    a, b = pair
    shared.done("PUT", half(a, "to-b"), bodies.peering(b))
    shared.done("PUT", half(b, "to-a"), bodies.peering(a))
    body = shared.ask("GET", b["id"]).body
    body["properties"]["addressSpace"]["addressPrefixes"].append("10.9.0.0/16")
    shared.done("PUT", b["id"], body)
    assert state(shared, half(a, "to-b")) == ("Connected", "RemoteNotInSync")
    assert state(shared, half(b, "to-a")) == ("Connected", "LocalNotInSync")
    shared.done("PUT", half(a, "to-b"), bodies.peering(b))
    assert state(shared, half(a, "to-b"))[1] == "RemoteNotInSync"
    shared.wait(shared.ask("PUT", f"{half(a, 'to-b')}?syncRemoteAddressSpace=true", bodies.peering(b)))
    assert state(shared, half(a, "to-b"))[1] == "FullyInSync"
    assert state(shared, half(b, "to-a"))[1] == "FullyInSync"
    body = shared.ask("GET", b["id"]).body
    body["properties"]["addressSpace"]["addressPrefixes"].append("10.1.0.0/16")
    clash = shared.ask("PUT", b["id"], body)
    assert clash.code == "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"
