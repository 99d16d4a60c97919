"""Template deployments to a resource group (`Microsoft.Resources/deployments`), as `az vm create` makes one.

Each resource of the template is put like any other client would, once what it waits for is there; what fails stops what
waits for it. After learn.microsoft.com, "Deployments" of the Resource Management REST API.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from crdbmesh_simulator.azure import providers, regions
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.deployment import Deployment, Work
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import ArmError, Body
from crdbmesh_simulator.azure.expressions import Function, UnknownFunctionError
from crdbmesh_simulator.azure.kinds import find_group, open_group, page
from crdbmesh_simulator.azure.template import Item, Template

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.state import Group

_RETRY_S = 5.0
_TYPE = "Microsoft.Resources/deployments"


def put(call: Call) -> Answer:
    """Deploy a template."""
    group = open_group(call.subscription, call.names["group"])
    existing = _find(call, group)
    if existing is not None and existing.running:
        raise ArmError(
            409,
            "DeploymentActive",
            f"Unable to edit or replace deployment '{existing.name}': previous deployment from "
            f"'{timestamp(existing.started_at)}' is still active. Please see https://aka.ms/arm-deploy for usage "
            "details.",
        )
    deployment = _read(call, group)
    # A deployment registers the providers that it needs (learn.microsoft.com, "Azure resource providers and types").
    for provider in deployment.providers():
        providers.begin_registration(call.subscription, provider)
    call.subscription.deployments[deployment.id.lower()] = deployment
    headers = {"Azure-AsyncOperation": call.url(f"{deployment.id}/operationStatuses/{deployment.correlation_id}")}
    return Answer(200 if existing else 201, _render(deployment), headers, retry_after_s=_RETRY_S)


def validate(call: Call) -> Answer:
    """Say whether a template is valid, without deploying it."""
    return Answer(200, _render(_read(call, open_group(call.subscription, call.names["group"])), state="Succeeded"))


def get(call: Call) -> Answer:
    """A deployment."""
    return Answer(200, _render(_require(call)))


def exists(call: Call) -> Answer:
    """Whether there is such a deployment."""
    return Answer(404 if _find(call, find_group(call.subscription, call.names["group"])) is None else 204)


def list_all(call: Call) -> Answer:
    """The deployments of a group."""
    group = find_group(call.subscription, call.names["group"])
    found = [each for each in call.subscription.deployments.values() if each.group == group.name]
    return page(call, [_render(each) for each in sorted(found, key=lambda each: -each.started_at)])


def operations(call: Call) -> Answer:
    """What a deployment does and has done, resource by resource."""
    deployment = _require(call)
    return page(call, [_operation(deployment, work) for work in deployment.works if work.state != "Waiting"])


def operation_status(call: Call) -> Answer:
    """How far a deployment is, for who waits for it."""
    deployment = _require(call)
    body: Body = {"status": deployment.state}
    if deployment.error is not None:
        body["error"] = deployment.error
    return Answer(200, body, retry_after_s=_RETRY_S if deployment.running else None)


def cancel(call: Call) -> Answer:
    """Stop a deployment; what it has begun goes on."""
    deployment = _require(call)
    if not deployment.running:
        raise ArmError(
            409,
            "DeploymentCannotBeCancelled",
            f"The deployment '{deployment.name}' cannot be cancelled because it is in a terminal state "
            f"'{deployment.state}'.",
        )
    deployment.cancel()
    return Answer(204)


def delete(call: Call) -> Answer:
    """Forget a deployment; what it deployed stays."""
    group = find_group(call.subscription, call.names["group"])
    deployment = _find(call, group)
    if deployment is None:
        return Answer(204)
    if deployment.running:
        message = f"The deployment '{deployment.name}' is still active: cancel it first."
        raise ArmError(409, "DeploymentActive", message)
    del call.subscription.deployments[deployment.id.lower()]
    return Answer(204)


def _read(call: Call, group: Group) -> Deployment:
    """The deployment that a request asks for.

    Raises:
        ArmError: 400, it is not valid; 501, it needs what this world does not have.
    """
    subscription = call.subscription
    properties = call.body().get("properties")
    if not isinstance(properties, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid: 'properties' is required.")
    if str(properties.get("mode", "")).lower() != "incremental":
        if str(properties.get("mode", "")).lower() == "complete":
            raise _not_here(call, "a deployment of mode Complete")
        raise ArmError(400, "InvalidDeploymentMode", "The deployment mode must be 'Incremental' or 'Complete'.")
    if "template" not in properties or "parametersLink" in properties:
        raise _not_here(call, "a template by its address")
    scope = f"/subscriptions/{subscription.id}/resourceGroups/{group.name}"
    account: Body = {"id": f"/subscriptions/{subscription.id}", "subscriptionId": subscription.id,
                     "tenantId": subscription.tenant_id, "displayName": subscription.display_name}  # fmt: skip
    place: Body = {"id": scope, "name": group.name, "type": "Microsoft.Resources/resourceGroups",
                   "location": group.location, "tags": group.tags}  # fmt: skip
    name = call.names["name"]
    functions: dict[str, Function] = {
        "subscription": lambda: account,
        "resourcegroup": lambda: place,
        "deployment": lambda: {"name": name, "properties": properties},
        "subscriptionresourceid": lambda kind, *names: f"{account['id']}/providers/{kind}/{'/'.join(names)}",
    }
    try:
        template = Template(properties["template"], properties.get("parameters"), scope, functions)
    except UnknownFunctionError as error:
        raise _not_here(call, str(error)) from error
    return Deployment(
        id=f"{scope}/providers/{_TYPE}/{name}",
        name=name,
        group=group.name,
        tags=dict(call.body().get("tags") or {}),
        template=template,
        hash=str(int(hashlib.sha256(json.dumps(properties["template"], sort_keys=True).encode()).hexdigest()[:15], 16)),
        call=call,
        started_at=subscription.now,
        correlation_id=subscription.guid(),
        works=[Work(item) for item in template.items],
    )


def _not_here(call: Call, what: str) -> ArmError:
    call.subscription.world.not_known("arm", what)
    return ArmError(501, "NotImplemented", f"This simulation of Azure does not know {what}.")


def _find(call: Call, group: Group) -> Deployment | None:
    scope = f"/subscriptions/{call.subscription.id}/resourceGroups/{group.name}"
    return call.subscription.deployments.get(f"{scope}/providers/{_TYPE}/{call.names['name']}".lower())


def _require(call: Call) -> Deployment:
    found = _find(call, find_group(call.subscription, call.names["group"]))
    if found is None:
        raise ArmError(404, "DeploymentNotFound", f"Deployment '{call.names['name']}' could not be found.")
    return found


def _render(deployment: Deployment, *, state: str = "") -> Body:
    changed_at = deployment.ended_at or deployment.call.subscription.now
    properties: Body = {
        "templateHash": deployment.hash,
        "parameters": deployment.template.shown_parameters(),
        "mode": "Incremental",
        "provisioningState": state or deployment.state,
        "timestamp": timestamp(changed_at),
        "duration": _duration(changed_at - deployment.started_at),
        "correlationId": deployment.correlation_id,
        "providers": _providers(deployment),
        "dependencies": [
            {"dependsOn": [_named(each.item) for each in deployment.works if each.item.id.lower() in item.waits_for],
             **_named(item)}
            for item in (work.item for work in deployment.works)
            if item.waits_for
        ],
    }  # fmt: skip
    if deployment.state == "Succeeded":
        properties["outputs"] = deployment.outputs
        properties["outputResources"] = [{"id": work.item.id} for work in deployment.works]
    if deployment.error is not None:
        properties["error"] = deployment.error
    body: Body = {"id": deployment.id, "name": deployment.name, "type": _TYPE, "properties": properties}
    return body | ({"tags": deployment.tags} if deployment.tags else {})


def _named(item: Item) -> Body:
    return {"id": item.id, "resourceType": item.type, "resourceName": item.name}


def _providers(deployment: Deployment) -> list[Body]:
    types: dict[str, set[str]] = {}
    for work in deployment.works:
        namespace, _, kind = work.item.type.partition("/")
        types.setdefault(namespace, set()).add(kind)
    location = deployment.call.subscription.groups.get(deployment.group.lower())
    where = [regions.normal(location.location)] if location else []
    return [
        {
            "namespace": namespace,
            "resourceTypes": [{"resourceType": kind, "locations": where} for kind in sorted(kinds)],
        }
        for namespace, kinds in types.items()
    ]


def _operation(deployment: Deployment, work: Work) -> Body:
    number = hashlib.sha256(work.item.id.lower().encode()).hexdigest()[:16].upper()
    ended_at = work.ended_at or deployment.call.subscription.now
    properties: Body = {
        "provisioningOperation": "Create",
        "provisioningState": work.state,
        "timestamp": timestamp(ended_at),
        "duration": _duration(ended_at - work.started_at),
        "statusCode": "OK" if work.state == "Succeeded" else "Accepted" if work.state == "Running" else "BadRequest",
        "targetResource": _named(work.item),
    }
    if work.error is not None:
        properties["statusMessage"] = {"status": "Failed", "error": work.error}
    return {"id": f"{deployment.id}/operations/{number}", "operationId": number, "properties": properties}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"PT{int(minutes)}M{rest:.7f}S" if minutes else f"PT{rest:.7f}S"
