"""`/openapi/v2`: the published schemas as one Swagger document, in JSON or as the protocol buffer kubectl asks for.

`kubectl` up to 1.26 learns from it how to merge, validate and explain; later ones fall back to it. The message is
`openapi.v2.Document` of gnostic (`OpenAPIv2.proto`), of which the fields that Kubernetes fills in are written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import openapi, schema
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Catalogue, Resource
from crdbmesh_simulator.kubernetes.api.status import StatusError

_PROTOBUF = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
_JSON = ("application/json", "application/*", "*/*")
_KEPT = ("description", "format", "default", "required", "enum", "properties", "items", "additionalProperties", "type")
_DROPPED_EXTENSIONS = ("x-kubernetes-validations",)
_built: dict[tuple[str, ...], tuple[bytes, bytes]] = {}


def answer(catalogue: Catalogue, request: web.Request) -> web.Response:
    """Answer with the document, in the form that the client asked for.

    Raises:
        StatusError: 406, it accepts neither.
    """
    given = [part.partition(";")[0].strip() for part in request.headers.get("Accept", "").split(",")]
    wanted = next((media for media in given if media in (*_PROTOBUF, *_JSON)), None)
    if wanted is None and any(given):
        raise StatusError(406, "NotAcceptable", f"only the following media types are accepted: {_JSON[0]}")
    marks = tuple(openapi.marks(catalogue))
    if marks not in _built:
        document = build(catalogue)
        _built.clear()
        _built[marks] = (json.dumps(document, separators=(",", ":")).encode(), encode(document))
    as_json, as_protobuf = _built[marks]
    body, media = (as_protobuf, _PROTOBUF[1]) if wanted in _PROTOBUF else (as_json, "application/json")
    tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    headers = {"Content-Type": media, "Etag": tag, "Vary": "Accept"}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)


def build(catalogue: Catalogue) -> Obj:
    """The Swagger document of all kinds that a cluster serves."""
    definitions = {name: _convert(each) for name, each in schema.definitions().items()}
    paths: dict[str, Obj] = {}
    for resource in catalogue:
        if resource.custom:
            definitions[openapi.custom_name(resource)] = _convert(openapi.custom_schema(resource))
        for path, operations in openapi.paths(resource, None).items():
            paths[path] = {verb: _operation(resource, verb, each) for verb, each in operations.items()}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.4"},
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
    }


def _operation(resource: Resource, verb: str, given: Obj) -> Obj:
    parameters = [
        {"name": each["name"], "in": "query", "type": "string", "uniqueItems": True}
        for each in given.get("parameters") or []
    ]
    consumed = list((given.get("requestBody") or {}).get("content") or ["*/*"])
    return {
        "operationId": given["operationId"],
        "consumes": consumed,
        "produces": ["application/json", "application/yaml"],
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": given.get("x-kubernetes-action", verb),
        "x-kubernetes-group-version-kind": {
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        },
    }  # fmt: skip


def _convert(node: Any) -> Obj:
    """A schema as Swagger writes it: one type only, no combinations, references to definitions."""
    if not isinstance(node, Mapping):
        return {}
    reference = node.get("$ref")
    combined = node.get("allOf")
    if reference is None and isinstance(combined, list) and len(combined) == 1:
        reference = combined[0].get("$ref")
    if isinstance(reference, str):
        found: Obj = {"$ref": f"#/definitions/{reference.rpartition('/')[2]}"}
        if node.get("description"):
            found["description"] = node["description"]
        return found
    result: Obj = {key: value for key, value in node.items() if key.startswith("x-") and key not in _DROPPED_EXTENSIONS}
    for key in _KEPT:
        if key not in node:
            continue
        value = node[key]
        if key == "properties":
            result[key] = {name: _convert(each) for name, each in value.items()}
        elif key in ("items", "additionalProperties"):
            result[key] = value if isinstance(value, bool) else _convert(value)
        elif key == "type" and isinstance(value, list):
            result[key] = next(word for word in value if word != "null")
        else:
            result[key] = value
    if result.get("type") == "array" and "items" not in result:
        result["items"] = {}
    return result


# The protocol buffer.


def encode(document: Obj) -> bytes:
    """The document as an `openapi.v2.Document`."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = b"".join(_named(2, path, _path(each)) for path, each in document["paths"].items())
    definitions = b"".join(_named(1, name, _schema(each)) for name, each in document["definitions"].items())
    return _text(1, document["swagger"]) + _message(2, info) + _message(8, paths) + _message(9, definitions)


_VERBS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _path(operations: Obj) -> bytes:
    return b"".join(_message(_VERBS[verb], _encoded_operation(each)) for verb, each in operations.items())


def _encoded_operation(operation: Obj) -> bytes:
    parameters = b"".join(
        _message(8, _message(1, _message(2, _message(3, _parameter(each))))) for each in operation["parameters"]
    )
    responses = b"".join(
        _named(1, code, _message(1, _text(1, each["description"]))) for code, each in operation["responses"].items()
    )
    return b"".join([
        _text(5, operation["operationId"]),
        *(_text(6, media) for media in operation["produces"]),
        *(_text(7, media) for media in operation["consumes"]),
        parameters,
        _message(9, responses),
        _extensions(13, operation),
    ])  # fmt: skip


def _parameter(parameter: Obj) -> bytes:
    return _text(2, parameter["in"]) + _text(4, parameter["name"]) + _text(6, parameter["type"]) + _flag(21)


def _schema(node: Obj) -> bytes:
    if "$ref" in node:
        return _text(1, node["$ref"]) + _text(4, node.get("description", ""))
    parts = [_text(2, node.get("format", "")), _text(4, node.get("description", ""))]
    if "default" in node:
        parts.append(_message(5, _any(node["default"])))
    parts += [_text(19, name) for name in node.get("required") or []]
    parts += [_message(20, _any(value)) for value in node.get("enum") or []]
    more = node.get("additionalProperties")
    if isinstance(more, dict):
        parts.append(_message(21, _message(1, _schema(more))))
    elif more:
        parts.append(_message(21, _flag(2)))
    if node.get("type"):
        parts.append(_message(22, _text(1, str(node["type"]))))
    if isinstance(node.get("items"), dict):
        parts.append(_message(23, _message(1, _schema(node["items"]))))
    if node.get("properties"):
        fields = b"".join(_named(1, name, _schema(each)) for name, each in node["properties"].items())
        parts.append(_message(25, fields))
    return b"".join([*parts, _extensions(31, node)])


def _extensions(number: int, node: Obj) -> bytes:
    return b"".join(_named(number, key, _any(value)) for key, value in node.items() if key.startswith("x-"))


def _any(value: Any) -> bytes:
    """An `Any`: its value is the text of a YAML document, of which JSON is a part."""
    return _text(2, json.dumps(value) + "\n")


def _named(number: int, name: str, value: bytes) -> bytes:
    return _message(number, _text(1, name) + _message(2, value))


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode()) if text else b""


def _flag(number: int) -> bytes:
    return bytes(_varint(number << 3)) + b"\x01"


def _message(number: int, body: bytes) -> bytes:
    return bytes([*_varint(number << 3 | 2), *_varint(len(body))]) + body


def _varint(value: int) -> Iterable[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
