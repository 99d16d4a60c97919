"""What Azure Resource Manager's front end says before a provider is asked: tokens, content, what Azure has not."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import time
import urllib.parse
from typing import Any

import pytest

_GROUP_BODY = {"location": "eastus"}


def web_token(**claims: Any) -> str:
    parts = [{"alg": "RS256", "typ": "JWT"}, claims, {}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def test_a_missing_token_is_told_from_a_header_of_another_form(shared: Any) -> None:
    missing = shared.ask("GET", "resourcegroups", token=None)
    assert (missing.status, missing.code) == (401, "AuthenticationFailed")
    assert missing.message == "Authentication failed. The 'Authorization' header is missing."
    challenge = missing.headers["www-authenticate"]
    assert challenge.startswith(
        f'Bearer authorization_uri="https://login.microsoftonline.com/{shared.subscription.tenant_id}"'
    )
    assert 'error="invalid_token"' in challenge
    assert "missing 'Authorization' header" in challenge
    for header in ("Basic abc", "Bearer", "Bearer "):
        other = shared.ask("GET", "resourcegroups", token=None, headers={"Authorization": header})
        assert (other.status, other.code) == (401, "AuthenticationFailedInvalidHeader")


def test_the_tenant_is_not_the_subscription(make_world: Any) -> None:
    subscription = make_world(subscription_id="e3e70682-c209-4cac-a29f-6fbed82c07cd", seed=0).subscription
    assert subscription.tenant_id != subscription.id


def test_content_that_is_not_json_is_refused_by_its_type(shared: Any) -> None:
    reply = shared.ask("PUT", "resourcegroups/typed", "{}", headers={"Content-Type": "text/plain"})
    assert (reply.status, reply.code) == (415, "UnsupportedMediaType")
    assert (
        reply.message == "The content media type 'text/plain' is not supported. Only 'application/json' is supported."
    )
    good = {"Content-Type": "application/json; charset=utf-8"}
    assert shared.ask("PUT", "resourcegroups/typed", _GROUP_BODY, headers=good).status == 201


def test_content_beyond_the_limit_or_beyond_reading_is_refused(shared: Any) -> None:
    big = shared.ask("PUT", "resourcegroups/big", json.dumps({"location": "a" * (5 * 1024**2)}))
    assert (big.status, big.code) == (413, "RequestContentTooLarge")
    for text in ("[" * 100_000, '{"location": NaN}', "\ufeff{", "{'location': 'eastus'}"):
        reply = shared.ask("PUT", "resourcegroups/odd", text.encode().decode("latin-1"))
        assert (reply.status, reply.code) == (400, "InvalidRequestContent")


def test_only_the_network_provider_lists_details_when_there_are_none(shared: Any, group: str) -> None:
    vnet = f"{group}/providers/Microsoft.Network/virtualNetworks/v"
    missing = shared.ask("GET", vnet)
    assert (missing.status, missing.headers["x-ms-failure-cause"]) == (404, "gateway")
    assert set(missing.body["error"]) == {"code", "message"}
    refused = shared.ask("PUT", vnet, {"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": []}}})
    assert refused.status == 400
    assert refused.body["error"]["details"] == []
    assert "x-ms-failure-cause" not in refused.headers


def test_a_rule_that_breaks_is_an_internal_error_in_azures_form(arm: Any, caplog: pytest.LogCaptureFixture) -> None:
    arm.subscription.groups["broken"] = object()
    reply = arm.ask("GET", "resourcegroups/broken")
    assert (reply.status, reply.code) == (500, "InternalServerError")
    assert reply.headers["x-ms-request-id"]
    assert "broke the simulation" in caplog.text


@pytest.mark.parametrize("body", [None, [], {}, {"properties": None}, {"properties": "x"}, {"properties": {"tags": 5}}])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_tags_body_without_tags_is_refused(shared: Any, group: str, method: str, body: Any) -> None:
    scope = f"{group}/providers/Microsoft.Resources/tags/default"
    sent = {**body, "operation": "Merge"} if isinstance(body, dict) else body
    reply = shared.ask(method, scope, sent)
    assert (reply.status, reply.code) == (400, "InvalidRequestContent")


def test_resources_are_found_by_the_display_name_of_their_region(shared: Any, group: str) -> None:
    shared.nsg(group, "n")
    path = f"{group}/resources?$filter=location%20eq%20'East%20US'"
    assert [one["name"] for one in shared.ask("GET", path).body["value"]] == ["n"]


def test_providers_list_children_and_what_is_not_in_regions(shared: Any) -> None:
    network = shared.ask("GET", "providers/Microsoft.Network").body
    names = {one["resourceType"] for one in network["resourceTypes"]}
    assert {"virtualNetworks", "virtualNetworks/subnets", "locations/usages"} <= names
    assert all(one["apiVersions"] for one in network["resourceTypes"])
    resources = shared.ask("GET", "providers/Microsoft.Resources").body["resourceTypes"]
    assert "resourceGroups" in {one["resourceType"] for one in resources}


def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_fault_of_the_simulator(
    arm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place = urllib.parse.urlsplit(arm.url)
    context = ssl.create_default_context(cafile=str(arm.ca_file))
    lines = f"PUT {arm.scope}/resourcegroups/half?api-version=2024-11-01 HTTP/1.1\r\nHost: {place.netloc}\r\n"
    with (
        socket.create_connection((place.hostname, place.port)) as plain,
        context.wrap_socket(plain, server_hostname=place.hostname) as door,
    ):
        door.sendall(f"{lines}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.05)
    time.sleep(0.1)
    assert arm.ask("GET", "resourcegroups/half").status == 404
    assert not [record for record in caplog.records if record.name.startswith("crdbmesh")]
