"""`pods/log`: the lines that a container has written; `pods/proxy`: a GET that is passed on to a pod's port.

After `pkg/registry/core/pod/rest/log.go` and the validation of `PodLogOptions` of Kubernetes 1.36.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import reads, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.negotiation import is_true
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.programs import LogLine

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler


_FOLLOW_S = 1.0
_OPTIONS = Resource("", "v1", "podlogoptions", "PodLogOptions", namespaced=True)
_KNOWN = frozenset(
    {"container", "follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes"}
)


def container_of(pod: Obj, asked: str | None) -> str:
    """Return the container of a pod that a request means.

    Raises StatusError: 400, there is no such container, or it could be any of several.
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
    raise status.bad_request(message)


async def serve(handler: Handler, call: Call) -> web.StreamResponse:
    """Answer with a container's lines, and with those to come when they are followed."""
    if call.verb != "get":
        raise status.method_not_allowed()
    query = call.request.query
    unknown = sorted(set(query) - _KNOWN)
    if unknown:
        what = f"{call.request.method} {call.request.path} with {', '.join(unknown)}"
        handler.world.not_known("kube", what)
        raise StatusError(501, "NotImplemented", f"the simulator does not know {what}")
    tail = reads.number(query["tailLines"]) if "tailLines" in query else None
    since = _since(handler, call)
    pod = reads.found(handler, call)
    container = container_of(pod, query.get("container"))
    runtime = handler.cluster.runtime
    if not pod["spec"].get("nodeName") or runtime is None:
        # Nothing runs yet: the API server has no kubelet to ask, and answers with nothing.
        return web.Response(status=204)

    previous = is_true(query.get("previous"))

    async def lines() -> list[LogLine]:
        try:
            found = await handler.run(runtime.logs, str(call.namespace), call.name, container, previous)
        except LookupError as error:
            raise status.bad_request(str(error.args[0])) from None
        return [line for line in found if since is None or line.time >= since]

    stamped = is_true(query.get("timestamps"))
    found = await lines()
    body = _text(found if tail is None else found[len(found) - min(tail, len(found)) :], stamped=stamped)
    body = body[: reads.number(query["limitBytes"])] if "limitBytes" in query else body
    if not is_true(query.get("follow")):
        return web.Response(body=body, headers={"Content-Type": "text/plain"})
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(call.request)
    await response.write(body)
    seen = _after(found)
    while not handler.closing.is_set():
        ended = _ended(handler, call)
        try:
            found = await lines()
        except StatusError:
            break
        if _after(found) < seen:
            seen = 0  # the container has started again
        await response.write(_text([line for line in found if line.number >= seen], stamped=stamped))
        seen = _after(found)
        if ended:
            break
        await handler.world.clock.pause(_FOLLOW_S)
    return response


def _since(handler: Handler, call: Call) -> float | None:
    """Return the simulated time before which nothing is shown; by whole seconds, as the kubelet compares them.

    Raises StatusError: 400, it is no time; 422, both forms are given.
    """
    query = call.request.query
    if "sinceSeconds" in query and "sinceTime" in query:
        problem = status.invalid("sinceSeconds", query["sinceSeconds"], "at most one of `sinceTime` or `sinceSeconds`")
        raise status.unprocessable(_OPTIONS, call.name, [problem])
    if "sinceSeconds" in query:
        return handler.world.clock.now() - reads.number(query["sinceSeconds"])
    if "sinceTime" not in query:
        return None
    try:
        return float(int(dt.datetime.fromisoformat(query["sinceTime"]).timestamp()))
    except ValueError:
        raise status.bad_request(f"unable to decode sinceTime: {query['sinceTime']}") from None


def _text(lines: list[LogLine], *, stamped: bool) -> bytes:
    """Return lines as the kubelet sends them: a time in RFC 3339 with nanoseconds before each, if it is asked for."""
    return "".join(f"{_stamp(line.time) if stamped else ''}{line.text}\n" for line in lines).encode()


def _stamp(time: float) -> str:
    return f"{dt.datetime.fromtimestamp(time, tz=dt.UTC):%Y-%m-%dT%H:%M:%S.%f}000Z "


def _after(lines: list[LogLine]) -> int:
    """Return the number of the line to come."""
    return lines[-1].number + 1 if lines else 0


def _ended(handler: Handler, call: Call) -> bool:
    pod = handler.cluster.store.peek(call.resource, call.namespace, call.name)
    return pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


async def serve_proxy(handler: Handler, call: Call) -> web.Response:
    """Answer with what the pod answers; its name may carry a scheme and a port, as in `https:cockroachdb-0:8080`."""
    scheme, name, port = _target(call.name)
    if call.verb != "get" or not port.isdigit():
        handler.world.not_known("kube", f"{call.request.method} {call.request.path}")
        raise status.method_not_allowed()
    reads.found(handler, call, name)
    path = f"/{call.rest}"
    if call.request.query_string:
        path += f"?{call.request.query_string}"
    answer = None
    runtime = handler.cluster.runtime
    if runtime is not None:
        answer = await handler.run(
            functools.partial(runtime.http_get, str(call.namespace), name, int(port), path, tls=scheme == "https")
        )
    if answer is None:
        why = f"error trying to reach service: dial tcp {name}:{port}: connect: connection refused"
        raise StatusError(503, "ServiceUnavailable", why)
    return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})


def _target(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) == 2 else "80"
