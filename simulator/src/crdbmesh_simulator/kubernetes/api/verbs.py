"""Writing stored objects: create, update, patch, delete, deletecollection.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import inert, patch, reads, status
from crdbmesh_simulator.kubernetes.api.decode import decode
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.negotiation import (
    DeleteOptions,
    Options,
    find_duplicates,
    json_response,
    parse_json,
    parse_yaml,
    read_body,
    read_bytes,
    read_delete_options,
    read_options,
)
from crdbmesh_simulator.kubernetes.api.reads import listed, predicate, shape
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import type_of
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_RETURNED = frozenset({
    "Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "PodTemplate", "ResourceQuota",
    "ReplicationController", "StorageClass",
})  # fmt: skip
_ORPHANING = frozenset({"ReplicationController", "Job"})
_MADE_BY_PUT = frozenset({"Endpoints", "Event", "Lease", "LimitRange", "ResourceQuota"})
_PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


# Writing.


async def create(handler: Handler, call: Call) -> web.Response:
    """POST to a collection."""
    options = read_options(call.request)
    obj = _checked_body(call, await read_body(call.request))
    check_fields(call.resource, obj, options, raw=await read_bytes(call.request))
    if not options.dry_run:
        handler.count()
    made = await handler.write(
        functools.partial(
            handler.cluster.store.create, call.resource, obj,
            manager=options.manager, dry_run=options.dry_run, warnings=options.warnings,
        )
    )  # fmt: skip
    return shape(handler, call, made, code=201, warnings=[*options.warnings, *inert.warnings(call.resource)])


async def update(handler: Handler, call: Call) -> web.Response:
    """PUT of an object, or of the part that a subresource names."""
    options = read_options(call.request)
    obj = _checked_body(call, await read_body(call.request))
    meta = obj["metadata"]
    if not meta.get("name"):
        raise status.bad_request("name must be provided")
    if meta["name"] != call.name:
        message = f"the name of the object ({meta['name']}) does not match the name on the URL ({call.name})"
        raise status.bad_request(message)
    check_fields(call.resource, obj, options, raw=await read_bytes(call.request))
    if not options.dry_run:
        handler.count()
    store = handler.cluster.store

    def write() -> tuple[Obj, int]:
        absent = store.peek(call.resource, call.namespace, call.name) is None
        if absent and call.resource.kind in _MADE_BY_PUT and not call.sub:
            made = store.create(call.resource, obj, manager=options.manager, dry_run=options.dry_run)
            return made, 201
        if not absent:
            _require_version(call.resource, obj)
        written = store.replace(
            call.resource, obj, subresource=call.sub or None, manager=options.manager, dry_run=options.dry_run,
            warnings=options.warnings,
        )  # fmt: skip
        return written, 200

    written, code = await handler.write(write)
    return shape(handler, call, written, code=code, warnings=options.warnings)


def _require_version(resource: Resource, obj: Obj) -> None:
    if (resource.custom or resource.kind == "CustomResourceDefinition") and not obj["metadata"].get("resourceVersion"):
        problem = status.invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise status.unprocessable(resource, obj["metadata"]["name"], [problem])


def _checked_body(call: Call, body: Any) -> Obj:
    resource = call.resource
    if not isinstance(body, dict):
        raise status.bad_request(
            "the object provided is unrecognized (must be of type Object): couldn't get version/kind"
        )
    version, kind = body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind
    if version != resource.api_version:
        expected = (
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
        raise status.bad_request(expected)
    if kind != resource.kind:
        what = f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise status.bad_request(f"{what}: converting ({kind}) to ({resource.kind}): unknown conversion")
    meta = body.get("metadata")
    if meta is not None and not isinstance(meta, dict):
        problem = f"json: cannot unmarshal into Go struct field {kind}.metadata of type v1.ObjectMeta"
        raise status.bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {problem}')
    meta = dict(meta or {})
    if call.namespace is not None:
        if meta.get("namespace") and meta["namespace"] != call.namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = call.namespace
    elif resource.namespaced:
        raise status.method_not_allowed()
    elif meta.get("namespace"):
        raise status.bad_request("namespace specified on a non-namespaced object")
    return {**body, "apiVersion": version, "kind": kind, "metadata": meta}


def check_fields(
    resource: Resource, obj: Obj, options: Options, *, patched: str | None = None, raw: bytes = b""
) -> None:
    """Refuse, or warn of, fields that the type does not declare, as the client asked.

    Raises:
        StatusError: 400 for a mistyped value, or for an unknown field under Strict; 422 for a patch with one.
    """
    found = decode(resource, obj)
    if found.mistyped is not None:
        raise status.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {found.mistyped}'
        )
    if options.validation == "Ignore":
        return
    texts = [f'duplicate field "{path}"' for path in find_duplicates(raw)]
    texts += [f'unknown field "{path}"' for path in found.unknown]
    if not texts:
        return
    if options.validation == "Warn":
        options.warnings.extend(texts)
        return
    problem = f"strict decoding error: {', '.join(texts)}"
    if patched is not None:
        shown = json.dumps(patched)
        cause = {"reason": "FieldValueInvalid", "message": f"Invalid value: {shown}: {problem}", "field": "patch"}
        message = f' "" is invalid: patch: Invalid value: {shown}: {problem}'
        raise StatusError(422, "Invalid", message, {"causes": [cause]})
    raise status.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {problem}'
    )


async def patch_(handler: Handler, call: Call) -> web.Response:
    """PATCH of an object: the four formats."""
    media = call.request.headers.get("Content-Type", "").partition(";")[0].strip()
    options = read_options(call.request)
    raw = await read_bytes(call.request)
    if media == patch.APPLY[0]:
        return await _apply(handler, call, parse_yaml(raw), options)
    known = (patch.JSON, patch.MERGE) if call.resource.custom else (patch.JSON, patch.MERGE, patch.STRATEGIC)
    if media not in known:
        accepted = ", ".join([*known, patch.APPLY[0]])
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise StatusError(415, "UnsupportedMediaType", message)
    if options.force:
        raise StatusError(422, "Invalid", ' "" is invalid: force: Forbidden: may not be specified for non-apply patch')
    document = parse_json(raw)
    if not options.dry_run:
        handler.count()

    def change(live: Obj) -> Obj:
        patched = patched_object(call.resource, live, document, media)
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
            raise status.bad_request("unable to find api field in patched object")
        if patched["metadata"].get("name") != live["metadata"]["name"]:
            problem = status.invalid("metadata.name", patched["metadata"].get("name"), "field is immutable")
            raise status.unprocessable(call.resource, call.name, [problem])
        check_fields(call.resource, patched, options, patched=raw.decode())
        return patched

    written = await handler.write(
        functools.partial(
            handler.cluster.store.modify, call.resource, call.namespace, call.name, change,
            subresource=call.sub or None, manager=options.manager, dry_run=options.dry_run, warnings=options.warnings,
        )
    )  # fmt: skip
    return shape(handler, call, written, warnings=options.warnings)


def patched_object(resource: Resource, live: Obj, document: Any, media: str) -> Any:
    """An object with a patch in it.

    Raises:
        StatusError: the patch is malformed, or does not fit.
    """
    if media == patch.JSON:
        return patch.json_patch(live, document)
    if media == patch.MERGE:
        if not isinstance(document, dict):
            raise status.bad_request("error decoding patch: json: cannot unmarshal into Go value of type map")
        return patch.merge_patch(live, document)
    return patch.strategic(type_of(resource), live, document)


async def _apply(handler: Handler, call: Call, body: Any, options: Options) -> web.Response:
    resource = call.resource
    if not call.request.query.get("fieldManager"):
        why = "is required for apply patch"
        cause = {"reason": "FieldValueRequired", "message": f"Required value: {why}", "field": "fieldManager"}
        message = f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: {why}'
        raise StatusError(422, "Invalid", message, {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]})
    if not isinstance(body, dict):
        raise status.bad_request("error decoding YAML: apply configurations must be objects")
    for key, wanted in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if body.get(key) != wanted:
            shown = body.get("apiVersion"), body.get("kind")
            expected = f"{resource.api_version}, Kind={resource.kind}"
            raise status.bad_request(f"invalid object type: {shown[0]}, Kind={shown[1]}, expected {expected}")
    meta = body.get("metadata") or {}
    if meta.get("name") not in (None, call.name):
        why = f"name in apply configuration must match URL ({call.name})"
        raise status.bad_request(f"metadata.name: Invalid value: {json.dumps(meta['name'])}: {why}")
    if call.namespace is not None and meta.get("namespace") not in (None, "", call.namespace):
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if not options.dry_run:
        handler.count()
    written, created = await handler.write(
        functools.partial(
            handler.cluster.store.apply, resource, call.namespace, call.name, body, manager=options.manager,
            force=options.force, subresource=call.sub or None, dry_run=options.dry_run, warnings=options.warnings,
        )
    )  # fmt: skip
    warnings = [*options.warnings, *(inert.warnings(resource) if created else [])]
    return shape(handler, call, written, code=201 if created else 200, warnings=warnings)


async def delete(handler: Handler, call: Call) -> web.Response:
    """DELETE of an object."""
    if call.sub:
        raise status.method_not_allowed()
    options = read_delete_options(call.request, await read_body(call.request))
    if not options.dry_run:
        handler.count()
    last, gone = await handler.write(_delete, handler, call.resource, call.namespace, call.name, options)
    warnings = [_PRESERVED] if call.resource.kind == "Job" and options.propagation is None else []
    if not gone or call.resource.kind in _RETURNED:
        return shape(handler, call, last, warnings=warnings)
    details = {
        "name": call.name,
        "group": call.resource.group,
        "kind": call.resource.plural,
        "uid": last["metadata"]["uid"],
    }
    details = {key: value for key, value in details.items() if value}
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return json_response(success, warnings=warnings)


def _delete(
    handler: Handler, resource: Resource, namespace: str | None, name: str, options: DeleteOptions
) -> tuple[Obj, bool]:
    store = handler.cluster.store
    default = "Orphan" if resource.kind in _ORPHANING else None
    last = store.delete(
        resource, namespace, name, propagation=options.propagation or default, grace_s=options.grace_s,
        uid=options.uid, version=options.version, dry_run=options.dry_run,
    )  # fmt: skip
    return last, options.dry_run or store.is_gone(resource, last)


async def delete_collection(handler: Handler, call: Call) -> web.Response:
    """DELETE of a collection, or of what its selectors choose."""
    if call.resource.kind == "Namespace" or (call.resource.namespaced and call.namespace is None):
        raise status.method_not_allowed()
    options = read_delete_options(call.request, await read_body(call.request))
    if not options.dry_run:
        handler.count()
    chosen = predicate(call)

    def run() -> Objs:
        found = [obj for obj in handler.cluster.store.peek_all(call.resource, call.namespace) if chosen(obj)]
        for obj in found:
            _delete(handler, call.resource, obj["metadata"].get("namespace"), obj["metadata"]["name"], options)
        return found

    found = await handler.write(run)
    return listed(handler, call, found, {"resourceVersion": str(handler.cluster.store.version)})


ANSWERS: dict[str, Callable[[Handler, Call], Awaitable[web.StreamResponse]]] = {
    "get": reads.get,
    "list": reads.list_,
    "create": create,
    "update": update,
    "patch": patch_,
    "delete": delete,
    "deletecollection": delete_collection,
}
