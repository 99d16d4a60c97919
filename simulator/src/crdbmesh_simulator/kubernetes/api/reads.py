"""Reading stored objects: get and list, and the forms in which objects are answered.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/get.go` and `pkg/storage` of Kubernetes 1.36.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import selectors, status, table
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.negotiation import json_response
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler


def shape(
    handler: Handler, call: Call, obj: Obj, *, code: int = 200, warnings: list[str] | None = None
) -> web.Response:
    """Answer with one object, in the form that the client asked for."""
    value: Obj = {**obj, "apiVersion": call.resource.api_version}
    if call.as_table:
        value = table.make(call.resource, [value], now=handler.now, include=include_object(call))
        value["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    return json_response(value, code=code, warnings=warnings)


def include_object(call: Call) -> str:
    """Tell what each row of a Table is to hold of its object: `Object`, `Metadata` or `None`."""
    return call.request.query.get("includeObject", "Metadata")


def found(handler: Handler, call: Call, name: str | None = None) -> Obj:
    """Return the object that a request names, or another of its kind, shared and for reading only.

    Raises StatusError: 404.
    """
    there = handler.cluster.store.peek(call.resource, call.namespace, name or call.name)
    if there is None:
        raise status.not_found(call.resource, name or call.name)
    return there


async def get(handler: Handler, call: Call) -> web.Response:
    """GET of an object."""
    check_version(handler.cluster.store.version, call.request.query.get("resourceVersion"))
    return shape(handler, call, found(handler, call))


async def list_(handler: Handler, call: Call) -> web.Response:
    """GET of a collection, in pages of `limit` objects."""
    query = call.request.query
    store = handler.cluster.store
    fits = predicate(call)
    limit = max(number(query.get("limit")), 0)
    version, start = _read_continue(query.get("continue"))
    with store.lock:
        current = store.version
        asked = query.get("resourceVersion", "")
        if asked and not asked.isdigit():
            raise status.bad_request(f"invalid resource version: {_unreadable(asked)}")
        check_version(current, asked)
        if version is None or version == current:
            version, held = current, store.peek_all(call.resource, call.namespace)
        else:
            held = _snapshot(handler, call, version)
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


def number(text: str | None) -> int:
    """Read a number of a query; 0 when there is none. Raises StatusError: 400."""
    try:
        return int(text or 0)
    except ValueError:
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def listed(handler: Handler, call: Call, objects: Objs, meta: Obj) -> web.Response:
    """Answer with a collection, in the form that the client asked for."""
    resource = call.resource
    if call.as_table:
        value = table.make(resource, objects, now=handler.now, include=include_object(call))
        value["metadata"] = meta
        return json_response(value)
    if resource.custom:
        items = [{**obj, "apiVersion": resource.api_version} for obj in objects]
    else:
        items = [{key: value for key, value in obj.items() if key not in ("apiVersion", "kind")} for obj in objects]
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return json_response({**head, "metadata": meta, "items": items})


def _snapshot(handler: Handler, call: Call, version: int) -> Objs:
    """Return the objects as they were at an older version: the next page of a list that began then."""
    store = handler.cluster.store
    try:
        events = store.history(version, call.resource)
    except StatusError:
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


def check_version(current: int, asked: str | None) -> None:
    """Refuse a resourceVersion that cannot be read, or that does not exist yet.

    Raises StatusError: 500 or 504. The API server answers 500 since its storage's error is no Status.
    """
    if not asked:
        return
    if not asked.isdigit():
        raise StatusError(500, "", _unreadable(asked))
    if int(asked) > current:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        details = {"causes": [cause], "retryAfterSeconds": 1}
        message = f"Timeout: Too large resource version: {asked}, current: {current}"
        raise StatusError(504, "Timeout", message, details)


def _unreadable(version: str) -> str:
    why = f'strconv.ParseUint: parsing "{version}": invalid syntax'
    return f'resourceVersion: Invalid value: "{version}": {why}'


def _selects(call: Call) -> bool:
    return bool(call.request.query.get("labelSelector") or call.request.query.get("fieldSelector"))


def predicate(call: Call) -> selectors.Predicate:
    """Return the test that tells which objects a collection request is about.

    Raises StatusError: 400, its selectors cannot be understood.
    """
    query = call.request.query
    labels = selectors.parse_labels(query.get("labelSelector", ""))
    fields = selectors.parse_fields(call.resource, query.get("fieldSelector", ""))
    return lambda obj: labels(obj) and fields(obj)
