"""Virtual machines: made, looked at, refused, deleted with what is theirs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from crdbmesh.clients.azure import kinds, resources
from crdbmesh.clients.azure.compare import differences
from crdbmesh.clients.azure.session import Session
from crdbmesh.errors import CloudError, QuotaError

Body = dict[str, Any]
LOCATION = "eastus"
SIZE = "Standard_D2s_v5"
LOGIN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3Ls5O8Nq7bU0jYQ0mXn1t9b8b5m1yq3v2u4w6x8y0z contract"


@pytest.fixture(scope="module")
def make_nic(session: Session, group: str) -> Callable[[str], Body]:
    net = kinds.VNET.ensure(
        session,
        group,
        "machines",
        body={
            "location": LOCATION,
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.80.0.0/16"]},
                "subnets": [{"name": "nodes", "properties": {"addressPrefix": "10.80.0.0/24"}}],
            },
        },
    )
    subnet = {"id": net["properties"]["subnets"][0]["id"]}

    def make(name: str) -> Body:
        configuration = {"name": "primary", "properties": {"primary": True, "subnet": subnet}}
        body = {"location": LOCATION, "properties": {"ipConfigurations": [configuration]}}
        return kinds.NIC.ensure(session, group, name, body=body)

    return make


Delete = Callable[[str, str], None]
"""Deletes a resource of the group, by type and name."""


def disks(session: Session, group: str) -> list[str]:
    """The names of the managed disks of a resource group."""
    return [
        one["name"]
        for one in resources.list_group_resources(session, group)
        if one["type"].lower() == "microsoft.compute/disks"
    ]


def vm(nic: Body, name: str, *, size: str = SIZE) -> Body:
    return {
        "location": LOCATION,
        "properties": {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": {
                    "publisher": "Canonical",
                    "offer": "ubuntu-24_04-lts",
                    "sku": "server",
                    "version": "latest",
                },
                "osDisk": {
                    "name": f"{name}-os",
                    "createOption": "FromImage",
                    "deleteOption": "Delete",
                    "diskSizeGB": 64,
                    "managedDisk": {"storageAccountType": "Premium_LRS"},
                },
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": "azureuser",
                "customData": base64.b64encode(b"#cloud-config\n{}\n").decode(),
                "linuxConfiguration": {
                    "disablePasswordAuthentication": True,
                    "ssh": {"publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": LOGIN_KEY}]},
                },
            },
            "networkProfile": {
                "networkInterfaces": [{"id": nic["id"], "properties": {"primary": True, "deleteOption": "Delete"}}]
            },
        },
    }


def test_an_absent_machine_is_none_and_deleting_it_is_done(session: Session, group: str, delete: Delete) -> None:
    assert kinds.VM.find(session, group, "absent") is None
    delete("virtualMachines", "absent")
    delete("disks", "absent")


def test_a_machine_lives_and_takes_its_disk_and_interface_with_it(
    session: Session, group: str, make_nic: Callable[[str], Body], delete: Delete
) -> None:
    said: list[str] = []
    nic = make_nic("alive-nic")
    body = vm(nic, "alive")
    made = kinds.VM.ensure(session, group, "alive", body=body, say=said.append)
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert differences(body, made) == []
    assert any(" virtualMachines/alive is " in text for text in said)
    # Azure takes customData once, at creation.
    del body["properties"]["osProfile"]["customData"]
    assert differences(body, kinds.VM.ensure(session, group, "alive", body=body)) == []

    kinds.start_vm(session, group, "alive")
    changed = kinds.VM.update(session, group, "alive", body={"tags": {"added": "later"}})
    assert changed["tags"] == {"added": "later"}
    assert differences(body, changed) == []
    found = kinds.VM.find(session, group, "alive", expand="instanceView")
    assert found is not None
    statuses = found["properties"]["instanceView"]["statuses"]
    assert "PowerState/running" in [status["code"] for status in statuses]
    assert "alive" in [one["name"] for one in kinds.VM.list(session, group)]
    assert "alive-os" in disks(session, group)
    with pytest.raises(CloudError) as caught:
        delete("networkInterfaces", "alive-nic")
    assert caught.value.code == "NicInUse"

    delete("virtualMachines", "alive")
    assert kinds.VM.find(session, group, "alive") is None
    assert kinds.NIC.find(session, group, "alive-nic") is None
    assert "alive-os" not in disks(session, group)


def test_a_size_that_does_not_exist_is_refused_with_a_remedy(
    session: Session, group: str, make_nic: Callable[[str], Body]
) -> None:
    with pytest.raises(QuotaError) as caught:
        kinds.VM.ensure(session, group, "odd", body=vm(make_nic("odd-nic"), "odd", size="Standard_Z2s_v9"))
    assert caught.value.hint is not None
    assert "size" in caught.value.hint


def test_more_cores_than_the_quota_has_left_are_refused_with_a_remedy(
    session: Session, group: str, make_nic: Callable[[str], Body]
) -> None:
    usages = {one["name"]["value"].lower(): one for one in resources.list_compute_usages(session, LOCATION)}

    def left(name: str) -> float:
        usage = usages.get(name.lower(), {"limit": 0, "currentValue": 0})
        return float(usage["limit"]) - float(usage["currentValue"])

    too_big = [
        sku["name"]
        for sku in resources.list_skus(session, LOCATION)
        if sku["resourceType"] == "virtualMachines"
        and not sku.get("restrictions")
        and sku["name"].startswith("Standard_D")
        and int(capability(sku, "vCPUs")) > min(left("cores"), left(sku["family"]))
    ]
    if not too_big:
        pytest.skip("this subscription has room for the biggest machine there is")
    with pytest.raises(QuotaError) as caught:
        kinds.VM.ensure(session, group, "big", body=vm(make_nic("big-nic"), "big", size=too_big[0]))
    assert caught.value.hint is not None


def test_sizes_are_listed_with_their_zones_family_and_cores(session: Session) -> None:
    (sku,) = [one for one in resources.list_skus(session, LOCATION) if one["name"] == SIZE]
    assert sku["resourceType"] == "virtualMachines"
    assert sku["family"].lower() == "standarddsv5family"
    assert capability(sku, "vCPUs") == "2"
    assert sku["locationInfo"][0]["location"].lower() == LOCATION
    assert isinstance(sku["locationInfo"][0]["zones"], list)


def test_quota_is_listed_for_the_region_and_each_family(session: Session) -> None:
    usages = {one["name"]["value"].lower(): one for one in resources.list_compute_usages(session, LOCATION)}
    assert {"cores", "standarddsv5family", "virtualmachines"} <= set(usages)
    assert usages["cores"]["limit"] > 0


def capability(sku: Body, name: str) -> str:
    return str(next((one["value"] for one in sku["capabilities"] if one["name"] == name), "0"))
