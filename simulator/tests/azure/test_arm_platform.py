"""What a subscription tells: locations, providers, permissions, SKUs, usages, images; tags and lists of everything."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError


def test_subscriptions_and_locations(shared: Any, sdk: Any) -> None:
    (one,) = shared.ask("GET", "/subscriptions").body["value"]
    assert one["subscriptionId"] == shared.subscription.id
    assert one["state"] == "Enabled"
    listed = sdk.subscriptions.subscriptions.list_locations(sdk.resources._config.subscription_id)
    locations = {location.name: location for location in listed}
    assert locations["eastus"].display_name == "East US"
    assert locations["eastus"].metadata.paired_region[0].name == "westus"
    assert locations["eastus"].metadata.region_type == "Physical"
    assert float(locations["northeurope"].metadata.latitude) == 53.3478
    assert [one.logical_zone for one in locations["westeurope"].availability_zone_mappings] == ["1", "2", "3"]
    assert not locations["westus"].availability_zone_mappings


def test_a_provider_must_be_registered_before_it_is_used(make_world: Any, serve: Any) -> None:
    with serve(make_world(registered=(), scale=300.0)) as arm:
        group = arm.group()
        path = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n"
        body = {"location": "eastus", "properties": {}}
        assert arm.ask("GET", "providers/Microsoft.Network").body["registrationState"] == "NotRegistered"
        reply = arm.ask("PUT", path, body)
        assert (reply.status, reply.code) == (409, "MissingSubscriptionRegistration")
        assert "'Microsoft.Network'" in reply.message
        assert arm.ask("POST", "providers/microsoft.network/register").body["registrationState"] == "Registering"
        assert arm.ask("PUT", path, body).code == "MissingSubscriptionRegistration"
        provider = "providers/Microsoft.Network"
        arm.eventually(lambda: arm.ask("GET", provider).body["registrationState"] == "Registered")
        assert arm.done("PUT", path, body).status == 200
        assert arm.ask("GET", "providers/Microsoft.Compute").body["registrationState"] == "NotRegistered"


def test_a_provider_that_does_not_exist_is_not_found(shared: Any) -> None:
    reply = shared.ask("GET", "providers/Microsoft.NoSuchThing")
    assert (reply.status, reply.code) == (404, "InvalidResourceNamespace")


def test_permissions_are_a_contributors_who_may_also_lock(shared: Any, group: str) -> None:
    for scope in ("providers", f"{group}/providers"):
        permission, locks = shared.ask("GET", f"{scope}/Microsoft.Authorization/permissions").body["value"]
        assert permission["actions"] == ["*"]
        assert "Microsoft.Authorization/*/Write" in permission["notActions"]
        assert "Microsoft.Authorization/locks/write" in locks["actions"]
        assert "Microsoft.Authorization/roleAssignments/write" in locks["actions"]
    reply = shared.ask("GET", "resourceGroups/no/providers/Microsoft.Authorization/permissions")
    assert reply.code == "ResourceGroupNotFound"


def test_skus_say_zones_restrictions_and_capabilities(sdk: Any) -> None:
    def skus(location: str) -> dict[str, Any]:
        return {sku.name: sku for sku in sdk.compute.resource_skus.list(filter=f"location eq '{location}'")}

    found = skus("westeurope")
    size = found["Standard_D4s_v5"]
    capabilities = {one.name: one.value for one in size.capabilities}
    assert size.family == "standardDSv5Family"
    assert (capabilities["vCPUs"], capabilities["MemoryGB"], capabilities["CpuArchitectureType"]) == ("4", "16", "x64")
    assert size.location_info[0].zones == ["1", "2", "3"]
    assert size.restrictions == []
    assert found["Standard_B2s_v2"].restrictions[0].type == "Zone"
    assert found["Standard_B2s_v2"].restrictions[0].restriction_info.zones == ["3"]
    assert found["Standard_M64ms"].restrictions[0].reason_code == "NotAvailableForSubscription"
    assert skus("westus")["Standard_D4s_v5"].location_info[0].zones == []


def test_usages_follow_what_exists(arm: Any, sdk: Any) -> None:
    def cores() -> dict[str, int]:
        return {one.name.value: one.current_value for one in sdk.compute.usage.list("eastus")}

    def network() -> dict[str, int]:
        return {one.name.value: one.current_value for one in sdk.network.usages.list("eastus")}

    assert cores()["cores"] == 0
    group = arm.group()
    arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    assert (cores()["cores"], cores()["standardDSv5Family"], cores()["virtualMachines"]) == (2, 2, 1)
    assert cores()["standardESv5Family"] == 0
    assert (network()["VirtualNetworks"], network()["PublicIPAddresses"], network()["NetworkInterfaces"]) == (1, 1, 1)
    assert {one.name.value: one.current_value for one in sdk.compute.usage.list("westus")}["cores"] == 0


def test_images_are_found_by_their_names(sdk: Any) -> None:
    names = ("eastus", "Canonical", "ubuntu-24_04-lts", "server")
    (version,) = sdk.compute.virtual_machine_images.list(*names)
    image = sdk.compute.virtual_machine_images.get(*names, version.name)
    assert image.hyper_v_generation == "V2"
    assert image.os_disk_image.operating_system == "Linux"
    with pytest.raises(ResourceNotFoundError):
        sdk.compute.virtual_machine_images.list("eastus", "Canonical", "ubuntu-24_04-lts", "desktop")


def test_lists_come_in_pages(shared: Any, group: str) -> None:
    for number in range(12):
        path = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n{number:02}"
        shared.ask("PUT", path, {"location": "eastus", "properties": {}})
    names: list[str] = []
    url: str | None = f"{group}/providers/Microsoft.Network/networkSecurityGroups"
    pages = 0
    while url:
        reply = shared.ask("GET", url)
        names += [one["name"] for one in reply.body["value"]]
        url = reply.body.get("nextLink")
        assert url is None or url.startswith(shared.url)
        pages += 1
    assert names == [f"n{number:02}" for number in range(12)]
    assert pages == 2
    reply = shared.ask("GET", f"{group}/resources?$filter=location%20eq%20'eastus'")
    assert len(reply.body["value"]) == 10
    assert "%24filter" in reply.body["nextLink"] or "$filter" in reply.body["nextLink"]
    assert len(shared.ask("GET", reply.body["nextLink"]).body["value"]) == 2
    assert shared.ask("GET", f"{group}/resources?$top=5").status == 501


def test_resources_are_filtered_by_tag_group_type_and_name(shared: Any, group: str, sdk: Any) -> None:
    name = group.rpartition("/")[2]
    nsgs = f"{group}/providers/Microsoft.Network/networkSecurityGroups"
    for one, tags in (("one", {"Mesh": "a"}), ("two", {"mesh": "b"}), ("three", {})):
        shared.done("PUT", f"{nsgs}/{one}", {"location": "eastus", "tags": tags, "properties": {}})
    shared.done("PUT", f"{group}/providers/Microsoft.Network/publicIPAddresses/ip", PUBLIC_IP)

    def found(text: str) -> set[str]:
        path = f"resources?$filter={text.replace(' ', '%20')}&$expand=provisioningState,createdTime"
        return {entry["name"] for entry in shared.ask("GET", path).body["value"] if f"/{name}/" in entry["id"]}

    assert found("tagName eq 'mesh' and tagValue eq 'a'") == {"one"}
    assert found("tagName eq 'MESH'") == {"one", "two"}
    assert found(f"resourceGroup eq '{name.upper()}'") == {"one", "two", "three", "ip"}
    kind = "Microsoft.Network/networkSecurityGroups"
    assert found(f"resourceGroup eq '{name}' and resourceType eq '{kind}'") == {"one", "two", "three"}
    assert found(f"resourceType ne '{kind}' and resourceGroup eq '{name}'") == {"ip"}
    assert found("name eq 'one' or name eq 'ip'") >= {"one", "ip"}
    assert shared.ask("GET", "resources?$filter=startswith(name,'t')").code == "InvalidFilterInQueryString"
    assert shared.ask("GET", "resources?$filter=colour%20eq%20'red'").code == "InvalidFilterInQueryString"


def test_tags_are_read_merged_replaced_and_deleted_at_every_scope(shared: Any, group: str) -> None:
    nsg = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n"
    shared.done("PUT", nsg, {"location": "eastus", "properties": {}})
    for scope in (f"{shared.scope}", f"{shared.scope}/{group}", f"{shared.scope}/{nsg}"):
        path = f"{scope}/providers/Microsoft.Resources/tags/default"
        put = shared.ask("PUT", path, {"properties": {"tags": {"a": "1"}}})
        assert put.body["properties"]["tags"] == {"a": "1"}
        merged = shared.ask("PATCH", path, {"operation": "Merge", "properties": {"tags": {"b": "2"}}})
        assert merged.body["properties"]["tags"] == {"a": "1", "b": "2"}
        shared.ask("PATCH", path, {"operation": "Delete", "properties": {"tags": {"a": "1"}}})
        assert shared.ask("GET", path).body["properties"]["tags"] == {"b": "2"}
        assert shared.ask("PATCH", path, {"operation": "Add", "properties": {"tags": {}}}).status == 400
        assert shared.ask("DELETE", path).status == 200
        assert shared.ask("GET", path).body["properties"]["tags"] == {}
    assert shared.ask("PATCH", nsg, {"tags": {"x": "y"}}).body["tags"] == {"x": "y"}


def test_a_list_by_tag_and_value_leaves_the_tags_out(shared: Any, group: str) -> None:
    path = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n"
    shared.done("PUT", path, {"location": "eastus", "tags": {"mesh": "left-out"}, "properties": {}})
    by_value = "resources?$filter=tagName%20eq%20'mesh'%20and%20tagValue%20eq%20'left-out'"
    assert ["tags" in entry for entry in shared.ask("GET", by_value).body["value"]] == [False]
    (listed,) = shared.ask("GET", f"{group}/resources").body["value"]
    assert listed["tags"] == {"mesh": "left-out"}


PUBLIC_IP = {"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
