"""Network interfaces: there at once, with addresses of their subnet, and bound to what they refer to."""

from __future__ import annotations

import copy
from typing import Any

import pytest

NETWORK = "providers/Microsoft.Network"
PUBLIC_IP: dict[str, Any] = {
    "location": "eastus",
    "sku": {"name": "Standard"},
    "properties": {"publicIPAllocationMethod": "Static"},
}


def vnet(*prefixes: str, subnets: dict[str, str] | None = None) -> dict[str, Any]:
    entries = [{"name": name, "properties": {"addressPrefix": prefix}} for name, prefix in (subnets or {}).items()]
    return {
        "location": "eastus",
        "properties": {"addressSpace": {"addressPrefixes": list(prefixes)}, "subnets": entries},
    }


def test_a_nic_is_there_at_once_and_its_deletion_is_followed(shared: Any, group: str, bodies: Any) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    path, statuses = f"{group}/{NETWORK}/networkInterfaces", set()
    for number in range(12):
        put = shared.ask("PUT", f"{path}/n{number}", bodies.nic(made))
        assert (put.status, put.body["properties"]["provisioningState"]) == (201, "Succeeded")
        assert "azure-asyncoperation" not in put.headers
        gone = shared.ask("DELETE", f"{path}/n{number}")
        assert shared.wait(gone)["status"] == "Succeeded"
        statuses.add(gone.status)
    assert statuses == {200, 202}


def test_a_nic_shows_what_azure_adds_and_is_written_again_as_it_is_read(shared: Any, group: str, bodies: Any) -> None:
    path = f"{group}/{NETWORK}/networkInterfaces/n"
    made = shared.nic(group, "n", bodies.nic(shared.vnet(group, "v", "10.0.0.0/16")))
    assert (made["kind"], made["properties"]["allowPort25Out"]) == ("Regular", False)
    suffix = made["properties"]["dnsSettings"]["internalDomainNameSuffix"]
    assert suffix.endswith(".internal.cloudapp.net")
    again = shared.ask("PUT", path, {**made, "identity": None})
    assert again.status == 200
    assert again.body["properties"]["dnsSettings"]["internalDomainNameSuffix"] == suffix
    assert shared.ask("PUT", path, {**made, "identity": {"type": "None"}}).status == 400


