"""The types of Kubernetes objects: the published OpenAPI definitions of 1.36, and the schemas of custom resources.

The definitions are vendored (`definitions-1.36.md` beside them says from where), with their extensions
`x-kubernetes-list-type`, `-list-map-keys`, `-map-type`, `-patch-strategy` and `-patch-merge-key`. They are read once
for all clusters; a type is built when it is first looked at.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources as package_files
from typing import Any

from crdbmesh_simulator.kubernetes.api.resources import Resource

_PREFIX = "#/$defs/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SCALARS = ("string", "integer", "number", "boolean")

_KEY_DEFAULTS: dict[str, str] = {"protocol": "TCP"}
"""The value of a key of an associative list when an element leaves it out."""


@functools.cache
def definitions() -> dict[str, dict[str, Any]]:
    """Return the published definitions by name, such as `io.k8s.api.apps.v1.Deployment`."""
    file = package_files.files("crdbmesh_simulator.kubernetes") / "definitions-1.36.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = document["$defs"]
    return found


@functools.cache
def definition_names() -> dict[tuple[str, str, str], str]:
    """Return the names of definitions by group, version and kind of the objects that they define."""
    found: dict[tuple[str, str, str], str] = {}
    for name, definition in definitions().items():
        for gvk in definition.get("x-kubernetes-group-version-kind") or []:
            found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return found


class Type:
    """The type of a value in an object.

    `kind`: `struct`, `map`, `list`, one of the JSON scalars, `int-or-string`, `quantity`, or `any`. `name`: the short
    name of the definition it comes from, if it has one of its own. `atomic`: whether the value has one owner as a whole
    (lists without a list type, some structs). `keys`: of a list, the fields that tell its elements apart; empty for a
    set. `merge_key` and `strategies`: how a strategic merge patch treats it. `custom`: whether it is part of a custom
    resource's schema.
    """

    def __init__(self, schema: Mapping[str, Any], *, name: str = "", custom: bool = False) -> None:
        self.custom = custom
        self.name = name
        node: Mapping[str, Any] = schema
        while True:
            wrapped = node.get("$ref")
            if wrapped is None:
                break
            full = str(wrapped).removeprefix(_PREFIX)
            self.name = full.rpartition(".")[2]
            node = {**definitions()[full], **{key: value for key, value in node.items() if key.startswith("x-")}}
        self.schema = node
        self.kind = self._kind()
        self.format = str(node.get("format", ""))
        self.merge_key: str | None = node.get("x-kubernetes-patch-merge-key")
        self.strategies = tuple(str(node.get("x-kubernetes-patch-strategy", "")).split(","))
        self.keys: tuple[str, ...] = ()
        self.atomic = False
        if self.kind == "list":
            self._read_list()
        elif self.kind in ("struct", "map"):
            self.atomic = node.get("x-kubernetes-map-type") == "atomic"
        elif self.kind == "object":
            self.kind, self.atomic = "any", not custom

    def _kind(self) -> str:
        node = self.schema
        if self.name == "Quantity":
            return "quantity"
        if self.name == "IntOrString" or node.get("x-kubernetes-int-or-string"):
            return "int-or-string"
        declared = node.get("type")
        if isinstance(declared, list):
            declared = next((word for word in declared if word != "null"), None)
        if declared == "array" or "items" in node:
            return "list"
        if node.get("properties"):
            return "struct"
        if isinstance(node.get("additionalProperties"), Mapping):
            return "map"
        if declared in _SCALARS:
            return str(declared)
        if node.get("x-kubernetes-preserve-unknown-fields") or declared is None or node.get("additionalProperties"):
            return "any"
        return "object"

    def _read_list(self) -> None:
        node = self.schema
        kind = node.get("x-kubernetes-list-type")
        if kind is None and "merge" in self.strategies:
            kind = "map" if self.merge_key else "set"
        if kind == "map":
            self.keys = tuple(node.get("x-kubernetes-list-map-keys") or ([self.merge_key] if self.merge_key else ()))
        self.atomic = kind not in ("map", "set")

    @functools.cached_property
    def fields(self) -> dict[str, Type]:
        """The declared fields of a struct."""
        return {key: Type(each, custom=self.custom) for key, each in (self.schema.get("properties") or {}).items()}

    @functools.cached_property
    def element(self) -> Type:
        """The type of a list's elements or a map's values."""
        node = self.schema.get("items") if self.kind == "list" else self.schema.get("additionalProperties")
        return Type(node if isinstance(node, Mapping) else {}, custom=self.custom)

    @property
    def required(self) -> tuple[str, ...]:
        """Fields that a struct must have."""
        return tuple(self.schema.get("required") or ())

    @property
    def open(self) -> bool:
        """Tell whether fields that are not declared are kept."""
        return bool(self.schema.get("x-kubernetes-preserve-unknown-fields"))

    @property
    def associative(self) -> bool:
        """Tell whether it is a list whose elements have owners of their own."""
        return self.kind == "list" and not self.atomic

    def child(self, key: str) -> Type:
        """The type of a field or of a map's value; `any` for what is not declared."""
        if self.kind == "struct":
            found = self.fields.get(key)
            if found is not None:
                return found
        if self.kind == "map":
            return self.element
        return ANY

    def identify(self, element: Any) -> str:
        """Return the FieldsV1 path element that identifies an element of an associative list.

        Raises ValueError: the element lacks a key.
        """
        if not self.keys:
            return f"v:{json.dumps(element, separators=(',', ':'))}"
        if not isinstance(element, Mapping):
            raise ValueError("associative list with keys may not have non-map elements")  # noqa: TRY004
        found: dict[str, Any] = {}
        for key in sorted(self.keys):
            if element.get(key) is not None:
                found[key] = element[key]
            elif key in _KEY_DEFAULTS and self.child_key_has_default(key):
                found[key] = _KEY_DEFAULTS[key]
        if not found:
            listed = " ".join(json.dumps(key) for key in self.keys)
            raise ValueError(
                f"associative list with keys has an element that omits all key fields [{listed}] "
                "(and doesn't have default values for any key fields)"
            )
        return f"k:{json.dumps(found, separators=(',', ':'))}"

    def child_key_has_default(self, key: str) -> bool:
        """Tell whether the server fills in a key of an element that lacks it."""
        return key in self.element.fields and not self.custom


