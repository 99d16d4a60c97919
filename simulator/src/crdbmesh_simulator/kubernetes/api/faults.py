"""Faults of the Kubernetes API, as clients see them.

After `staging/src/k8s.io/apiserver` of Kubernetes 1.36: priority and fairness answers 429 in plain text, a store that
is being initialised answers it with a Status; etcd's own errors come through as a 500 without a reason; k3s answers
503 while its API server is not ready. A reset or a 500 may come after the change: then the change has happened.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator import resets
from crdbmesh_simulator.kubernetes.api import reads, status
from crdbmesh_simulator.kubernetes.api.negotiation import status_response
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_STREAMS = ("exec", "portforward", "log", "proxy")
_READS = ("get", "list", "watch")
_WATCH_S = (2.0, 30.0)
_MOST_EVENTS = 4

BEFORE, AFTER = "before", "after"
"""An exec breaks before the command has run, or after."""


async def answer(
    handler: Handler, call: Call, perform: Callable[[Call], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let a request be answered, unless something goes wrong before, or after.

    Raises StatusError: what the answer would raise, or what goes wrong instead.
    """
    faults = handler.world.faults
    if not faults.active:
        return await perform(call)
    key = _key(handler, call)
    name = faults.pick(_possible(handler, call), _places(handler), key)
    if name is None:
        return await perform(call)
    if name == "kube.throttled":
        return _throttled(by_fairness=faults.choose(name, (True, False), key))
    if name == "kube.unavailable":
        raise StatusError(503, "ServiceUnavailable", "apiserver not ready")
    if name == "kube.conflict":
        raise status.conflict(call.resource, call.name)
    if name == "kube.gone":
        return await _gone(handler, call, in_stream=faults.choose(name, (True, False), key))
    if name == "kube.server_error":
        if call.verb not in _READS and faults.choose(name, (True, False), key):
            await _carry_out(call, perform)
        raise StatusError(500, "", faults.choose(name, ("etcdserver: request timed out", _NO_LEADER), key))
    response = await _carry_out(call, perform)
    return await resets.cut(call.request, response, faults.choose(name, (resets.UNANSWERED, resets.MIDWAY), key))


_NO_LEADER = "etcdserver: leader changed"


class WatchDropped(Exception):  # noqa: N818 - not an error of the program
    """A watch that is over before its time."""

    def __init__(self, *, abrupt: bool) -> None:
        super().__init__()
        self.abrupt = abrupt


class Watch:
    """The end of a watch that is to be dropped.

    `events`: how many it passes on. `deadline`: when it ends if there have not been so many, on the world's clock.
    `abrupt`: whether its connection is reset; else it ends as at its timeout.
    """

    def __init__(self, *, events: int, deadline: float, abrupt: bool) -> None:
        self._events = events
        self.deadline = deadline
        self._abrupt = abrupt

    def next_event(self) -> None:
        """Count an event that is about to be sent. Raises WatchDropped: it is one too many."""
        if self._events == 0:
            self.end()
        self._events -= 1

    def end(self) -> None:
        """It is over. Raises WatchDropped: always."""
        raise WatchDropped(abrupt=self._abrupt)


def dropped_watch(handler: Handler, call: Call) -> Watch | None:
    """Return how a watch is dropped, or None when it lasts."""
    faults, name, key = handler.world.faults, "kube.watch_dropped", _key(handler, call)
    if not faults.happens(name, _places(handler), key):
        return None
    deadline = handler.now + faults.between(name, *_WATCH_S, key)
    events = faults.choose(name, range(_MOST_EVENTS), key)
    return Watch(events=events, deadline=deadline, abrupt=faults.choose(name, (False, True), f"{key} {events}"))


def broken_exec(handler: Handler, call: Call) -> str:
    """Return when an exec's connection breaks: before its command runs, after, or never (empty)."""
    faults, name = handler.world.faults, "kube.exec_broken"
    pod = f"{handler.member.machine.location} {call.namespace}/{call.name}"
    return faults.choose(name, (BEFORE, AFTER), pod) if faults.happens(name, _places(handler), pod) else ""


def _possible(handler: Handler, call: Call) -> list[str]:
    names = ["kube.throttled", "kube.unavailable"]
    if call.sub in _STREAMS:
        return names
    names.append("kube.server_error")
    query = call.request.query
    if call.verb == "watch":
        version = query.get("resourceVersion", "")
        return [*names, "kube.gone"] if version.isdigit() and version != "0" else names
    names.append("kube.reset")
    if call.verb == "list" and query.get("continue"):
        names.append("kube.gone")
    if call.verb == "patch":
        there = handler.cluster.store.peek(call.resource, call.namespace, call.name) is not None
        names += ["kube.conflict"] if there else []
    return names


def _key(handler: Handler, call: Call) -> str:
    return f"{handler.member.machine.location} {call.request.method} {call.request.path}"


def _places(handler: Handler) -> tuple[str, str]:
    return (handler.member.machine.location, handler.member.node_name)


async def _carry_out(call: Call, perform: Callable[[Call], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await perform(call)
    except StatusError as error:
        return status_response(error)


def _throttled(*, by_fairness: bool) -> web.Response:
    if not by_fairness:
        message = "storage is (re)initializing"
        return status_response(StatusError(429, "TooManyRequests", message, {"retryAfterSeconds": 1}))
    headers = {"Retry-After": "1", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache, private"}
    text = "Too many requests, please try again later.\n"
    return web.Response(status=429, headers=headers, text=text, content_type="text/plain", charset="utf-8")


async def _gone(handler: Handler, call: Call, *, in_stream: bool) -> web.StreamResponse:
    if call.verb == "list":
        raise reads.continue_expired()
    asked = call.request.query["resourceVersion"]
    error = status.expired(int(asked), max(handler.cluster.store.version, int(asked) + 1))
    if not in_stream:
        raise error
    stream = web.StreamResponse(headers={"Cache-Control": "no-cache, private"})
    stream.content_type = "application/json"
    await stream.prepare(call.request)
    line = json.dumps({"type": "ERROR", "object": error.status()}, separators=(",", ":"))
    await stream.write(f"{line}\n".encode())
    return stream
