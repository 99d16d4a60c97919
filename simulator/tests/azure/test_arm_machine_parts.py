"""What belongs to a VM: disks with an identity, data disks, NICs, extensions, identities; and what a PUT replaces."""

from __future__ import annotations

import copy
from typing import Any

import pytest

COMPUTE = "providers/Microsoft.Compute"
EMPTY = {"lun": 0, "createOption": "Empty", "diskSizeGB": 8}


@pytest.fixture
def vnet(shared: Any, group: str) -> dict[str, Any]:
    return dict(shared.vnet(group, "v", "10.0.0.0/16"))


@pytest.fixture
def body(shared: Any, group: str, bodies: Any, vnet: dict[str, Any]) -> dict[str, Any]:
    """A VM's body with a NIC that outlives it."""
    made = bodies.vm(shared.nic(group, "n", bodies.nic(vnet)), "m")
    made["properties"]["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] = "Detach"
    return dict(made)


def vm(group: str, name: str = "m") -> str:
    return f"{group}/{COMPUTE}/virtualMachines/{name}"


def with_disks(body: dict[str, Any], *disks: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    changed["properties"]["storageProfile"]["dataDisks"] = list(disks)
    return changed


def disks(shared: Any, group: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in shared.ask("GET", f"{group}/{COMPUTE}/disks").body["value"]}


def running(shared: Any, group: str, name: str = "m") -> Any:
    key = f"{shared.scope}/{vm(group, name)}".lower()
    shared.eventually(lambda: key in shared.world.machines)
    return shared.world.machines[key]


def test_a_machine_made_anew_has_another_disk(shared: Any, group: str, body: dict[str, Any]) -> None:
    body["properties"]["storageProfile"]["osDisk"]["name"] = "m-os"
    shared.done("PUT", vm(group), body)
    first = running(shared, group).disk
    assert first.gib == 64
    first.volumes["store",] = {}
    shared.done("POST", f"{vm(group)}/deallocate")
    shared.done("POST", f"{vm(group)}/start")
    assert running(shared, group).disk is first
    shared.done("DELETE", vm(group))
    assert disks(shared, group) == {}
    shared.done("PUT", vm(group), body)
    assert running(shared, group).disk is not first
    assert running(shared, group).disk.volumes == {}


def test_a_kept_os_disk_blocks_a_new_machine_of_its_name(shared: Any, group: str, body: dict[str, Any]) -> None:
    body["properties"]["storageProfile"]["osDisk"] |= {"name": "m-os", "deleteOption": "Detach"}
    shared.done("PUT", vm(group), body)
    kept = running(shared, group).disk
    shared.done("DELETE", vm(group))
    left = disks(shared, group)["m-os"]
    assert left["properties"]["diskState"] == "Unattached"
    assert shared.subscription.find(left["id"]).disk is kept
    refused = shared.ask("PUT", vm(group), body)
    assert (refused.status, refused.code) == (409, "ConflictingUserInput")
    assert refused.message == (
        f"Disk m-os already exists in resource group {group.partition('/')[2].upper()}. Only CreateOption.Attach is "
        "supported."
    )
    shared.done("DELETE", left["id"])
    assert shared.done("PUT", vm(group), body).status == 200


def test_data_disks_come_stay_and_go_as_their_delete_option_says(shared: Any, group: str, body: dict[str, Any]) -> None:
    kept = {**EMPTY, "name": "kept"}
    shared.done("PUT", vm(group), with_disks(body, kept, {**EMPTY, "lun": 1, "name": "gone", "deleteOption": "Delete"}))
    shown = shared.ask("GET", vm(group)).body["properties"]["storageProfile"]["dataDisks"]
    assert [(one["name"], one["lun"], one["deleteOption"]) for one in shown] == [
        ("kept", 0, "Detach"), ("gone", 1, "Delete")
    ]  # fmt: skip
    assert disks(shared, group)["kept"]["managedBy"].endswith("/m")
    assert shared.ask("DELETE", shown[0]["managedDisk"]["id"]).code == "OperationNotAllowed"
    assert shared.ask("PUT", vm(group, "other"), with_disks(body, {**EMPTY, "name": "kept"})).status in (400, 409)
    shared.done("DELETE", vm(group))
    assert {name: one["properties"]["diskState"] for name, one in disks(shared, group).items()} == {
        "kept": "Unattached"
    }
    again = {"lun": 3, "createOption": "Attach", "managedDisk": {"id": shown[0]["managedDisk"]["id"]}}
    assert shared.ask("PUT", vm(group), with_disks(body, {**EMPTY, "name": "kept"})).code == "ConflictingUserInput"
    shared.done("PUT", vm(group), with_disks(body, again))
    assert disks(shared, group)["kept"]["properties"]["diskState"] == "Attached"


def test_a_put_without_data_disks_detaches_them(shared: Any, group: str, body: dict[str, Any]) -> None:
    shared.done("PUT", vm(group), with_disks(body, {**EMPTY, "name": "d"}))
    seen = shared.ask("GET", vm(group)).body
    assert (
        shared.done("PUT", vm(group), seen).body["properties"]["storageProfile"] == seen["properties"]["storageProfile"]
    )
    assert disks(shared, group)["d"]["properties"]["diskState"] == "Attached"
    after = shared.done("PUT", vm(group), body).body
    assert after["properties"]["storageProfile"]["dataDisks"] == []
    assert disks(shared, group)["d"]["properties"]["diskState"] == "Unattached"


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ([EMPTY, EMPTY], 400, "InvalidParameter"),
        ([{"lun": 0, "createOption": "Empty"}], 400, "InvalidParameter"),
        ([{**EMPTY, "lun": number} for number in range(5)], 409, "OperationNotAllowed"),
        ([{"lun": 0, "createOption": "Attach", "managedDisk": {"id": "/absent"}}], 404, "NotFound"),
        ([{"lun": 0, "createOption": "Copy", "diskSizeGB": 8}], 501, "NotImplemented"),
    ],
)
def test_data_disks_that_cannot_be_are_refused(
    shared: Any, group: str, body: dict[str, Any], given: Any, status: int, code: str
) -> None:
    reply = shared.ask("PUT", vm(group), with_disks(body, *given))
    assert (reply.status, reply.code) == (status, code)
    assert disks(shared, group) == {}


