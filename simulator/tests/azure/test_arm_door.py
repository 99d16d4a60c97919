"""What the front end of Azure Resource Manager checks and says, whatever is asked for."""

from __future__ import annotations

from typing import Any

import pytest

GUID = "00000000-0000-0000-0000-00000000dead"


def test_without_a_token_there_is_a_challenge(shared: Any) -> None:
    reply = shared.ask("GET", "resourcegroups", token=None)
    assert (reply.status, reply.code) == (401, "AuthenticationFailed")
    assert reply.headers["www-authenticate"].startswith("Bearer authorization_uri=")


def test_a_wrong_token_is_refused_and_not_repeated(shared: Any) -> None:
    reply = shared.ask("GET", "resourcegroups", token="not-ours")
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
    assert 'error="invalid_token"' in reply.headers["www-authenticate"]
    assert "not-ours" not in str(reply)


@pytest.mark.parametrize("version", ["2025-04-01", "2021-07-01", "2026-03-01", "2024-10-01-preview"])
def test_any_plausible_api_version_will_do(shared: Any, version: str) -> None:
    assert shared.ask("GET", "resourcegroups", api=version).status == 200


@pytest.mark.parametrize("version", ["latest", "2025-13-01", "1999-01-01", "2999-01-01", "2025-4-1"])
def test_an_implausible_api_version_is_refused(shared: Any, version: str) -> None:
    reply = shared.ask("GET", "resourcegroups", api=version)
    assert (reply.status, reply.code) == (400, "InvalidApiVersionParameter")


def test_the_api_version_is_required(shared: Any) -> None:
    reply = shared.ask("GET", "resourcegroups", api=None)
    assert (reply.status, reply.code) == (400, "MissingApiVersionParameter")


def test_another_subscription_does_not_exist(shared: Any) -> None:
    reply = shared.ask("GET", f"/subscriptions/{GUID}/resourcegroups")
    assert (reply.status, reply.code) == (404, "SubscriptionNotFound")
    reply = shared.ask("GET", "/subscriptions/mine/resourcegroups")
    assert (reply.status, reply.code) == (400, "InvalidSubscriptionId")


def test_what_is_not_routed_is_501_and_recorded(arm: Any) -> None:
    group = arm.group()
    assert arm.world.unknown == []
    path = f"{arm.scope}/{group}/providers/Microsoft.Network/loadBalancers"
    reply = arm.ask("GET", path)
    assert (reply.status, reply.code) == (501, "NotImplemented")
    assert [(unknown.door, unknown.what) for unknown in arm.world.unknown] == [("arm", f"GET {path}")]


def test_broken_json_is_refused(shared: Any) -> None:
    reply = shared.ask("PUT", "resourcegroups/rg", "{")
    assert (reply.status, reply.code) == (400, "InvalidRequestContent")
    assert shared.ask("PUT", "resourcegroups/rg", []).code == "InvalidRequestContent"


def test_paths_match_without_regard_to_case(shared: Any, group: str, bodies: Any) -> None:
    shared.nsg(group, "Rules", bodies.rule())
    path = f"{shared.scope}/{group}/providers/Microsoft.Network/networkSecurityGroups/Rules"
    reply = shared.ask("GET", path.upper())
    assert reply.status == 200
    assert reply.body["name"] == "Rules"
    assert reply.body["id"] == path


def test_answers_carry_the_headers_of_the_real_service(shared: Any) -> None:
    sent = {"x-ms-correlation-request-id": GUID}
    headers = shared.ask("GET", "resourcegroups", headers=sent).headers
    assert headers["x-ms-correlation-request-id"] == GUID
    assert len(headers["x-ms-request-id"]) == 36
    assert headers["x-ms-routing-request-id"].startswith("EASTUS:20")
    assert 0 <= int(headers["x-ms-ratelimit-remaining-subscription-reads"]) < 250
    assert headers["cache-control"] == "no-cache"
    assert headers["expires"] == "-1"


def test_writes_are_counted_and_reads_are_not(arm: Any) -> None:
    group = arm.group()
    assert arm.world.writes["arm"] == 1
    arm.ask("GET", group)
    arm.ask("HEAD", "resourcegroups/rg")
    arm.ask("GET", "providers/Microsoft.Authorization/permissions")
    assert arm.world.writes["arm"] == 1
    arm.ask("POST", "providers/Microsoft.Network/register")
    arm.ask("PATCH", f"{group}/providers/Microsoft.Network/virtualNetworks/absent", {"tags": {}})
    arm.ask("DELETE", f"{group}/providers/Microsoft.Network/virtualNetworks/absent")
    assert arm.world.writes["arm"] == 4


def test_too_many_requests_are_throttled(make_world: Any, serve: Any) -> None:
    with serve(make_world(scale=0.001)) as arm:
        arm.subscription.throttle.take("DELETE", arm.subscription.now)
        left = int(arm.ask("DELETE", "resourcegroups/no").headers["x-ms-ratelimit-remaining-subscription-deletes"])
        assert left == 198
        for _ in range(left):
            arm.ask("DELETE", "resourcegroups/no")
        reply = arm.ask("DELETE", "resourcegroups/no")
        assert (reply.status, reply.code) == (429, "SubscriptionRequestsThrottled")
        assert int(reply.headers["retry-after"]) > 0
        assert arm.ask("GET", "resourcegroups").status == 200


def test_waits_are_told_in_seconds_of_the_world(shared: Any, group: str) -> None:
    body = {"location": "eastus", "properties": {}}
    reply = shared.ask("PUT", f"{group}/providers/Microsoft.Network/networkSecurityGroups/n", body)
    assert reply.status == 201
    assert reply.headers["retry-after"] == "3"
    assert "retry-after-ms" not in reply.headers
    shared.wait(reply)


def test_other_clouds_find_their_endpoints_without_a_token(shared: Any) -> None:
    reply = shared.ask("GET", "/metadata/endpoints", api="2022-09-01", token=None)
    assert reply.status == 200
    assert reply.body["resourceManager"] == f"{shared.url}/"


def test_an_operation_nobody_began_is_not_found(shared: Any) -> None:
    reply = shared.ask("GET", f"providers/Microsoft.Network/locations/eastus/operations/{GUID}")
    assert reply.status == 404


def test_operations_end_though_nobody_asks(arm: Any, bodies: Any) -> None:
    booted: list[str] = []
    arm.world.boot = lambda machine: booted.append(machine.name)
    group = arm.group()
    vnet = arm.vnet(group, "v", "10.0.0.0/16")
    nic = arm.nic(group, "n", bodies.nic(vnet))
    arm.ask("PUT", f"{group}/providers/Microsoft.Compute/virtualMachines/quiet", bodies.vm(nic, "quiet"))
    arm.eventually(lambda: booted == ["quiet"])
