"""`pods/log`: what a container has said.

After `pkg/registry/core/pod/rest/log.go`, the validation of `PodLogOptions` and the kubelet's
`pkg/kubelet/kuberuntime/logs` of Kubernetes 1.36. Times are those of the simulated clock.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import reads, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.negotiation import is_true
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.log import LogLine

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_FOLLOW_S = 0.2
_OPTIONS = Resource("", "v1", "podlogoptions", "PodLogOptions", namespaced=True)
_LEAST = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}


@dataclass(frozen=True, slots=True)
class _Options:
    """What is asked for.

    Attributes:
        since: the time before which lines do not count, in seconds since the Unix epoch.
    """

    tail: int | None
    limit: int | None
    since: float
    stamped: bool

    def text(self, lines: Iterable[LogLine]) -> bytes:
        """The lines as they are sent."""
        kept = (line for line in lines if line.time >= self.since)
        return "".join(
            f"{_stamp(line.time)} {line.text}\n" if self.stamped else f"{line.text}\n" for line in kept
        ).encode()


def _stamp(time: float) -> str:
    """A time as the kubelet writes it: RFC 3339 with nine digits."""
    moment = dt.datetime.fromtimestamp(time, tz=dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"


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
    options = _options(handler, call)
    pod = reads.found(handler, call)
    container = container_of(pod, query.get("container"))
    runtime = handler.cluster.runtime
    if not pod["spec"].get("nodeName") or runtime is None:
        # Nothing runs yet: the API server answers with nothing.
        return web.Response(text="")
    _check_previous(handler, call, pod, container)

    async def lines() -> list[LogLine]:
        try:
            return await handler.run(runtime.logs, str(call.namespace), call.name, container)
        except LookupError as error:
            raise status.bad_request(str(error.args[0]) if error.args else str(error)) from None

    found = await lines()
    tail, limit = options.tail, options.limit
    body = options.text(found if tail is None else found[len(found) - min(tail, len(found)) :])
    if limit is not None:
        body = body[:limit]
    if not _asks(call, "follow"):
        return web.Response(body=body, headers={"Content-Type": "text/plain"})
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(call.request)
    await response.write(body)
    left = None if limit is None else limit - len(body)
    next_one = _after(found)
    while not handler.closing.is_set() and left != 0:
        ended = _ended(handler, call)
        try:
            found = await lines()
        except StatusError:
            break
        if _after(found) < next_one:
            next_one = 0  # the container has started again
        fresh = options.text(line for line in found if line.number >= next_one)
        next_one = _after(found)
        if left is not None:
            fresh = fresh[:left]
            left -= len(fresh)
        if fresh:
            await response.write(fresh)
        if ended:
            break
        await asyncio.sleep(_FOLLOW_S)
    return response


def _after(lines: list[LogLine]) -> int:
    """The number of the line to come."""
    return lines[-1].number + 1 if lines else 0


def _asks(call: Call, name: str) -> bool:
    return name in call.request.query and is_true(call.request.query[name])


def _options(handler: Handler, call: Call) -> _Options:
    """The options of the query.

    Raises:
        StatusError: 400 for what is no number or no time, 422 for a number out of range.
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
    since = 0.0
    if "sinceSeconds" in found:
        since = handler.world.clock.now() - found["sinceSeconds"]
    elif "sinceTime" in query:
        since = _time(query["sinceTime"])
    return _Options(found.get("tailLines"), found.get("limitBytes"), since, _asks(call, "timestamps"))


def _time(text: str) -> float:
    """A time of the query, RFC 3339.

    Raises:
        StatusError: 400.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = dt.datetime.min
    if moment.tzinfo is None:
        raise status.bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"')
    return moment.timestamp()


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
