"""The two ways in which a command's input and output travel: WebSockets, and SPDY/3.1 of older clients.

Protocols `v5.channel.k8s.io` and before of `staging/src/k8s.io/apimachinery/pkg/util/remotecommand`. Over WebSockets
each message starts with the number of its channel (0 stdin, 1 stdout, 2 stderr, 3 the Status of the command, 4 the size
of the terminal; in v5, 255 closes the channel whose number follows); over SPDY each is a stream of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Protocol

from aiohttp import WSMsgType, web

from crdbmesh_simulator.kubernetes.api import spdy, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.status import StatusError

STDIN, STDOUT, STDERR, ERROR = 0, 1, 2, 3
_CLOSE = 255
_V5 = "v5.channel.k8s.io"
_ENCODED = ("v4.base64.channel.k8s.io", "base64.channel.k8s.io")
_WEBSOCKET = (_V5, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io")
_SPDY = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_WITH_STATUS = (_V5, "v4.channel.k8s.io", "v4.base64.channel.k8s.io")
_NAMES = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR}
_CHUNK = 32 * 1024
_QUIET_S = 0.5
_SURE_S = 5.0
_GOODBYE_S = 5.0
_STREAMS_S = 30.0


class Channels(Protocol):
    """The input and output of one command."""

    @property
    def response(self) -> web.StreamResponse:
        """What the HTTP handler returns in the end."""

    async def stdin(self) -> bytes:
        """All input: until the client ends it, or nothing has come for a while."""

    async def send(self, channel: int, data: bytes) -> None:
        """Send output. Raises ConnectionError when the client has gone."""

    async def finish(self, outcome: Obj) -> None:
        """Send how the command ended, and close."""

    async def drop(self) -> None:
        """Stop listening to the client."""


def check(request: web.Request) -> None:
    """Refuse a request that asks for no upgrade, or for one that is not spoken here.

    Raises:
        StatusError: 400 or 403.
    """
    asked = request.headers.get("Upgrade", "")
    if not asked:
        raise status.bad_request("Upgrade request required")
    offered = _offered(request)
    spoken: tuple[str, ...] = _WEBSOCKET
    if asked.lower() == "spdy/3.1":
        spoken = _SPDY
    elif asked.lower() != "websocket":
        raise status.bad_request(f"unable to upgrade: unsupported protocol {json.dumps(asked)}")
    if offered and not any(name in spoken for name in offered):
        shown = " ".join(spoken)
        why = f"unable to negotiate protocol: client supports {offered}, server accepts [{shown}]"
        raise StatusError(403, "Forbidden", f"unable to upgrade: {why}")


async def open_channels(request: web.Request, *, wanted: set[int], tty: bool) -> Channels:
    """Upgrade a request that `check` has let pass."""
    spoken = _SPDY if request.headers["Upgrade"].lower() == "spdy/3.1" else _WEBSOCKET
    offered = _offered(request)
    protocol = next((name for name in spoken if name in offered), "channel.k8s.io")
    if spoken is _SPDY:
        streams = _SpdyChannels(request, protocol)
        await streams.open(wanted, tty=tty)
        return streams
    sockets = _WebSocketChannels(protocol, named=bool(offered))
    await sockets.open(request, wanted)
    return sockets


def _offered(request: web.Request) -> list[str]:
    name = (
        "Sec-WebSocket-Protocol" if request.headers["Upgrade"].lower() == "websocket" else "X-Stream-Protocol-Version"
    )
    lines = request.headers.getall(name, [])
    return [word.strip() for line in lines for word in line.split(",") if word.strip()]


def _ending(protocol: str, outcome: Obj) -> bytes:
    """How a command ended, as a protocol says it: a Status, or before v4 the text of a failure."""
    if protocol in _WITH_STATUS:
        return json.dumps(outcome).encode()
    return b"" if outcome.get("status") == "Success" else str(outcome.get("message", "")).encode()


class _WebSocketChannels:
    def __init__(self, protocol: str, *, named: bool) -> None:
        self._protocol = protocol
        self._encoded = protocol in _ENCODED
        self._socket = web.WebSocketResponse(protocols=(protocol,) if named else (), max_msg_size=0)
        self._parts: list[bytes] = []
        self._moved = asyncio.Event()
        self._closed = False
        self._reader: asyncio.Task[None] | None = None

    @property
    def response(self) -> web.StreamResponse:
        return self._socket

    async def open(self, request: web.Request, wanted: set[int]) -> None:
        await self._socket.prepare(request)
        self._reader = asyncio.ensure_future(self._read())
        # An empty message on the lowest channel that it will write on is how the server says that it is there.
        await self._message(min(wanted & {STDOUT, STDERR}, default=ERROR), b"")

    async def stdin(self) -> bytes:
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
            await self._message(channel, data[at : at + _CHUNK])

    async def finish(self, outcome: Obj) -> None:
        ending = _ending(self._protocol, outcome)
        if ending:
            await self._message(ERROR, ending)
        await asyncio.wait_for(self._socket.close(), timeout=_GOODBYE_S)

    async def drop(self) -> None:
        if self._reader is None:
            return
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _message(self, channel: int, data: bytes) -> None:
        if self._encoded:
            await self._socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
            if not data:
                continue
            channel, rest = data[0], data[1:]
            if self._encoded:
                channel, rest = channel - ord("0"), base64.b64decode(rest)
            if channel == STDIN:
                self._parts.append(rest)
            elif channel == _CLOSE and rest[:1] == bytes([STDIN]) and self._protocol == _V5:
                self._closed = True
            self._moved.set()
        self._closed = True
        self._moved.set()


class _SpdyChannels:
    def __init__(self, request: web.Request, protocol: str) -> None:
        self._protocol = protocol
        self._connection = spdy.Connection(request)
        self._channels: dict[int, spdy.Stream] = {}

    @property
    def response(self) -> web.StreamResponse:
        return web.Response()

    async def open(self, wanted: set[int], *, tty: bool) -> None:
        self._connection.accept({"X-Stream-Protocol-Version": self._protocol})
        needed = {*wanted, ERROR} - ({STDERR} if tty else set())
        async with asyncio.timeout(_STREAMS_S):
            while not needed <= self._find():
                if self._connection.lost:
                    raise ConnectionResetError("the client has gone")
                self._connection.moved.clear()
                await self._connection.moved.wait()

    def _find(self) -> set[int]:
        for stream in self._connection.streams.values():
            channel = _NAMES.get(stream.headers.get("streamtype", ""))
            if channel is not None:
                self._channels[channel] = stream
        return set(self._channels)

    async def stdin(self) -> bytes:
        stream = self._channels[STDIN]
        while not stream.ended and not self._connection.lost:
            self._connection.moved.clear()
            try:
                await asyncio.wait_for(self._connection.moved.wait(), timeout=_SURE_S)
            except TimeoutError:
                break
        return bytes(stream.data)

    async def send(self, channel: int, data: bytes) -> None:
        stream = self._channels.get(channel)
        if stream is not None and data:
            await self._connection.send(stream, data)

    async def finish(self, outcome: Obj) -> None:
        for channel, stream in sorted(self._channels.items()):
            last = _ending(self._protocol, outcome) if channel == ERROR else b""
            await self._connection.send(stream, last, end=True)
        await self._connection.close(wait_s=_GOODBYE_S)

    async def drop(self) -> None:
        if not self._connection.lost:
            await self._connection.close(wait_s=0.0)
