"""Objects that are kept as YAML with blanks, in the folder `manifests`: those of k3s, and of the Cilium chart.

`$path` is a value by its dotted path (as part of a text, its text); an element `$*path` of a list, and an entry
`$*: path` of a map, stand for what the list or map at that path holds; a map with `$if: path` is left out where the
value at the path is false or empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone

_BLANK = re.compile(r"\$([a-z]\w*(?:\.\w+)*)")
_ALL, _IF = "$*", "$if"


@functools.cache
def _read(name: str) -> tuple[Obj, ...]:
    file = resources.files("crdbmesh_simulator.kubernetes.controllers") / "manifests" / f"{name}.yaml"
    return tuple(yaml.load_all(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))


def fill(name: str, blanks: Mapping[str, Any] | None = None) -> list[Obj]:
    """The objects of a file, private copies, with their blanks filled in."""
    found: list[Obj] = _filled(list(_read(name)), blanks or {})
    return found


def _filled(node: Any, blanks: Mapping[str, Any]) -> Any:
    if isinstance(node, str):
        whole = _BLANK.fullmatch(node)
        return _look_up(whole[1], blanks) if whole else _BLANK.sub(lambda each: str(_look_up(each[1], blanks)), node)
    if isinstance(node, list):
        kept: list[Any] = []
        for each in node:
            if isinstance(each, str) and each.startswith(_ALL):
                kept += _look_up(each.removeprefix(_ALL), blanks)
            elif not _left_out(each, blanks):
                kept.append(_filled(each, blanks))
        return kept
    if isinstance(node, dict):
        result: Obj = {}
        for key, each in node.items():
            if key == _ALL:
                result |= _look_up(each, blanks)
            elif key != _IF:
                result[key] = _filled(each, blanks)
        return result
    return node


def _left_out(node: Any, blanks: Mapping[str, Any]) -> bool:
    return isinstance(node, dict) and _IF in node and not _look_up(node[_IF], blanks)


def _look_up(path: str, blanks: Mapping[str, Any]) -> Any:
    found: Any = blanks
    for part in path.split("."):
        found = found[part]
    return clone(found)
