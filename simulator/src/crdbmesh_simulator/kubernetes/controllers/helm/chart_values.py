"""Values of a helm release: files and `--set` merged as helm does, checked against the chart's schema.

After helm v3/v4 (`pkg/cli/values`, `pkg/strvals`, `pkg/chart/common/util/coalesce.go`). Helm does not mind keys that
a chart does not know; this world notes them, since they are mistakes as a rule.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import yaml

from crdbmesh_simulator.kubernetes.controllers.objects import Obj

_SCHEMA = "cilium-1.20.0-values.schema.json"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Obj:
    """`over` on top of `base`: maps are merged, everything else is replaced; null removes a key of the chart."""
    result: Obj = dict(base)
    for key, value in over.items():
        have = result.get(key)
        if isinstance(value, Mapping) and isinstance(have, Mapping):
            result[key] = merge(have, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def read(files: Mapping[str, bytes], arguments: list[str]) -> Obj:
    """The user's values: YAML files in the order of their names, then `--set` and `--set-string`.

    Raises:
        ValueError: a file is no YAML mapping, or a `--set` cannot be parsed.
    """
    values: Obj = {}
    for path in sorted(files):
        try:
            loaded = yaml.safe_load(files[path]) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"failed to parse {path}: {error}") from error
        if not isinstance(loaded, dict):
            raise ValueError(f"failed to parse {path}: cannot unmarshal into a map")  # noqa: TRY004 - a matter of the file's content
        values = merge(values, loaded)
    for flag, text in itertools.pairwise(arguments):
        if flag in ("--set", "--set-string"):
            _set(values, text, as_text=flag == "--set-string")
    return values


def _set(values: Obj, text: str, *, as_text: bool) -> None:
    for part in re.split(r"(?<!\\),(?![^{]*\})", text):
        key, equals, raw = part.partition("=")
        if not equals:
            raise ValueError(f'failed parsing --set data: key "{key}" has no value')
        words = [word.replace("\\.", ".") for word in re.split(r"(?<!\\)\.", key)]
        at: Any = values
        for position, word in enumerate(words):
            found = re.fullmatch(r"(.*?)\[(\d+)\]", word)
            last = position == len(words) - 1
            if found is not None:
                listed = at.setdefault(found[1], [])
                while len(listed) <= int(found[2]):
                    listed.append({})
                if last:
                    listed[int(found[2])] = _typed(raw, as_text=as_text)
                else:
                    at = listed[int(found[2])]
            elif last:
                at[word] = _typed(raw, as_text=as_text)
            else:
                at = at.setdefault(word, {})


def _typed(raw: str, *, as_text: bool) -> Any:
    raw = raw.replace("\\,", ",")
    if as_text:
        return raw
    if raw.startswith("{") and raw.endswith("}"):
        return [_typed(each, as_text=False) for each in raw[1:-1].split(",") if each]
    if raw in ("true", "false"):
        return raw == "true"
    if raw == "null":
        return None
    return int(raw) if re.fullmatch(r"-?(0|[1-9]\d*)", raw) else raw


@functools.cache
def _schema() -> Obj:
    folder = importlib.resources.files("crdbmesh_simulator.kubernetes.controllers") / "charts"
    return json.loads((folder / _SCHEMA).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def schema_errors(values: Obj) -> list[str]:
    """What the chart's `values.schema.json` holds against the values, in helm's words."""
    found = []
    for error in jsonschema.Draft7Validator(_schema()).iter_errors(_without_null(values)):
        where = "/".join(str(part) for part in error.absolute_path)
        found.append(f"- at '/{where}': {error.message}")
    return sorted(found)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(each) for key, each in value.items() if each is not None}
    return value


def unknown_paths(values: Obj) -> Iterator[str]:
    """Paths in the values that the chart does not know."""
    yield from _unknown(values, _schema(), "")


def _unknown(values: Obj, schema: Obj, prefix: str) -> Iterator[str]:
    known = schema.get("properties")
    if not known:
        return
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key == "global" and not prefix:
            continue
        if key not in known:
            yield path
        elif isinstance(value, dict):
            yield from _unknown(value, known[key], f"{path}.")
