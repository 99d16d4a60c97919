"""`$expand` of network resources: references in a GET answer, replaced by what they refer to.

As in Microsoft.Network's REST reference: a path of members, such as `ipConfigurations/publicIPAddress`, several of them
between commas. A path that leads nowhere expands nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.catalog import kind_of
from crdbmesh_simulator.azure.children import find
from crdbmesh_simulator.azure.errors import Body


def expanding(handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
    """A handler of a GET that heeds `$expand` too."""

    def expanded(call: Call) -> Answer:
        answer = handler(call)
        for path in call.query.get("$expand", "").split(","):
            if isinstance(answer.body, dict) and path.strip():
                _expand(call, answer.body, path.strip().lower().split("/"))
        return answer

    return expanded


def _expand(call: Call, body: Body, path: list[str]) -> None:
    properties = body.get("properties")
    if not path or not isinstance(properties, dict):
        return
    for name, value in properties.items():
        if name.lower() != path[0]:
            continue
        several = value if isinstance(value, list) else [value]
        found = [_resolve(call, one) if isinstance(one, dict) else one for one in several]
        for one in found:
            if isinstance(one, dict):
                _expand(call, one, path[1:])
        properties[name] = found if isinstance(value, list) else found[0]


def _resolve(call: Call, reference: Body) -> Body:
    """What a reference refers to, with what the reference says of it; a whole resource is returned as it is."""
    if "name" in reference or not isinstance(reference.get("id"), str):
        return reference
    target = _find(call, reference["id"])
    if target is None:
        return reference
    return {**target, "properties": {**target["properties"], **reference.get("properties", {})}}


def _find(call: Call, resource_id: str) -> Body | None:
    parts = resource_id.split("/")
    resource = call.subscription.find("/".join(parts[:9]))
    if resource is None:
        return None
    rendered = kind_of(resource.type).render(call, resource)
    if len(parts) == 9:
        return rendered
    collection = next((name for name in rendered["properties"] if name.lower() == parts[9].lower()), None)
    return find(rendered["properties"][collection], parts[10]) if collection and len(parts) == 11 else None
