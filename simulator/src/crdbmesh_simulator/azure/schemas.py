"""Request bodies, read as Azure's resource providers read them.

Against the published types (`schemas/*.json`): members that only Azure sets are ignored, names and enumerations are
matched without regard to case, nulls count as absent, and anything unknown is refused. What is left is validated as
JSON Schema (draft 2020-12).
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

import jsonschema

from crdbmesh_simulator.azure.errors import ArmError, Body, refusal, unreadable

_OPEN_MEMBERS = {"vmSize"}
"""Open enumerations with a rule of their own elsewhere: new values appear every month."""

_UNPUBLISHED = {"kind", "allowport25out"}
"""Members that Azure shows and takes back, and its published types lack; as is an `identity` that is null."""


def accept(schema: str, body: object) -> Body:
    """The body as the provider understands it.

    `schema` names the type, such as `Microsoft.Network.virtualNetworks`. Raises ArmError: 400; what the provider says
    to a body it cannot read.
    """
    if not isinstance(body, dict):
        raise _refused(schema, "The request content is not a JSON object.", "")
    document = _document(schema)
    cleaned: Body = _Reader(schema, document).read(document, body, "")
    error = jsonschema.exceptions.best_match(_validator(schema).iter_errors(cleaned))
    if error is not None:
        path = _dotted(error.absolute_path)
        raise _refused(schema, f"Error converting value: {error.message}. Path '{path}'.", path)
    return cleaned


class _Reader:
    def __init__(self, schema: str, document: Body) -> None:
        self._schema = schema
        self._definitions: Body = document["$defs"]

    def read(self, rule: Mapping[str, Any], value: object, path: str) -> Any:
        name = str(rule.get("$ref", "")).removeprefix("#/$defs/")
        resolved = self._definitions[name] if name else rule
        if isinstance(value, dict):
            return self._read_object(resolved, value, path, name.rpartition(".")[0])
        if isinstance(value, list):
            items = resolved.get("items", {})
            return [self.read(items, item, f"{path}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, str):
            return self._read_text(resolved, value, path)
        return value

    def _read_object(self, rule: Mapping[str, Any], value: Body, path: str, kind: str) -> Body:
        members = rule.get("properties")
        if members is None:
            return value
        additional = rule.get("additionalProperties", False)
        spelled = {name.lower(): name for name in members}
        read: Body = {}
        for given, content in value.items():
            name = spelled.get(given.lower())
            if name is None and (given.lower() in _UNPUBLISHED or (given.lower() == "identity" and content is None)):
                continue
            inner = f"{path}.{given}" if path else given
            if name is None and additional is False:
                message = f"Could not find member '{given}' on object of type '{kind}'. Path '{inner}'."
                raise _refused(self._schema, message, inner)
            member = additional if name is None else members[name]
            if content is None or (isinstance(member, dict) and member.get("readOnly")):
                continue
            read[name or given] = self.read(member, content, inner) if isinstance(member, dict) else content
        return read

    def _read_text(self, rule: Mapping[str, Any], value: str, path: str) -> str:
        known = rule.get("enum") or rule.get("examples")
        if not known or path.rpartition(".")[2] in _OPEN_MEMBERS:
            return value
        for candidate in known:
            if str(candidate).lower() == value.lower():
                return str(candidate)
        raise _refused(self._schema, f"Error converting value \"{value}\" to type '{path}'. Path '{path}'.", path)


def _refused(schema: str, message: str, path: str) -> ArmError:
    if schema.startswith("Microsoft.Network."):
        return unreadable("InvalidJson", message)
    if schema.startswith("Microsoft.Compute."):
        return ArmError(400, "BadRequest", message, target=path or None)
    return refusal("InvalidRequestContent", problem=message)


def _dotted(parts: Any) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


@functools.cache
def _document(schema: str) -> Body:
    source = importlib.resources.files("crdbmesh_simulator.azure") / "schemas" / f"{schema}.json"
    document: Body = json.loads(source.read_text(encoding="utf-8"))
    return document


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_document(schema))
