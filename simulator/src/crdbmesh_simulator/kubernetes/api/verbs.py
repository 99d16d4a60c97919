"""Writing stored objects: create, update, patch, delete.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers` of Kubernetes 1.36.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import patch, reads, status
from crdbmesh_simulator.kubernetes.api.decode import decode
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.managed import DeleteOptions, Options
from crdbmesh_simulator.kubernetes.api.negotiation import (
    find_duplicates,
    json_response,
    media_type,
    parse_json,
    parse_yaml,
    read_body,
    read_bytes,
    read_delete_options,
    read_options,
)
from crdbmesh_simulator.kubernetes.api.reads import shape
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import type_of
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_RETURNED = frozenset({"Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "StorageClass"})
"""Kinds whose deletion answers with the object and not with a Status."""

_PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
_OTHER_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"


async def create(handler: Handler, call: Call) -> web.Response:
    """POST to a collection."""
    options = read_options(call.request)
    obj = _checked_body(call, await read_body(call.request))
    check_fields(call.resource, obj, options, raw=await read_bytes(call.request))
    made = await handler.write(options, handler.cluster.store.create, call.resource, obj, options)
    return shape(handler, call, made, code=201, warnings=options.warnings)


def _checked_body(call: Call, body: Any) -> Obj:
    resource = call.resource
    if not isinstance(body, dict):
        raise status.bad_request(
            "the object provided is unrecognized (must be of type Object): couldn't get version/kind"
        )
    version, kind = body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind
    if version != resource.api_version:
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    if kind != resource.kind:
        what = f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise status.bad_request(f"{what}: converting ({kind}) to ({resource.kind}): unknown conversion")
    meta = body.get("metadata")
    meta = dict(meta or {})
    if call.namespace is not None:
        if meta.get("namespace") and meta["namespace"] != call.namespace:
            raise status.bad_request(_OTHER_NAMESPACE)
        meta["namespace"] = call.namespace
    elif resource.namespaced:
        raise status.method_not_allowed()
    return {**body, "apiVersion": version, "kind": kind, "metadata": meta}


def check_fields(
    resource: Resource, obj: Obj, options: Options, *, patched: str | None = None, raw: bytes = b""
) -> None:
    """Refuse, or warn of, fields that the type does not declare, as the client asked.

    Raises StatusError: 400 for a mistyped value, or for an unknown field under Strict; 422 for a patch with one.
    """
    found = decode(resource, obj)
    if found.mistyped is not None:
        raise status.unreadable(resource, found.mistyped)
    if options.validation == "Ignore":
        return
    texts = [f'duplicate field "{path}"' for path in (find_duplicates(raw) if raw else ())]
    texts += [f'unknown field "{path}"' for path in found.unknown]
    if not texts:
        return
    if options.validation == "Warn":
        options.warnings.extend(texts)
        return
    problem = f"strict decoding error: {', '.join(texts)}"
    if patched is None:
        raise status.unreadable(resource, problem)
    shown = json.dumps(patched)
    cause = {"reason": "FieldValueInvalid", "message": f"Invalid value: {shown}: {problem}", "field": "patch"}
    message = f' "" is invalid: patch: Invalid value: {shown}: {problem}'
    raise StatusError(422, "Invalid", message, {"causes": [cause]})


async def update(handler: Handler, call: Call) -> web.Response:
    """PUT of an object, or of one of its subresources: what is sent takes its place."""
    options = read_options(call.request)
    obj = _checked_body(call, await read_body(call.request))
    meta = obj["metadata"]
    if meta.get("name") != call.name:
        why = f"the name of the object ({meta.get('name', '')}) does not match the name on the URL ({call.name})"
        raise status.bad_request(why)
    if call.resource.custom and not meta.get("resourceVersion"):
        # Built-in kinds allow an unconditional update.
        problem = status.invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise status.unprocessable(call.resource, call.name, [problem])
    check_fields(call.resource, obj, options, raw=await read_bytes(call.request))
    return await _modify(handler, call, lambda _live: obj, options)


async def patch_(handler: Handler, call: Call) -> web.Response:
    """PATCH of an object: server-side apply, a merge patch, or for built-in kinds a strategic merge patch."""
    media = media_type(call.request)
    options = read_options(call.request)
    raw = await read_bytes(call.request)
    if media == patch.APPLY:
        return await _apply(handler, call, parse_yaml(raw), options)
    known = (patch.JSON, patch.MERGE) if call.resource.custom else (patch.JSON, patch.MERGE, patch.STRATEGIC)
    if media not in known:
        accepted = ", ".join([*known, patch.APPLY])
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise StatusError(415, "UnsupportedMediaType", message)
    document: Any = parse_json(raw)
    fits = isinstance(document, list if media == patch.JSON else dict)
    if not fits:
        raise status.bad_request("error decoding patch: json: cannot unmarshal into Go value of another type")

    def change(live: Obj) -> Obj:
        patched: Any
        if media == patch.JSON:
            patched = patch.json_patch(live, document)
        elif media == patch.MERGE:
            patched = patch.merge_patch(live, document)
        else:
            patched = patch.strategic(type_of(call.resource), live, document)
        name = patched["metadata"].get("name")
        if name != live["metadata"]["name"]:
            problem = status.invalid("metadata.name", name, "field is immutable")
            raise status.unprocessable(call.resource, call.name, [problem])
        check_fields(call.resource, patched, options, patched=raw.decode())
        return dict(patched)

    return await _modify(handler, call, change, options)


async def _modify(handler: Handler, call: Call, change: Callable[[Obj], Obj], options: Options) -> web.Response:
    where = call.resource, call.namespace, call.name
    written = await handler.write(options, handler.cluster.store.modify, *where, change, call.sub or None, options)
    return shape(handler, call, written, warnings=options.warnings)


async def _apply(handler: Handler, call: Call, body: Any, options: Options) -> web.Response:
    resource = call.resource
    if not call.request.query.get("fieldManager"):
        why = "is required for apply patch"
        cause = {"reason": "FieldValueRequired", "message": f"Required value: {why}", "field": "fieldManager"}
        message = f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: {why}'
        raise StatusError(422, "Invalid", message, {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]})
    if not isinstance(body, dict):
        raise status.bad_request("error decoding YAML: apply configurations must be objects")
    if (body.get("apiVersion"), body.get("kind")) != (resource.api_version, resource.kind):
        shown = f"{body.get('apiVersion')}, Kind={body.get('kind')}"
        expected = f"{resource.api_version}, Kind={resource.kind}"
        raise status.bad_request(f"invalid object type: {shown}, expected {expected}")
    meta = body.get("metadata") or {}
    if meta.get("name") not in (None, call.name):
        why = f"name in apply configuration must match URL ({call.name})"
        raise status.bad_request(f"metadata.name: Invalid value: {json.dumps(meta['name'])}: {why}")
    if call.namespace is not None and meta.get("namespace") not in (None, "", call.namespace):
        raise status.bad_request(_OTHER_NAMESPACE)
    where = resource, call.namespace, call.name
    written, created = await handler.write(
        options, handler.cluster.store.apply, *where, body, call.sub or None, options
    )
    return shape(handler, call, written, code=201 if created else 200, warnings=options.warnings)


async def delete(handler: Handler, call: Call) -> web.Response:
    """DELETE of an object."""
    options = read_delete_options(call.request, await read_body(call.request))
    last, gone = await handler.write(options, _delete, handler, call.resource, call.namespace, call.name, options)
    warnings = [_PRESERVED] if call.resource.kind == "Job" and options.propagation is None else []
    if not gone or call.resource.kind in _RETURNED:
        return shape(handler, call, last, warnings=warnings)
    group = {"group": call.resource.group} if call.resource.group else {}
    details = {"name": call.name, **group, "kind": call.resource.plural, "uid": last["metadata"]["uid"]}
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return json_response(success, warnings=warnings)


def _delete(
    handler: Handler, resource: Resource, namespace: str | None, name: str, options: DeleteOptions
) -> tuple[Obj, bool]:
    store = handler.cluster.store
    default = "Orphan" if resource.kind == "Job" else None
    chosen = dataclasses.replace(options, propagation=options.propagation or default)
    last = store.delete(resource, namespace, name, chosen)
    return last, options.dry_run or store.is_gone(resource, last)


ANSWERS: dict[str, Callable[[Handler, Call], Awaitable[web.StreamResponse]]] = {
    "get": reads.get,
    "list": reads.list_,
    "create": create,
    "update": update,
    "patch": patch_,
    "delete": delete,
}
"""The functions that answer requests for an object or a collection, by verb."""
