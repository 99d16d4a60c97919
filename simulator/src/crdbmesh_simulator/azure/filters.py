"""`$filter` of the resource and resource group lists: comparisons, joined by `and` and `or`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.errors import ArmError, refusal

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
