"""`pods/log`: what a container has said.

After `pkg/registry/core/pod/rest/log.go` and the validation of `PodLogOptions` of Kubernetes 1.36. The simulated
programs keep their lines without a time, so what needs one is refused rather than answered wrongly.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh.simulator.kube import reads, status
from crdbmesh.simulator.kube.jsonvalue import Obj
from crdbmesh.simulator.kube.negotiation import is_true
from crdbmesh.simulator.kube.resources import Resource
from crdbmesh.simulator.kube.status import StatusError

if TYPE_CHECKING:
    from crdbmesh.simulator.kube.handler import Call, Handler

_FOLLOW_S = 0.2
_OPTIONS = Resource("", "v1", "podlogoptions", "PodLogOptions", namespaced=True)
_LEAST = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}


def container_of(pod: Obj, asked: str | None) -> str:
    """The container of a pod that a request means.

    Raises:
        StatusError: 400, there is no such container, or it could be any of several.
    """
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [each["name"] for kind in ("containers", "initContainers") for each in spec.get(kind) or []]
    if asked:
        if asked not in names:
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    main = [each["name"] for each in spec.get("containers") or []]
    if len(main) == 1:
        return str(main[0])
    listed = " ".join(main)
    message = f"a container name must be specified for pod {name}, choose one of: [{listed}]"
    init = [each["name"] for each in spec.get("initContainers") or []]
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise status.bad_request(message)


async def serve(handler: Handler, call: Call) -> web.StreamResponse:
    """Answer with a container's lines, and with those to come when they are followed."""
    if call.verb != "get":
        raise status.method_not_allowed()
    query = call.request.query
    numbers = _numbers(call)
    pod = reads.found(handler, call)
    container = container_of(pod, query.get("container"))
    runtime = handler.cluster.runtime
    if not pod["spec"].get("nodeName") or runtime is None:
        # Nothing runs yet: the API server answers with nothing.
        return web.Response(text="")
    _check_previous(handler, call, pod, container)

    async def lines() -> list[str]:
        try:
            return await handler.run(runtime.logs, str(call.namespace), call.name, container)
        except LookupError as error:
            raise status.bad_request(str(error.args[0]) if error.args else str(error)) from None

    found = await lines()
    tail, limit = numbers.get("tailLines"), numbers.get("limitBytes")
    shown = found if tail is None else found[len(found) - min(tail, len(found)) :]
    body = "".join(f"{line}\n" for line in shown).encode()
    if limit is not None:
        body = body[:limit]
    if not _asks(call, "follow"):
        return web.Response(body=body, headers={"Content-Type": "text/plain"})
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(call.request)
    await response.write(body)
    left = None if limit is None else limit - len(body)
    at = len(found)
    while not handler.closing.is_set() and left != 0:
        ended = _ended(handler, call)
        try:
            found = await lines()
        except StatusError:
            break
        fresh = "".join(f"{line}\n" for line in (found[at:] if len(found) >= at else found)).encode()
        at = len(found)
        if left is not None:
            fresh = fresh[:left]
            left -= len(fresh)
        if fresh:
            await response.write(fresh)
        if ended:
            break
        await asyncio.sleep(_FOLLOW_S)
    return response


def _asks(call: Call, name: str) -> bool:
    return name in call.request.query and is_true(call.request.query[name])


def _numbers(call: Call) -> dict[str, int]:
    """The numbers of the query.

    Raises:
        StatusError: 400 for what is no number, 422 for one out of range, 501 for what needs the time of a line.
    """
    query = call.request.query
    found: dict[str, int] = {}
    errors = []
    for name, least in _LEAST.items():
        text = query.get(name)
        if text is None:
            continue
        try:
            found[name] = int(text)
        except ValueError:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if found[name] < least:
            errors.append(
                status.invalid(name, found[name], f"must be greater than {'or equal to 0' if not least else 0}")
            )
    if "sinceSeconds" in query and "sinceTime" in query:
        why = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(status.forbidden_field("", why))
    if errors:
        raise status.unprocessable(_OPTIONS, call.name, errors)
    for name in ("sinceSeconds", "sinceTime"):
        if name in query:
            _refuse(call, name)
    if _asks(call, "timestamps"):
        _refuse(call, "timestamps")
    return found


def _refuse(call: Call, name: str) -> None:
    message = f"the lines of {call.name} have no time in this simulated cluster: {name} cannot be answered"
    raise StatusError(501, "NotImplemented", message)


def _check_previous(handler: Handler, call: Call, pod: Obj, container: str) -> None:
    """Refuse to show the container before this one: there was none, or nothing is left of it."""
    if not _asks(call, "previous"):
        return
    for state in (pod.get("status") or {}).get("containerStatuses") or []:
        if state["name"] == container and (state.get("lastState") or {}).get("terminated"):
            handler.world.not_known("kube", f"{call.request.method} {call.request.path}?previous=true")
            message = f'the log of the previous container "{container}" in pod "{call.name}" is not kept'
            raise StatusError(501, "NotImplemented", message)
    raise status.bad_request(f'previous terminated container "{container}" in pod "{call.name}" not found')


def _ended(handler: Handler, call: Call) -> bool:
    pod = handler.cluster.store.peek(call.resource, call.namespace, call.name)
    return pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
