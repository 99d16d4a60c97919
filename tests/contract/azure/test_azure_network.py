"""Networks, peerings, firewalls, addresses and interfaces through the SDK."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crdbmesh.clients.azure import kinds, resources
from crdbmesh.clients.azure.compare import differences
from crdbmesh.clients.azure.session import Session
from crdbmesh.errors import CloudError, WaitError

Body = dict[str, Any]
LOCATION = "eastus"


Delete = Callable[[str, str], None]
"""Deletes a resource of the group, by type and name."""


def vnet(prefix: str, **more: Any) -> Body:
    subnet = {"name": "nodes", "properties": {"addressPrefix": prefix.replace("/16", "/24")}}
    return {
        "location": LOCATION,
        "properties": {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": [subnet]},
        **more,
    }


def peering(remote: Body) -> Body:
    return {
        "properties": {
            "remoteVirtualNetwork": {"id": remote["id"]},
            "allowVirtualNetworkAccess": True,
            "allowForwardedTraffic": True,
            "allowGatewayTransit": False,
            "useRemoteGateways": False,
        }
    }


def firewall(port: str) -> Body:
    rule = {
        "priority": 100,
        "direction": "Inbound",
        "access": "Allow",
        "protocol": "Tcp",
        "sourceAddressPrefixes": ["192.0.2.1"],
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": port,
    }
    return {"location": LOCATION, "properties": {"securityRules": [{"name": "ssh", "properties": rule}]}}


def public_ip() -> Body:
    return {
        "location": LOCATION,
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
    }


def nic(subnet_id: str, address_id: str, firewall_id: str) -> Body:
    configuration = {
        "name": "primary",
        "properties": {
            "primary": True,
            "subnet": {"id": subnet_id},
            "publicIPAddress": {"id": address_id, "properties": {"deleteOption": "Delete"}},
        },
    }
    return {
        "location": LOCATION,
        "properties": {"ipConfigurations": [configuration], "networkSecurityGroup": {"id": firewall_id}},
    }


@pytest.mark.parametrize(
    "find",
    [
        lambda session, group: kinds.VNET.find(session, group, "absent"),
        lambda session, group: kinds.PEERING.find(session, group, "absent", "absent"),
        lambda session, group: kinds.NSG.find(session, group, "absent"),
        lambda session, group: kinds.PUBLIC_IP.find(session, group, "absent"),
        lambda session, group: kinds.NIC.find(session, group, "absent"),
        lambda session, group: kinds.VNET.find(session, f"{group}-absent", "absent"),
    ],
)
def test_what_is_absent_is_none(session: Session, group: str, find: Callable[[Session, str], Body | None]) -> None:
    assert find(session, group) is None


@pytest.mark.parametrize("kind", ["virtualNetworks", "networkSecurityGroups", "publicIPAddresses", "networkInterfaces"])
def test_deleting_what_is_absent_is_done(delete: Delete, kind: str) -> None:
    delete(kind, "absent")


def test_deleting_a_peering_that_is_absent_is_done(session: Session, group: str) -> None:
    kinds.PEERING.delete(session, group, "absent", "absent")
    kinds.PEERING.delete(session, f"{group}-absent", "absent", "absent")


def test_lists_of_what_an_absent_group_holds_are_empty(session: Session, group: str) -> None:
    assert kinds.VNET.list(session, f"{group}-absent") == []
    assert kinds.PEERING.list(session, group, "absent") == []


def test_an_operation_is_followed_to_its_end_and_says_what_it_waits_for(session: Session, group: str) -> None:
    said: list[str] = []
    made = kinds.VNET.ensure(session, group, "followed", body=vnet("10.20.0.0/16"), say=said.append)
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert any(" virtualNetworks/followed is " in text for text in said)
    assert kinds.VNET.find(session, group, "FOLLOWED") == made


def test_ensuring_again_changes_nothing(session: Session, group: str) -> None:
    body = vnet("10.21.0.0/16", tags={"crdbmesh": "contract"})
    made = kinds.VNET.ensure(session, group, "again", body=body)
    assert differences(body, made) == []
    remade = kinds.VNET.ensure(session, group, "again", body=body)
    assert differences(body, remade) == []
    assert remade["properties"]["resourceGuid"] == made["properties"]["resourceGuid"]


def test_what_comes_back_is_compared_with_what_was_asked(session: Session, group: str, delete: Delete) -> None:
    made = kinds.NSG.ensure(session, group, "compared", body=firewall("22"))
    assert differences(firewall("22"), made) == []
    assert differences(firewall("2222"), made) == ["securityRules[ssh].destinationPortRange: 2222 wanted, 22 found"]
    changed = kinds.NSG.ensure(session, group, "compared", body=firewall("2222"))
    assert differences(firewall("2222"), changed) == []
    delete("networkSecurityGroups", "compared")
    assert kinds.NSG.find(session, group, "compared") is None


def test_two_halves_make_a_peering_and_one_alone_does_not(session: Session, group: str) -> None:
    one = kinds.VNET.ensure(session, group, "half-1", body=vnet("10.30.0.0/16"))
    two = kinds.VNET.ensure(session, group, "half-2", body=vnet("10.31.0.0/16"))
    first = kinds.PEERING.ensure(session, group, "half-1", "to-2", body=peering(two))
    assert first["properties"]["peeringState"] == "Initiated"
    second = kinds.PEERING.ensure(session, group, "half-2", "to-1", body=peering(one))
    assert second["properties"]["peeringState"] == "Connected"
    assert differences(peering(one), second) == []
    (listed,) = kinds.PEERING.list(session, group, "half-1")
    assert listed["name"] == "to-2"
    assert listed["properties"]["peeringState"] == "Connected"
    kinds.PEERING.delete(session, group, "half-2", "to-1")
    left = kinds.PEERING.find(session, group, "half-1", "to-2")
    assert left is not None
    assert left["properties"]["peeringState"] == "Disconnected"
    kinds.PEERING.delete(session, group, "half-1", "to-2")
    assert kinds.PEERING.list(session, group, "half-1") == []


def test_networks_that_overlap_cannot_be_peered_and_the_hint_says_why(session: Session, group: str) -> None:
    kinds.VNET.ensure(session, group, "overlap-1", body=vnet("10.40.0.0/16"))
    two = kinds.VNET.ensure(session, group, "overlap-2", body=vnet("10.40.0.0/16"))
    with pytest.raises(CloudError) as caught:
        kinds.PEERING.ensure(session, group, "overlap-1", "to-2", body=peering(two))
    assert caught.value.code == "VnetAddressSpacesOverlap"
    assert caught.value.status == 400
    assert caught.value.hint == "give the regions disjoint address ranges"
    assert caught.value.request_id


def test_writers_that_meet_at_one_network_all_get_their_turn(session: Session, group: str) -> None:
    hub = kinds.VNET.ensure(session, group, "hub", body=vnet("10.50.0.0/16"))
    spokes = [kinds.VNET.ensure(session, group, f"spoke-{n}", body=vnet(f"10.5{n}.0.0/16")) for n in (1, 2, 3)]

    def outward(spoke: Body) -> Body:
        return kinds.PEERING.ensure(session, group, "hub", f"to-{spoke['name']}", body=peering(spoke))

    def inward(spoke: Body) -> Body:
        return kinds.PEERING.ensure(session, group, spoke["name"], "to-hub", body=peering(hub))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda call: call[0](call[1]), [(way, spoke) for spoke in spokes for way in (outward, inward)]))
    states = {one["properties"]["peeringState"] for one in kinds.PEERING.list(session, group, "hub")}
    assert states == {"Connected"}


def test_a_public_ip_has_an_address_and_an_interface_joins_it_all(session: Session, group: str, delete: Delete) -> None:
    address = kinds.PUBLIC_IP.ensure(session, group, "joined-ip", body=public_ip())
    assert address["properties"]["ipAddress"].count(".") == 3
    rules = kinds.NSG.ensure(session, group, "joined-nsg", body=firewall("22"))
    net = kinds.VNET.ensure(session, group, "joined", body=vnet("10.60.0.0/16"))
    body = nic(net["properties"]["subnets"][0]["id"], address["id"], rules["id"])
    made = kinds.NIC.ensure(session, group, "joined-nic", body=body)
    assert differences(body, made) == []
    assert made["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.60.0.4"
    in_use = kinds.PUBLIC_IP.find(session, group, "joined-ip")
    assert in_use is not None
    assert made["id"].lower() in in_use["properties"]["ipConfiguration"]["id"].lower()

    with pytest.raises(CloudError, match="InUseSubnetCannotBeDeleted"):
        delete("virtualNetworks", "joined")
    with pytest.raises(CloudError, match="PublicIPAddressCannotBeDeleted"):
        delete("publicIPAddresses", "joined-ip")

    delete("networkInterfaces", "joined-nic")
    delete("publicIPAddresses", "joined-ip")
    delete("networkSecurityGroups", "joined-nsg")
    delete("virtualNetworks", "joined")
    assert kinds.VNET.find(session, group, "joined") is None


def test_a_reference_to_what_does_not_exist_is_refused(session: Session, group: str) -> None:
    absent = f"/subscriptions/{session.subscription_id}/resourceGroups/{group}/providers/Microsoft.Network"
    body = nic(f"{absent}/virtualNetworks/no/subnets/no", f"{absent}/publicIPAddresses/no", f"{absent}/x/no")
    # Azure may not see yet what was just made, so that it is asked again for half a minute.
    with pytest.raises(WaitError, match=r"PUT networkInterfaces/dangling; last seen: .*(Reference|NotFound)"):
        kinds.NIC.ensure(session, group, "dangling", body=body)
    assert kinds.NIC.find(session, group, "dangling") is None


def test_a_deadline_that_passes_tells_the_operation_and_its_state(session: Session, group: str) -> None:
    with pytest.raises(WaitError, match="PUT virtualNetworks/late; last seen: "):
        kinds.VNET.ensure(session, group, "late", body=vnet("10.70.0.0/16"), deadline_s=0.0)
    # Azure goes on with what it has begun; asking again waits for it and finds it done.
    kinds.VNET.ensure(session, group, "late", body=vnet("10.70.0.0/16"))
    resources.delete_resource(session, kinds.VNET.list(session, group)[0]["id"])


def test_quota_is_listed_by_name(session: Session) -> None:
    usages = {one["name"]["value"]: one for one in resources.list_network_usages(session, LOCATION)}
    for name in ("VirtualNetworks", "NetworkSecurityGroups", "NetworkInterfaces"):
        assert usages[name]["currentValue"] <= usages[name]["limit"]
