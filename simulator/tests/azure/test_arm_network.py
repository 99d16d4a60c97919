"""VNets, subnets, security groups, public addresses and NICs: each rule both ways."""

from __future__ import annotations

from typing import Any

import pytest

NETWORK = "providers/Microsoft.Network"
PUBLIC_IP: dict[str, Any] = {
    "location": "eastus",
    "sku": {"name": "Standard"},
    "properties": {"publicIPAllocationMethod": "Static"},
}


def vnet(*prefixes: str, subnets: dict[str, str] | None = None) -> dict[str, Any]:
    entries = [{"name": name, "properties": {"addressPrefix": prefix}} for name, prefix in (subnets or {}).items()]
    return {
        "location": "eastus",
        "properties": {"addressSpace": {"addressPrefixes": list(prefixes)}, "subnets": entries},
    }


def test_a_vnet_is_updating_then_succeeded_with_what_azure_adds(shared: Any, group: str) -> None:
    path = f"{group}/{NETWORK}/virtualNetworks/v"
    reply = shared.ask("PUT", path, vnet("10.0.0.0/16", subnets={"nodes": "10.0.0.0/24"}), api="2025-07-01")
    assert reply.status == 201
    assert reply.body["properties"]["provisioningState"] == "Updating"
    operation = reply.headers["azure-asyncoperation"]
    assert f"{shared.scope}/providers/Microsoft.Network/locations/eastus/operations/" in operation
    assert operation.endswith("?api-version=2025-07-01")
    assert shared.wait(reply) == {"status": "Succeeded"}
    body = shared.ask("GET", path).body
    assert body["properties"]["provisioningState"] == "Succeeded"
    assert body["etag"].startswith('W/"')
    assert body["properties"]["virtualNetworkPeerings"] == []
    (subnet,) = body["properties"]["subnets"]
    assert subnet["id"] == f"{shared.scope}/{path}/subnets/nodes"
    assert subnet["properties"]["defaultOutboundAccess"] is False
    again = shared.done("PUT", path, body)
    assert again.body["properties"]["resourceGuid"] == body["properties"]["resourceGuid"]
    assert again.body["properties"]["subnets"][0]["name"] == "nodes"


def test_subnets_of_older_api_versions_are_not_private(shared: Any, group: str) -> None:
    body = vnet("10.0.0.0/16", subnets={"nodes": "10.0.0.0/24"})
    made = shared.network(group, "virtualNetworks", "v", body, api="2024-05-01")
    assert "defaultOutboundAccess" not in made["properties"]["subnets"][0]["properties"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (vnet("10.0.0.1/16"), "InvalidCIDRNotation"),
        (vnet("ten"), "InvalidAddressPrefixFormat"),
        (vnet(), "InvalidAddressSpace"),
        (vnet("10.0.0.0/16", "10.0.1.0/24"), "NetcfgInvalidVirtualNetworkSite"),
        (vnet("10.0.0.0/16", subnets={"a": "10.1.0.0/24"}), "NetcfgInvalidSubnet"),
        (vnet("10.0.0.0/16", subnets={"a": "10.0.0.0/30"}), "NetcfgInvalidSubnet"),
        (vnet("10.0.0.0/16", subnets={"a": "10.0.0.0/24", "b": "10.0.0.128/25"}), "NetcfgSubnetRangesOverlap"),
        ({**vnet("10.0.0.0/16"), "location": "atlantis"}, "LocationNotAvailableForResourceType"),
        ({"properties": {}}, "LocationRequired"),
    ],
)
def test_a_vnet_that_cannot_be_is_refused(shared: Any, group: str, body: Any, code: str) -> None:
    reply = shared.ask("PUT", f"{group}/{NETWORK}/virtualNetworks/v", body)
    assert (reply.status, reply.code) == (400, code)
    assert shared.ask("GET", f"{group}/{NETWORK}/virtualNetworks/v").code == "ResourceNotFound"


def test_members_nobody_knows_are_refused_and_read_only_ones_ignored(shared: Any, group: str) -> None:
    path = f"{group}/{NETWORK}/virtualNetworks/v"
    body = vnet("10.0.0.0/16")
    body["properties"]["adressSpace"] = {}
    reply = shared.ask("PUT", path, body)
    assert (reply.status, reply.code) == (400, "InvalidRequestFormat")
    assert reply.body["error"]["details"][0]["code"] == "InvalidJson"
    assert "Could not find member 'adressSpace' on object of type 'VirtualNetworkPropertiesFormat'" in str(reply.body)
    flat = {"location": "eastus", "address_space": {"address_prefixes": ["10.0.0.0/16"]}}
    assert shared.ask("PUT", path, flat).code == "InvalidRequestFormat"
    wrong = vnet("10.0.0.0/16")
    wrong["properties"]["addressSpace"]["addressPrefixes"] = "10.0.0.0/16"
    assert shared.ask("PUT", path, wrong).code == "InvalidRequestFormat"
    odd = vnet("10.0.0.0/16")
    odd["properties"].update(provisioningState="Failed", resourceGuid="mine", enableDdosProtection=None)
    odd["properties"]["ADDRESSSPACE"] = odd["properties"].pop("addressSpace")
    made = shared.done("PUT", path, odd)
    assert made.body["properties"]["provisioningState"] == "Succeeded"
    assert made.body["properties"]["resourceGuid"] != "mine"


