"""Commands in containers: `pods/exec`, over WebSockets or SPDY/3.1.

A program here takes its input as a whole: it starts when the client ends it, or when nothing more has come for a while
(WebSockets before v5 have no way to say so).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator import resets
from crdbmesh_simulator.kubernetes.api import exec_streams, faults, status
from crdbmesh_simulator.kubernetes.api.exec_streams import STDERR, STDIN, STDOUT
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.logs import container_of
from crdbmesh_simulator.kubernetes.api.negotiation import is_true
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.programs import ExecResult

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_NOT_STARTED = b"OCI runtime exec failed"


async def refuse(handler: Handler, call: Call) -> web.StreamResponse:
    """Say that something is not served here, and take note."""
    handler.world.not_known("kube", f"{call.request.method} {call.request.path}")
    raise StatusError(501, "NotImplemented", f"the server does not serve {call.resource.plural}/{call.sub}")


async def execute(handler: Handler, call: Call) -> web.StreamResponse:
    """Run a command in a container of a pod."""
    request, query = call.request, call.request.query
    argv = query.getall("command", [])
    if not argv:
        raise status.bad_request("you must specify at least 1 command for the container")
    pod = handler.cluster.store.peek(call.resource, call.namespace, call.name)
    if pod is None:
        raise status.not_found(call.resource, call.name)
    container = container_of(pod, query.get("container"))
    if not pod["spec"].get("nodeName") or handler.cluster.runtime is None:
        raise status.bad_request(f"pod {call.name} does not have a host assigned")
    if not any(is_true(query.get(name)) for name in ("stdin", "stdout", "stderr")):
        raise status.bad_request("you must specify at least one of stdin, stdout, stderr")
    _check_running(pod, container)
    exec_streams.check(request)
    asked = {
        channel
        for channel, name in ((STDIN, "stdin"), (STDOUT, "stdout"), (STDERR, "stderr"))
        if is_true(query.get(name))
    }
    tty = is_true(query.get("tty"))
    broken = faults.broken_exec(handler, call)
    channels: exec_streams.Channels | None = None
    try:
        channels = await exec_streams.open_channels(request, wanted=asked, tty=tty)
        if broken == faults.BEFORE:
            resets.reset(request)
            return web.Response()
        given = await channels.stdin() if STDIN in asked else b""
        result, outcome = await _run(handler, call, container, argv, given)
        if STDOUT in asked:
            await channels.send(STDOUT, result.stdout)
        if STDERR in asked:
            await channels.send(STDOUT if tty else STDERR, result.stderr)
        if broken:
            resets.reset(request)
            return web.Response()
        await channels.finish(outcome)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        if channels is not None:
            await channels.drop()
    return channels.response if channels is not None else web.Response()


def _check_running(pod: Obj, container: str) -> None:
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        if each.get("name") == container and (each.get("state") or {}).get("running") is None:
            message = f'unable to upgrade connection: container not found ("{container}")'
            raise StatusError(500, "InternalError", message)
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        message = f"cannot exec into a container in a completed pod; current phase is {phase}"
        raise StatusError(500, "InternalError", message)


async def _run(handler: Handler, call: Call, container: str, argv: list[str], stdin: bytes) -> tuple[ExecResult, Obj]:
    runtime = handler.cluster.runtime
    assert runtime is not None
    work = functools.partial(runtime.exec, str(call.namespace), call.name, container, argv, stdin)
    try:
        result = await handler.run(work)
    except LookupError as error:
        text = str(error.args[0]) if error.args else str(error)
        return ExecResult(), StatusError(500, "InternalError", f"Internal error occurred: {text}").status()
    if result.exit_code == 127 and result.stderr.startswith(_NOT_STARTED):
        why = f"error executing command in container: failed to exec in container: {result.stderr.decode().strip()}"
        return ExecResult(), StatusError(500, "InternalError", f"Internal error occurred: {why}").status()
    if result.exit_code == 0:
        return result, {"metadata": {}, "status": "Success"}
    code = str(result.exit_code)
    return result, {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code}]},
    }
