"""What is refused rather than quietly dropped: changes of machines and disks, names, ranges, passwords."""

from __future__ import annotations

import copy
from typing import Any

import pytest

COMPUTE = "providers/Microsoft.Compute"
NETWORK = "providers/Microsoft.Network"


@pytest.fixture(scope="module")
def machine(shared: Any, bodies: Any) -> tuple[str, dict[str, Any]]:
    """A running machine: its path, and the body it was made with."""
    group = shared.group("changed")
    body = bodies.vm(shared.nic(group, "n", bodies.nic(shared.vnet(group, "v", "10.0.0.0/16"))), "m")
    path = f"{group}/{COMPUTE}/virtualMachines/m"
    shared.done("PUT", path, body)
    return path, body


def with_disk(body: dict[str, Any], **disk: Any) -> dict[str, Any]:
    copied = copy.deepcopy(body)
    copied["properties"]["storageProfile"]["osDisk"].update(disk)
    return copied


def test_the_os_disk_of_a_machine_is_not_resized_through_the_machine(shared: Any, machine: Any) -> None:
    path, body = machine
    shared.done("POST", f"{path}/deallocate")
    deallocated = shared.ask("PUT", path, with_disk(body, diskSizeGB=128))
    assert (deallocated.status, deallocated.code) == (409, "ResizeDiskError")
    assert shared.ask("GET", path).body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] == 64
    shared.done("POST", f"{path}/start")


def test_a_refused_change_names_the_property_as_compute_does(shared: Any, machine: Any) -> None:
    path, body = machine
    other = copy.deepcopy(body)
    other["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"] = []
    image = copy.deepcopy(body)
    image["properties"]["storageProfile"]["imageReference"]["sku"] = "minimal"
    for changed, target in (
        (
            with_disk(body, managedDisk={"storageAccountType": "StandardSSD_LRS"}),
            "osDisk.managedDisk.storageAccountType",
        ),
        (with_disk(body, name="other"), "osDisk.name"),
        (other, "linuxConfiguration.ssh.publicKeys"),
        (image, "imageReference.sku"),
    ):
        reply = shared.ask("PUT", path, changed)
        assert (reply.status, reply.code) == (409, "PropertyChangeNotAllowed")
        assert reply.body["error"]["target"] == target
        assert reply.message == f"Changing property '{target}' is not allowed."


def test_a_machine_is_written_again_as_it_is_read(shared: Any, machine: Any) -> None:
    path, _ = machine
    before = shared.ask("GET", path).body
    after = shared.done("PUT", path, before).body
    assert {**after, "etag": ""} == {**before, "etag": ""}


def test_the_result_of_a_power_action_has_no_body(shared: Any, machine: Any) -> None:
    path, _ = machine
    begun = shared.ask("POST", f"{path}/restart")
    shared.wait(begun)
    result = shared.ask("GET", begun.headers["location"])
    assert (result.status, result.body) == (200, None)


def test_the_os_disk_of_a_running_machine_takes_tags_and_does_not_grow(shared: Any, machine: Any) -> None:
    path, _ = machine
    disk = shared.ask("GET", path).body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
    assert shared.ask("PATCH", disk, {"tags": {"a": "b"}}).body["tags"] == {"a": "b"}
    assert "to be deallocated" in shared.ask("PATCH", disk, {"properties": {"diskSizeGB": 128}}).message


@pytest.mark.parametrize("name", ["a" * 65, "-m", "m.", "m!"])
def test_a_machine_name_that_linux_cannot_have_is_refused(shared: Any, group: str, bodies: Any, name: str) -> None:
    reply = shared.ask("PUT", f"{group}/{COMPUTE}/virtualMachines/{name}", bodies.vm({"id": "/none"}, "m"))
    assert (reply.status, reply.code, reply.body["error"]["target"]) == (400, "InvalidParameter", "vmName")


