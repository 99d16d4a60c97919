"""What Azure Resource Manager knows of all resources alike: lists, tags."""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator.azure import authorization, filters
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import find_group, find_scope, page, require_tags
from crdbmesh_simulator.azure.state import Resource


def list_all(call: Call) -> Answer:
    """`GET .../resources`, of the subscription or of a group.

    Asked for a tag's name and value it leaves the resources' tags out (REST reference of `Resources - List`).
    """
    subscription = call.subscription
    text = call.query.get("$filter", "")
    wanted = filters.parse(text)
    named = ("id", "name", "type", "location", "sku", "zones", "managedBy")
    names = named if filters.is_by_tag(text) else (*named, "tags")
    group = call.names.get("group")
    pool = subscription.in_group(find_group(subscription, group).name) if group else subscription.resources.values()
    expanded = {part.strip().lower() for part in call.query.get("$expand", "").split(",")}
    entries = [
        _entry(resource, names, expanded)
        for resource in sorted(pool, key=lambda resource: resource.key)
        if authorization.allows(subscription, f"{resource.type}/read", resource.id)
        and wanted(
            {
                "name": resource.name,
                "type": resource.type,
                "location": resource.location,
                "resourceGroup": resource.group,
                "tags": resource.tags,
            }
        )
    ]
    return page(call, entries)


def get_tags(call: Call) -> Answer:
    """`GET SCOPE/providers/Microsoft.Resources/tags/default`."""
    scope, target = find_scope(call)
    return Answer(200, _render(scope, dict(target.tags)))


def put_tags(call: Call) -> Answer:
    """Replace all tags of a scope."""
    return _write(call, _given_tags(call))


def patch_tags(call: Call) -> Answer:
    """Merge, replace or delete tags of a scope."""
    operation = str(call.body().get("operation", "")).lower()
    given, present = _given_tags(call), dict(find_scope(call)[1].tags)
    if operation == "replace":
        return _write(call, given)
    if operation == "merge":
        return _write(call, {**present, **given})
    if operation == "delete":
        return _write(call, {name: value for name, value in present.items() if given.get(name) != value})
    raise refusal("InvalidTagPatchOperation")


def delete_tags(call: Call) -> Answer:
    """Remove all tags of a scope."""
    _write(call, {})
    return Answer(200)


def _write(call: Call, tags: dict[str, str]) -> Answer:
    scope, target = find_scope(call, writing=True)
    require_tags(tags)
    if isinstance(target, Resource):
        target.body["tags"] = tags
        touch(call.subscription, target)
    else:
        target.tags = tags
    return Answer(200, _render(scope, tags))


def _render(scope: str, tags: dict[str, str]) -> Body:
    path = f"{scope}/providers/Microsoft.Resources/tags/default"
    return {"id": path, "name": "default", "type": "Microsoft.Resources/tags", "properties": {"tags": tags}}


def _given_tags(call: Call) -> dict[str, str]:
    properties = call.body().get("properties")
    tags = properties.get("tags") if isinstance(properties, dict) else None
    if not isinstance(tags, dict):
        raise refusal("InvalidRequestContent, no tags")
    require_tags(tags)
    return dict(tags)


def _entry(resource: Resource, names: tuple[str, ...], expanded: set[str]) -> dict[str, Any]:
    entry = {name: resource.body[name] for name in names if name in resource.body}
    if "createdtime" in expanded:
        entry["createdTime"] = timestamp(resource.created_at)
    if "changedtime" in expanded:
        entry["changedTime"] = timestamp(resource.changed_at)
    if "provisioningstate" in expanded:
        entry["provisioningState"] = resource.state
    return entry