def test_a_disk_of_another_machine_is_not_attached(
    shared: Any, group: str, body: dict[str, Any], bodies: Any, vnet: dict[str, Any]
) -> None:
    shared.done("PUT", vm(group), with_disks(body, {**EMPTY, "name": "d"}))
    other = bodies.vm(shared.nic(group, "n2", bodies.nic(vnet)), "o")
    taken = {"lun": 0, "createOption": "Attach", "managedDisk": {"id": disks(shared, group)["d"]["id"]}}
    reply = shared.ask("PUT", vm(group, "o"), with_disks(other, taken))
    assert (reply.status, reply.code) == (409, "ConflictingUserInput")
    assert "already owned by VM" in reply.message


def test_nics_are_added_and_removed_while_a_machine_is_deallocated_only(
    shared: Any, group: str, body: dict[str, Any], bodies: Any, vnet: dict[str, Any]
) -> None:
    shared.done("PUT", vm(group), body)
    second = shared.nic(group, "n2", bodies.nic(vnet))
    both = copy.deepcopy(body)
    both["properties"]["networkProfile"]["networkInterfaces"].append(
        {"id": second["id"], "properties": {"primary": False}}
    )
    refused = shared.ask("PUT", vm(group), both)
    code = "AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported"
    assert (refused.status, refused.code) == (409, code)
    shared.done("POST", f"{vm(group)}/deallocate")
    assert len(shared.done("PUT", vm(group), both).body["properties"]["networkProfile"]["networkInterfaces"]) == 2
    assert shared.ask("DELETE", second["id"]).code == "NicInUse"
    assert shared.ask("GET", second["id"]).body["properties"]["primary"] is False
    shared.done("PUT", vm(group), body)
    shared.done("DELETE", second["id"])


def test_what_a_put_leaves_out_is_lost(shared: Any, group: str, body: dict[str, Any]) -> None:
    whole = copy.deepcopy(body)
    whole["tags"] = {"a": "b"}
    whole["identity"] = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {"/me": {}}}
    whole["properties"]["securityProfile"] = {"encryptionAtHost": True}
    made = shared.done("PUT", vm(group), whole).body
    assert made["properties"]["securityProfile"] == {"encryptionAtHost": True}
    assert made["identity"]["tenantId"] == shared.subscription.tenant_id
    assert set(made["identity"]["userAssignedIdentities"]["/me"]) == {"principalId", "clientId"}
    assert shared.done("PUT", vm(group), made).body["identity"] == made["identity"]
    patched = shared.ask("PATCH", vm(group), {"properties": {"hardwareProfile": {"vmSize": "Standard_D4s_v5"}}})
    assert shared.wait(patched)["status"] == "Succeeded"
    seen = shared.ask("GET", vm(group)).body
    assert seen["properties"].pop("hardwareProfile") == {"vmSize": "Standard_D4s_v5"}
    del made["properties"]["hardwareProfile"]
    assert {**seen, "etag": ""} == {**made, "etag": ""}
    after = shared.done("PUT", vm(group), {**body, "identity": None}).body
    assert {"identity", "tags"} & set(after) == set()
    assert "securityProfile" not in after["properties"]
    assert after["properties"]["vmId"] == made["properties"]["vmId"]


def test_extensions_are_kept_with_their_machine(shared: Any, group: str, body: dict[str, Any]) -> None:
    path = f"{vm(group)}/extensions/watch"
    extension = {
        "location": "eastus",
        "properties": {
            "publisher": "P",
            "type": "T",
            "typeHandlerVersion": "1.0",
            "protectedSettings": {"a": "secret"},
        },
    }
    assert shared.ask("PUT", path, extension).code == "ResourceNotFound"
    shared.done("PUT", vm(group), body)
    assert shared.ask("GET", path).status == 404
    assert shared.ask("PUT", path, {"properties": {"publisher": "P"}}).code == "InvalidParameter"
    made = shared.done("PUT", path, extension).body
    assert (made["properties"]["provisioningState"], made["properties"]["type"]) == ("Succeeded", "T")
    assert "protectedSettings" not in made["properties"]
    assert shared.done("PUT", vm(group), body).body["resources"] == [made]
    assert shared.ask("GET", f"{vm(group)}/extensions").body["value"] == [made]
    shared.done("POST", f"{vm(group)}/powerOff")
    assert shared.ask("DELETE", path).code == "OperationNotAllowed"
    shared.done("POST", f"{vm(group)}/start")
    shared.done("DELETE", path)
    assert shared.ask("DELETE", path).status == 204
    assert "resources" not in shared.ask("GET", vm(group)).body
