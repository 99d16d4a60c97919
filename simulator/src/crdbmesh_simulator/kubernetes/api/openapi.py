"""`/openapi/v3`: the published schemas, a document for each API version.

`kubectl` learns from them how to merge patches, whether the server validates fields, and what `kubectl explain` says.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from crdbmesh_simulator.kubernetes.api import schema
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Catalogue, Resource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_OPTIONS = ("dryRun", "fieldManager", "fieldValidation")
_PATCHES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_documents: dict[tuple[str, ...], Obj] = {}


def index(catalogue: Catalogue) -> Obj:
    """`/openapi/v3`."""
    found: dict[str, Obj] = {}
    for resource in catalogue:
        where = _where(resource.group, resource.version)
        if where not in found:
            mark = hashlib.sha256(json.dumps(_marks(catalogue, where)).encode()).hexdigest()[:32].upper()
            found[where] = {"serverRelativeURL": f"/openapi/v3/{where}?hash={mark}"}
    found["version"] = {"serverRelativeURL": "/openapi/v3/version?hash=0"}
    return {"paths": found}


def document(catalogue: Catalogue, where: str) -> Obj | None:
    """`/openapi/v3/api/v1` or `/openapi/v3/apis/<group>/<version>`."""
    if where == "version":
        return _frame({}, {})
    own = tuple(_marks(catalogue, where))
    if not own:
        return None
    if own not in _documents:
        if len(_documents) > 200:
            _documents.clear()
        _documents[own] = _build([each for each in catalogue if _where(each.group, each.version) == where])
    return _documents[own]


def marks(catalogue: Catalogue) -> list[str]:
    """What tells two catalogues apart."""
    wheres = dict.fromkeys(_where(each.group, each.version) for each in catalogue)
    return [mark for where in wheres for mark in _marks(catalogue, where)]


def _marks(catalogue: Catalogue, where: str) -> list[str]:
    return [
        f"{each.api_version} {each.plural} {json.dumps(each.schema, sort_keys=True) if each.custom else ''}"
        for each in catalogue
        if _where(each.group, each.version) == where
    ]


def _where(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _build(resources: list[Resource]) -> Obj:
    wanted: list[str] = []
    found: dict[str, Obj] = {}
    custom: dict[str, Obj] = {}
    for resource in resources:
        name = schema.definition_names().get((resource.group, resource.version, resource.kind))
        if resource.custom:
            name = custom_name(resource)
            custom[name] = custom_schema(resource)
            wanted.append(_META)
        elif name is not None:
            wanted.append(name)
        found.update(paths(resource, name))
    return _frame(found, {**{name: _converted(name) for name in _reachable(wanted)}, **custom})


def _frame(paths: dict[str, Obj], schemas: dict[str, Obj]) -> Obj:
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.4"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _reachable(names: list[str]) -> list[str]:
    found: dict[str, None] = {}
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found:
            found[name] = None
            queue += _references(schema.definitions()[name])
    return sorted(found)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["$ref"]).removeprefix("#/$defs/")] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in _references(value)]
    if isinstance(node, list):
        return [each for value in node for each in _references(value)]
    return []


def _converted(name: str) -> Obj:
    found: Obj = _convert(schema.definitions()[name])
    return found


def _convert(node: Any) -> Any:
    """A definition as OpenAPI v3 writes it: one type only, references to components."""
    if isinstance(node, list):
        return [_convert(each) for each in node]
    if not isinstance(node, dict):
        return node
    result: Obj = {}
    for key, value in node.items():
        if key == "$ref" and isinstance(value, str):
            result["allOf"] = [{"$ref": value.replace("#/$defs/", "#/components/schemas/")}]
            result.setdefault("default", {})
        elif key == "type" and isinstance(value, list):
            result["type"] = next(word for word in value if word != "null")
        elif key == "properties" and isinstance(value, dict):
            result[key] = {name: _convert(each) for name, each in value.items()}
        elif key == "enum":
            result[key] = value
        else:
            result[key] = _convert(value)
    return result


def custom_name(resource: Resource) -> str:
    """What the definition of a custom resource is called."""
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def custom_schema(resource: Resource) -> Obj:
    """The definition of a custom resource."""
    given = dict(resource.schema or {"type": "object"})
    properties = dict(given.get("properties") or {})
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"allOf": [{"$ref": f"#/components/schemas/{_META}"}]}
    kinds = [{"group": resource.group, "version": resource.version, "kind": resource.kind}]
    return {**given, "type": "object", "properties": properties, "x-kubernetes-group-version-kind": kinds}


def paths(resource: Resource, name: str | None) -> dict[str, Obj]:
    """The paths at which a kind is served, with what can be done there; `name` is its definition's."""
    prefix = f"/{_where(resource.group, resource.version)}"
    scope = f"{prefix}/namespaces/{{namespace}}" if resource.namespaced else prefix
    base = f"{scope}/{resource.plural}"
    served = {base: {"get": _operation(resource, "list", name), "post": _operation(resource, "post", name)}}
    if resource.stored:
        served[f"{base}/{{name}}"] = {
            verb: _operation(resource, verb, name) for verb in ("get", "put", "patch", "delete")
        }
    if resource.namespaced:
        served[f"{prefix}/{resource.plural}"] = {"get": _operation(resource, "list", name)}
    return served


def _operation(resource: Resource, verb: str, name: str | None) -> Obj:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    body = {"schema": {"$ref": f"#/components/schemas/{name}"}} if name else {}
    operation: Obj = {
        "operationId": f"{verb}{resource.group.title().replace('.', '')}{resource.version.title()}{resource.kind}",
        "responses": {"200": {"description": "OK", "content": {"application/json": body}}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": kind,
    }
    if verb in ("post", "put", "patch"):
        options = [*_OPTIONS, "force"] if verb == "patch" else list(_OPTIONS)
        operation["parameters"] = [
            {"name": option, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for option in options
        ]
        # Nothing says how to merge the lists of a custom resource, so that it has no strategic merge patch.
        patches = _PATCHES if resource.custom else (*_PATCHES, _STRATEGIC)
        media = patches if verb == "patch" else ("*/*",)
        operation["requestBody"] = {"content": dict.fromkeys(media, body), "required": True}
    return operation
