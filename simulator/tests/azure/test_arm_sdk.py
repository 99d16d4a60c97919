"""Whole lives of resources through Microsoft's own SDK."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError


def test_a_machine_lives_from_group_to_group(arm: Any, sdk: Any, bodies: Any) -> None:
    group = sdk.resources.resource_groups.create_or_update("rg", {"location": "East US", "tags": {"a": "b"}})
    assert group.location == "eastus"
    nsg = sdk.network.network_security_groups.begin_create_or_update(
        "rg",
        "nsg",
        {
            "location": "eastus",
            "properties": {"securityRules": [{"name": "ssh", "properties": bodies.rule(port="22")}]},
        },
    ).result()
    assert len(nsg.default_security_rules) == 6
    vnet = sdk.network.virtual_networks.begin_create_or_update(
        "rg",
        "vnet",
        {
            "location": "eastus",
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
                "subnets": [
                    {
                        "name": "nodes",
                        "properties": {"addressPrefix": "10.1.0.0/24", "networkSecurityGroup": {"id": nsg.id}},
                    }
                ],
            },
        },
    ).result()
    assert vnet.provisioning_state == "Succeeded"
    address = sdk.network.public_ip_addresses.begin_create_or_update(
        "rg",
        "ip",
        {"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}},
    ).result()
    assert address.ip_address.startswith("127.")
    nic_body = bodies.nic(vnet.as_dict(), address={"id": address.id})
    nic = sdk.network.network_interfaces.begin_create_or_update("rg", "nic", nic_body).result()
    assert nic.ip_configurations[0].private_ip_address == "10.1.0.4"
    vm = sdk.compute.virtual_machines.begin_create_or_update("rg", "vm", bodies.vm({"id": nic.id}, "vm")).result()
    assert vm.provisioning_state == "Succeeded"
    assert vm.os_profile.custom_data is None
    assert vm.storage_profile.image_reference.exact_version.startswith("24.04.")
    view = sdk.compute.virtual_machines.instance_view("rg", "vm")
    assert [status.code for status in view.statuses] == ["ProvisioningState/succeeded", "PowerState/running"]
    assert sdk.network.network_interfaces.get("rg", "nic").virtual_machine.id == vm.id
    assert sdk.network.public_ip_addresses.get("rg", "ip").ip_configuration.id.startswith(nic.id)
    types = sorted(resource.type for resource in sdk.resources.resources.list_by_resource_group("rg"))
    assert types == [
        "Microsoft.Compute/disks",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Network/networkInterfaces",
        "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/publicIPAddresses",
        "Microsoft.Network/virtualNetworks",
    ]
    sdk.resources.resource_groups.begin_delete("rg", force_deletion_types="Microsoft.Compute/virtualMachines").wait()
    assert not sdk.resources.resource_groups.check_existence("rg")
    with pytest.raises(ResourceNotFoundError) as caught:
        sdk.compute.virtual_machines.get("rg", "vm")
    assert caught.value.error is not None
    assert caught.value.error.code == "ResourceGroupNotFound"
    assert arm.subscription.resources == {}
    assert arm.world.machines == {}
    assert arm.world.unknown == []