def test_a_put_without_subnets_keeps_them_or_not_as_its_api_version_does(shared: Any, group: str) -> None:
    shared.vnet(group, "v", "10.0.0.0/16")
    path = f"{group}/{NETWORK}/virtualNetworks/v"
    bare = {"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    assert len(shared.done("PUT", path, bare, api="2023-09-01").body["properties"]["subnets"]) == 1
    assert shared.done("PUT", path, bare, api="2023-05-01").body["properties"]["subnets"] == []


def test_a_vnet_has_one_writer_at_a_time(slow: Any) -> None:
    path = f"{slow.group('one-writer')}/{NETWORK}/virtualNetworks/v"
    first = slow.ask("PUT", path, vnet("10.0.0.0/16"))
    for method, body in (("PUT", vnet("10.0.0.0/16")), ("DELETE", None)):
        reply = slow.ask(method, path, body)
        assert (reply.status, reply.code) == (409, "AnotherOperationInProgress")
        assert first.headers["azure-asyncoperation"].partition("?")[0] in reply.message
    slow.wait(first)
    assert slow.done("PUT", path, vnet("10.0.0.0/16", "10.1.0.0/16")).status == 200


def test_subnets_live_in_their_vnet(shared: Any, group: str, bodies: Any) -> None:
    path = f"{group}/{NETWORK}/virtualNetworks/v"
    both = {"nodes": "10.0.0.0/24", "more": "10.0.1.0/24"}
    made = shared.network(group, "virtualNetworks", "v", vnet("10.0.0.0/16", subnets=both))
    assert [one["name"] for one in made["properties"]["subnets"]] == ["nodes", "more"]
    overlapping = shared.ask("PUT", path, vnet("10.0.0.0/16", subnets={**both, "third": "10.0.1.128/25"}))
    assert overlapping.code == "NetcfgSubnetRangesOverlap"
    nic = shared.nic(group, "n", bodies.nic(made))
    used = shared.ask("GET", path).body["properties"]["subnets"][0]["properties"]["ipConfigurations"]
    assert used == [{"id": f"{nic['id']}/ipConfigurations/primary"}]
    refused = shared.ask("PUT", path, vnet("10.0.0.0/16", subnets={"more": "10.0.1.0/24"}))
    assert (refused.status, refused.code) == (400, "InUseSubnetCannotBeDeleted")
    less = shared.done("PUT", path, vnet("10.0.0.0/16", subnets={"nodes": "10.0.0.0/24"}))
    assert [one["name"] for one in less.body["properties"]["subnets"]] == ["nodes"]
    assert shared.ask("GET", f"{path}/subnets/nodes").status == 501


@pytest.mark.parametrize("kind", ["virtualNetworks", "networkSecurityGroups"])
def test_a_second_put_of_the_same_changes_nothing_and_is_done_at_once(shared: Any, group: str, kind: str) -> None:
    path = f"{group}/{NETWORK}/{kind}/x"
    rule = {"name": "r", "properties": {"priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
            "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*",
            "destinationPortRange": "22"}}  # fmt: skip
    body: dict[str, Any] = {"location": "eastus", "properties": {"securityRules": [rule]}}
    if kind == "virtualNetworks":
        body = vnet("10.0.0.0/16", subnets={"nodes": "10.0.0.0/24"})
    made = shared.done("PUT", path, body).body
    for sent in (body, made):
        again = shared.ask("PUT", path, sent)
        assert (again.status, again.body["properties"]["provisioningState"]) == (200, "Succeeded")
        assert "azure-asyncoperation" not in again.headers
        assert again.body["etag"] == made["etag"]
    changed = shared.ask("PUT", path, {**body, "tags": {"a": "b"}})
    assert (changed.status, changed.body["properties"]["provisioningState"]) == (200, "Updating")
    shared.wait(changed)


def test_a_vnet_in_use_is_not_deleted_and_a_free_one_is(shared: Any, group: str, bodies: Any) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    shared.nic(group, "n", bodies.nic(made))
    refused = shared.ask("DELETE", made["id"])
    assert (refused.status, refused.code) == (400, "InUseSubnetCannotBeDeleted")
    assert "n/ipConfigurations/primary" in refused.message
    shared.done("DELETE", f"{group}/{NETWORK}/networkInterfaces/n")
    reply = shared.ask("DELETE", made["id"])
    assert reply.status == 202
    assert "/operationResults/" in reply.headers["location"]
    assert shared.ask("DELETE", made["id"]).status in (202, 204)
    shared.wait(reply)
    assert shared.ask("GET", reply.headers["location"]).status == 204
    assert shared.ask("GET", made["id"]).status == 404
    assert shared.ask("DELETE", made["id"]).status == 204


def test_etags_guard_writes(shared: Any, group: str) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    stale = {"If-Match": 'W/"00000000-0000-0000-0000-000000000000"'}
    reply = shared.ask("PUT", made["id"], vnet("10.0.0.0/16"), headers=stale)
    assert (reply.status, reply.code) == (412, "PreconditionFailed")
    assert shared.ask("DELETE", made["id"], headers=stale).status == 412
    assert shared.ask("PUT", made["id"], vnet("10.0.0.0/16"), headers={"If-None-Match": "*"}).status == 412
    good = {"If-Match": shared.ask("GET", made["id"]).headers["etag"]}
    shared.wait(shared.ask("PUT", made["id"], vnet("10.0.0.0/16"), headers=good))


def test_a_resource_does_not_move(shared: Any, group: str) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    reply = shared.ask("PUT", made["id"], {**vnet("10.0.0.0/16"), "location": "westus"})
    assert (reply.status, reply.code) == (409, "InvalidResourceLocation")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"priority": 99}, "SecurityRuleInvalidPriority"),
        ({"priority": 4097}, "SecurityRuleInvalidPriority"),
        ({"destinationPortRange": "70000"}, "SecurityRuleInvalidPortRange"),
        ({"destinationPortRange": "20-10"}, "SecurityRuleInvalidPortRange"),
        ({"destinationPortRange": None, "destinationPortRanges": ["*"]}, "SecurityRuleInvalidPortRange"),
        ({"sourceAddressPrefix": "everyone"}, "SecurityRuleInvalidAddressPrefix"),
        ({"sourceAddressPrefix": None, "sourceAddressPrefixes": ["Internet"]}, "SecurityRuleInvalidAddressPrefix"),
        ({"sourceAddressPrefix": None}, "RequiredSecurityRuleParametersMissing"),
        ({"protocol": "Http"}, "InvalidRequestFormat"),
        ({"priority": "100"}, "InvalidRequestFormat"),
        ({"direction": None}, "InvalidRequestFormat"),
    ],
)
def test_a_security_rule_that_makes_no_sense_is_refused(
    shared: Any, group: str, bodies: Any, change: dict[str, Any], code: str
) -> None:
    rule = {**bodies.rule(port="22"), **change}
    body = {"location": "eastus", "properties": {"securityRules": [{"name": "r", "properties": rule}]}}
    reply = shared.ask("PUT", f"{group}/{NETWORK}/networkSecurityGroups/n", body)
    assert (reply.status, reply.code) == (400, code)


