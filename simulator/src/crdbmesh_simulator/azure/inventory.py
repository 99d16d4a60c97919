"""What Azure Resource Manager knows of all resources alike: lists, their `$filter`, tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from crdbmesh_simulator.azure import authorization, regions
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import ArmError, Body, refusal
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import find_group, find_scope, page, require_tags
from crdbmesh_simulator.azure.state import Resource

Predicate = Callable[[Mapping[str, Any]], bool]

_COMPARISON = re.compile(r"(\w+) (eq|ne) '((?:[^']|'')*)'", re.IGNORECASE)
_FIELDS = {"resourcetype": "type", "name": "name", "location": "location", "resourcegroup": "resourceGroup"}


def parse(text: str) -> Predicate:
    """What a filter lets through. Raises ArmError: 400, Azure Resource Manager knows no such filter."""
    text = text.strip()
    if not text:
        return lambda _: True
    alternatives = [_conjunction(part, text) for part in _split(text, "or")]
    return lambda entry: any(predicate(entry) for predicate in alternatives)


def is_by_tag(text: str) -> bool:
    """Whether a filter asks for a tag by its name and its value."""
    return {"tagname", "tagvalue"} <= {match[1].lower() for match in _COMPARISON.finditer(text)}


def _conjunction(text: str, whole: str) -> Predicate:
    parts = [part.strip().strip("()") if part.strip().startswith("(") else part.strip() for part in _split(text, "and")]
    tag = _tag(parts)
    if tag is not None:
        return tag
    predicates = [_term(part, whole) for part in parts]
    return lambda entry: all(predicate(entry) for predicate in predicates)


def _tag(parts: list[str]) -> Predicate | None:
    """`tagName eq 'a' and tagValue eq 'b'`: both speak of the same tag."""
    found = {}
    for part in parts:
        match = _COMPARISON.fullmatch(part)
        if match is None or match[1].lower() not in ("tagname", "tagvalue") or match[2].lower() != "eq":
            return None
        found[match[1].lower()] = _unquote(match[3])

    def holds(entry: Mapping[str, Any]) -> bool:
        return any(
            name.lower() == found.get("tagname", name).lower() and value == found.get("tagvalue", value)
            for name, value in (entry.get("tags") or {}).items()
        )

    return holds


def _term(text: str, whole: str) -> Predicate:
    if match := _COMPARISON.fullmatch(text):
        field = _field(match[1], whole)
        wanted, equal = _unquote(match[3]).lower(), match[2].lower() == "eq"
        wanted = regions.normal(wanted) if field == "location" else wanted
        return lambda entry: (str(entry.get(field, "")).lower() == wanted) is equal
    raise _invalid(whole)


def _field(name: str, whole: str) -> str:
    field = _FIELDS.get(name.lower())
    if field is None:
        raise _invalid(whole)
    return field


def _split(text: str, word: str) -> list[str]:
    """Split at a word that stands outside quotes."""
    parts, start, quoted = [], 0, False
    for match in re.finditer(rf"'|(?<=\s){word}(?=\s)", text, re.IGNORECASE):
        if match[0] == "'":
            quoted = not quoted
        elif not quoted:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return [*parts, text[start:].strip()]


def _unquote(text: str) -> str:
    return text.replace("''", "'")


def _invalid(whole: str) -> ArmError:
    return refusal("InvalidFilterInQueryString", whole=whole)


def list_all(call: Call) -> Answer:
    """`GET .../resources`, of the subscription or of a group.

    Asked for a tag's name and value it leaves the resources' tags out (REST reference of `Resources - List`).
    """
    subscription = call.subscription
    text = call.query.get("$filter", "")
    wanted = parse(text)
    named = ("id", "name", "type", "location", "sku", "zones", "managedBy")
    names = named if is_by_tag(text) else (*named, "tags")
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
