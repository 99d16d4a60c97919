"""Reads the tables that stand beside a package's modules as TOML or YAML, and fills in those that have blanks.

`$path` is a value by its dotted path, of keys or attributes (as part of a text, its text); an element `$*path` of a
list, and an entry `$*: path` of a map, stand for what the list or map at that path holds; a map with `$if: path` is
left out where the value at the path is false or empty.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import yaml

_BLANK = re.compile(r"\$([a-z]\w*(?:\.\w+)*)")
_ALL, _IF = "$*", "$if"


@functools.cache
def read(package: str, name: str) -> dict[str, Any]:
    """The document `name.toml` of a package."""
    return tomllib.loads(importlib.resources.files(package).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


@functools.cache
def read_yaml(package: str, name: str) -> Any:
    """The document `name.yaml` of a package; a list of documents when there are several."""
    text = importlib.resources.files(package).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    found = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    return found[0] if len(found) == 1 else found


def fill(node: Any, blanks: Mapping[str, Any]) -> Any:
    """A private copy of a table, or of a part of one, with its blanks filled in."""
    if isinstance(node, str):
        if "$" not in node:
            return node
        whole = _BLANK.fullmatch(node)
        return _look_up(whole[1], blanks) if whole else _BLANK.sub(lambda each: str(_look_up(each[1], blanks)), node)
    if isinstance(node, list):
        kept: list[Any] = []
        for each in node:
            if isinstance(each, str) and each.startswith(_ALL):
                kept += _look_up(each.removeprefix(_ALL), blanks)
            elif not (isinstance(each, dict) and _IF in each and not _look_up(each[_IF], blanks)):
                kept.append(fill(each, blanks))
        return kept
    if isinstance(node, dict):
        result: dict[str, Any] = {}
        for key, each in node.items():
            if key == _ALL:
                result |= _look_up(each, blanks)
            elif key != _IF:
                result[key] = fill(each, blanks)
        return result
    return node


def _look_up(path: str, blanks: Mapping[str, Any]) -> Any:
    found: Any = blanks
    for part in path.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return copy.deepcopy(found) if isinstance(found, dict | list) else found