def test_private_addresses_come_in_order_and_stay(shared: Any, group: str, bodies: Any) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")

    def address(name: str, **more: Any) -> str:
        nic = shared.nic(group, name, bodies.nic(made, **more))
        return str(nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"])

    assert [address("a"), address("b"), address("c", ip="10.0.0.6")] == ["10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert address("d") == "10.0.0.7"
    assert address("b") == "10.0.0.5"
    shared.done("DELETE", f"{group}/{NETWORK}/networkInterfaces/a")
    assert address("e") == "10.0.0.4"


@pytest.mark.parametrize(
    ("ip", "code"),
    [
        ("10.1.0.9", "PrivateIPAddressNotInSubnet"),
        ("10.0.0.3", "PrivateIPAddressInReservedRange"),
        ("10.0.0.255", "PrivateIPAddressInReservedRange"),
        ("10.0.0.4", "PrivateIPAddressIsAllocated"),
        ("ten", "InvalidIPAddressFormat"),
    ],
)
def test_a_static_address_that_cannot_be_is_refused(shared: Any, group: str, bodies: Any, ip: str, code: str) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    shared.nic(group, "first", bodies.nic(made))
    reply = shared.ask("PUT", f"{group}/{NETWORK}/networkInterfaces/n", bodies.nic(made, ip=ip))
    assert (reply.status, reply.code) == (400, code)


def test_a_full_subnet_takes_no_more(shared: Any, group: str, bodies: Any) -> None:
    made = shared.network(group, "virtualNetworks", "v", vnet("10.0.0.0/16", subnets={"tiny": "10.0.0.0/29"}))
    for name in ("a", "b", "c"):
        shared.nic(group, name, bodies.nic(made))
    reply = shared.ask("PUT", f"{group}/{NETWORK}/networkInterfaces/d", bodies.nic(made))
    assert (reply.status, reply.code) == (400, "SubnetIsFull")


def test_a_nic_refers_only_to_what_is_there_and_in_its_region(shared: Any, group: str, bodies: Any) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    path = f"{group}/{NETWORK}/networkInterfaces/n"
    elsewhere = shared.ask("PUT", path, bodies.nic(made, location="westus"))
    assert (elsewhere.status, elsewhere.code) == (400, "InvalidResourceReference")
    for change in (
        {"networkSecurityGroup": {"id": made["id"] + "x"}},
        {"networkSecurityGroup": {"id": made["id"]}},
        {"ipConfigurations": [{"name": "p", "properties": {"subnet": {"id": made["id"] + "/subnets/absent"}}}]},
    ):
        body = copy.deepcopy(bodies.nic(made))
        body["properties"].update(change)
        assert shared.ask("PUT", path, body).code == "InvalidResourceReference"
    body["properties"] = {"ipConfigurations": [{"name": "p", "properties": {"subnet": {}}}]}
    reply = shared.ask("PUT", path, body)
    assert reply.body["error"]["details"][0]["code"] == "MissingJsonReferenceId"
    assert shared.ask("GET", path).status == 404


def test_a_nic_waits_for_what_it_refers_to(slow: Any, bodies: Any) -> None:
    group = slow.group("waits")
    path = f"{group}/{NETWORK}/networkInterfaces/n"
    made = slow.vnet(group, "v", "10.0.0.0/16")
    begun = slow.ask("PUT", f"{group}/{NETWORK}/publicIPAddresses/ip", PUBLIC_IP)
    body = bodies.nic(made, address=begun.body)
    reply = slow.ask("PUT", path, body)
    assert (reply.status, reply.code) == (429, "RetryableError")
    assert reply.body["error"]["details"][0]["code"] == "ReferencedResourceNotProvisioned"
    assert int(reply.headers["retry-after"]) > 0
    nsg = slow.ask("PUT", f"{group}/{NETWORK}/networkSecurityGroups/g", {"location": "eastus", "properties": {}})
    made["properties"]["subnets"][0]["properties"]["networkSecurityGroup"] = {"id": nsg.body["id"]}
    reply = slow.ask("PUT", made["id"], made)
    assert (reply.status, reply.code) == (429, "RetryableError")
    slow.wait(nsg)
    written = slow.ask("PUT", made["id"], made)
    reply = slow.ask("PUT", path, bodies.nic(made))
    assert (reply.status, reply.code) == (429, "RetryableError")
    slow.wait(begun)
    slow.wait(written)
    assert slow.done("PUT", path, body).status == 200


def test_a_nic_has_several_configurations_of_which_one_is_primary(shared: Any, group: str, bodies: Any) -> None:
    made = shared.vnet(group, "v", "10.0.0.0/16")
    body = bodies.nic(made)
    subnet = body["properties"]["ipConfigurations"][0]["properties"]["subnet"]
    body["properties"]["ipConfigurations"][0]["properties"]["primary"] = True
    body["properties"]["ipConfigurations"].append({"name": "second", "properties": {"subnet": subnet}})
    nic = shared.nic(group, "several", body)
    first, second = nic["properties"]["ipConfigurations"]
    assert (first["properties"]["primary"], second["properties"]["primary"]) == (True, False)
    assert [one["properties"]["privateIPAddress"] for one in (first, second)] == ["10.0.0.4", "10.0.0.5"]
    again = shared.ask("PUT", f"{group}/{NETWORK}/networkInterfaces/several", nic).body["properties"]
    addresses = [one["properties"]["privateIPAddress"] for one in again["ipConfigurations"]]
    assert addresses == ["10.0.0.4", "10.0.0.5"]
    second["properties"] |= {"privateIPAllocationMethod": "Static", "privateIPAddress": "10.0.0.4"}
    taken = shared.ask("PUT", f"{group}/{NETWORK}/networkInterfaces/several", {**nic, "etag": None})
    assert taken.code == "PrivateIPAddressIsAllocated"


def test_a_dns_label_is_lost_by_a_put_without_it(shared: Any, group: str) -> None:
    labelled = {**PUBLIC_IP, "properties": {**PUBLIC_IP["properties"], "dnsSettings": {"domainNameLabel": "shop"}}}
    path = f"{group}/{NETWORK}/publicIPAddresses"
    made = shared.done("PUT", f"{path}/one", labelled).body
    assert made["properties"]["dnsSettings"]["fqdn"] == "shop.eastus.cloudapp.azure.com"
    shared.done("PUT", f"{path}/one", PUBLIC_IP)
    assert "dnsSettings" not in shared.ask("GET", f"{path}/one").body["properties"]
    assert shared.done("PUT", f"{path}/two", labelled).body["properties"]["dnsSettings"]["domainNameLabel"] == "shop"
