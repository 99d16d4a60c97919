"""Commands in containers: `pods/exec` over a WebSocket.

Protocols `v5.channel.k8s.io` and `v4.channel.k8s.io` of `staging/src/k8s.io/apimachinery/pkg/util/remotecommand`: each
message starts with the number of its channel (0 stdin, 1 stdout, 2 stderr, 3 the Status of the command, 4 the size of
the terminal; in v5, 255 closes the channel whose number follows). A program here takes its input as a whole: it starts
when the client ends its input, or when nothing more has come for a while (v4 has no way to end it). At a terminal
(`tty`) it starts at once, and input and output go back and forth.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from crdbmesh_simulator import resets
from crdbmesh_simulator.kubernetes.api import faults, reads, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.logs import container_of
from crdbmesh_simulator.kubernetes.api.negotiation import is_true
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.programs import ExecResult, Stdin
from crdbmesh_simulator.shell.process import Terminal

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_CHANNELS = {"stdin": _STDIN, "stdout": _STDOUT, "stderr": _STDERR}
_V5 = "v5.channel.k8s.io"
_PROTOCOLS = (_V5, "v4.channel.k8s.io")
_NOT_STARTED = b"OCI runtime exec failed"
_CHUNK = 32 * 1024
_QUIET_S = 0.5
_SURE_S = 5.0
_GOODBYE_S = 5.0


async def execute(handler: Handler, call: Call) -> web.StreamResponse:
    """Run a command in a container of a pod."""
    request, query = call.request, call.request.query
    argv = query.getall("command", [])
    if not argv:
        raise status.bad_request("you must specify at least 1 command for the container")
    pod = reads.found(handler, call)
    container = container_of(pod, query.get("container"))
    if not pod["spec"].get("nodeName") or handler.cluster.runtime is None:
        raise status.bad_request(f"pod {call.name} does not have a host assigned")
    asked = {channel for name, channel in _CHANNELS.items() if is_true(query.get(name))}
    if not asked:
        raise status.bad_request("you must specify at least one of stdin, stdout, stderr")
    _check_running(pod, container)
    protocol = negotiate(request, _PROTOCOLS)
    broken = faults.broken_exec(handler, call)
    socket = _Socket(protocol)
    try:
        await socket.open(request, asked)
        if broken == faults.BEFORE:
            resets.reset(request)
            return socket.response
        tty = is_true(query.get("tty"))
        given: Stdin = b""
        if _STDIN in asked:
            given = socket.terminal() if tty else await socket.stdin()
        result, outcome = await _run(handler, call, container, argv, given)
        if _STDOUT in asked:
            await socket.send(_STDOUT, result.stdout)
        if _STDERR in asked:
            await socket.send(_STDOUT if tty else _STDERR, result.stderr)
        if broken:
            resets.reset(request)
            return socket.response
        await socket.finish(outcome)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        await socket.drop()
    return socket.response


def negotiate(request: web.Request, spoken: tuple[str, ...]) -> str:
    """Choose the protocol of a WebSocket that a request asks for.

    Raises:
        StatusError: 400, the request asks for no WebSocket; 403, it offers no protocol that is spoken here.
    """
    asked = request.headers.get("Upgrade", "")
    if not asked:
        raise status.bad_request("Upgrade request required")
    if asked.lower() != "websocket":
        raise status.bad_request(f"unable to upgrade: unsupported protocol {json.dumps(asked)}")
    lines = request.headers.getall("Sec-WebSocket-Protocol", [])
    offered = [word.strip() for line in lines for word in line.split(",") if word.strip()]
    found = next((name for name in spoken if name in offered), None)
    if found is None:
        why = f"client supports [{' '.join(offered)}], server accepts [{' '.join(spoken)}]"
        raise StatusError(403, "Forbidden", f"unable to upgrade: unable to negotiate protocol: {why}")
    return found


def _check_running(pod: Obj, container: str) -> None:
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        if each.get("name") == container and (each.get("state") or {}).get("running") is None:
            message = f'unable to upgrade connection: container not found ("{container}")'
            raise StatusError(500, "InternalError", message)
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        message = f"cannot exec into a container in a completed pod; current phase is {phase}"
        raise StatusError(500, "InternalError", message)


async def _run(handler: Handler, call: Call, container: str, argv: list[str], stdin: Stdin) -> tuple[ExecResult, Obj]:
    runtime = handler.cluster.runtime
    assert runtime is not None
    work = functools.partial(runtime.exec, str(call.namespace), call.name, container, argv, stdin)
    try:
        result = await handler.run(work)
    except LookupError as error:
        return ExecResult(), StatusError(500, "InternalError", f"Internal error occurred: {error.args[0]}").status()
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


class _Socket:
    """The WebSocket that a command's input and output travel over."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._socket = web.WebSocketResponse(protocols=(protocol,), max_msg_size=0)
        self._parts: list[bytes] = []
        self._moved = asyncio.Event()
        self._closed = False
        self._reader: asyncio.Task[None] | None = None
        self._terminal: Terminal | None = None

    @property
    def response(self) -> web.StreamResponse:
        """The response that the HTTP handler returns in the end."""
        return self._socket

    async def open(self, request: web.Request, asked: set[int]) -> None:
        await self._socket.prepare(request)
        self._reader = asyncio.ensure_future(self._read())
        # An empty message on the lowest channel that it will write on is how the server says that it is there.
        await self._socket.send_bytes(bytes([min(asked & {_STDOUT, _STDERR}, default=_ERROR)]))

    def terminal(self) -> Terminal:
        """Return the terminal that the client types at; what it has sent already was typed first."""
        loop = asyncio.get_running_loop()
        self._terminal = Terminal(
            lambda data: (asyncio.run_coroutine_threadsafe(self.send(_STDOUT, data), loop), None)[1]
        )
        self._terminal.feed(b"".join(self._parts) or b"\0")
        return self._terminal

    async def stdin(self) -> bytes:
        """All input: until the client ends it, or nothing has come for a while."""
        quiet_s = _SURE_S if self._protocol == _V5 else _QUIET_S
        while not self._closed:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), timeout=quiet_s)
            except TimeoutError:
                break
        return b"".join(self._parts)

    async def send(self, channel: int, data: bytes) -> None:
        for at in range(0, len(data), _CHUNK):
            await self._socket.send_bytes(bytes([channel]) + data[at : at + _CHUNK])

    async def finish(self, outcome: Obj) -> None:
        """Send how the command ended, and close."""
        await self.send(_ERROR, json.dumps(outcome).encode())
        await asyncio.wait_for(self._socket.close(), timeout=_GOODBYE_S)

    async def drop(self) -> None:
        """Stop listening to the client."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY and message.data:
                channel, rest = message.data[0], message.data[1:]
                if channel == _STDIN and self._terminal is not None:
                    self._terminal.feed(rest)
                elif channel == _STDIN:
                    self._parts.append(rest)
                elif channel == _RESIZE and self._terminal is not None:
                    size = json.loads(rest)
                    self._terminal.size = (int(size["Width"]), int(size["Height"]))
                elif channel == _CLOSE and rest[:1] == bytes([_STDIN]) and self._protocol == _V5:
                    self._closed = True
                self._moved.set()
        self._closed = True
        self._moved.set()
        if self._terminal is not None:
            self._terminal.feed(b"")
