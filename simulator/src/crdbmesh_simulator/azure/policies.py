"""Azure Policy, as far as it says where resources may be: assignments with the parameter `listOfAllowedLocations`.

Such are the built-in policy "Allowed locations" and `sys.regionrestriction`, with which Azure itself keeps some kinds
of subscription to a few regions. Neither is asked about resource groups. Codes and texts: public logs of 2025 and 2026.
"""

from __future__ import annotations

from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.kinds import page

_PARAMETER = "listOfAllowedLocations"
_DEFINITION = "/providers/Microsoft.Authorization/policyDefinitions/e56962a6-4747-49cd-b67b-bf8b01975c4c"
AZURES_OWN = "sys.regionrestriction"


def assignment(subscription_id: str, name: str, locations: list[str], **more: object) -> Body:
    """An assignment at the subscription."""
    scope = f"/subscriptions/{subscription_id}"
    return {
        "properties": {
            "displayName": "Allowed resource deployment regions" if name == AZURES_OWN else name,
            "policyDefinitionId": _DEFINITION,
            "scope": scope,
            "notScopes": [],
            "parameters": {_PARAMETER: {"value": locations}},
            "enforcementMode": "Default",
            **more,
        },
        "id": f"{scope}/providers/Microsoft.Authorization/policyAssignments/{name}",
        "type": "Microsoft.Authorization/policyAssignments",
        "name": name,
    }


def list_all(call: Call) -> Answer:
    """The assignments that concern the subscription."""
    return page(call, call.subscription.policies)


def require_allowed(call: Call) -> None:
    """Refuse a resource where a policy allows none."""
    given = call.content.get("location") if call.method == "PUT" and isinstance(call.content, dict) else None
    if given is None or "/providers/" not in call.path:
        return
    name = call.names.get("name", "")
    for policy in call.subscription.policies:
        properties = policy["properties"]
        allowed = properties["parameters"].get(_PARAMETER, {}).get("value", [given])
        if regions.normal(given) in map(regions.normal, allowed) or properties["enforcementMode"] != "Default":
            continue
        if policy["name"] == AZURES_OWN:
            raise refusal("RequestDisallowedByAzure", target=name, name=name)
        shown = properties["displayName"]
        raise refusal(
            "RequestDisallowedByPolicy", target=name, name=name, shown=shown, id=policy["id"], definition=_DEFINITION
        )
