"""Template deployments: what a template asks for is put, in its order, and what cannot be is said."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
NETWORK = "Microsoft.Network"
API = "2024-05-01"


def template(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": list(resources), **more}


def resource(kind: str, name: str, properties: Any, **more: Any) -> dict[str, Any]:
    place = {"location": "[resourceGroup().location]", "apiVersion": API}
    return {"type": f"{NETWORK}/{kind}", "name": name, "properties": properties, **place, **more}


def address(name: str, **more: Any) -> dict[str, Any]:
    fixed = {"publicIPAllocationMethod": "Static"}
    return resource("publicIPAddresses", name, fixed, sku={"name": "Standard"}, **more)


VNET = resource(
    "virtualNetworks",
    "[variables('network')]",
    {
        "addressSpace": {"addressPrefixes": ["[parameters('prefix')]"]},
        "subnets": [{"name": "nodes", "properties": {"addressPrefix": "[parameters('prefix')]"}}],
        "ddosProtectionPlan": None,
    },
)
NIC = resource(
    "networkInterfaces",
    "nic",
    {
        "ipConfigurations": [
            {
                "name": "primary",
                "properties": {
                    "subnet": {
                        "id": "[resourceId('Microsoft.Network/virtualNetworks/subnets', variables('network'), 'nodes')]"
                    },
                    "publicIPAddress": {"id": "[resourceId('Microsoft.Network/publicIPAddresses', 'address')]"},
                },
            }
        ]
    },
    dependsOn=["[variables('network')]", "Microsoft.Network/publicIPAddresses/address"],
)
WHOLE = template(
    NIC,
    VNET,
    address("address"),
    parameters={
        "prefix": {"type": "string", "defaultValue": "10.0.0.0/16"},
        "login": {"type": "securestring", "defaultValue": "plainly secret"},
    },
    variables={"network": "[concat('v-', toLower('NET'))]"},
    outputs={
        "ip": {"type": "string", "value": "[reference('address').ipAddress]"},
        "where": {"type": "string", "value": "[reference(resourceId('Microsoft.Network/publicIPAddresses','address'), "
                                             f"'{API}', 'Full').location]"},
    },
)  # fmt: skip


def deploy(arm: Any, group: str, given: Any, name: str = "d", **parameters: Any) -> Any:
    values = {key: {"value": value} for key, value in parameters.items()}
    body = {"properties": {"mode": "Incremental", "template": given, "parameters": values}}
    return arm.ask("PUT", f"{group}/providers/Microsoft.Resources/deployments/{name}", body)


def ended(arm: Any, group: str, name: str = "d") -> dict[str, Any]:
    path = f"{group}/providers/Microsoft.Resources/deployments/{name}"
    deadline = time.monotonic() + 20
    while (found := arm.ask("GET", path).body)["properties"]["provisioningState"] in ("Accepted", "Running"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(found["properties"])


def test_a_template_is_put_in_the_order_of_its_dependencies(arm: Any) -> None:
    group = arm.group()
    answer = deploy(arm, group, WHOLE, prefix="10.7.0.0/16")
    assert answer.status == 201
    assert "/operationStatuses/" in answer.headers["azure-asyncoperation"]
    properties = ended(arm, group)
    assert properties["provisioningState"] == "Succeeded", properties
    nic = arm.ask("GET", f"{group}/providers/{NETWORK}/networkInterfaces/nic").body
    assert nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.7.0.4"
    public = arm.ask("GET", f"{group}/providers/{NETWORK}/publicIPAddresses/address").body
    assert properties["outputs"] == {
        "ip": {"type": "String", "value": public["properties"]["ipAddress"]},
        "where": {"type": "String", "value": "eastus"},
    }
    assert properties["parameters"]["prefix"] == {"type": "String", "value": "10.7.0.0/16"}
    assert properties["parameters"]["login"] == {"type": "Securestring"}
    assert len(properties["outputResources"]) == 3
    done = arm.ask("GET", f"{group}/deployments/d/operations").body["value"]
    assert {each["properties"]["provisioningState"] for each in done} == {"Succeeded"}
    assert deploy(arm, group, WHOLE, prefix="10.7.0.0/16").status == 200


def test_a_loop_a_condition_and_symbolic_names_are_unrolled(arm: Any) -> None:
    group = arm.group()
    many = address("[format('a{0}', copyIndex(1))]", copy={"name": "many", "count": "[length(createArray(1, 2))]"})
    resources = {
        "many": many,
        "last": address("last", dependsOn=["many"]),
        "never": address("never", condition="[equals('a', 'b')]"),
    }
    deploy(arm, group, {**template(), "languageVersion": "2.0", "resources": resources})
    assert ended(arm, group)["provisioningState"] == "Succeeded"
    found = arm.ask("GET", f"{group}/providers/{NETWORK}/publicIPAddresses").body["value"]
    assert sorted(each["name"] for each in found) == ["a1", "a2", "last"]


def test_loops_over_properties_variables_and_outputs_are_written_out(arm: Any) -> None:
    group = arm.group()
    subnet = {"name": "[variables('names')[copyIndex('subnets')]]",
              "properties": {"addressPrefix": "[cidrSubnet('10.3.0.0/16', 24, copyIndex('subnets'))]"}}  # fmt: skip
    properties = {
        "addressSpace": {"addressPrefixes": ["10.3.0.0/16"]},
        "copy": [{"name": "subnets", "count": 2, "input": subnet}],
    }
    given = template(
        resource("virtualNetworks", "v", properties),
        variables={"copy": [{"name": "names", "count": 2, "input": "[concat('s', copyIndex('names', 1))]"}]},
        outputs={
            "all": {"type": "array", "copy": {"count": 2, "input": "[concat('[', variables('names')[copyIndex()])]"}}
        },
    )
    deploy(arm, group, given)
    assert ended(arm, group)["outputs"]["all"]["value"] == ["[s1", "[s2"]
    found = arm.ask("GET", f"{group}/providers/{NETWORK}/virtualNetworks/v").body["properties"]["subnets"]
    assert {each["name"]: each["properties"]["addressPrefix"] for each in found} == {
        "s1": "10.3.0.0/24",
        "s2": "10.3.1.0/24",
    }


def test_a_template_may_have_comments_bare_names_and_strings_over_lines(arm: Any) -> None:
    group = arm.group()
    text = json.dumps(template(outputs={"a": {"type": "string", "value": "http://x // no comment\n"}})).replace(
        "\\n", "\n"
    )
    body = f'{{"properties": {{"mode": "Incremental", // why\n template: /* all\n of it */ {text}}}}}'
    path = f"{group}/providers/Microsoft.Resources/deployments/d"
    assert arm.ask("PUT", path, body).status == 201
    assert ended(arm, group)["outputs"]["a"]["value"] == "http://x // no comment\n"


def test_what_fails_is_named_and_stops_only_what_waits_for_it(arm: Any) -> None:
    group = arm.group()
    deploy(arm, group, WHOLE, prefix="10.7.0.0/31")
    properties = ended(arm, group)
    assert properties["provisioningState"] == "Failed"
    assert properties["error"]["code"] == "DeploymentFailed"
    [detail] = properties["error"]["details"]
    assert detail["target"].endswith("/virtualNetworks/v-net")
    assert arm.ask("GET", f"{group}/providers/{NETWORK}/publicIPAddresses/address").status == 200
    assert arm.ask("GET", f"{group}/providers/{NETWORK}/networkInterfaces/nic").status == 404


def test_a_deployment_registers_the_providers_it_needs(make_world: Any, serve: Any) -> None:
    with serve(make_world(registered=())) as arm:
        group = arm.group()
        deploy(arm, group, template(address("a")))
        assert ended(arm, group)["provisioningState"] == "Succeeded"
        assert arm.ask("GET", "providers/Microsoft.Network").body["registrationState"] == "Registered"


@pytest.mark.parametrize(
    ("given", "parameters", "says"),
    [
        ({"resources": []}, {}, "$schema"),
        (template(parameters={"a": {"type": "string"}}), {}, "'a' is not provided"),
        (template(parameters={"a": {"type": "int"}}), {"a": "x"}, "not of the type int"),
        (template(parameters={"a": {"type": "string", "allowedValues": ["x"]}}), {"a": "y"}, "allowed value(s): 'x'"),
        (template(), {"b": 1}, "parameters 'b' in the parameters file are not valid"),
        (template(address("[variables('no')]")), {}, "template variable 'no' is not found"),
        (template(address("a", dependsOn=["b"])), {}, "resource 'b' is not defined"),
        (template(address("a", dependsOn=["b"]), address("b", dependsOn=["a"])), {}, "Circular dependency"),
        (template(address("[concat('a']")), {}, "cannot be parsed"),
        (template(address("a/b")), {}, "incorrect segment lengths"),
    ],
)
def test_a_template_that_is_not_valid_deploys_nothing(
    arm: Any, given: dict[str, Any], parameters: dict[str, Any], says: str
) -> None:
    group = arm.group()
    answer = deploy(arm, group, given, **parameters)
    assert (answer.status, answer.code) == (400, "InvalidTemplate")
    assert says in answer.message
    assert arm.ask("GET", f"{group}/providers/Microsoft.Resources/deployments/d").code == "DeploymentNotFound"


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "Complete", "template": template()},
        {"mode": "Incremental", "templateLink": {"uri": "https://example.com/t.json"}},
        {"mode": "Incremental", "template": template(address("[uniqueString('a')]"))},
    ],
)
def test_what_is_not_simulated_is_said_and_recorded(arm: Any, body: dict[str, Any]) -> None:
    group = arm.group()
    path = f"{group}/providers/Microsoft.Resources/deployments/d"
    assert arm.ask("PUT", path, {"properties": body}).status == 501
    assert len(arm.world.unknown) == 1


def test_validation_deploys_nothing_and_a_deleted_deployment_leaves_what_it_made(arm: Any) -> None:
    group = arm.group()
    path = f"{group}/providers/Microsoft.Resources/deployments/d"
    body = {"properties": {"mode": "Incremental", "template": template(address("a"))}}
    assert arm.ask("POST", f"{path}/validate", body).status == 200
    assert arm.ask("HEAD", path).status == 404
    deploy(arm, group, template(address("a")))
    ended(arm, group)
    assert arm.ask("HEAD", path).status == 204
    assert arm.ask("DELETE", path).status == 204
    assert arm.ask("GET", path).status == 404
    assert arm.ask("GET", f"{group}/providers/{NETWORK}/publicIPAddresses/a").status == 200