def test_user_data_is_not_known_here(shared: Any, machine: Any, group: str, bodies: Any) -> None:
    body = bodies.vm(shared.nic(group, "n", bodies.nic(shared.vnet(group, "v", "10.0.0.0/16"))), "m")
    body["properties"]["userData"] = "bm8="
    reply = shared.ask("PUT", f"{group}/{COMPUTE}/virtualMachines/m", body)
    assert reply.status == 501
    assert shared.ask("PATCH", machine[0], {"properties": {"userData": "bm8="}}).status == 501


@pytest.mark.parametrize("prefix", ["224.0.0.0/8", "127.0.0.0/16", "169.254.0.0/24", "168.63.129.0/24", "128.0.0.0/1"])
def test_ranges_that_azure_keeps_are_no_address_space(shared: Any, group: str, prefix: str) -> None:
    body = {"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": [prefix]}}}
    reply = shared.ask("PUT", f"{group}/{NETWORK}/virtualNetworks/v", body)
    assert (reply.status, reply.code) == (400, "NetcfgInvalidIPAddressPrefix")


def test_children_have_names_that_resources_may_have(shared: Any, group: str, bodies: Any) -> None:
    vnet = f"{group}/{NETWORK}/virtualNetworks/v"
    other = shared.vnet(group, "w", "10.1.0.0/16")
    shared.vnet(group, "v", "10.0.0.0/16")
    shared.nsg(group, "g")
    for path, body in (
        (f"{vnet}/virtualNetworkPeerings/bad!", bodies.peering(other)),
        (f"{group}/{NETWORK}/networkSecurityGroups/g/securityRules/bad.", {"properties": bodies.rule()}),
    ):
        reply = shared.ask("PUT", path, body)
        assert (reply.status, reply.code) == (400, "InvalidResourceName")


def test_a_subnet_without_a_range_is_told_so(shared: Any, group: str) -> None:
    for properties in ({}, {"addressPrefix": ""}, {"addressPrefixes": [""]}):
        inner = [{"name": "s", "properties": properties}]
        space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": inner}
        body = {"location": "eastus", "properties": space}
        reply = shared.ask("PUT", f"{group}/{NETWORK}/virtualNetworks/v", body)
        assert (reply.status, reply.code) == (400, "AddressPrefixStringCannotBeNullOrEmpty")


def test_a_public_address_is_held_to_its_rules_when_it_is_written_again(shared: Any, group: str) -> None:
    made = shared.public_ip(group, "p")
    path = f"{group}/{NETWORK}/publicIPAddresses/p"
    dynamic = {**made["properties"], "publicIPAllocationMethod": "Dynamic"}
    reply = shared.ask("PUT", path, {**made, "properties": dynamic})
    assert (reply.status, reply.code) == (400, "StandardSkuPublicIPAddressesMustBeStatic")
    assert shared.done("PUT", path, {"location": "eastus", "properties": {}}).status == 200


def test_a_subnets_reference_is_to_a_resource_of_the_right_type(shared: Any, group: str) -> None:
    vnet = shared.vnet(group, "v", "10.0.0.0/16")
    vnet["properties"]["subnets"][0]["properties"]["networkSecurityGroup"] = {"id": vnet["id"]}
    reply = shared.ask("PUT", f"{group}/{NETWORK}/virtualNetworks/v", vnet)
    assert (reply.status, reply.code) == (400, "InvalidResourceReference")


def test_an_operation_is_found_at_its_provider_and_in_its_region_only(shared: Any, group: str) -> None:
    begun = shared.ask("PUT", f"{group}/{NETWORK}/networkSecurityGroups/g", {"location": "eastus"})
    url = begun.headers["azure-asyncoperation"]
    assert shared.ask("GET", url).status == 200
    for other in (url.replace("/eastus/", "/westus/"), url.replace("Microsoft.Network", "Microsoft.Compute")):
        reply = shared.ask("GET", other)
        assert (reply.status, reply.code) == (404, "OperationNotFound")
    shared.wait(begun)
