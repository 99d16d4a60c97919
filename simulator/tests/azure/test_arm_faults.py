"""Faults of Azure Resource Manager: what a client sees, and what has become of the world."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

TOKEN = "arm-test-token"
NSG = {"location": "eastus", "properties": {}}
VNETS, NSGS = "providers/Microsoft.Network/virtualNetworks", "providers/Microsoft.Network/networkSecurityGroups"


@dataclass
class Raw:
    """What came back of one request on a connection of its own, and how the connection ended."""

    status: int = 0
    data: bytes = b""
    error: Exception | None = None


def raw(arm: Any, method: str, path: str, body: object = None) -> Raw:
    """One request, without any help from a library: what arrived, and the error that ended it."""
    context = ssl.create_default_context(cafile=str(arm.ca_file))
    connection = http.client.HTTPSConnection(urlsplit(arm.url).netloc, context=context, timeout=10)
    url = f"{arm.scope}/{path}?api-version=2025-05-01"
    came = Raw()
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, url, body=json.dumps(body) if body is not None else None, headers=headers)
        response = connection.getresponse()
        came.status = response.status
        while piece := response.read1(65536):
            came.data += piece
        if response.length:
            came.error = http.client.IncompleteRead(came.data, response.length)
    except (OSError, http.client.HTTPException) as error:
        came.error = error
    finally:
        connection.close()
    return came


@pytest.fixture
def group(arm: Any) -> Iterator[str]:
    yield arm.group()
    arm.world.faults.clear()


def strike(arm: Any, **rates: float) -> None:
    """From now on these faults of the door happen, and no others."""
    arm.world.faults.set({f"arm.{name}": rate for name, rate in rates.items()})


def calm(arm: Any) -> None:
    arm.world.faults.clear()


def test_throttling_says_when_to_come_back(arm: Any, group: str) -> None:
    strike(arm, throttled=1)
    reply = arm.ask("PUT", f"{group}/{NSGS}/n", NSG)
    assert (reply.status, reply.code) == (429, "SubscriptionRequestsThrottled")
    assert reply.message.startswith(f"Number of 'write' requests for subscription '{arm.subscription.id}' actor '")
    assert 1 <= int(reply.headers["retry-after"]) <= 10
    assert not arm.subscription.of_type("Microsoft.Network/networkSecurityGroups")
    assert [arm.ask("GET", group).status for _ in range(4)] == [429, 429, 429, 200]
    assert "'read' requests" in arm.ask("GET", f"{group}/resources").message


def test_compute_throttles_by_groups_of_operations_too(arm: Any, group: str) -> None:
    strike(arm, throttled=1)
    replies = [arm.ask("GET", f"{group}/providers/Microsoft.Compute/virtualMachines/vm{n}") for n in range(12)]
    assert {reply.code for reply in replies} == {"SubscriptionRequestsThrottled", "OperationNotAllowed"}
    reply = next(reply for reply in replies if reply.code == "OperationNotAllowed")
    (detail,) = reply.body["error"]["details"]
    assert (reply.status, detail["code"], detail["target"]) == (429, "TooManyRequests", "LowCostGet3Min")
    assert json.loads(detail["message"])["operationGroup"] == "LowCostGet3Min"
    assert reply.headers["x-ms-ratelimit-remaining-resource"] == "Microsoft.Compute/LowCostGet3Min;0"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_another_operation_is_in_progress_and_can_be_followed(arm: Any, group: str, method: str) -> None:
    made = arm.nsg(group, "n")
    strike(arm, another_operation=1)
    reply = arm.ask(method, made["id"], NSG if method == "PUT" else None)
    assert (reply.status, reply.code) == (409, "AnotherOperationInProgress")
    assert arm.ask("GET", made["id"]).body == made
    url = reply.message.partition("use uri: ")[2].removesuffix(".")
    calm(arm)
    assert arm.ask("GET", url).body["status"] in ("InProgress", "Succeeded")
    arm.eventually(lambda: arm.ask("GET", url).body["status"] == "Succeeded")
    arm.done(method, made["id"], NSG if method == "PUT" else None)


def test_another_operation_stands_in_the_way_of_network_resources_only(arm: Any) -> None:
    strike(arm, another_operation=1)
    assert arm.ask("PUT", "resourcegroups/rg2", {"location": "eastus"}).status == 201
    assert arm.world.faults.counts == {}


def test_a_peering_s_remote_is_not_provisioned(arm: Any, group: str, bodies: Any) -> None:
    a, b = arm.vnet(group, "a", "10.1.0.0/16"), arm.vnet(group, "b", "10.2.0.0/16")
    strike(arm, not_provisioned=1)
    replies = [arm.ask("PUT", f"{a['id']}/virtualNetworkPeerings/p{n}", bodies.peering(b)) for n in range(10)]
    assert {reply.code for reply in replies} == {"ReferencedResourceNotProvisioned"}
    assert {reply.status for reply in replies} == {400, 409}
    assert f"resource {b['id']} used by resource {a['id']}/virtualNetworkPeerings/p0" in replies[0].message
    assert "is not in Succeeded state. Resource is in Updating state" in replies[0].message
    assert arm.ask("GET", a["id"]).body["properties"]["virtualNetworkPeerings"] == []
    calm(arm)
    arm.done("PUT", f"{a['id']}/virtualNetworkPeerings/p0", bodies.peering(b))


def test_a_server_error_comes_before_or_after_the_change(arm: Any, group: str) -> None:
    strike(arm, server_error=1)
    happened = set()
    for number in range(10):
        reply = arm.ask("PUT", f"{group}/{NSGS}/n{number}", NSG)
        assert (reply.status, reply.code, reply.message) == (500, "InternalServerError", "An error occurred.")
        happened.add(arm.subscription.find(f"{arm.scope}/{group}/{NSGS}/n{number}") is not None)
    assert happened == {True, False}
    reply = arm.ask("GET", "locations")
    assert (reply.status, reply.code) == (500, "InternalServerError")
    assert reply.message.startswith("Encountered internal server error. Diagnostic information: timestamp '")


def test_an_unavailable_service_answers_in_each_of_its_ways(arm: Any, group: str) -> None:
    strike(arm, unavailable=1)
    seen: set[str] = set()
    happened: dict[str, set[bool]] = {}
    for number in range(24):
        came = raw(arm, "PUT", f"{group}/{NSGS}/n{number}", NSG)
        assert came.status == 503
        html = came.data.startswith(b"<!DOCTYPE HTML")
        what = "html" if html else json.loads(came.data)["error"]["code"]
        seen.add(what)
        there = arm.subscription.find(f"{arm.scope}/{group}/{NSGS}/n{number}") is not None
        happened.setdefault(what, set()).add(there)
    assert seen == {"html", "ServiceUnavailable", "ServerTimeout"}
    assert happened == {"html": {False}, "ServiceUnavailable": {False}, "ServerTimeout": {True, False}}


def test_a_busy_service_may_say_when_to_come_back(arm: Any, group: str) -> None:
    strike(arm, unavailable=1)
    replies = {}
    for number in range(24):
        reply = raw(arm, "GET", f"{group}/{NSGS}/n{number}")
        replies[reply.data[:1]] = reply
    assert set(replies) == {b"<", b"{"}
    assert b"HTTP Error 503. The service is unavailable." in replies[b"<"].data


def test_a_reset_comes_after_the_change_unanswered_or_in_the_middle(arm: Any, group: str) -> None:
    strike(arm, reset=1)
    parts = set()
    for number in range(10):
        path = f"{group}/{NSGS}/n{number}"
        came = raw(arm, "PUT", path, NSG)
        # The error is reported once: when OpenSSL has swallowed it with the data before, what is left is too short.
        assert isinstance(came.error, (ConnectionResetError, http.client.IncompleteRead) if came.data else OSError)
        assert came.status in (0, 201)
        assert arm.subscription.find(f"{arm.scope}/{path}") is not None
        parts.add(bool(came.data))
        if came.data:
            assert came.data.startswith(b'{"name": "n')
            with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
                json.loads(came.data)
    assert parts == {True, False}
    assert arm.world.faults.counts == {"arm.reset": 10}
    calm(arm)
    arm.eventually(lambda: arm.ask("GET", f"{group}/{NSGS}/n0").body["properties"]["provisioningState"] == "Succeeded")


def test_a_reset_deletion_has_begun(arm: Any, group: str) -> None:
    made = arm.nsg(group, "n")
    strike(arm, reset=1)
    assert isinstance(raw(arm, "DELETE", f"{group}/{NSGS}/n").error, ConnectionResetError)
    calm(arm)
    arm.eventually(lambda: arm.ask("GET", made["id"]).status == 404)


def test_a_slow_operation_takes_five_to_ten_times_as_long(arm: Any, group: str) -> None:
    def planned(name: str) -> float:
        operation = arm.subscription.operations.holding(f"{arm.scope}/{group}/{NSGS}/{name}")
        return float(operation.ends_at - operation.started_at)

    latency = arm.subscription.latency
    path = f"{group}/{NSGS}/n"
    usual = latency.draw("PutNetworkSecurityGroupOperation", f"{arm.scope}/{path}")
    latency._attempts.clear()
    strike(arm, slow=1)
    reply = arm.ask("PUT", path, NSG)
    assert reply.status == 201
    assert 5 <= planned("n") / usual <= 10
    assert arm.wait(reply) == {"status": "Succeeded"}


def test_a_new_resource_is_late_to_be_read_and_listed_but_there(make_world: Any, serve: Any) -> None:
    with serve(make_world(scale=8.0)) as arm:
        arm.group()
        strike(arm, late_read=1)
        read_late(arm, "resourceGroups/rg")


def read_late(arm: Any, group: str) -> None:
    path = f"{group}/{NSGS}/n"
    made = arm.ask("PUT", path, NSG)
    assert made.status == 201
    reply = arm.ask("GET", path)
    assert (reply.status, reply.code) == (404, "ResourceNotFound")
    assert reply.message.startswith(
        "The Resource 'Microsoft.Network/networkSecurityGroups/n' under resource group 'rg'"
    )
    for collection in (f"{group}/{NSGS}", f"{group}/resources", "resources", NSGS):
        assert arm.ask("GET", collection).body["value"] == []
    assert arm.subscription.find(made.body["id"]) is not None
    arm.eventually(lambda: arm.ask("GET", path).status == 200)
    assert [entry["name"] for entry in arm.ask("GET", f"{group}/resources").body["value"]] == ["n"]
    assert arm.ask("PUT", path, NSG).status in (200, 429)
    assert arm.ask("GET", path).status == 200, "only new resources are late"


def test_a_late_resource_can_be_referred_to_and_deleted(arm: Any, group: str) -> None:
    strike(arm, late_read=1)
    path = f"{group}/{VNETS}/v"
    properties: dict[str, Any] = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    body = {"location": "eastus", "properties": properties}
    arm.wait(arm.ask("PUT", path, body))
    properties["subnets"] = [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}]
    assert arm.wait(arm.ask("PUT", path, body)) == {"status": "Succeeded"}
    assert arm.wait(arm.ask("DELETE", path)) == {"status": "Succeeded"}


def test_a_network_operation_fails_and_leaves_the_resource_failed(arm: Any, group: str) -> None:
    strike(arm, network_operation_failed=1)
    codes = set()
    for number in range(10):
        path = f"{group}/{NSGS}/n{number}"
        reply = arm.ask("PUT", path, NSG)
        assert reply.status == 201
        ended = arm.wait(reply)
        assert ended["status"] == "Failed"
        codes.add(ended["error"]["code"])
        left = arm.ask("GET", path).body
        assert left["properties"]["provisioningState"] == "Failed"
        assert left["etag"] != reply.body["etag"]
    assert codes == {"RetryableError", "NetworkingInternalOperationError"}
    calm(arm)
    assert arm.done("PUT", f"{group}/{NSGS}/n0", NSG).body["properties"]["provisioningState"] == "Succeeded"


def test_a_vnet_that_failed_has_failed_subnets_and_nothing_may_refer_to_it(arm: Any, group: str, bodies: Any) -> None:
    path = f"{group}/{VNETS}/v"
    subnet = {"name": "nodes", "properties": {"addressPrefix": "10.0.0.0/24"}}
    body = {
        "location": "eastus",
        "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]},
    }
    strike(arm, network_operation_failed=1)
    assert arm.wait(arm.ask("PUT", path, body))["status"] == "Failed"
    calm(arm)
    vnet = arm.ask("GET", path).body
    assert vnet["properties"]["subnets"][0]["properties"]["provisioningState"] == "Failed"
    nic = bodies.nic(vnet)
    reply = arm.ask("PUT", f"{group}/providers/Microsoft.Network/networkInterfaces/n", nic)
    assert (reply.status, reply.code) == (400, "ReferencedResourceNotProvisioned")
    assert reply.message.endswith("is in Failed state and the last operation that updated/is updating the resource is "
                                  "PutVirtualNetworkOperation.")  # fmt: skip
    arm.done("PUT", path, body)
    arm.done("PUT", f"{group}/providers/Microsoft.Network/networkInterfaces/n", nic)


def test_a_peering_that_failed_is_there_and_may_be_written_again(arm: Any, group: str, bodies: Any) -> None:
    a, b = arm.vnet(group, "a", "10.1.0.0/16"), arm.vnet(group, "b", "10.2.0.0/16")
    path = f"{a['id']}/virtualNetworkPeerings/p"
    strike(arm, network_operation_failed=1)
    assert arm.wait(arm.ask("PUT", path, bodies.peering(b)))["status"] == "Failed"
    assert arm.ask("GET", path).body["properties"]["provisioningState"] == "Failed"
    assert arm.ask("GET", a["id"]).body["properties"]["provisioningState"] == "Succeeded"
    calm(arm)
    assert arm.done("PUT", path, bodies.peering(b)).body["properties"]["provisioningState"] == "Succeeded"


def test_a_deletion_that_failed_leaves_the_resource_to_be_deleted_again(arm: Any, group: str) -> None:
    made = arm.nsg(group, "n")
    strike(arm, network_operation_failed=1)
    assert arm.wait(arm.ask("DELETE", made["id"]))["status"] == "Failed"
    assert arm.ask("GET", made["id"]).body["properties"]["provisioningState"] == "Failed"
    calm(arm)
    arm.done("DELETE", made["id"])
    assert arm.ask("GET", made["id"]).status == 404


def machine(
    arm: Any, group: str, bodies: Any, location: str = "eastus", zones: list[str] | None = None
) -> tuple[str, Any]:
    """A VM that is asked for: its path, and its body."""
    vnet = arm.vnet(group, f"v-{location}", "10.0.0.0/16", location=location)
    nic = arm.nic(group, f"nic-{location}", bodies.nic(vnet, location=location))
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/vm-{location}"
    return path, bodies.vm(nic, "vm", location=location, **({"zones": zones} if zones else {}))


@pytest.mark.parametrize(
    ("fault", "zones", "code", "where"),
    [
        ("allocation_failed", None, "AllocationFailed", "in this region"),
        ("zonal_allocation_failed", ["1"], "ZonalAllocationFailed", "in this zone"),
    ],
)
def test_there_is_no_room_for_a_machine(
    arm: Any, group: str, bodies: Any, fault: str, zones: list[str] | None, code: str, where: str
) -> None:
    path, body = machine(arm, group, bodies, zones=zones)
    strike(arm, **{fault: 1})
    for status in (201, 200):
        reply = arm.ask("PUT", path, body)
        assert reply.status == status
        ended = arm.wait(reply)
        assert (ended["status"], ended["error"]["code"]) == ("Failed", code)
        assert where in ended["error"]["message"]
    left = arm.ask("GET", path).body
    assert left["properties"]["provisioningState"] == "Failed"
    assert not arm.world.machines
    calm(arm)
    assert arm.done("PUT", path, body).body["properties"]["provisioningState"] == "Succeeded"
    assert arm.world.faults.counts == {f"arm.{fault}": 2}


def test_a_shortage_may_be_one_region_s(arm: Any, group: str, bodies: Any) -> None:
    here, there = machine(arm, group, bodies), machine(arm, group, bodies, "westus")
    arm.world.faults.set({"arm.allocation_failed@westus": 1})
    assert arm.wait(arm.ask("PUT", *there))["error"]["code"] == "AllocationFailed"
    arm.done("PUT", *here)


def test_a_zonal_shortage_does_not_touch_machines_without_a_zone(arm: Any, group: str, bodies: Any) -> None:
    path, body = machine(arm, group, bodies)
    strike(arm, zonal_allocation_failed=1)
    arm.done("PUT", path, body)


def test_a_size_is_not_available(arm: Any, group: str, bodies: Any) -> None:
    path, body = machine(arm, group, bodies)
    strike(arm, sku_not_available=1)
    for _ in range(5):
        reply = arm.ask("PUT", path, body)
        assert (reply.status, reply.code) == (409, "SkuNotAvailable")
    assert "is currently not available in location 'eastus'" in reply.message
    assert arm.ask("GET", path).status == 404
    calm(arm)
    arm.done("PUT", path, body)


def test_a_quota_is_exceeded(arm: Any, group: str, bodies: Any) -> None:
    path, body = machine(arm, group, bodies)
    strike(arm, quota=1)
    for _ in range(5):
        reply = arm.ask("PUT", path, body)
        assert (reply.status, reply.code) == (409, "OperationNotAllowed")
    assert reply.message.startswith(
        "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional "
        "details - Deployment Model: Resource Manager, Location: eastus, Current Limit: 0, Current Usage: 0, "
        "Additional Required: 2, (Minimum) New Limit Required: 2."
    )
    assert arm.ask("GET", path).status == 404
    calm(arm)
    arm.done("PUT", path, body)


def test_a_seed_hits_the_same_requests(make_world: Any, serve: Any) -> None:
    def statuses(seed: int) -> list[int]:
        world = make_world(seed=seed, subscription_id="00000000-0000-4000-8000-000000000000")
        world.faults.set({"arm.throttled": 0.2, "arm.server_error": 0.2})
        with serve(world) as arm:
            return [arm.ask("GET", f"resourceGroups/g{number}").status for number in range(40)]

    first = statuses(5)
    assert set(first) == {404, 429, 500}
    assert statuses(5) == first
    assert statuses(6) != first
