"""`pods/portforward`: connections of the client's machine to a pod's HTTP port.

The protocol `portforward.k8s.io` of `staging/src/k8s.io/client-go/tools/portforward`, its SPDY frames carried by the
messages of a WebSocket (`staging/src/k8s.io/apiserver/pkg/util/proxy/streamtunnel.go`). A connection is a pair of
streams: `data`, and `error` for what went wrong. Programs here answer one HTTP GET a connection, and no TLS. Frames
follow the SPDY draft 3.1, with its dictionary of header compression; Kubernetes sets no flow control on these streams.
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

_PROTOCOL = "SPDY/3.1+portforward.k8s.io"


async def serve(handler: Handler, call: Call) -> web.StreamResponse:
    """Forward connections until the client ends."""
    pod = reads.found(handler, call)
    if (pod.get("status") or {}).get("phase") != "Running":
        raise status.bad_request(f"pod {call.name} is not running")
    commands.negotiate(call.request, (_PROTOCOL,))
    socket = web.WebSocketResponse(protocols=(_PROTOCOL,), max_msg_size=0)
    await socket.prepare(call.request)
    frames, answered = Frames(), set[int]()
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            continue
        replies = frames.receive(message.data)
        if replies:
            await socket.send_bytes(replies)
        for stream in list(frames.streams.values()):
            if stream.headers.get("streamtype") == "data" and stream.number not in answered and _is_whole(stream):
                answered.add(stream.number)
                data, error = await _answer(handler, call, stream)
                await socket.send_bytes(frames.data(stream, data))
                for other in _errors_of(frames, stream):
                    await socket.send_bytes(frames.data(other, error))
    return socket


def _is_whole(stream: Stream) -> bool:
    return b"\r\n\r\n" in stream.data or stream.data[:1] == b"\x16"


def _errors_of(frames: Frames, stream: Stream) -> list[Stream]:
    """Return the stream for errors of the connection that a data stream belongs to."""
    wanted = {**stream.headers, "streamtype": "error"}
    return [each for each in frames.streams.values() if each.headers == wanted]


async def _answer(handler: Handler, call: Call, stream: Stream) -> tuple[bytes, bytes]:
    """Return what a connection gets, and the error that ends it."""
    port = int(stream.headers["port"])
    method, path, *_ = [*bytes(stream.data).split(b"\r\n")[0].decode("latin-1").split(" "), "", ""]
    if method != "GET":
        handler.world.not_known("kube", f"{method!r} through a forwarded port")
        return b"", b"the simulator forwards HTTP GETs only"
    answer, runtime = None, handler.cluster.runtime
    if runtime is not None:
        ask = functools.partial(runtime.http_get, str(call.namespace), call.name, port, path, tls=False)
        answer = await handler.run(ask)
    if answer is None:
        why = f"dial tcp4 127.0.0.1:{port}: connect: connection refused"
        what = f"failed to connect to localhost:{port} inside namespace: {why}"
        return b"", f"error forwarding port {port} to pod {call.name}: {what}".encode()
    lines = [
        f"HTTP/1.1 {answer.status} Answered",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + answer.body, b""


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
        data: what has come in so far.
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
    def data(stream: Stream, data: bytes) -> bytes:
        """Return the frame that sends the last data of a stream, and ends it."""
        return struct.pack(">II", stream.number, _FIN << 24 | len(data)) + data

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