def test_two_rules_of_one_priority_conflict_in_one_direction_only(shared: Any, group: str, bodies: Any) -> None:
    path = f"{group}/{NETWORK}/networkSecurityGroups/n"
    made = shared.nsg(group, "n", bodies.rule(100), bodies.rule(100, direction="Outbound"))
    assert [one["name"] for one in made["properties"]["securityRules"]] == ["rule0", "rule1"]
    reply = shared.ask("PUT", f"{path}/securityRules/third", {"properties": bodies.rule(100)})
    assert (reply.status, reply.code) == (400, "SecurityRuleConflict")
    assert shared.done("PUT", f"{path}/securityRules/third", {"properties": bodies.rule(101)}).status == 200
    assert len(shared.ask("GET", path).body["properties"]["securityRules"]) == 3
    shared.done("DELETE", f"{path}/securityRules/third")
    assert shared.ask("GET", f"{path}/securityRules/third").status == 404
    assert shared.ask("DELETE", f"{path}/securityRules/third").status == 204
    defaults = shared.ask("GET", path).body["properties"]["defaultSecurityRules"]
    assert sorted(one["properties"]["priority"] for one in defaults) == [65000, 65000, 65001, 65001, 65500, 65500]


def test_a_security_group_in_use_is_not_deleted(shared: Any, group: str, bodies: Any) -> None:
    nsg = shared.nsg(group, "g")
    made = shared.vnet(group, "v", "10.0.0.0/16", networkSecurityGroup={"id": nsg["id"]})
    shared.nic(group, "n", bodies.nic(made, nsg=nsg))
    seen = shared.ask("GET", nsg["id"]).body["properties"]
    assert seen["subnets"] == [{"id": made["properties"]["subnets"][0]["id"]}]
    assert len(seen["networkInterfaces"]) == 1
    reply = shared.ask("DELETE", nsg["id"])
    assert (reply.status, reply.code) == (400, "InUseNetworkSecurityGroupCannotBeDeleted")
    shared.done("DELETE", f"{group}/{NETWORK}/networkInterfaces/n")
    shared.done("DELETE", made["id"])
    shared.done("DELETE", nsg["id"])


