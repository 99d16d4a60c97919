"""Values of a helm release: files merged as helm does, checked against the chart's schema.

After helm v4 (`pkg/cli/values`, `pkg/chart/common/util/coalesce.go`). Helm does not mind keys that
a chart does not know; this world notes them, and those that its rendering does not go by.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
import json
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


def read(files: Mapping[str, bytes]) -> Obj:
    """The user's values: YAML files in the order of their names.

    Raises:
        ValueError: a file is no YAML mapping.
    """
    values: Obj = {}
    for path in sorted(files):
        try:
            loaded = yaml.load(files[path], Loader=yaml.CSafeLoader) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"failed to parse {path}: {error}") from error
        if not isinstance(loaded, dict):
            raise ValueError(f"failed to parse {path}: cannot unmarshal into a map")  # noqa: TRY004 - a matter of the file's content
        values = merge(values, loaded)
    return values


@functools.cache
def _schema() -> Obj:
    folder = importlib.resources.files("crdbmesh_simulator.kubernetes.controllers") / "charts"
    return json.loads((folder / _SCHEMA).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def schema_errors(values: Obj) -> list[str]:
    """Return the violations of the chart's `values.schema.json`, in helm's words."""
    found = []
    for error in jsonschema.Draft7Validator(_schema()).iter_errors(_without_null(values)):
        where = "/".join(str(part) for part in error.absolute_path)
        found.append(f"- at '/{where}': {error.message}")
    return sorted(found)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(each) for key, each in value.items() if each is not None}
    return value


def unread_paths(values: Obj, read: Obj) -> Iterator[str]:
    """Paths in the values that are not among `read`, the values that the rendering of this world goes by."""
    for key, value in values.items():
        if key not in read:
            yield key
        elif isinstance(value, dict) and isinstance(read[key], dict) and read[key]:
            yield from (f"{key}.{path}" for path in unread_paths(value, read[key]))
