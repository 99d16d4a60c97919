"""Sets of fields of an object, and what can be done with typed objects by means of them.

After `sigs.k8s.io/structured-merge-diff/v6` (`fieldpath`, `typed`): the algorithms behind server-side apply. A path is
a tuple of FieldsV1 path elements: `f:<field>`, `k:<keys of an associative list's element>`, `v:<element of a set>`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.kubernetes.api.schema import ANY, Type

Path = tuple[str, ...]
FieldSet = frozenset[Path]
_ABSENT = object()
_DECODED: dict[int, tuple[Mapping[str, Any], FieldSet]] = {}
"""What was decoded lately, by identity, which is safe as long as it is held here."""


class TypedError(Exception):
    """A value that its type does not allow; the text is what the API server says."""


@dataclass
class Comparison:
    """The differences between two versions of an object."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    def without(self, ignored: Iterable[Path]) -> Comparison:
        """The same, but for what lies at or below the ignored paths."""
        return Comparison(exclude(self.added, ignored), exclude(self.modified, ignored), exclude(self.removed, ignored))


def exclude(paths: Iterable[Path], ignored: Iterable[Path]) -> set[Path]:
    """Those paths that do not lie at or below an ignored one."""
    prefixes = tuple(ignored)
    return {path for path in paths if not any(path[: len(prefix)] == prefix for prefix in prefixes)}


def decode(fields: Mapping[str, Any]) -> FieldSet:
    """FieldsV1, which nobody changes in place, as a set of paths."""
    known = _DECODED.get(id(fields))
    if known is not None:
        return known[1]
    found: set[Path] = set()
    _decode(fields, (), found)
    decoded = frozenset(found)
    _DECODED[id(fields)] = fields, decoded
    return decoded


def _decode(fields: Mapping[str, Any], path: Path, found: set[Path]) -> None:
    for key, below in fields.items():
        if key == ".":
            found.add(path)
        elif not below:
            found.add((*path, key))
        else:
            _decode(below, (*path, key), found)


@functools.lru_cache(maxsize=1024)
def encode(members: FieldSet) -> dict[str, Any]:
    """A set of paths as FieldsV1, for reading only."""
    root: dict[str, Any] = {}
    for path in sorted(members):
        node = root
        for depth, key in enumerate(path, 1):
            below = node.setdefault(key, {})
            if depth < len(path) and not below and path[:depth] in members:
                below["."] = {}
            node = below
    return root


def show(path: Path) -> str:
    """A path as messages show it: `.spec.containers[name="x"].image`."""
    parts: list[str] = []
    for element in path:
        kind, _, text = element.partition(":")
        if kind == "f":
            parts.append(f".{text}")
        elif kind == "k":
            keys = json.loads(text)
            parts.append("[" + ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(keys.items())) + "]")
        elif kind == "v":
            parts.append(f"[={text}]")
        else:
            parts.append(f"[{text}]")
    return "".join(parts)


# The set of fields that a configuration holds.


def fields_of(type_: Type, value: Any) -> set[Path]:
    """The fields that an applied configuration lays claim to. Raises TypedError: the value does not fit its type."""
    found: set[Path] = set()
    _fields_of(type_, value, (), found)
    return found


def _fields_of(type_: Type, value: Any, path: Path, found: set[Path]) -> None:
    if isinstance(value, list) and type_.associative:
        for key, element in index(type_, value, path):
            found.add((*path, key))
            _fields_of(type_.element, element, (*path, key), found)
        return
    if isinstance(value, dict) and not type_.atomic and type_.kind in ("struct", "map", "any"):
        for name, each in value.items():
            below = (*path, f"f:{name}")
            _fields_of(type_.child(name), each, below, found)
            declared = type_.kind == "struct" and name in type_.fields
            if each is None or each == {} or not declared:
                found.add(below)
        return
    found.add(path)


def index(type_: Type, elements: Iterable[Any], path: Path) -> list[tuple[str, Any]]:
    """The elements of an associative list with what tells them apart.

    Raises TypedError: an element lacks a key, or two are the same.
    """
    found: list[tuple[str, Any]] = []
    seen: set[str] = set()
    for position, element in enumerate(elements):
        try:
            key = type_.identify(element)
        except ValueError as error:
            raise TypedError(f"{show(path)}: element {position}: {error}") from None
        if key in seen:
            raise TypedError(f"{show(path)}: duplicate entries for key {show((key,))}")
        seen.add(key)
        found.append((key, element))
    return found


def _indexed(type_: Type, elements: Any) -> dict[str, Any]:
    """As `index`, but lenient: what is already stored may hold duplicates (the first one counts)."""
    found: dict[str, Any] = {}
    for element in elements if isinstance(elements, list) else ():
        try:
            found.setdefault(type_.identify(element), element)
        except ValueError:
            continue
    return found


