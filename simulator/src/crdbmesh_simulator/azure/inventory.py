"""What Azure Resource Manager knows of all resources alike: lists, tags."""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator.azure import authorization, filters
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.catalog import KINDS
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import Body, refusal, resource_not_found
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import find_group, open_group, page, require_tags
from crdbmesh_simulator.azure.state import Group, Resource, Subscription


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
    return Answer(200, _Tagged(call).render())


def put_tags(call: Call) -> Answer:
    """Replace all tags of a scope."""
    tagged = _Tagged(call, writing=True)
    tagged.write(_given_tags(call))
    return Answer(200, tagged.render())


def patch_tags(call: Call) -> Answer:
    """Merge, replace or delete tags of a scope."""
    tagged = _Tagged(call, writing=True)
    operation = str(call.body().get("operation", "")).lower()
    given = _given_tags(call)
    if operation == "replace":
        tagged.write(given)
    elif operation == "merge":
        tagged.write({**tagged.read(), **given})
    elif operation == "delete":
        tagged.write({name: value for name, value in tagged.read().items() if given.get(name) != value})
    else:
        raise refusal("InvalidTagPatchOperation")
    return Answer(200, tagged.render())


def delete_tags(call: Call) -> Answer:
    """Remove all tags of a scope."""
    _Tagged(call, writing=True).write({})
    return Answer(200)


class _Tagged:
    """The scope of a tags call: the subscription, a group or a resource."""

    def __init__(self, call: Call, *, writing: bool = False) -> None:
        self._call = call
        self._target: Subscription | Group | Resource = call.subscription
        if "group" in call.names:
            find = open_group if writing else find_group
            self._target = find(call.subscription, call.names["group"])
        if "name" in call.names and isinstance(self._target, Group):
            found = _find(call, self._target)
            if found is None:
                kind = f"{call.names['namespace']}/{call.names['plural']}"
                raise resource_not_found(kind, call.names["name"], self._target.name)
            self._target = found

    def read(self) -> dict[str, str]:
        return dict(self._target.tags)

    def write(self, tags: dict[str, str]) -> None:
        require_tags(tags)
        if isinstance(self._target, Resource):
            self._target.body["tags"] = tags
            touch(self._call.subscription, self._target)
        else:
            self._target.tags = tags

    def render(self) -> Body:
        subscription = self._call.subscription
        scope = f"/subscriptions/{subscription.id}"
        if isinstance(self._target, Group):
            scope = f"{scope}/resourceGroups/{self._target.name}"
        elif isinstance(self._target, Resource):
            scope = self._target.id
        return {
            "id": f"{scope}/providers/Microsoft.Resources/tags/default",
            "name": "default",
            "type": "Microsoft.Resources/tags",
            "properties": {"tags": self.read()},
        }


def _given_tags(call: Call) -> dict[str, str]:
    properties = call.body().get("properties")
    tags = properties.get("tags") if isinstance(properties, dict) else None
    if not isinstance(tags, dict):
        raise refusal("InvalidRequestContent, no tags")
    require_tags(tags)
    return dict(tags)


def _find(call: Call, group: Group) -> Resource | None:
    kind = f"{call.names['namespace']}/{call.names['plural']}".lower()
    known = next((one for one in KINDS if one.type.lower() == kind), None)
    return known.find(call.subscription, group.name, call.names["name"]) if known else None


def _entry(resource: Resource, names: tuple[str, ...], expanded: set[str]) -> dict[str, Any]:
    entry = {name: resource.body[name] for name in names if name in resource.body}
    if "createdtime" in expanded:
        entry["createdTime"] = timestamp(resource.created_at)
    if "changedtime" in expanded:
        entry["changedTime"] = timestamp(resource.changed_at)
    if "provisioningstate" in expanded:
        entry["provisioningState"] = resource.state
    return entry
