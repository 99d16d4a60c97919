"""Etags of network resources: when they change, and writes that depend on them."""

from __future__ import annotations

import re
from typing import Any

import pytest

NSG: dict[str, Any] = {"location": "eastus", "properties": {}}
STALE = 'W/"00000000-0000-0000-0000-000000000000"'
NSGS = "providers/Microsoft.Network/networkSecurityGroups"


def requests_of(made: Any, tags: str = "changed") -> list[tuple[str, Any]]:
    return [("PUT", {**NSG, "tags": {"t": tags}}), ("PATCH", {"tags": {"t": tags}}), ("DELETE", None)]


def test_an_etag_that_does_not_match_is_refused_as_the_network_provider_does(shared: Any, group: str) -> None:
    made = shared.nsg(group, "n")
    for method, body in requests_of(made):
        reply = shared.ask(method, made["id"], body, headers={"If-Match": STALE})
        assert reply.status == 412
        assert reply.body == {
            "error": {
                "code": "PreconditionFailed",
                "message": "Precondition failed.",
                "details": [
                    {
                        "code": "PreconditionFailedEtagMismatch",
                        "message": f"Etag provided in if-match header {STALE} does not match etag {made['etag']} of "
                        f"resource {made['id']} in NRP data store.",
                    }
                ],
            }
        }
    assert shared.ask("GET", made["id"]).body == made


def test_an_etag_that_matches_lets_a_write_through_once(shared: Any, group: str) -> None:
    made = shared.nsg(group, "n")
    first = shared.ask("PUT", made["id"], {**NSG, "tags": {"t": "1"}}, headers={"If-Match": made["etag"]})
    assert first.status == 200
    second = shared.ask("PUT", made["id"], {**NSG, "tags": {"t": "2"}}, headers={"If-Match": made["etag"]})
    assert second.status == 412
    shared.wait(first)
    assert shared.ask("GET", made["id"]).body["tags"] == {"t": "1"}


@pytest.mark.parametrize("form", ["{}", "{bare}", '"{bare}"', f"{STALE}, {{}}", "*"])
def test_an_etag_may_be_given_in_each_form_of_the_header(shared: Any, group: str, form: str) -> None:
    made = shared.nsg(group, "n")
    bare = made["etag"].removeprefix("W/").strip('"')
    headers = {"If-Match": form.format(made["etag"], bare=bare)}
    assert shared.ask("PATCH", made["id"], {"tags": {"a": "b"}}, headers=headers).status == 200


