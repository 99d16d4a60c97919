"""Reading stored objects: get and list, and the forms in which objects are answered.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/get.go` and `pkg/storage` of Kubernetes 1.36.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import listoptions, selectors, status, table
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.negotiation import json_response
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler


def shape(
    handler: Handler, call: Call, obj: Obj, *, code: int = 200, warnings: list[str] | None = None
) -> web.Response:
    """Answer with one object, in the form that the client asked for."""
    obj = {**obj, "apiVersion": call.resource.api_version}
    value: Obj = obj
    if call.wish.kind == "Table":
        include = call.request.query.get("includeObject", "Metadata")
        value = table.make(call.resource, [obj], now=handler.now, include=include)
        value["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    elif call.wish.kind == "PartialObjectMetadata":
        value = table.partial(obj)
    return json_response(value, code=code, warnings=warnings, wish=call.wish)


def found(handler: Handler, call: Call) -> Obj:
    """The object that a request names, shared and for reading only.

    Raises:
        StatusError: 404.
    """
    there = handler.cluster.store.peek(call.resource, call.namespace, call.name)
    if there is None:
        raise status.not_found(call.resource, call.name)
    return there


async def get(handler: Handler, call: Call) -> web.Response:
    """GET of an object."""
    _check_version(handler.cluster.store.version, call.request.query.get("resourceVersion"))
    return shape(handler, call, found(handler, call))


async def list_(handler: Handler, call: Call) -> web.Response:
    """GET of a collection."""
    query = call.request.query
    listoptions.check(query, watch=False)
    store = handler.cluster.store
    fits = predicate(call)
    limit = max(int(query.get("limit") or 0), 0)
    version, start = _read_continue(query.get("continue"))
    with store.lock:
        current = store.version
        if version is None and query.get("resourceVersionMatch") == "Exact":
            version = int(query.get("resourceVersion") or 0)
        _check_version(current, query.get("resourceVersion"))
        if version is None or version == current:
            version, held = current, store.peek_all(call.resource, call.namespace)
        else:
            held = _snapshot(handler, call, version, continued=start is not None)
    chosen = [obj for obj in held if fits(obj)] if _selects(call) else held
    if start is not None:
        chosen = [obj for obj in chosen if _position(obj) > start]
    meta: Obj = {"resourceVersion": str(version)}
    if limit and len(chosen) > limit:
        if not _selects(call):
            meta["remainingItemCount"] = len(chosen) - limit
        chosen = chosen[:limit]
        meta["continue"] = _write_continue(version, _position(chosen[-1]))
    return listed(handler, call, chosen, meta)


def listed(handler: Handler, call: Call, objects: Objs, meta: Obj) -> web.Response:
    """Answer with a collection, in the form that the client asked for."""
    resource = call.resource
    if call.wish.kind == "Table":
        include = call.request.query.get("includeObject", "Metadata")
        value = table.make(resource, objects, now=handler.now, include=include)
        value["metadata"] = meta
    elif call.wish.kind == "PartialObjectMetadataList":
        items = [table.partial(obj) for obj in objects]
        value = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}
    else:
        items = list(objects) if resource.custom else [_untyped(obj) for obj in objects]
        if resource.custom:
            items = [{**obj, "apiVersion": resource.api_version} for obj in items]
        value = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta, "items": items}
    return json_response(value, wish=call.wish)


def _untyped(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


def _snapshot(handler: Handler, call: Call, version: int, *, continued: bool) -> Objs:
    """The objects as they were at an older version."""
    store = handler.cluster.store
    try:
        events = store.history(version, call.resource)
    except StatusError:
        if not continued:
            raise
        raise continue_expired() from None
    held = {_position(obj): obj for obj in store.peek_all(call.resource)}
    for event in reversed(events):
        key = (event.namespace, event.name)
        held.pop(key, None)
        if event.old is not None:
            held[key] = event.old
    return [obj for key, obj in sorted(held.items()) if not call.namespace or key[0] == call.namespace]


def continue_expired() -> StatusError:
    """410: the next page of a list whose version has been compacted away."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were "
        "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
        "list."
    )
    return StatusError(410, "Expired", message)


def _position(obj: Obj) -> tuple[str, str]:
    return (str(obj["metadata"].get("namespace") or ""), str(obj["metadata"]["name"]))


def _write_continue(version: int, position: tuple[str, str]) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": version, "start": list(position)}
    return base64.urlsafe_b64encode(json.dumps(token, separators=(",", ":")).encode()).decode()


def _read_continue(token: str | None) -> tuple[int | None, tuple[str, str] | None]:
    if not token:
        return None, None
    try:
        read = json.loads(base64.urlsafe_b64decode(token))
        return int(read["rv"]), (str(read["start"][0]), str(read["start"][1]))
    except (ValueError, KeyError, IndexError, TypeError):
        raise status.bad_request("continue key is not valid: illegal base64 data") from None


def _check_version(current: int, asked: str | None) -> None:
    if not asked:
        return
    if not asked.isdigit():
        message = f'resourceVersion: Invalid value: "{asked}": strconv.ParseUint: parsing "{asked}": invalid syntax'
        raise status.bad_request(message)
    if int(asked) > current:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        details = {"causes": [cause], "retryAfterSeconds": 1}
        message = f"Timeout: Too large resource version: {asked}, current: {current}"
        raise StatusError(504, "Timeout", message, details)


def _selects(call: Call) -> bool:
    return bool(call.request.query.get("labelSelector") or call.request.query.get("fieldSelector"))


def predicate(call: Call) -> selectors.Predicate:
    """Which objects a collection request is about.

    Raises:
        StatusError: 400, its selectors cannot be understood.
    """
    query = call.request.query
    labels = selectors.parse_labels(query.get("labelSelector", ""))
    fields = selectors.parse_fields(call.resource, query.get("fieldSelector", ""))
    if not call.name:
        return lambda obj: labels(obj) and fields(obj)
    return lambda obj: labels(obj) and fields(obj) and obj["metadata"]["name"] == call.name
