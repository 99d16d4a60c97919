"""SPDY/3.1 as Kubernetes speaks it: streams over one upgraded connection, for `kubectl exec` up to 1.30.

After the SPDY draft 3.1 (frames, and the dictionary of its header compression) and
`staging/src/k8s.io/apimachinery/pkg/util/httpstream/spdy`. Kubernetes sets no flow control on these streams.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import web

_WORDS = (
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after", "server",
    "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning", "www-authenticate",
    "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin",
)  # fmt: skip
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _TAIL.encode()

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 1
_CHUNK = 32 * 1024
_FRAME_LIMIT = 1 << 24


@dataclass
class Stream:
    """A stream that the client has opened.

    Attributes:
        headers: as the client gave them, names in lower case.
        data: what has come in so far.
        ended: whether the client will send no more.
    """

    number: int
    headers: dict[str, str]
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Connection(asyncio.Protocol):
    """One upgraded connection, in place of the HTTP protocol of `request`."""

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = transport
        self._http = request.protocol
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._writable = asyncio.Event()
        self._writable.set()
        self.streams: dict[int, Stream] = {}
        self.moved = asyncio.Event()
        self.lost = False

    def accept(self, headers: dict[str, str]) -> None:
        """Answer 101, and speak SPDY from here on."""
        self._transport.set_protocol(self)
        lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    async def send(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """Send data on a stream, and end our side of it if asked.

        Raises:
            ConnectionError: the client has gone.
        """
        parts = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)] or [b""]
        for at, part in enumerate(parts):
            if self.lost:
                raise ConnectionResetError("the client has gone")
            await self._writable.wait()
            flags = _FIN if end and at == len(parts) - 1 else 0
            if part or flags:
                self._transport.write(struct.pack(">II", stream.number, flags << 24 | len(part)) + part)

    async def close(self, *, wait_s: float) -> None:
        """Close the connection, after the client has had its time to."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while not self.lost and loop.time() < deadline:
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), deadline - loop.time())
            except TimeoutError:
                break
        self._transport.close()

    # asyncio.Protocol.

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data
        try:
            for control, word, flags, body in self._frames():
                if control:
                    self._control(word & 0xFFFF, flags, body)
                else:
                    self._data(word, flags, body)
        except (zlib.error, struct.error, ValueError):
            self._transport.abort()
        self.moved.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the client has gone."""
        self.lost = True
        self._writable.set()
        self.moved.set()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait before more is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on sending."""
        self._writable.set()

    # Frames.

    def _frames(self) -> Iterator[tuple[bool, int, int, bytes]]:
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & (_FRAME_LIMIT - 1)
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            yield bool(first >> 31), first & 0x7FFFFFFF, second >> 24, body

    def _control(self, kind: int, flags: int, body: bytes) -> None:
        if kind == _SYN_STREAM:
            number = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
            self.streams[number] = Stream(number, self._headers(body[10:]), ended=bool(flags & _FIN))
            reply = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self._write(_SYN_REPLY, struct.pack(">I", number) + reply)
        elif kind == _PING:
            self._write(_PING, body)
        elif kind == _RST_STREAM:
            found = self.streams.get(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)
            if found is not None:
                found.ended = True
        elif kind == _GOAWAY:
            for each in self.streams.values():
                each.ended = True

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block)
        count = struct.unpack_from(">I", plain)[0]
        words: list[str] = []
        at = 4
        for _ in range(2 * count):
            size = struct.unpack_from(">I", plain, at)[0]
            words.append(plain[at + 4 : at + 4 + size].decode())
            at += 4 + size
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}

    def _data(self, number: int, flags: int, body: bytes) -> None:
        found = self.streams.get(number)
        if found is None:
            return
        found.data += body
        found.ended = found.ended or bool(flags & _FIN)

    def _write(self, kind: int, body: bytes) -> None:
        self._transport.write(struct.pack(">HHI", 0x8003, kind, len(body)) + body)
