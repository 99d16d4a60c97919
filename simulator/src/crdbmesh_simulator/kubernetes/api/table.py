"""Objects as rows of a table: how the API server prints them for `kubectl get`.

Columns after `pkg/printers/internalversion/printers.go` of Kubernetes 1.36, and for custom resources after their
`additionalPrinterColumns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crdbmesh_simulator.kubernetes.api import printers, printing
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource

_NAME: Obj = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def make(resource: Resource, objects: Iterable[Obj], *, now: float, include: str, head: bool = True) -> Obj:
    """A Table of objects of one kind.

    Ages are counted up to `now`; `include` says what each row holds of its object (`Object`, `Metadata` or `None`),
    `head` whether the columns are described (in a watch, only the first table does so).
    """
    columns, cells = _layout(resource)
    rows = [_row(obj, cells(obj, now), include) for obj in objects]
    table: Obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}}
    table["columnDefinitions"] = columns if head else None
    table["rows"] = rows
    return table


def _row(obj: Obj, cells: list[Any], include: str) -> Obj:
    row: Obj = {"cells": cells}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = partial(obj)
    return row


def partial(obj: Obj) -> Obj:
    """Only the metadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _layout(resource: Resource) -> tuple[list[Obj], Callable[[Obj, float], list[Any]]]:
    if resource.kind == "Event":
        titles, event_cells = printers.EVENT
        return [_column(name) for name in titles], event_cells
    printer = printers.PRINTERS.get((resource.group, resource.kind))
    if printer is not None:
        names, cells = printer
        return [_NAME, *(_column(name) for name in names)], lambda obj, now: [obj["metadata"]["name"], *cells(obj, now)]
    if resource.columns:
        return _custom(resource)
    return [_NAME, _column("Age")], lambda obj, now: [obj["metadata"]["name"], printing.age(obj, now)]


def _column(name: str) -> Obj:
    wide = name.startswith("+")
    bare = name.lstrip("+#")
    kind = "integer" if "#" in name else "string"
    return {"name": bare, "type": kind, "format": "", "description": bare, "priority": 1 if wide else 0}


def _custom(resource: Resource) -> tuple[list[Obj], Callable[[Obj, float], list[Any]]]:
    columns = [_NAME, *(_custom_column(each) for each in resource.columns)]

    def cells(obj: Obj, now: float) -> list[Any]:
        return [obj["metadata"]["name"], *(_cell(obj, each, now) for each in resource.columns)]

    return columns, cells


def _custom_column(column: Mapping[str, Any]) -> Obj:
    defaults = {"type": "string", "format": "", "description": "", "priority": 0}
    return {"name": column["name"], **{key: column.get(key, value) for key, value in defaults.items()}}


def _cell(obj: Obj, column: Mapping[str, Any], now: float) -> Any:
    value = find_path(obj, str(column.get("jsonPath", "")))
    if value is not None and column.get("type") == "date":
        return printing.since(str(value), now)
    return value


def find_path(obj: Any, path: str) -> Any:
    """The value at a simple JSONPath such as `.status.conditions[?(@.type=="Ready")].status`."""
    value = obj
    for field, filtered, index in re.findall(r"\.?((?:[^.\[\]\\]|\\.)+)|\[\?\(@\.(.*?)\)\]|\[(\d+)\]", path):
        if field:
            name = field.replace("\\.", ".")
            value = value.get(name) if isinstance(value, Mapping) else None
        elif filtered:
            key, _, wanted = filtered.partition("==")
            wanted = wanted.strip().strip("\"'")
            entries = value if isinstance(value, list) else []
            value = next((each for each in entries if str(each.get(key.strip())) == wanted), None)
        elif isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        if value is None:
            return None
    return value
