"""Virtual machines: what is refused, how they run, and what goes with them."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

COMPUTE = "providers/Microsoft.Compute"


@pytest.fixture
def nic(shared: Any, group: str, bodies: Any) -> dict[str, Any]:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    return dict(shared.nic(group, "n", bodies.nic(made, address=shared.public_ip(group, "ip"))))


def vm(group: str, name: str = "m") -> str:
    return f"{group}/{COMPUTE}/virtualMachines/{name}"


def power(shared: Any, path: str) -> list[str]:
    return [status["code"] for status in shared.ask("GET", f"{path}/instanceView").body["statuses"]]


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the member at a dotted path set, or removed when the value is None."""
    copied = copy.deepcopy(body)
    at: Any = copied
    *way, last = path.split(".")
    for name in way:
        at = at[int(name)] if name.isdigit() else at.setdefault(name, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return copied


def test_a_machine_is_created_boots_and_shows_what_azure_adds(arm: Any, bodies: Any) -> None:
    booted: list[Any] = []
    arm.world.boot = booted.append
    group = arm.group()
    nic = arm.nic(group, "n", bodies.nic(arm.vnet(group, "v", "10.0.0.0/16")))
    reply = arm.ask("PUT", vm(group), bodies.vm(nic, "m", zones=["2"]))
    assert reply.status == 201
    assert reply.body["properties"]["provisioningState"] == "Creating"
    assert "customData" not in reply.body["properties"]["osProfile"]
    operation = reply.headers["azure-asyncoperation"]
    assert f"{arm.scope}/providers/Microsoft.Compute/locations/eastus/operations/" in operation
    assert reply.headers["retry-after"] == "10"
    first = arm.ask("GET", operation)
    assert set(first.body) == {"startTime", "status", "name"}
    assert first.headers["retry-after"] == "35"
    ended = arm.wait(reply)
    assert ended["status"] == "Succeeded"
    assert ended["endTime"] > ended["startTime"]
    body = arm.ask("GET", vm(group)).body
    assert body["properties"]["provisioningState"] == "Succeeded"
    assert body["zones"] == ["2"]
    profile = body["properties"]["storageProfile"]
    assert profile["osDisk"]["name"].startswith("m_OsDisk_1_")
    assert profile["imageReference"]["exactVersion"].startswith("24.04.")
    disk = arm.ask("GET", profile["osDisk"]["managedDisk"]["id"]).body
    assert (disk["managedBy"], disk["properties"]["diskState"]) == (body["id"], "Attached")
    assert disk["properties"]["diskSizeGB"] == 64
    arm.eventually(lambda: booted)
    (machine,) = booted
    assert (machine.name, machine.zone, machine.vcpus, machine.memory_gib) == ("m", "2", 2, 8)
    assert machine.custom_data == b"#cloud-config\n"
    assert machine.authorized_keys == [bodies.login_key]
    assert machine.nic_id == nic["id"]
    attached = arm.ask("GET", nic["id"]).body["properties"]
    assert attached["virtualMachine"] == {"id": body["id"]}
    assert len(attached["macAddress"]) == 17
    expanded = arm.ask("GET", f"{vm(group)}?$expand=instanceView").body["properties"]["instanceView"]
    assert expanded["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"


@pytest.mark.parametrize(
    ("path", "value", "status", "code"),
    [
        ("properties.hardwareProfile.vmSize", "Standard_Z2s_v9", 400, "InvalidParameter"),
        ("properties.hardwareProfile.vmSize", None, 400, "InvalidParameter"),
        ("properties.hardwareProfile.vmSize", "Standard_M64ms", 409, "SkuNotAvailable"),
        ("properties.hardwareProfile.vmSize", "Standard_D128s_v6", 409, "OperationNotAllowed"),
        ("properties.hardwareProfile.vmSize", "Standard_D2ps_v5", 400, "BadRequest"),
        ("zones", ["4"], 400, "InvalidAvailabilityZone"),
        ("location", "westus", 400, "InvalidResourceReference"),
        ("location", "atlantis", 400, "LocationNotAvailableForResourceType"),
        ("properties.storageProfile.imageReference.offer", "windows", 404, "PlatformImageNotFound"),
        ("properties.storageProfile.imageReference.version", "1.0.0", 404, "PlatformImageNotFound"),
        ("properties.storageProfile.imageReference.sku", "server-arm64", 400, "BadRequest"),
        ("properties.storageProfile.osDisk.diskSizeGB", 10, 409, "OperationNotAllowed"),
        ("properties.storageProfile.osDisk.caching", "Sometimes", 400, "BadRequest"),
        ("properties.storageProfile.osDisk.diskSizeGb2", 10, 400, "BadRequest"),
        ("properties.osProfile.adminUsername", None, 400, "InvalidParameter"),
        ("properties.osProfile.customData", "not base64", 400, "InvalidParameter"),
        ("properties.osProfile.customData", base64.b64encode(b"x" * 65536).decode(), 400, "InvalidParameter"),
        ("properties.osProfile.linuxConfiguration.ssh.publicKeys", [], 400, "InvalidParameter"),
        ("properties.osProfile.linuxConfiguration.ssh.publicKeys.0.keyData", "AAAA", 400, "InvalidParameter"),
        ("properties.osProfile.linuxConfiguration.disablePasswordAuthentication", False, 400, "InvalidParameter"),
        ("properties.networkProfile.networkInterfaces", [], 400, "InvalidParameter"),
        ("properties.networkProfile.networkInterfaces.0.id", "/absent", 400, "InvalidResourceReference"),
    ],
)
def test_a_machine_that_azure_refuses_is_refused(
    shared: Any, group: str, nic: Any, bodies: Any, path: str, value: Any, status: int, code: str
) -> None:
    reply = shared.ask("PUT", vm(group), changed(bodies.vm(nic, "m"), path, value))
    assert (reply.status, reply.code) == (status, code)
    assert shared.ask("GET", vm(group)).status == 404
    assert shared.ask("GET", f"{group}/{COMPUTE}/disks").body["value"] == []


def test_the_biggest_user_data_is_taken(shared: Any, group: str, nic: Any, bodies: Any) -> None:
    data = base64.b64encode(b"x" * 65535).decode()
    assert (
        shared.ask("PUT", vm(group), changed(bodies.vm(nic, "m"), "properties.osProfile.customData", data)).status
        == 201
    )


def test_zones_and_sizes_that_a_region_lacks_are_refused(shared: Any, group: str, bodies: Any) -> None:
    west = shared.nic(
        group, "w", bodies.nic(shared.vnet(group, "w", "10.0.0.0/16", location="westus"), location="westus")
    )
    reply = shared.ask("PUT", vm(group, "w"), bodies.vm(west, "w", location="westus", zones=["1"]))
    assert (reply.status, reply.code) == (400, "LocationNotSupportAvailabilityZones")
    europe = shared.vnet(group, "e", "10.0.0.0/16", location="westeurope")
    nic = shared.nic(group, "e", bodies.nic(europe, location="westeurope"))
    body = bodies.vm(nic, "e", location="westeurope", size="Standard_B2s_v2", zones=["3"])
    assert shared.ask("PUT", vm(group, "e"), body).code == "SkuNotAvailable"
    assert shared.ask("PUT", vm(group, "e"), {**body, "zones": ["1"]}).status == 201


def test_quotas_of_the_region_and_of_the_family_are_kept(make_world: Any, serve: Any, bodies: Any) -> None:
    world = make_world()
    world.subscription.limits.by_location["eastus", "cores"] = 5
    world.subscription.limits.everywhere["standardDSv5Family"] = 3
    with serve(world) as arm:
        group = arm.group()
        vnet = arm.vnet(group, "v", "10.0.0.0/16")
        nics = [arm.nic(group, f"n{number}", bodies.nic(vnet)) for number in range(3)]
        assert arm.done("PUT", vm(group, "a"), bodies.vm(nics[0], "a")).status == 200
        family = arm.ask("PUT", vm(group, "b"), bodies.vm(nics[1], "b"))
        assert (family.status, family.code) == (409, "OperationNotAllowed")
        assert "approved standardDSv5Family Cores quota" in family.message
        assert (
            "Current Limit: 3, Current Usage: 2, Additional Required: 2, (Minimum) New Limit Required: 4"
            in family.message
        )
        assert arm.done("PUT", vm(group, "b"), bodies.vm(nics[1], "b", size="Standard_D2as_v5")).status == 200
        region = arm.ask("PUT", vm(group, "c"), bodies.vm(nics[2], "c", size="Standard_E2s_v5"))
        assert "approved Total Regional Cores quota" in region.message


def test_a_region_without_room_fails_the_operation_and_keeps_the_nic(make_world: Any, serve: Any, bodies: Any) -> None:
    world = make_world(scale=600.0)
    world.faults.set({"arm.zonal_allocation_failed@eastus-1": 1})
    with serve(world) as arm:
        group = arm.group()
        vnet = arm.vnet(group, "v", "10.0.0.0/16")
        nic = arm.nic(group, "n", bodies.nic(vnet))
        ended = arm.wait(arm.ask("PUT", vm(group), bodies.vm(nic, "m", zones=["1"])))
        assert (ended["status"], ended["error"]["code"]) == ("Failed", "ZonalAllocationFailed")
        assert arm.ask("GET", vm(group)).body["properties"]["provisioningState"] == "Failed"
        assert world.machines == {}
        arm.done("DELETE", vm(group))
        assert arm.ask("GET", nic["id"]).status == 404
        other = arm.nic(group, "o", bodies.nic(vnet))
        body = changed(
            bodies.vm(other, "p", zones=["1"]), "properties.networkProfile.networkInterfaces.0.properties", {}
        )
        arm.wait(arm.ask("PUT", vm(group, "p"), body))
        arm.done("DELETE", vm(group, "p"))
        kept = arm.ask("PUT", vm(group, "q"), bodies.vm(other, "q"))
        assert (kept.status, kept.code) == (400, "NicReservedForAnotherVm")
        world.faults.clear()
        assert arm.done("PUT", vm(group, "p"), body).body["properties"]["provisioningState"] == "Succeeded"
        third = arm.nic(group, "t", bodies.nic(vnet))
        assert arm.done("PUT", vm(group, "t"), bodies.vm(third, "t")).status == 200


def test_a_failed_machine_is_tried_again_by_writing_it_again(arm: Any, bodies: Any) -> None:
    arm.world.faults.set({"arm.allocation_failed@eastus": 1})
    group = arm.group()
    nic = arm.nic(group, "n", bodies.nic(arm.vnet(group, "v", "10.0.0.0/16")))
    assert arm.wait(arm.ask("PUT", vm(group), bodies.vm(nic, "m")))["error"]["code"] == "AllocationFailed"
    arm.world.faults.clear()
    assert arm.done("PUT", vm(group), bodies.vm(nic, "m")).body["properties"]["provisioningState"] == "Succeeded"
    assert len(arm.world.machines) == 1


def test_a_nic_belongs_to_one_machine(shared: Any, group: str, nic: Any, bodies: Any) -> None:
    shared.done("PUT", vm(group), bodies.vm(nic, "m"))
    other = shared.ask("PUT", vm(group, "other"), bodies.vm(nic, "other"))
    assert (other.status, other.code) == (400, "NicInUse")
    refused = shared.ask("DELETE", nic["id"])
    assert (refused.status, refused.code) == (400, "NicInUse")
    assert "aka.ms/deletenic" in refused.message


def test_what_is_to_go_with_a_machine_goes_with_it(shared: Any, group: str, nic: Any, bodies: Any) -> None:
    made = shared.done("PUT", vm(group), bodies.vm(nic, "m"))
    disk = made.body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
    attached = shared.ask("DELETE", disk)
    assert (attached.status, attached.code) == (409, "OperationNotAllowed")
    reply = shared.ask("DELETE", f"{vm(group)}?forceDeletion=true")
    assert reply.status == 202
    assert "monitor=true" in reply.headers["location"]
    seen = shared.ask("GET", vm(group))
    # On a busy machine the scaled deletion may be over before anyone looks; while it goes on, it says so.
    assert seen.status == 404 or seen.body["properties"]["provisioningState"] == "Deleting"
    shared.wait(reply)
    assert shared.ask("GET", reply.headers["location"]).status == 204
    address = nic["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"]["id"]
    for gone in (vm(group), disk, nic["id"], address):
        assert shared.ask("GET", gone).status == 404


def test_what_is_to_stay_stays(shared: Any, group: str, nic: Any, bodies: Any) -> None:
    body = changed(bodies.vm(nic, "m"), "properties.storageProfile.osDisk.deleteOption", "Detach")
    body = changed(body, "properties.storageProfile.osDisk.name", "mine")
    body = changed(body, "properties.networkProfile.networkInterfaces.0.properties.deleteOption", "Detach")
    shared.done("PUT", vm(group), body)
    shared.done("DELETE", vm(group))
    disk = shared.ask("GET", f"{group}/{COMPUTE}/disks/mine").body
    assert disk["properties"]["diskState"] == "Unattached"
    assert "managedBy" not in disk
    assert "virtualMachine" not in shared.ask("GET", nic["id"]).body["properties"]
    clash = shared.ask("PUT", vm(group), body)
    assert (clash.status, clash.code) == (409, "ConflictingUserInput")
    shared.done("DELETE", f"{group}/{COMPUTE}/disks/mine")
    assert shared.done("PUT", vm(group), body).status == 200


def test_a_machine_is_stopped_started_and_given_up(arm: Any, bodies: Any) -> None:
    said: list[str] = []
    arm.world.boot = lambda machine: said.append("boot")
    arm.world.halt = lambda machine: said.append("halt")
    group = arm.group()
    machine = arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    path = vm(group)
    for action, after in (
        ("powerOff", "PowerState/stopped"),
        ("start", "PowerState/running"),
        ("restart", "PowerState/running"),
        ("deallocate", "PowerState/deallocated"),
        ("start", "PowerState/running"),
    ):
        arm.done("POST", f"{path}/{action}")
        assert power(arm, path) == ["ProvisioningState/succeeded", after]
        assert (machine.key in arm.world.machines) == (after == "PowerState/running")
    arm.eventually(lambda: said == ["boot", "halt", "boot", "halt", "boot", "halt", "boot"])
    arm.done("POST", f"{path}/powerOff")
    assert arm.ask("POST", f"{path}/restart").status == 409


def test_a_machine_does_one_thing_at_a_time_but_can_always_be_deleted(slow: Any, bodies: Any) -> None:
    group = slow.group("one-thing")
    nic = slow.nic(group, "n", bodies.nic(slow.vnet(group, "v", "10.0.0.0/16")))
    begun = slow.ask("PUT", vm(group), bodies.vm(nic, "m"))
    again = slow.ask("PUT", vm(group), bodies.vm(nic, "m"))
    assert (again.status, again.code) == (409, "Conflict")
    deleted = slow.ask("DELETE", f"{vm(group)}?forceDeletion=true")
    assert slow.wait(begun)["error"]["code"] == "OperationPreempted"
    assert slow.wait(deleted)["status"] == "Succeeded"


def test_what_is_fixed_at_creation_is_not_changed_and_the_rest_is(
    shared: Any, group: str, nic: Any, bodies: Any
) -> None:
    body = bodies.vm(nic, "m")
    shared.done("PUT", vm(group), body)
    assert shared.done("PUT", vm(group), body).body["properties"]["provisioningState"] == "Succeeded"
    seen = shared.ask("GET", vm(group)).body
    assert shared.done("PUT", vm(group), seen).body["properties"] == seen["properties"]
    for path, value in (
        ("properties.osProfile.adminUsername", "other"),
        ("properties.osProfile.computerName", "other"),
        ("properties.osProfile.customData", base64.b64encode(b"other").decode()),
        ("properties.osProfile.linuxConfiguration.ssh.publicKeys", []),
        ("properties.storageProfile.imageReference.sku", "minimal"),
    ):
        reply = shared.ask("PUT", vm(group), changed(body, path, value))
        assert (reply.status, reply.code) == (409, "PropertyChangeNotAllowed")
    resized = shared.done("PUT", vm(group), changed(body, "properties.hardwareProfile.vmSize", "Standard_D4s_v5"))
    assert resized.body["properties"]["hardwareProfile"]["vmSize"] == "Standard_D4s_v5"
    patched = shared.ask("PATCH", vm(group), {"tags": {"a": "b"}})
    assert patched.status == 200
    shared.wait(patched)
    assert shared.ask("GET", vm(group)).body["tags"] == {"a": "b"}


def test_machines_with_what_this_world_lacks_are_501_and_recorded(arm: Any, bodies: Any) -> None:
    group = arm.group()
    nic = arm.nic(group, "n", bodies.nic(arm.vnet(group, "v", "10.0.0.0/16")))
    body = changed(bodies.vm(nic, "m"), "properties.virtualMachineScaleSet", {"id": "/x"})
    assert arm.ask("PUT", vm(group), body).status == 501
    assert arm.ask("PUT", f"{group}/{COMPUTE}/disks/d", {"location": "eastus"}).status == 501
    assert len(arm.world.unknown) == 2


def test_machines_and_disks_are_listed_by_group_and_for_the_subscription(arm: Any, sdk: Any, bodies: Any) -> None:
    group = arm.group()
    arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    assert [vm.name for vm in sdk.compute.virtual_machines.list("rg")] == ["m"]
    assert [vm.name for vm in sdk.compute.virtual_machines.list_all()] == ["m"]
    assert len(list(sdk.compute.disks.list())) == 1
    sdk.compute.virtual_machines.begin_power_off("rg", "m").result()
    sdk.compute.virtual_machines.begin_delete("rg", "m", force_deletion=True).result()
    assert list(sdk.compute.disks.list_by_resource_group("rg")) == []
