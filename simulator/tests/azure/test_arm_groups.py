"""Resource groups."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest


def follow(arm: Any, reply: Any) -> Any:
    """Poll `Location` until it answers something else than 202."""
    deadline = time.monotonic() + 20
    while reply.status == 202:
        assert time.monotonic() < deadline
        assert int(reply.headers["retry-after"]) > 0
        time.sleep(0.005)
        reply = arm.ask("GET", reply.headers["location"])
    return reply


def test_a_group_is_made_read_listed_and_stays_where_it_is(shared: Any) -> None:
    body = {"location": "West Europe", "tags": {"team": "data"}}
    made = shared.ask("PUT", "resourcegroups/Mine", body)
    assert made.status == 201
    assert made.body["id"] == f"{shared.scope}/resourceGroups/Mine"
    assert made.body["location"] == "westeurope"
    assert made.body["properties"] == {"provisioningState": "Succeeded"}
    assert shared.ask("PUT", "resourcegroups/MINE", body).status == 200
    assert shared.ask("GET", "resourceGroups/mine").body["name"] == "Mine"
    assert shared.ask("HEAD", "resourcegroups/mine").status == 204
    assert shared.ask("HEAD", "resourcegroups/other").status == 404
    found = shared.ask("GET", "resourcegroups?$filter=tagName%20eq%20'team'%20and%20tagValue%20eq%20'data'")
    assert [one["name"] for one in found.body["value"]] == ["Mine"]
    moved = shared.ask("PUT", "resourcegroups/mine", {"location": "eastus"})
    assert (moved.status, moved.code) == (409, "InvalidResourceGroupLocation")
    assert "already exists in location 'westeurope'" in moved.message


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("a", {"location": "atlantis"}, "LocationNotAvailableForResourceGroup"),
        ("a", {}, "LocationRequired"),
        ("a", {"location": "eastus", "colour": "red"}, "InvalidRequestContent"),
        ("ends.", {"location": "eastus"}, "InvalidResourceGroupName"),
        ("a%23b", {"location": "eastus"}, "InvalidResourceGroupName"),
        ("a" * 91, {"location": "eastus"}, "InvalidResourceGroupName"),
    ],
)
def test_a_group_that_azure_refuses_is_refused(shared: Any, name: str, body: Any, code: str) -> None:
    reply = shared.ask("PUT", f"resourcegroups/{name}", body)
    assert (reply.status, reply.code) == (400, code)


def test_an_absent_group_is_not_found(shared: Any) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/resources")):
        reply = shared.ask(method, f"resourcegroups/absent{path}")
        assert (reply.status, reply.code) == (404, "ResourceGroupNotFound")
        assert reply.message == "Resource group 'absent' could not be found."


def test_a_group_goes_with_all_that_is_in_it(arm: Any) -> None:
    halted: list[str] = []
    arm.world.halt = lambda machine: halted.append(machine.name)
    group = arm.group()
    arm.machine(group, "m", arm.vnet(group, "v", "10.0.0.0/16"))
    reply = arm.ask("DELETE", group)
    assert reply.status == 202
    assert "azure-asyncoperation" not in reply.headers
    token = reply.headers["location"].partition("operationresults/")[2].partition("?")[0]
    job = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert job["jobId"].startswith("RESOURCEGROUPDELETIONJOB-RG-")
    assert arm.ask("GET", group).body["properties"]["provisioningState"] == "Deleting"
    refused = arm.ask("PUT", "resourcegroups/rg", {"location": "eastus"})
    assert (refused.status, refused.code) == (409, "ResourceGroupBeingDeleted")
    nsg = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n"
    assert arm.ask("PUT", nsg, {"location": "eastus", "properties": {}}).code == "ResourceGroupBeingDeleted"
    assert arm.ask("DELETE", group).status == 202
    assert follow(arm, reply).status == 200
    assert arm.ask("GET", group).status == 404
    assert arm.subscription.resources == {}
    arm.eventually(lambda: halted == ["m"])
    assert arm.world.machines == {}


def test_a_group_that_another_needs_stays_and_says_so(arm: Any, bodies: Any) -> None:
    mine, other = arm.group("mine"), arm.group("other")
    vnet = arm.vnet(mine, "v", "10.0.0.0/16")
    arm.nic(other, "n", bodies.nic(vnet))
    ended = follow(arm, arm.ask("DELETE", mine))
    assert (ended.status, ended.code) == (409, "ResourceGroupDeletionBlocked")
    assert "virtualNetworks/v" in ended.message
    assert arm.ask("GET", mine).body["properties"]["provisioningState"] == "Succeeded"
    assert follow(arm, arm.ask("DELETE", other)).status == 200
    assert follow(arm, arm.ask("DELETE", mine)).status == 200


def test_a_group_goes_while_a_machine_in_it_is_being_made(arm: Any, bodies: Any) -> None:
    group = arm.group()
    nic = arm.nic(group, "n", bodies.nic(arm.vnet(group, "v", "10.0.0.0/16")))
    begun = arm.ask("PUT", f"{group}/providers/Microsoft.Compute/virtualMachines/m", bodies.vm(nic, "m"))
    forced = "forceDeletionTypes=Microsoft.Compute/virtualMachines"
    assert follow(arm, arm.ask("DELETE", f"{group}?{forced}")).status == 200
    assert arm.wait(begun)["status"] in ("Failed", "Succeeded")
    assert arm.world.machines == {}
