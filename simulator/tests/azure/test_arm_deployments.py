"""Template deployments, as `az vm create` makes them: put in order of dependencies, and what cannot be is said."""

from __future__ import annotations

import time
from typing import Any

import pytest

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
NETWORK = "Microsoft.Network"


def template(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": list(resources), **more}


def resource(kind: str, name: str, properties: Any, **more: Any) -> dict[str, Any]:
    place = {"location": "eastus", "apiVersion": "2024-05-01"}
    return {"type": f"{NETWORK}/{kind}", "name": name, "properties": properties, **place, **more}


def address(name: str, **more: Any) -> dict[str, Any]:
    fixed = {"publicIPAllocationMethod": "Static"}
    return resource("publicIPAddresses", name, fixed, sku={"name": "Standard"}, **more)


def network() -> dict[str, Any]:
    subnet = {"name": "nodes", "properties": {"addressPrefix": "10.7.0.0/24"}}
    return resource("virtualNetworks", "v", {"addressSpace": {"addressPrefixes": ["10.7.0.0/16"]}, "subnets": [subnet]})


def nic(scope: str) -> dict[str, Any]:
    """A NIC that waits for its network and its address, named in two of the ways that there are."""
    configuration = {
        "subnet": {"id": f"{scope}/virtualNetworks/v/subnets/nodes"},
        "publicIPAddress": {"id": f"{scope}/publicIPAddresses/ip"},
    }
    properties = {"ipConfigurations": [{"name": "primary", "properties": configuration}]}
    return resource("networkInterfaces", "nic", properties, dependsOn=["v", f"{NETWORK}/publicIPAddresses/ip"])


def deploy(arm: Any, group: str, given: Any, **more: Any) -> Any:
    body = {"properties": {"mode": "Incremental", "template": given, "parameters": {}, **more}}
    return arm.ask("PUT", f"{group}/providers/Microsoft.Resources/deployments/d", body)


def ended(arm: Any, group: str) -> dict[str, Any]:
    path = f"{group}/providers/Microsoft.Resources/deployments/d"
    deadline = time.monotonic() + 20
    while (found := arm.ask("GET", path).body)["properties"]["provisioningState"] in ("Accepted", "Running"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(found["properties"])


def test_a_template_is_put_in_the_order_of_its_dependencies(arm: Any) -> None:
    group = arm.group()
    scope = f"{arm.scope}/{group}/providers/{NETWORK}"
    whole = template(nic(scope), network(), address("ip"))
    answer = deploy(arm, group, whole)
    assert answer.status == 201
    properties = ended(arm, group)
    assert properties["provisioningState"] == "Succeeded"
    made = arm.ask("GET", f"{group}/providers/{NETWORK}/networkInterfaces/nic").body
    assert made["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.7.0.4"
    assert len(properties["outputResources"]) == 3
    assert deploy(arm, group, whole).status == 200


def test_what_fails_is_named_and_stops_only_what_waits_for_it(arm: Any) -> None:
    group = arm.group()
    bad = resource("virtualNetworks", "bad", {"addressSpace": {"addressPrefixes": ["not a prefix"]}})
    deploy(arm, group, template(bad, address("after", dependsOn=["bad"]), address("alone")))
    properties = ended(arm, group)
    assert properties["provisioningState"] == "Failed"
    assert properties["error"]["code"] == "DeploymentFailed"
    assert [detail["target"].rpartition("/")[2] for detail in properties["error"]["details"]] == ["bad"]
    made = [each["name"] for each in arm.ask("GET", f"{group}/resources").body["value"]]
    assert made == ["alone"]


def test_a_deployment_registers_the_providers_it_needs(make_world: Any, serve: Any) -> None:
    with serve(make_world(registered=(), scale=300.0)) as arm:
        group = arm.group()
        assert deploy(arm, group, template(address("ip"))).status == 201
        assert ended(arm, group)["provisioningState"] == "Succeeded"
        assert arm.ask("GET", "providers/Microsoft.Network").body["registrationState"] == "Registered"
        assert arm.ask("GET", "providers/Microsoft.Compute").body["registrationState"] == "NotRegistered"


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ([address("ip", dependsOn=["absent"])], "'absent' is not defined"),
        ([address("a", dependsOn=["b"]), address("b", dependsOn=["a"])], "Circular dependency"),
    ],
)
def test_a_template_that_is_not_valid_deploys_nothing(arm: Any, resources: Any, says: str) -> None:
    group = arm.group()
    reply = deploy(arm, group, template(*resources))
    assert (reply.status, reply.code) == (400, "InvalidTemplate")
    assert says in reply.message
    assert arm.ask("GET", f"{group}/resources").body["value"] == []
    assert arm.ask("GET", f"{group}/providers/Microsoft.Resources/deployments/d").code == "DeploymentNotFound"


@pytest.mark.parametrize(
    ("given", "more"),
    [
        (template(), {"mode": "Complete"}),
        (template(address("ip", copy={"name": "n", "count": 2})), {}),
        (template({**address("x"), "type": "Microsoft.Storage/storageAccounts"}), {}),
        (None, {"templateLink": {"uri": "https://x"}}),
    ],
)
def test_what_is_not_simulated_is_said_and_recorded(arm: Any, given: Any, more: Any) -> None:
    assert deploy(arm, arm.group(), given, **more).status == 501
    assert len(arm.world.unknown) == 1
