"""Label and field selectors: as they stand in queries, and as they stand in objects.

After `staging/src/k8s.io/apimachinery/pkg/labels` and `pkg/fields` of Kubernetes 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource

Predicate = Callable[[Obj], bool]
_SET = re.compile(r"^(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)$")
_COMPARED = re.compile(r"^(?P<key>[^\s!=<>]+)\s*(?P<operator>==|!=|=)\s*(?P<value>[^\s=]*)$")
_KEY = re.compile(r"^(?:[a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")


def parse_labels(text: str) -> Predicate:
    """A predicate on objects from a `labelSelector` query. Raises StatusError: 400, it is not a selector."""
    tests = [_label_test(part, text) for part in _split(text)]

    def holds(obj: Obj) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return holds


def _split(text: str) -> list[str]:
    parts: list[str] = []
    depth, start = 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _label_test(part: str, whole: str) -> Callable[[Mapping[str, str]], bool]:
    if part.startswith("!"):
        absent = part[1:].strip()
        _check_key(absent, whole)
        return lambda labels: absent not in labels
    found = _SET.match(part)
    if found:
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        _check_key(key, whole)
        if found["operator"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    found = _COMPARED.match(part)
    if found:
        key, operator, value = found["key"], found["operator"], found["value"]
        _check_key(key, whole)
        if operator in ("=", "=="):
            return lambda labels: labels.get(key) == value
        return lambda labels: labels.get(key) != value
    _check_key(part, whole)
    return lambda labels: part in labels


def _check_key(key: str, whole: str) -> None:
    if not _KEY.match(key):
        raise status.bad_request(
            f'unable to parse requirement: <nil>: Invalid value: "{key}": name part must consist of alphanumeric '
            "characters, '-', '_' or '.', and must start and end with an alphanumeric character "
            f"(in selector {whole!r})"
        )


def matches_selector(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether labels satisfy a LabelSelector of an object; a missing one matches nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(matches_expression(rule, labels) for rule in selector.get("matchExpressions") or [])


def matches_expression(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether labels satisfy one requirement of a label or node selector."""
    key, operator, values = rule.get("key", ""), rule.get("operator"), rule.get("values") or []
    held = labels.get(key) in values if operator in ("In", "NotIn") else key in labels
    return bool(held) == (operator in ("In", "Exists"))


_ALWAYS = frozenset({"metadata.name", "metadata.namespace"})
_FIELDS: dict[str, list[str]] = tables.read_yaml("crdbmesh_simulator.kubernetes", "names-1.36")["selectable"]


def parse_fields(resource: Resource, text: str) -> Predicate:
    """A predicate on objects of a kind from a `fieldSelector` query.

    Raises StatusError: 400, it is not a selector, or the kind cannot be selected by that field.
    """
    tests: list[tuple[str, bool, str]] = []
    for part in (each.strip() for each in text.split(",")):
        if not part:
            continue
        found = re.match(r"^([^=!]+)(==|!=|=)(.*)$", part)
        if found is None:
            raise status.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = found[1].strip(), found[2], found[3].strip()
        if field not in {*_ALWAYS, *([] if resource.custom else _FIELDS.get(resource.kind, []))}:
            raise status.bad_request(_unsupported(resource, field))
        tests.append((field, operator != "!=", value))

    def holds(obj: Obj) -> bool:
        return all((_field(obj, field) == value) == equal for field, equal, value in tests)

    return holds


def _unsupported(resource: Resource, field: str) -> str:
    if resource.custom or resource.kind in _FIELDS:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _field(obj: Obj, field: str) -> str:
    value: Any = obj
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return "false" if field in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value)
