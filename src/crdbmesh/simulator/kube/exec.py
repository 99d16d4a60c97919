"""Commands in containers: `pods/exec` over WebSockets.

Protocols `v5.channel.k8s.io` and `v4.channel.k8s.io` of `staging/src/k8s.io/apimachinery/pkg/util/remotecommand`: each
message starts with the number of its channel (0 stdin, 1 stdout, 2 stderr, 3 the Status of the command, 4 the size of
the terminal; in v5, 255 closes the channel whose number follows). A program here takes its input as a whole: it starts
when the client closes stdin (v5), or when nothing more has come for a while (v4 has no way to say so).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from crdbmesh.simulator import resets
from crdbmesh.simulator.kube import faults, status
from crdbmesh.simulator.kube.jsonvalue import Obj
from crdbmesh.simulator.kube.negotiation import is_true
from crdbmesh.simulator.kube.status import StatusError
from crdbmesh.simulator.kube.subresources import container_of
from crdbmesh.simulator.programs.base import ExecResult

if TYPE_CHECKING:
    from crdbmesh.simulator.kube.handler import Call, Handler

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_QUIET_S = {V5: 5.0, V4: 0.5}
_CHUNK = 32 * 1024


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
    protocol = _protocol(request)
    socket = web.WebSocketResponse(protocols=(protocol,), max_msg_size=0)
    await socket.prepare(request)
    stdin = _Stdin()
    reader = asyncio.ensure_future(_read(socket, stdin))
    broken = faults.broken_exec(handler, call)
    try:
        if broken == faults.BEFORE:
            resets.reset(request)
            return socket
        given = await stdin.whole(_QUIET_S[protocol]) if is_true(query.get("stdin")) else b""
        result, outcome = await _run(handler, call, container, argv, given)
        tty = is_true(query.get("tty"))
        if is_true(query.get("stdout")):
            await _send(socket, _STDOUT, result.stdout)
        if is_true(query.get("stderr")):
            await _send(socket, _STDOUT if tty else _STDERR, result.stderr)
        if broken:
            resets.reset(request)
            return socket
        await _send(socket, _ERROR, json.dumps(outcome).encode())
        await asyncio.wait_for(socket.close(), timeout=5)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
    return socket


def _protocol(request: web.Request) -> str:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        asked = request.headers.get("Upgrade", "")
        if asked:
            raise StatusError(
                400,
                "BadRequest",
                f"unable to upgrade: unsupported protocol {json.dumps(asked)}, only websocket is served",
            )
        raise status.bad_request("Upgrade request required")
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    for name in (V5, V4):
        if name in offered:
            return name
    raise StatusError(
        403,
        "Forbidden",
        f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server accepts [{V5} {V4}]",
    )


def _check_running(pod: Obj, container: str) -> None:
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        if each.get("name") == container and (each.get("state") or {}).get("running") is None:
            message = f'unable to upgrade connection: container not found ("{container}")'
            raise StatusError(500, "InternalError", message)
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        message = f"cannot exec into a container in a completed pod; current phase is {phase}"
        raise StatusError(500, "InternalError", message)


class _Stdin:
    """What a client has sent for the command's input."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._moved = asyncio.Event()
        self._closed = False

    def put(self, data: bytes) -> None:
        self._parts.append(data)
        self._moved.set()

    def close(self) -> None:
        self._closed = True
        self._moved.set()

    async def whole(self, quiet_s: float) -> bytes:
        """All of it: until it is closed, or nothing has come for `quiet_s` real seconds."""
        while not self._closed:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), timeout=quiet_s)
            except TimeoutError:
                break
        return b"".join(self._parts)


async def _read(socket: web.WebSocketResponse, stdin: _Stdin) -> None:
    async for message in socket:
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            continue
        data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
        if not data:
            continue
        channel, rest = data[0], data[1:]
        if channel == _STDIN:
            stdin.put(rest)
        elif channel == _CLOSE and rest[:1] == bytes([_STDIN]):
            stdin.close()
    stdin.close()


async def _run(handler: Handler, call: Call, container: str, argv: list[str], stdin: bytes) -> tuple[ExecResult, Obj]:
    runtime = handler.cluster.runtime
    assert runtime is not None
    work = functools.partial(runtime.exec, str(call.namespace), call.name, container, argv, stdin)
    try:
        result = await handler.run(work)
    except LookupError as error:
        text = str(error.args[0]) if error.args else str(error)
        return ExecResult(), StatusError(500, "InternalError", f"Internal error occurred: {text}").status()
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


async def _send(socket: web.WebSocketResponse, channel: int, data: bytes) -> None:
    for at in range(0, len(data), _CHUNK):
        await socket.send_bytes(bytes([channel]) + data[at : at + _CHUNK])
