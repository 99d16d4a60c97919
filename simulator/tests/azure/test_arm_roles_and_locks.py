"""Roles, locks, the subscription's state and its clock, at the door."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest

from crdbmesh_simulator.azure.authorization import action_of
from crdbmesh_simulator.azure.sizes import Restriction
from crdbmesh_simulator.azure.state import CONTRIBUTOR, READER

LOCKS = "providers/Microsoft.Authorization/locks"
ADDRESS = {"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
NSG = {"location": "eastus", "properties": {}}


@pytest.mark.parametrize(
    ("method", "path", "action", "scope"),
    [
        ("GET", "/subscriptions/S", "Microsoft.Resources/subscriptions/read", "/subscriptions/S"),
        (
            "GET",
            "/subscriptions/S/providers/M.N",
            "Microsoft.Resources/subscriptions/providers/read",
            "/subscriptions/S",
        ),
        ("POST", "/subscriptions/S/providers/M.N/register", "M.N/register/action", "/subscriptions/S"),
        (
            "PUT",
            "/subscriptions/S/resourcegroups/G",
            "Microsoft.Resources/subscriptions/resourceGroups/write",
            "/subscriptions/S/resourcegroups/G",
        ),
        (
            "DELETE",
            "/subscriptions/S/resourceGroups/G/providers/M.N/a/x/b/y",
            "M.N/a/b/delete",
            "/subscriptions/S/resourceGroups/G/providers/M.N/a/x/b/y",
        ),
        (
            "POST",
            "/subscriptions/S/resourceGroups/G/providers/M.C/vms/x/start",
            "M.C/vms/start/action",
            "/subscriptions/S/resourceGroups/G/providers/M.C/vms/x",
        ),
        (
            "GET",
            "/subscriptions/S/resourceGroups/G/providers/M.C/vms/x/instanceView",
            "M.C/vms/instanceView/read",
            "/subscriptions/S/resourceGroups/G/providers/M.C/vms/x",
        ),
    ],
)
def test_each_request_asks_for_an_action_at_a_scope(method: str, path: str, action: str, scope: str) -> None:
    assert action_of(method, path) == (action, scope)


def test_what_every_caller_may_do_takes_no_action() -> None:
    assert action_of("GET", "/subscriptions") is None
    assert action_of("GET", "/subscriptions/S/resources") is None


def test_a_reader_reads_and_is_told_which_action_is_missing(arm: Any) -> None:
    group = arm.group()
    arm.subscription.permissions[:] = [READER]
    assert arm.ask("GET", group).status == 200
    path = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n"
    reply = arm.ask("PUT", path, NSG)
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")
    assert "'Microsoft.Network/networkSecurityGroups/write'" in reply.message
    assert f"over scope '{arm.scope}/{path}'" in reply.message
    assert arm.ask("DELETE", group).code == "AuthorizationFailed"
    assert arm.ask("POST", "providers/Microsoft.Network/register").code == "AuthorizationFailed"


def test_without_any_role_lists_are_empty_and_the_rest_is_refused(arm: Any) -> None:
    group = arm.group()
    arm.done("PUT", f"{group}/providers/Microsoft.Network/networkSecurityGroups/n", NSG)
    arm.subscription.permissions.clear()
    assert arm.ask("GET", "resourcegroups").body["value"] == []
    assert arm.ask("GET", "resources").body["value"] == []
    assert arm.ask("GET", arm.scope).code == "AuthorizationFailed"
    arm.subscription.group_permissions["rg"] = [CONTRIBUTOR]
    assert [one["name"] for one in arm.ask("GET", "resourcegroups").body["value"]] == ["rg"]
    assert [one["name"] for one in arm.ask("GET", "resources").body["value"]] == ["n"]
    assert len(arm.ask("GET", f"{group}/providers/Microsoft.Authorization/permissions").body["value"]) == 1


def test_what_a_body_refers_to_takes_a_permission_too(arm: Any, bodies: Any) -> None:
    group = arm.group()
    one, other = arm.vnet(group, "one", "10.1.0.0/16"), arm.vnet(group, "other", "10.2.0.0/16")
    lacking = ["Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Network/virtualNetworks/peer/action"]
    arm.subscription.permissions[:] = [{"actions": ["*"], "notActions": lacking}]
    reply = arm.ask("PUT", f"{group}/providers/Microsoft.Network/networkInterfaces/n", bodies.nic(one))
    assert (reply.status, reply.code) == (403, "LinkedAuthorizationFailed")
    assert f"action(s) '{lacking[0]}' on the linked scope(s) '{one['id']}/subnets/nodes'" in reply.message
    path = f"{group}/providers/Microsoft.Network/virtualNetworks/one/virtualNetworkPeerings/p"
    reply = arm.ask("PUT", path, bodies.peering(other))
    assert reply.code == "LinkedAuthorizationFailed"
    assert lacking[1] in reply.message


def test_a_lock_is_made_shown_listed_and_removed(arm: Any) -> None:
    group = arm.group()
    path = f"{group}/{LOCKS}/keep"
    made = arm.ask("PUT", path, {"properties": {"level": "CanNotDelete", "notes": "why"}})
    assert (made.status, made.body["name"]) == (201, "keep")
    assert made.body["type"] == "Microsoft.Authorization/locks"
    assert made.body["properties"] == {"level": "CanNotDelete", "notes": "why"}
    assert arm.ask("PUT", path, {"properties": {"level": "ReadOnly"}}).status == 200
    assert arm.ask("GET", f"{group}/{LOCKS}").body["value"][0]["properties"] == {"level": "ReadOnly"}
    for scope in ("", f"{group}/"):
        assert [one["id"] for one in arm.ask("GET", f"{scope}{LOCKS}").body["value"]] == [made.body["id"]]
    assert arm.ask("GET", f"{LOCKS}?$filter=atScope()").body["value"] == []
    assert len(arm.ask("GET", f"{group}/{LOCKS}?$filter=atScope()").body["value"]) == 1
    assert arm.ask("PUT", path, {"properties": {"level": "Sticky"}}).status == 400
    assert arm.ask("DELETE", path).status == 200
    assert arm.ask("DELETE", path).status == 204


def test_a_lock_against_deletion_lets_everything_else_pass(arm: Any) -> None:
    group = arm.group()
    path = f"{group}/providers/Microsoft.Network/publicIPAddresses/ip"
    arm.ask("PUT", f"{group}/{LOCKS}/keep", {"properties": {"level": "CanNotDelete"}})
    arm.done("PUT", path, ADDRESS)
    for locked in (path, group):
        reply = arm.ask("DELETE", locked)
        assert (reply.status, reply.code) == (409, "ScopeLocked")
        assert f"scope '{arm.scope}/{locked}' cannot perform delete operation" in reply.message
        assert f"locked: '{arm.scope}/{group}'." in reply.message
    arm.ask("DELETE", f"{group}/{LOCKS}/keep")
    arm.done("DELETE", path)


def test_a_lock_on_a_resource_keeps_its_group_too(arm: Any) -> None:
    group = arm.group()
    path = f"{group}/providers/Microsoft.Network/publicIPAddresses/ip"
    assert arm.ask("PUT", f"{path}/{LOCKS}/keep", {"properties": {"level": "CanNotDelete"}}).code == "ResourceNotFound"
    arm.done("PUT", path, ADDRESS)
    assert arm.ask("PUT", f"{path}/{LOCKS}/keep", {"properties": {"level": "CanNotDelete"}}).status == 201
    assert arm.ask("DELETE", group).code == "ScopeLocked"
    other = f"{group}/providers/Microsoft.Network/networkSecurityGroups/n"
    arm.done("PUT", other, NSG)
    arm.done("DELETE", other)


def test_a_read_only_lock_refuses_every_write_below_it(arm: Any) -> None:
    group = arm.group()
    arm.ask("PUT", f"{LOCKS}/all", {"properties": {"level": "ReadOnly"}})
    reply = arm.ask("PUT", f"{group}/providers/Microsoft.Network/networkSecurityGroups/n", NSG)
    assert (reply.status, reply.code) == (409, "ScopeLocked")
    assert "cannot perform write operation" in reply.message
    assert arm.ask("PUT", "resourcegroups/more", {"location": "eastus"}).code == "ScopeLocked"
    assert arm.ask("GET", group).status == 200
    assert arm.ask("DELETE", f"{LOCKS}/all").status == 200
    assert arm.ask("PUT", "resourcegroups/more", {"location": "eastus"}).status == 201


def test_a_disabled_subscription_can_be_read_and_emptied(arm: Any) -> None:
    group = arm.group()
    arm.subscription.state = "Disabled"
    assert arm.ask("GET", arm.scope).body["state"] == "Disabled"
    reply = arm.ask("PUT", "resourcegroups/more", {"location": "eastus"})
    assert (reply.status, reply.code) == (409, "ReadOnlyDisabledSubscription")
    assert arm.ask("DELETE", group).status == 202


def test_the_date_of_an_answer_is_the_services(arm: Any) -> None:
    def ahead_s() -> float:
        told = arm.ask("GET", arm.scope).headers["date"]
        return email.utils.parsedate_to_datetime(told).timestamp() - time.time()

    assert abs(ahead_s()) < 5
    arm.subscription.clock_ahead_s = 3600.0
    assert abs(ahead_s() - 3600) < 5


def test_a_restricted_size_is_listed_as_such_and_refused(arm: Any, sdk: Any, bodies: Any) -> None:
    arm.subscription.restrictions |= {Restriction("Standard_D2s_v5", "eastus"), Restriction("f", "westus", "1")}
    sizes = {one.name: one for one in sdk.compute.resource_skus.list(filter="location eq 'eastus'")}
    assert sizes["Standard_D2s_v5"].restrictions[0].type == "Location"
    assert sizes["Standard_D4s_v5"].restrictions == []
    group = arm.group()
    nic = arm.nic(group, "n", bodies.nic(arm.vnet(group, "v", "10.1.0.0/16")))
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/m"
    assert arm.ask("PUT", path, bodies.vm(nic, "m")).code == "SkuNotAvailable"