@pytest.mark.parametrize("etag", [STALE, "*"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_is_not_there_matches_nothing(shared: Any, group: str, method: str, etag: str) -> None:
    reply = shared.ask(method, f"{group}/{NSGS}/none", NSG if method == "PUT" else None, headers={"If-Match": etag})
    assert (reply.status, reply.code) == (412, "PreconditionFailed")
    assert shared.ask("GET", f"{group}/{NSGS}/none").status == 404


def test_if_none_match_makes_what_is_not_there_and_nothing_else(shared: Any, group: str) -> None:
    path, only_new = f"{group}/{NSGS}/n", {"If-None-Match": "*"}
    made = shared.ask("PUT", path, NSG, headers=only_new)
    assert made.status == 201
    shared.wait(made)
    before = shared.ask("GET", path).body
    reply = shared.ask("PUT", path, {**NSG, "tags": {"t": "x"}}, headers=only_new)
    assert (reply.status, reply.code) == (412, "PreconditionFailed")
    assert reply.body["error"]["details"][0]["code"] == "PreconditionFailedEtagMismatch"
    assert shared.ask("GET", path).body == before
    shared.done("DELETE", path)
    assert shared.ask("PUT", path, NSG, headers=only_new).status == 201


def test_two_writers_that_read_the_same_do_not_both_win(slow: Any) -> None:
    group = slow.group("two-writers")
    made = slow.nsg(group, "n")
    answers = [
        slow.ask("PUT", made["id"], {**NSG, "tags": {"by": name}}, headers={"If-Match": made["etag"]})
        for name in ("one", "two")
    ]
    assert [answer.status for answer in answers] == [200, 412]
    slow.wait(answers[0])


def test_every_accepted_change_has_a_new_etag_and_reads_carry_it_as_a_header(shared: Any, group: str) -> None:
    made = shared.nsg(group, "n")
    seen = [made["etag"]]

    def note() -> None:
        reply = shared.ask("GET", made["id"])
        assert reply.headers["etag"] == reply.body["etag"]
        assert re.fullmatch(r'W/"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', reply.body["etag"])
        seen.append(reply.body["etag"])

    put = shared.ask("PUT", made["id"], {**NSG, "tags": {"z": "y"}})
    seen.append(put.body["etag"])
    shared.wait(put)
    note()
    patched = shared.ask("PATCH", made["id"], {"tags": {"a": "b"}})
    assert patched.headers["etag"] == patched.body["etag"]
    note()
    tags = {"operation": "Merge", "properties": {"tags": {"c": "d"}}}
    shared.ask("PATCH", f"{made['id']}/providers/Microsoft.Resources/tags/default", tags)
    note()
    rule = {
        "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "sourceAddressPrefix": "*",
        "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22",
    }  # fmt: skip
    shared.done("PUT", f"{made['id']}/securityRules/r", {"properties": rule})
    note()
    shared.done("DELETE", f"{made['id']}/securityRules/r")
    note()
    assert len(set(seen)) == len(seen)


def test_a_resource_shares_its_etag_with_what_is_below_it(shared: Any, group: str, bodies: Any) -> None:
    a, b = shared.vnet(group, "a", "10.1.0.0/16"), shared.vnet(group, "b", "10.2.0.0/16")
    path = f"{a['id']}/virtualNetworkPeerings/p"
    shared.done("PUT", path, bodies.peering(b))
    shared.done("PUT", f"{b['id']}/virtualNetworkPeerings/p", bodies.peering(a))
    vnet, peering = shared.ask("GET", a["id"]), shared.ask("GET", path)
    (subnet,) = vnet.body["properties"]["subnets"]
    etags = {vnet.body["etag"], peering.body["etag"], subnet["etag"], peering.headers["etag"]}
    assert etags == {vnet.headers["etag"]}
    assert vnet.body["etag"] != a["etag"]


def test_a_child_can_be_guarded_too(shared: Any, group: str, bodies: Any) -> None:
    a, b = shared.vnet(group, "a", "10.1.0.0/16"), shared.vnet(group, "b", "10.2.0.0/16")
    path = f"{a['id']}/virtualNetworkPeerings/p"
    assert shared.ask("PUT", path, bodies.peering(b), headers={"If-Match": "*"}).status == 412
    made = shared.done("PUT", path, bodies.peering(b), headers={}).body
    for method, body in (("PUT", bodies.peering(b)), ("DELETE", None)):
        reply = shared.ask(method, path, body, headers={"If-Match": STALE})
        assert f"of resource {path} in NRP data store." in reply.body["error"]["details"][0]["message"]
    assert shared.ask("PUT", path, bodies.peering(b), headers={"If-None-Match": "*"}).status == 412
    assert shared.ask("DELETE", path, headers={"If-Match": made["etag"]}).status == 202


def test_a_stale_etag_in_a_body_is_refused_as_if_match_would_be(shared: Any, group: str) -> None:
    made = shared.vnet(group, "v", "10.1.0.0/16")
    changed = shared.done("PUT", made["id"], {**made, "tags": {"a": "1"}}).body
    stale = shared.ask("PUT", made["id"], {**made, "tags": {"a": "2"}})
    assert (stale.status, stale.code) == (412, "PreconditionFailed")
    assert stale.body["error"]["details"][0]["code"] == "PreconditionFailedEtagMismatch"
    assert shared.done("PUT", made["id"], {**changed, "tags": {"a": "2"}}).body["tags"] == {"a": "2"}
    assert shared.done("PUT", made["id"], {**made, "etag": None}).status == 200