def test_a_public_address_appears_when_it_has_succeeded_and_returns(make_world: Any, serve: Any) -> None:
    with serve(make_world(addresses=iter(["127.9.9.1"]))) as arm:
        group = arm.group()
        path = f"{group}/{NETWORK}/publicIPAddresses/ip"
        reply = arm.ask("PUT", path, PUBLIC_IP)
        assert reply.status == 201
        arm.wait(reply)
        assert arm.ask("GET", path).body["properties"]["ipAddress"] == "127.9.9.1"
        assert arm.done("PUT", path, PUBLIC_IP).body["properties"]["ipAddress"] == "127.9.9.1"
        assert arm.ask("PUT", f"{path}2", PUBLIC_IP).code == "PublicIPAddressPoolExhausted"
        arm.done("DELETE", path)
        assert arm.done("PUT", f"{path}2", PUBLIC_IP).body["properties"]["ipAddress"] == "127.9.9.1"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sku": {}}, "IPv4BasicSkuPublicIpCountLimitReached"),
        ({"sku": {"name": "Basic"}}, "IPv4BasicSkuPublicIpCountLimitReached"),
        ({"properties": {"publicIPAllocationMethod": "Dynamic"}}, "StandardSkuPublicIPAddressesMustBeStatic"),
        ({"properties": {}}, "StandardSkuPublicIPAddressesMustBeStatic"),
        ({"zones": ["4"]}, "InvalidAvailabilityZone"),
        ({"zones": ["1"], "location": "westus"}, "LocationNotSupportAvailabilityZones"),
    ],
)
def test_a_public_address_that_cannot_be_is_refused(shared: Any, group: str, change: Any, code: str) -> None:
    reply = shared.ask("PUT", f"{group}/{NETWORK}/publicIPAddresses/ip", {**PUBLIC_IP, **change})
    assert (reply.status, reply.code) == (400, code)


def test_public_addresses_have_a_quota(make_world: Any, serve: Any) -> None:
    world = make_world()
    world.subscription.limits.everywhere["PublicIPAddresses"] = 1
    with serve(world) as arm:
        group = arm.group()
        arm.public_ip(group, "one")
        reply = arm.ask("PUT", f"{group}/{NETWORK}/publicIPAddresses/two", PUBLIC_IP)
        assert (reply.status, reply.code) == (400, "PublicIPCountLimitReached")
        arm.public_ip(group, "elsewhere", location="westus")


def test_a_public_address_belongs_to_one_nic(shared: Any, group: str, bodies: Any) -> None:
    made, address = shared.vnet(group, "v", "10.0.0.0/16"), shared.public_ip(group, "ip")
    nic = shared.nic(group, "n", bodies.nic(made, address=address))
    seen = shared.ask("GET", address["id"]).body["properties"]
    assert seen["ipConfiguration"]["id"] == f"{nic['id']}/ipConfigurations/primary"
    refused = shared.ask("DELETE", address["id"])
    assert (refused.status, refused.code) == (400, "PublicIPAddressCannotBeDeleted")
    other = shared.ask("PUT", f"{group}/{NETWORK}/networkInterfaces/o", bodies.nic(made, address=address))
    assert (other.status, other.code) == (400, "PublicIPAddressInUse")
    shared.nic(group, "n", bodies.nic(made))
    shared.done("DELETE", address["id"])


def test_what_this_world_lacks_is_501_and_recorded(arm: Any, bodies: Any) -> None:
    group = arm.group()
    rule = {**bodies.rule(), "sourceApplicationSecurityGroups": [{"id": "x"}], "sourceAddressPrefix": None}
    nsg = {"location": "eastus", "properties": {"securityRules": [{"name": "r", "properties": rule}]}}
    assert arm.ask("PUT", f"{group}/{NETWORK}/networkSecurityGroups/n", nsg).status == 501
    inline = vnet("10.0.0.0/16")
    inline["properties"]["virtualNetworkPeerings"] = [{"name": "p", "properties": {}}]
    assert arm.ask("PUT", f"{group}/{NETWORK}/virtualNetworks/v", inline).status == 501
    assert len(arm.world.unknown) == 2
