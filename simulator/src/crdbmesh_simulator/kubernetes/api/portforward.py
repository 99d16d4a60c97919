"""`pods/portforward`: connections of the client's machine to a pod's ports.

Two protocols. `portforward.k8s.io` of `staging/src/k8s.io/client-go/tools/portforward`: its SPDY frames are carried by
the messages of a WebSocket (`staging/src/k8s.io/apiserver/pkg/util/proxy/streamtunnel.go`), and a connection is a pair
of streams, `data`, and `error` for what went wrong. Frames follow the SPDY draft 3.1, with its dictionary of header
compression; Kubernetes sets no flow control on these streams. And `v4.channel.k8s.io`
(`staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go`): the WebSocket is one connection to each port
of the query, channels 0 and 1 for the first, each of which begins with the port's number.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from crdbmesh_simulator.kubernetes.api import exec as commands
from crdbmesh_simulator.kubernetes.api import reads, status

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler
    from crdbmesh_simulator.workloads.dialogue import Dialogue

_SPDY, _CHANNELS = "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"


async def serve(handler: Handler, call: Call) -> web.StreamResponse:
    """Forward connections until the client ends."""
    pod = reads.found(handler, call)
    if (pod.get("status") or {}).get("phase") != "Running":
        raise status.bad_request(f"pod {call.name} is not running")
    protocol = commands.negotiate(call.request, (_SPDY, _CHANNELS))
    socket = web.WebSocketResponse(protocols=(protocol,), max_msg_size=0)
    await socket.prepare(call.request)
    await (_spdy if protocol == _SPDY else _channels)(handler, call, socket)
    return socket


async def _channels(handler: Handler, call: Call, socket: web.WebSocketResponse) -> None:
    port = int(call.request.query.get("ports", "0"))
    for channel in (b"\0", b"\1"):
        await socket.send_bytes(channel + struct.pack("<H", port))
    connection = _Connection(handler, call, port)
    await connection.open()
    while not connection.ended:
        message = await socket.receive()
        if message.type is not WSMsgType.BINARY:
            break
        if message.data[:1] == b"\0" and (sent := await connection.receive(message.data[1:])):
            await socket.send_bytes(b"\0" + sent)
    if connection.error:
        await socket.send_bytes(b"\1" + connection.error)
    await socket.close()


async def _spdy(handler: Handler, call: Call, socket: web.WebSocketResponse) -> None:
    frames, open_ = Frames(), dict[int, _Connection]()
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            continue
        if replies := frames.receive(message.data):
            await socket.send_bytes(replies)
        for stream in list(frames.streams.values()):
            if stream.headers.get("streamtype") != "data" or not stream.data:
                continue
            if stream.number not in open_:
                open_[stream.number] = _Connection(handler, call, int(stream.headers["port"]))
                await open_[stream.number].open()
            connection, data = open_[stream.number], bytes(stream.data)
            stream.data.clear()
            sent = b"" if connection.ended else await connection.receive(data)
            await socket.send_bytes(frames.data(stream, sent, last=connection.ended))
            for other in _errors_of(frames, stream) if connection.ended else ():
                await socket.send_bytes(frames.data(other, connection.error, last=True))


def _errors_of(frames: Frames, stream: Stream) -> list[Stream]:
    """Return the stream for errors of the connection that a data stream belongs to."""
    wanted = {**stream.headers, "streamtype": "error"}
    return [each for each in frames.streams.values() if each.headers == wanted]


class _Connection:
    """A connection to a pod's port; `error` says why there is none."""

    def __init__(self, handler: Handler, call: Call, port: int) -> None:
        self._handler, self._call, self._port = handler, call, port
        self._dialogue: Dialogue | None = None
        self.error = b""

    @property
    def ended(self) -> bool:
        """Return whether it has ended, or never begun."""
        return self._dialogue is None or self._dialogue.ended

    async def open(self) -> None:
        runtime, name, port = self._handler.cluster.runtime, self._call.name, self._port
        if runtime is not None:
            ask = functools.partial(runtime.connect, str(self._call.namespace), name, port)
            self._dialogue = await self._handler.run(ask)
        if self._dialogue is None:
            why = f"dial tcp4 127.0.0.1:{port}: connect: connection refused"
            what = f"failed to connect to localhost:{port} inside namespace: {why}"
            self.error = f"error forwarding port {port} to pod {name}: {what}".encode()

    async def receive(self, data: bytes) -> bytes:
        assert self._dialogue is not None
        return await self._handler.run(functools.partial(self._dialogue.receive, data))


_WORDS = (
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _TAIL.encode()

_SYN_STREAM, _SYN_REPLY, _PING = 1, 2, 6
_FIN = 1


@dataclass
class Stream:
    """A stream that the client has opened.

    Attributes:
        headers: as the client gave them, names in lower case.
        data: what has come in and is not taken yet.
    """

    number: int
    headers: dict[str, str]
    data: bytearray = field(default_factory=bytearray)


class Frames:
    """The frames of one connection, as the server reads and writes them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self.streams: dict[int, Stream] = {}

    def receive(self, data: bytes) -> bytes:
        """Take in what has come; returns what is to be sent at once: replies to new streams and to pings."""
        self._buffer += data
        return b"".join(self._control(kind, body) for kind, body in self._read())

    @staticmethod
    def data(stream: Stream, data: bytes, *, last: bool) -> bytes:
        """Return the frame that sends data of a stream; the last one ends it."""
        return struct.pack(">II", stream.number, (_FIN << 24 if last else 0) | len(data)) + data

    def _read(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first >> 31:
                yield first & 0xFFFF, body
            elif first in self.streams:
                self.streams[first].data += body

    def _control(self, kind: int, body: bytes) -> bytes:
        if kind == _SYN_STREAM:
            number = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
            self.streams[number] = Stream(number, self._headers(body[10:]))
            block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            kind, body = _SYN_REPLY, struct.pack(">I", number) + block
        elif kind != _PING:
            return b""
        return struct.pack(">HHI", 0x8003, kind, len(body)) + body

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block)
        words: list[str] = []
        at = 4
        for _ in range(2 * struct.unpack_from(">I", plain)[0]):
            size = struct.unpack_from(">I", plain, at)[0]
            words.append(plain[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}
