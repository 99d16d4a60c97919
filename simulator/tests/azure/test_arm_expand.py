"""`$expand`, and lists that show more when they are asked to."""

from __future__ import annotations

import base64
from typing import Any

import pytest

COMPUTE = "providers/Microsoft.Compute"
NETWORK = "providers/Microsoft.Network"


@pytest.fixture(scope="module")
def room(shared: Any, bodies: Any) -> dict[str, Any]:
    """A machine on a NIC with a public address and a security group."""
    group = shared.group("expanded")
    vnet = shared.vnet(group, "v", "10.0.0.0/16")
    nsg = shared.nsg(group, "g", bodies.rule())
    address = shared.public_ip(group, "p")
    nic = shared.nic(group, "n", bodies.nic(vnet, address=address, nsg=nsg))
    body = bodies.vm(nic, "m")
    body["properties"]["userData"] = base64.b64encode(b"hello").decode()
    shared.done("PUT", f"{group}/{COMPUTE}/virtualMachines/m", body)
    return {"group": group, "vnet": vnet, "address": address, "nic": nic}


def test_a_nics_references_are_expanded(shared: Any, room: dict[str, Any]) -> None:
    path = f"{room['group']}/{NETWORK}/networkInterfaces/n"
    paths = "IPConfigurations/publicIPAddress,ipConfigurations/subnet,networkSecurityGroup"
    properties = shared.ask("GET", f"{path}?$expand={paths}").body["properties"]
    configuration = properties["ipConfigurations"][0]["properties"]
    assert configuration["publicIPAddress"]["properties"]["ipAddress"] == room["address"]["properties"]["ipAddress"]
    assert configuration["publicIPAddress"]["properties"]["deleteOption"] == "Delete"
    assert configuration["subnet"]["properties"]["addressPrefix"] == "10.0.0.0/24"
    assert len(properties["networkSecurityGroup"]["properties"]["defaultSecurityRules"]) == 6
    plain = shared.ask("GET", path).body["properties"]
    assert set(plain["ipConfigurations"][0]["properties"]["subnet"]) == {"id"}
    assert set(plain["networkSecurityGroup"]) == {"id"}


def test_what_is_in_a_network_is_expanded_from_above(shared: Any, room: dict[str, Any]) -> None:
    vnet = f"{room['group']}/{NETWORK}/virtualNetworks/v"
    address = room["nic"]["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
    subnet = shared.ask("GET", f"{vnet}?$expand=subnets/ipConfigurations").body["properties"]["subnets"][0]
    assert subnet["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == address
    subnet = shared.ask("GET", f"{vnet}/subnets/nodes?$expand=ipConfigurations").body
    assert subnet["properties"]["ipConfigurations"][0]["name"] == "primary"
    public = shared.ask("GET", f"{room['group']}/{NETWORK}/publicIPAddresses/p?$expand=ipConfiguration").body
    assert public["properties"]["ipConfiguration"]["properties"]["privateIPAddress"] == address


def test_an_expansion_that_leads_nowhere_changes_nothing(shared: Any, room: dict[str, Any]) -> None:
    path = f"{room['group']}/{NETWORK}/networkInterfaces/n"
    assert shared.ask("GET", f"{path}?$expand=nothing/at/all").body == shared.ask("GET", path).body


def test_user_data_is_shown_only_when_it_is_asked_for(shared: Any, room: dict[str, Any]) -> None:
    path = f"{room['group']}/{COMPUTE}/virtualMachines/m"
    assert "userData" not in shared.ask("GET", path).body["properties"]
    assert shared.ask("GET", f"{path}?$expand=userData").body["properties"]["userData"] == "aGVsbG8="


def test_lists_of_machines_show_their_run_time_view_when_asked(shared: Any, room: dict[str, Any]) -> None:
    for path in (
        f"{COMPUTE}/virtualMachines?statusOnly=true",
        f"{room['group']}/{COMPUTE}/virtualMachines?$expand=instanceView",
    ):
        (listed,) = shared.ask("GET", path).body["value"]
        codes = [status["code"] for status in listed["properties"]["instanceView"]["statuses"]]
        assert codes == ["ProvisioningState/succeeded", "PowerState/running"]
    (plain,) = shared.ask("GET", f"{COMPUTE}/virtualMachines").body["value"]
    assert "instanceView" not in plain["properties"]


def test_machines_are_listed_by_region_and_by_scale_set(shared: Any, room: dict[str, Any]) -> None:
    places = {place: f"{COMPUTE}/locations/{place}/virtualMachines" for place in ("eastus", "westus")}
    counts = {place: len(shared.ask("GET", path).body["value"]) for place, path in places.items()}
    assert counts == {"eastus": 1, "westus": 0}
    path = f"{room['group']}/{COMPUTE}/virtualMachines?$filter="
    scale_set = "'virtualMachineScaleSet/id'%20eq%20'/subscriptions/s/x'"
    assert shared.ask("GET", f"{path}{scale_set}").body["value"] == []
    assert shared.ask("GET", f"{path}name%20eq%20'm'").status == 400


def test_a_machine_lists_what_it_may_be_resized_to(shared: Any, room: dict[str, Any]) -> None:
    sizes = shared.ask("GET", f"{room['group']}/{COMPUTE}/virtualMachines/m/vmSizes").body["value"]
    names = {size["name"] for size in sizes}
    assert "Standard_D4s_v5" in names
    assert not names & {"Standard_D2ps_v5", "Standard_M64ms"}


def test_a_network_tells_how_full_its_subnets_are(shared: Any, room: dict[str, Any]) -> None:
    (usage,) = shared.ask("GET", f"{room['group']}/{NETWORK}/virtualNetworks/v/usages").body["value"]
    assert usage["id"] == room["vnet"]["properties"]["subnets"][0]["id"]
    assert (usage["currentValue"], usage["limit"]) == (1, 251)


def test_one_ip_configuration_is_read_by_name(shared: Any, room: dict[str, Any]) -> None:
    collection = f"{room['group']}/{NETWORK}/networkInterfaces/n/ipConfigurations"
    assert shared.ask("GET", f"{collection}/PRIMARY").body == shared.ask("GET", collection).body["value"][0]
    missing = shared.ask("GET", f"{collection}/other")
    assert (missing.status, missing.code) == (404, "NotFound")