# Comparing.


def compare(type_: Type, old: Any, new: Any) -> Comparison:
    """Compare two versions of an object."""
    result = Comparison()
    _compare(type_, old, new, (), result)
    return result


def _compare(type_: Type, old: Any, new: Any, path: Path, result: Comparison) -> None:
    if old is new:
        return
    one = new if old is _ABSENT or old is None else old
    both_empty = not _length(old) and not _length(new)
    if isinstance(one, list) and type_.associative and not both_empty:
        before, after = _indexed(type_, old), _indexed(type_, new)
        for key in {**before, **after}:
            _compare(type_.element, before.get(key, _ABSENT), after.get(key, _ABSENT), (*path, key), result)
    elif isinstance(one, dict) and not type_.atomic and type_.kind in ("struct", "map", "any") and not both_empty:
        before = old if isinstance(old, dict) else {}
        after = new if isinstance(new, dict) else {}
        for name in {**before, **after}:
            was, now = before.get(name, _ABSENT), after.get(name, _ABSENT)
            _compare(type_.child(name), was, now, (*path, f"f:{name}"), result)
    else:
        if old is not _ABSENT and new is not _ABSENT and old != new:
            result.modified.add(path)
    if old is _ABSENT:
        result.added.add(path)
    elif new is _ABSENT:
        result.removed.add(path)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, dict | list) else 0


# Merging and removing.


def merge(type_: Type, live: Any, config: Any, path: Path = ()) -> Any:
    """`live` with what `config` says laid over it; neither is changed, parts of both are shared."""
    if isinstance(config, list) and isinstance(live, list) and type_.associative:
        return _merge_lists(type_, live, config, path)
    mergeable = isinstance(config, dict) and isinstance(live, dict)
    if mergeable and not type_.atomic and type_.kind in ("struct", "map", "any"):
        result = dict(live)
        for name, value in config.items():
            below = (*path, f"f:{name}")
            result[name] = merge(type_.child(name), live[name], value, below) if name in live else value
        return result
    return config


def _merge_lists(type_: Type, live: list[Any], config: list[Any], path: Path) -> list[Any]:
    right = index(type_, config, path)
    theirs = dict(right)
    left = list(_indexed(type_, live).items())
    mine = dict(left)
    shared = [key for key, _ in right if key in mine]
    result: list[Any] = []
    done: set[str] = set()
    at_left = at_right = 0
    while at_left < len(left) or at_right < len(right):
        wanted = next((key for key in shared if key not in done), None)
        if at_left < len(left):
            key, element = left[at_left]
            if key in done or (key in theirs and at_right < len(right) and key != right[at_right][0] and key != wanted):
                at_left += 1
                continue
            if key not in theirs:
                result.append(element)
                at_left += 1
                continue
        if at_right >= len(right):
            at_left += 1
            continue
        key, element = right[at_right]
        at_right += 1
        done.add(key)
        result.append(merge(type_.element, mine[key], element, (*path, key)) if key in mine else element)
    return result


def remove(type_: Type, value: Any, paths: Iterable[Path]) -> Any:
    """The value without the fields at these paths."""
    return _remove(type_, value, _trie(paths))


def _trie(paths: Iterable[Path]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for key in path:
            node = node.setdefault(key, {})
        node["."] = {}
    return root


def _remove(type_: Type, value: Any, trie: dict[str, Any]) -> Any:
    if isinstance(value, list) and type_.associative:
        kept: list[Any] = []
        for element in value:
            try:
                node = trie.get(type_.identify(element))
            except ValueError:
                node = None
            if node is None:
                kept.append(element)
            elif "." not in node:
                kept.append(_remove(type_.element, element, node))
        return kept or None
    if isinstance(value, dict) and not type_.atomic and type_.kind in ("struct", "map", "any"):
        result: dict[str, Any] = {}
        for name, each in value.items():
            node = trie.get(f"f:{name}")
            if node is None:
                result[name] = each
            elif "." not in node:
                below = _remove(type_.child(name), each, node)
                if below is not None:
                    result[name] = below
        return result or None
    return value


def with_named(type_: Type, paths: Iterable[Path]) -> set[Path]:
    """The set, and every declared field on the way to its members."""
    found = set(paths)
    for path in list(found):
        at = type_
        for depth, element in enumerate(path[:-1], 1):
            if element.startswith("f:"):
                name = element[2:]
                if at.kind == "struct" and name in at.fields:
                    found.add(path[:depth])
                at = at.child(name)
            else:
                at = at.element if at.kind == "list" else ANY
    return found
