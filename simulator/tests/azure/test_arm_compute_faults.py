"""Faults of the compute provider, and of a group that providers do not see yet."""

from __future__ import annotations

from typing import Any

import pytest

NSG = {"location": "eastus", "properties": {}}
NSGS = "providers/Microsoft.Network/networkSecurityGroups"


def strike(arm: Any, **rates: float) -> None:
    """From now on these faults of the door happen, and no others."""
    arm.world.faults.set({f"arm.{name}": rate for name, rate in rates.items()})


def test_a_group_that_was_just_made_is_unseen_by_providers_for_some_seconds(make_world: Any, serve: Any) -> None:
    with serve(make_world(scale=60.0)) as arm:
        strike(arm, group_unseen=1)
        path = f"{arm.group('new')}/{NSGS}/n"
        assert arm.ask("GET", "resourcegroups/new").status == 200
        reply = arm.ask("PUT", path, NSG)
        assert (reply.status, reply.code) == (404, "ResourceGroupNotFound")
        assert reply.message == "Resource group 'new' could not be found."
        arm.eventually(lambda: arm.ask("PUT", path, NSG).status == 201)
        arm.world.faults.clear()
        assert arm.ask("PUT", f"{arm.group('seen')}/{NSGS}/n", NSG).status == 201


@pytest.mark.parametrize(
    ("name", "code", "runs"),
    [
        ("os_provisioning_timed_out", "OSProvisioningTimedOut", True),
        ("operation_preempted", "OperationPreempted", False),
    ],
)
def test_a_creation_fails_and_writing_it_again_mends_it(
    arm: Any, bodies: Any, name: str, code: str, runs: bool
) -> None:
    group = arm.group()
    body = bodies.vm(arm.nic(group, "n", bodies.nic(arm.vnet(group, "v", "10.0.0.0/16"))), "m")
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/m"
    strike(arm, **{name: 1})
    ended = arm.wait(arm.ask("PUT", path, body))
    assert (ended["status"], ended["error"]["code"]) == ("Failed", code)
    assert arm.ask("GET", path).body["properties"]["provisioningState"] == "Failed"
    assert bool(arm.world.machines) is runs
    arm.world.faults.clear()
    assert arm.done("PUT", path, body).body["properties"]["provisioningState"] == "Succeeded"
    arm.eventually(lambda: arm.world.machines)


def test_compute_refuses_a_write_that_meets_another(arm: Any, bodies: Any) -> None:
    group = arm.group()
    arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/m"
    strike(arm, compute_conflict=1)
    for method, target in (("POST", f"{path}/powerOff"), ("DELETE", path)):
        reply = arm.ask(method, target)
        assert (reply.status, reply.code) == (409, "Conflict")
    assert arm.ask("GET", path).status == 200


def test_a_size_that_the_hardware_lacks_is_had_by_a_deallocated_machine_only(arm: Any, bodies: Any) -> None:
    group = arm.group()
    arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/m"
    body = arm.ask("GET", path).body
    body["properties"]["hardwareProfile"]["vmSize"] = "Standard_D4s_v5"
    strike(arm, size_not_in_cluster=1)
    reply = arm.ask("PUT", path, body)
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")
    assert "is not available in the current hardware cluster" in reply.message
    arm.done("POST", f"{path}/deallocate")
    assert arm.done("PUT", path, body).body["properties"]["hardwareProfile"]["vmSize"] == "Standard_D4s_v5"


def test_a_machine_marked_for_deletion_takes_nothing_but_its_deletion(arm: Any) -> None:
    group = arm.group()
    arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/m"
    body = arm.ask("GET", path).body
    deleted = arm.ask("DELETE", path)
    for method, target, given in (("PUT", path, body), ("POST", f"{path}/start", None)):
        reply = arm.ask(method, target, given)
        assert (reply.status, reply.code) == (409, "OperationNotAllowed")
        assert "since the VM is marked for deletion" in reply.message
    assert arm.ask("DELETE", path).status == 202
    assert arm.wait(deleted)["status"] == "Succeeded"
