"""Resource groups: written at once, deleted with all that is in them, in an order that the providers allow."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

from crdbmesh_simulator.azure import authorization, errors, faults, inventory, regions, schemas, storage
from crdbmesh_simulator.azure.call import Answer, Call, Tracking
from crdbmesh_simulator.azure.catalog import KINDS, kind_of
from crdbmesh_simulator.azure.errors import ArmError, Body, child_not_found, refusal
from crdbmesh_simulator.azure.kinds import being_deleted, find_group, page, require_tags
from crdbmesh_simulator.azure.operations import Operation, Stage
from crdbmesh_simulator.azure.state import Group, Resource, Subscription

_TRACKING = Tracking("Microsoft.Resources", 15.0, (15.0,))
_NAME = re.compile(r"[-\w._()]{0,89}[-\w_()]")
_ORDER = [kind.type for kind in KINDS]
_VM = "Microsoft.Compute/virtualMachines"


def put(call: Call) -> Answer:
    """Create a group, or replace its tags."""
    subscription = call.subscription
    name = call.names["group"]
    if not _NAME.fullmatch(name):
        raise refusal("InvalidResourceGroupName", name=name)
    given = call.body()
    location = next((value for member, value in given.items() if member.lower() == "location"), None)
    if not location:
        raise refusal("LocationRequired")
    body = schemas.accept("Microsoft.Resources.resourceGroups", given)
    require_tags(body.get("tags"))
    region = regions.find(body["location"])
    existing = subscription.groups.get(name.lower())
    if existing is not None:
        return Answer(200, _render(subscription, _replace(existing, body)))
    if region is None:
        raise refusal("LocationNotAvailableForResourceGroup", body=body, regions=",".join(regions.REGIONS))
    group = Group(name, region.name, dict(body.get("tags", {})), body.get("managedBy"))
    subscription.groups[group.key] = group
    faults.hide_group(subscription, name, region.name)
    delay_s = subscription.latency.draw("PutResourceGroup", _identify(subscription, name))
    return Answer(201, _render(subscription, group), delay_s=delay_s)


def get(call: Call) -> Answer:
    """The group."""
    return Answer(200, _render(call.subscription, find_group(call.subscription, call.names["group"])))


def exists(call: Call) -> Answer:
    """`HEAD`: 204 or 404."""
    return Answer(204 if call.names["group"].lower() in call.subscription.groups else 404)


def list_all(call: Call) -> Answer:
    """All groups that a filter by tag lets through."""
    wanted = inventory.parse(call.query.get("$filter", ""))
    groups = sorted(
        (group for group in call.subscription.groups.values() if _seen(call, group)), key=lambda one: one.key
    )
    entries = [
        _render(call.subscription, group)
        for group in groups
        if wanted({"name": group.name, "location": group.location, "tags": group.tags})
    ]
    return page(call, entries)


def delete(call: Call) -> Answer:
    """Delete the group and all in it."""
    subscription = call.subscription
    group = find_group(subscription, call.names["group"])
    forced = {kind.strip().lower() for kind in call.query.get("forcedeletiontypes", "").split(",") if kind.strip()}
    if group.deletion is None or not group.deletion.running:
        group.deletion = _begin(subscription, group, forced=bool(forced))
    return _following(call, group.deletion, _token(group))


def job(call: Call) -> Answer:
    """`GET .../operationresults/TOKEN`: 202 until the group is gone, then 200."""
    operation = call.subscription.jobs.get(call.names["token"])
    if operation is None:
        raise refusal("OperationNotFound, job")
    if operation.running:
        return _following(call, operation, call.names["token"])
    if operation.error is not None:
        return Answer(409, {"error": operation.error})
    return Answer(200)


def _seen(call: Call, group: Group) -> bool:
    action = "Microsoft.Resources/subscriptions/resourceGroups/read"
    return authorization.allows(call.subscription, action, _identify(call.subscription, group.name))


def _following(call: Call, operation: Operation, token: str) -> Answer:
    location = call.url(f"/subscriptions/{call.subscription.id}/operationresults/{token}")
    return Answer(202, None, {"Location": location}, retry_after_s=operation.tracking.retry_after_s)


def _begin(subscription: Subscription, group: Group, *, forced: bool) -> Operation:
    group.state = "Deleting"
    resources = sorted(subscription.in_group(group.name), key=lambda resource: _ORDER.index(resource.type))
    latency = "DeleteEmptyResourceGroup"
    if any(resource.type == _VM for resource in resources):
        latency = "ForceDeleteResourceGroup" if forced else "DeleteResourceGroup"

    def done() -> None:
        left = subscription.in_group(group.name)
        if left:
            group.state = "Succeeded"
            raise _blocked(group, left)
        subscription.groups.pop(group.key, None)
        storage.forget_group(subscription, group.key)
        for key in [key for key, each in subscription.deployments.items() if each.group.lower() == group.key]:
            del subscription.deployments[key]

    operation = subscription.start(
        "DeleteResourceGroup",
        _TRACKING,
        _identify(subscription, group.name),
        group.location,
        done,
        stages=_removals(subscription, resources),
        latency=latency,
    )
    subscription.jobs[_token(group)] = operation
    return operation


def _removals(subscription: Subscription, resources: list[Resource]) -> Iterator[tuple[float, Stage]]:
    for index, resource in enumerate(resources):

        def remove(resource: Resource = resource) -> None:
            if subscription.find(resource.id) is not resource or _needed_outside(subscription, resource):
                return
            running = subscription.operations.holding(resource.id)
            if running is not None and running.target.lower().startswith(resource.key):
                gone = child_not_found(resource.id)
                subscription.operations.fail(running, gone, subscription.now)
            kind_of(resource.type).vanish(subscription, resource)

        yield 0.2 + 0.75 * index / len(resources), remove


def _needed_outside(subscription: Subscription, resource: Resource) -> bool:
    """Whether a resource of another group refers to this one, which a deletion of the group cannot break."""
    others = [
        nic
        for nic in subscription.of_type("Microsoft.Network/networkInterfaces")
        if nic.group.lower() != resource.group.lower()
    ]
    others += [vm for vm in subscription.of_type(_VM) if vm.group.lower() != resource.group.lower()]
    key = f'"{resource.key}'
    return any(
        f'{key}"' in text or f"{key}/" in text for text in (json.dumps(other.properties).lower() for other in others)
    )


def _blocked(group: Group, left: list[Resource]) -> ArmError:
    names = ",".join(f"{resource.type}/{resource.name}" for resource in left)
    return refusal("ResourceGroupDeletionBlocked", group=group, names=names)


def _replace(group: Group, body: Body) -> Group:
    if group.state == "Deleting":
        raise being_deleted(group)
    if regions.normal(body["location"]) != group.location:
        raise refusal("InvalidResourceGroupLocation", location=regions.normal(body["location"]), group=group)
    group.tags = dict(body.get("tags", {}))
    return group


def _token(group: Group) -> str:
    name = re.sub(r"[^A-Z0-9]", lambda match: f":{ord(match[0]):02X}", group.name.upper())
    document = {"jobId": f"RESOURCEGROUPDELETIONJOB-{name}-{group.location.upper()}", "jobLocation": group.location}
    return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode().rstrip("=")


def _identify(subscription: Subscription, name: str) -> str:
    return f"/subscriptions/{subscription.id}/resourceGroups/{name}"


def _render(subscription: Subscription, group: Group) -> Body:
    shown: Body = errors.body("group", id=_identify(subscription, group.name), group=group)
    return shown | ({"tags": dict(group.tags)} if group.tags else {})