ANY = Type({}, name="any")
"""The type of what no schema declares."""


@functools.cache
def _builtin(group: str, version: str, kind: str) -> Type:
    name = definition_names().get((group, version, kind))
    return ANY if name is None else Type({"$ref": f"{_PREFIX}{name}"})


_custom_types: dict[int, tuple[Mapping[str, Any], Type]] = {}


def type_of(resource: Resource) -> Type:
    """The type of a resource's objects."""
    if not resource.custom:
        return _builtin(resource.group, resource.version, resource.kind)
    schema = resource.schema or {}
    cached = _custom_types.get(id(schema))
    if cached is not None and cached[0] is schema:
        return cached[1]
    found = _custom(schema)
    _custom_types[id(schema)] = (schema, found)
    return found


def _custom(schema: Mapping[str, Any]) -> Type:
    properties = dict(schema.get("properties") or {})
    properties.setdefault("apiVersion", {"type": "string"})
    properties.setdefault("kind", {"type": "string"})
    loose = not schema or schema.get("x-kubernetes-preserve-unknown-fields")
    node = {**schema, "type": "object", "properties": {**properties, "metadata": {"type": "object"}}}
    if loose:
        node["x-kubernetes-preserve-unknown-fields"] = True
    found = Type(node, custom=True)
    found.fields["metadata"] = Type({"$ref": f"{_PREFIX}{_META}"})
    return found
