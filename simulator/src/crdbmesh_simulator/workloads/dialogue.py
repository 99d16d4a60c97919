"""Connections to programs, a piece at a time: plain HTTP, TLS around it, and PostgreSQL's protocol as far as its TLS.

Of PostgreSQL's protocol (`protocol-message-formats`: SSLRequest, ErrorResponse) a node here speaks what a driver needs
to prove who is who: the request for TLS, the handshake with the client's certificate, and an error that ends it.
"""

from __future__ import annotations

import http.client
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable

from crdbmesh_simulator.kubernetes.programs import HttpAnswer

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Dialogue(ABC):
    """One connection.

    Attributes:
        ended: the program has closed it.
    """

    ended = False

    @abstractmethod
    def receive(self, data: bytes) -> bytes:
        """Take in what the client sent; returns what the program sends at once."""


class Http(Dialogue):
    """One GET and its answer, as net/http writes it to HTTP/1.0; a redirect names the same path again."""

    def __init__(self, get: Callable[[str], HttpAnswer | None]) -> None:
        self._get, self._request = get, b""

    def receive(self, data: bytes) -> bytes:
        """Answer once the request is whole."""
        self._request += data
        if b"\r\n\r\n" not in self._request:
            return b""
        self.ended = True
        first, *lines = self._request.decode(errors="replace").split("\r\n")
        method, path, *_ = [*first.split(" "), "", ""]
        answer = self._get(path) if method == "GET" else None
        if answer is None:
            return b""
        head, body = [f"HTTP/1.0 {answer.status} {http.client.responses[answer.status]}"], answer.body
        if answer.status == http.client.TEMPORARY_REDIRECT:
            host = next((line[5:].strip() for line in lines if line.lower().startswith("host:")), "")
            url = f"https://{host}{path}"
            head, body = [*head, f"Location: {url}"], f'<a href="{url}">Temporary Redirect</a>.\n\n'.encode()
        return "\r\n".join([*head, f"Content-Type: {answer.content_type}", "", ""]).encode() + body


class Tls(Dialogue):
    """A dialogue within TLS, by the rules of a server's context."""

    def __init__(self, context: ssl.SSLContext, inner: Dialogue) -> None:
        self._in, self._out, self._inner = ssl.MemoryBIO(), ssl.MemoryBIO(), inner
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._shaken = False

    def receive(self, data: bytes) -> bytes:
        """Go on with the handshake, or with what is within."""
        self._in.write(data)
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while not self._inner.ended:
                if sent := self._inner.receive(self._tls.read(64 * 1024)):
                    self._tls.write(sent)
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.ended = True
        self.ended = self.ended or self._inner.ended
        return self._out.read()


class Postgres(Dialogue):
    """A SQL port: TLS on request, as a client that the context lets in; without it, or within it, an error."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context, self._request = context, b""
        self._tls: Tls | None = None

    def receive(self, data: bytes) -> bytes:
        """Answer the request for TLS with S."""
        if self._tls is not None:
            sent = self._tls.receive(data)
            self.ended = self._tls.ended
            return sent
        self._request += data
        if len(self._request) < len(_SSL_REQUEST):
            return b""
        if self._request[:8] != _SSL_REQUEST:
            self.ended = True
            return _error("08004", "node is running secure mode, SSL connection required")
        self._tls = Tls(self._context, _Startup())
        return b"S" + self._tls.receive(self._request[8:])


class _Startup(Dialogue):
    """The first message within TLS, which gets an error."""

    def receive(self, data: bytes) -> bytes:
        self.ended = bool(data)
        why = "the simulated CockroachDB speaks no PostgreSQL protocol beyond TLS; use `cockroach sql` in a pod"
        return _error("0A000", why) if data else b""


def _error(state: str, message: str) -> bytes:
    fields = b"".join(
        f"{kind}{value}\0".encode() for kind, value in zip("SVCM", ("FATAL", "FATAL", state, message), strict=True)
    )
    return b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0"
