"""Reading an object as its type: finds fields that the type does not know, and values of the wrong type.

Messages after Go's `encoding/json` and `sigs.k8s.io/json` as the API server passes them on; for custom resources
after `apiextensions-apiserver/pkg/apiserver/validation`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.kubernetes.api import jsonvalue, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import Type, type_of

_KEPT_EMPTY = frozenset({"rules", "items", "subsets"})
_GO_SCALARS = {"string": "string", "boolean": "bool", "number": "float64", "quantity": "resource.Quantity"}


@dataclass
class Decoded:
    """An object as its type sees it.

    `obj`: the object without what the type does not declare. `unknown`: paths of what was left out. `mistyped`: the
    first value that has another type than declared, as Go says it. `errors`: of a custom resource, what its schema does
    not allow.
    """

    obj: Obj
    unknown: list[str] = field(default_factory=list)
    mistyped: str | None = None
    errors: list[status.FieldError] = field(default_factory=list)


def decode(resource: Resource, obj: Obj) -> Decoded:
    """Read an object of that kind; the result shares nothing that is changed later."""
    reader = _Reader(custom=resource.custom)
    read = reader.read(type_of(resource), obj, "")
    found = reader.found
    found.obj = read if isinstance(read, dict) else {}
    found.obj.setdefault("metadata", {})
    return found


class _Reader:
    def __init__(self, *, custom: bool) -> None:
        self._custom = custom
        self.found = Decoded({})

    def read(self, type_: Type, value: Any, path: str, owner: str = "") -> Any:
        if value is None:
            return None
        kind = type_.kind
        if kind == "any":
            return value
        if not fits(type_, value):
            self._mistyped(type_, value, path, owner)
            return value
        if kind == "struct":
            return self._struct(type_, value, path)
        if kind == "map":
            inside = {key: self.read(type_.element, each, f"{path}.{key}", owner) for key, each in value.items()}
            if type_.element.kind == "string" and not self._custom:
                return {key: "" if each is None else each for key, each in inside.items()}
            return {key: each for key, each in inside.items() if each is not None}
        if kind == "list":
            items = [self.read(type_.element, each, f"{path}[{at}]", owner) for at, each in enumerate(value)]
            return [each for each in items if each is not None]
        if kind == "quantity":
            return jsonvalue.canonical(value)
        if not type_.custom and type_.format == "byte" and self.found.mistyped is None:
            self.found.mistyped = find_corruption(value)
        return value

    def _struct(self, type_: Type, value: Obj, path: str) -> Obj:
        result: Obj = {}
        for key, each in value.items():
            where = f"{path}.{key}" if path else key
            declared = type_.fields.get(key)
            if declared is None:
                if type_.open:
                    result[key] = each
                else:
                    self.found.unknown.append(where)
                continue
            read = self.read(declared, each, where, type_.name)
            if read is None and not (type_.custom and declared.schema.get("nullable")):
                continue
            if not self._custom and key not in (*_KEPT_EMPTY, *type_.required) and _vanishes(declared, read):
                continue
            result[key] = read
        if type_.custom:
            self.found.errors += [
                status.required(f"{path}.{name}" if path else name) for name in type_.required if name not in result
            ]
        return result

    def _mistyped(self, type_: Type, value: Any, path: str, owner: str) -> None:
        if self.found.mistyped is None:
            where = re.sub(r"\[\d+\]", "", path)
            target = f"Go struct field {owner}.{where} of type {_go_type(type_)}"
            self.found.mistyped = f"json: cannot unmarshal {_json_kind(value)} into {target}"


def find_corruption(text: str) -> str | None:
    """Return what Go says of text that is no Base64, or None when it is."""
    bare = text.replace("\n", "").replace("\r", "")
    with contextlib.suppress(binascii.Error):
        base64.b64decode(bare, validate=True)
        return None
    strange = re.search(r"[^A-Za-z0-9+/=]", bare)
    return f"illegal base64 data at input byte {strange.start() if strange else len(bare) // 4 * 4}"


def fits(type_: Type, value: Any) -> bool:
    """Tell whether a value has its declared JSON type."""
    kind = type_.kind
    if kind in ("struct", "map"):
        return isinstance(value, dict)
    if kind == "list":
        return isinstance(value, list)
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return kind == "any"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == "number":
        return isinstance(value, int | float)
    if kind == "int-or-string":
        return isinstance(value, int | str)
    if kind == "quantity":
        return isinstance(value, int | float | str)
    return True


def _vanishes(type_: Type, value: Any) -> bool:
    return (type_.kind == "list" and value == []) or (type_.kind == "map" and value == {})


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return _container_kind(value)


def _container_kind(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "string"


def _go_type(type_: Type) -> str:
    if type_.kind == "integer":
        return type_.format or "int64"
    if type_.kind == "map":
        return f"map[string]{_go_type(type_.element)}"
    if type_.kind == "list":
        return f"[]{_go_type(type_.element)}"
    if type_.kind == "struct":
        return f"v1.{type_.name}"
    return _GO_SCALARS.get(type_.kind, "intstr.IntOrString")
