"""WebSockets to one Kubernetes API server, whose binary messages start with the number of a channel.

What a stream carries is told by its users: `exec` and `forward`.
"""

import contextlib
import logging
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import tenacity
import websocket

from crdbmesh.clients.kube.connection import CONNECT_TIMEOUT_S, Connection
from crdbmesh.clients.kube.endpoint import Endpoint
from crdbmesh.clients.kube.failures import Answer, UntrustedError
from crdbmesh.clients.retrying import retrying
from crdbmesh.errors import KubeError

INPUT = 0
"""The channel of what the client sends; every protocol's first."""

Sinks = Mapping[int, Callable[[bytes], object]]
"""A function for each channel that takes what comes on it."""

_TRACE = logging.getLogger("crdbmesh.trace")
_TICK_S = 0.5
_CHUNK = 16 * 1024
_ATTEMPTS = 4
_PAUSE_S = 0.3
_DEAD_AFTER = [
    (socket.IPPROTO_TCP, getattr(socket, name), 45_000) for name in ("TCP_USER_TIMEOUT",) if hasattr(socket, name)
]
"""The milliseconds that bytes may stay unacknowledged before the kernel gives a stream up, where it can be told."""


def deadline(connection: Connection, timeout_s: float) -> float:
    """Return the end of a time on the connection's clock, as `time.monotonic` tells it."""
    return time.monotonic() + connection.clock.real_s(timeout_s)


@contextlib.contextmanager
def closing(stream: Any, doing: str) -> Iterator[None]:
    """Close a stream at the end of the block; a break of it is a KubeError."""
    try:
        yield
    except (websocket.WebSocketException, ConnectionError, ssl.SSLError, TimeoutError) as error:
        raise KubeError(f"{doing}: the stream broke: {error or type(error).__name__}").as_retryable() from None
    finally:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            stream.shutdown()


def receive(stream: Any, sinks: Sinks) -> bool:
    """Take one message in, if one comes within a moment; False when the server closed the stream."""
    stream.settimeout(_TICK_S)
    try:
        return _take(stream, sinks)
    except websocket.WebSocketTimeoutException:
        return True  # nothing, or part of a message: what has come is kept, and the rest taken next time


def relay(
    stream: Any, local: int | socket.socket, sinks: Sinks, *, ended: Callable[[], object], check: Callable[[], bool]
) -> None:
    """Carry what `local` reads to the stream, and what comes to the sinks, until the server closes the stream.

    `ended` is called once, at the end of what `local` reads; `check` after each event, and every moment without one:
    False ends the relay. One thread for both ways: TLS allows no second one. Nothing more is read while what was read
    cannot be sent.
    """
    stream.settimeout(None)
    unsent, reads = b"", True
    while check():
        readers = [stream.sock, *([local] if reads and not unsent else [])]
        writers = [stream.sock] if unsent else []
        ready, writable, _ = select.select(readers, writers, [], 0 if stream.sock.pending() else _TICK_S)
        if writable:
            stream.send_binary(bytes([INPUT]) + unsent)
            unsent = b""
        if local in ready:
            unsent = os.read(local, _CHUNK) if isinstance(local, int) else local.recv(_CHUNK)
            if not unsent:
                reads = False
                ended()
        if (stream.sock in ready or stream.sock.pending()) and not _take(stream, sinks):
            return


def _take(stream: Any, sinks: Sinks) -> bool:
    try:
        opcode, frame = stream.recv_data_frame(control_frame=True)
    except websocket.WebSocketConnectionClosedException:
        return False
    except OSError as error:
        # Also of the endpoint's own socket, which takes only so much; what the sinks raise is not the stream's.
        raise websocket.WebSocketException(str(error) or type(error).__name__) from None
    is_data = opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT)
    if is_data and frame.data[1:] and (sink := sinks.get(frame.data[0])):
        sink(frame.data[1:])
    return bool(opcode != websocket.ABNF.OPCODE_CLOSE)


class _NotYetError(KubeError):
    """The server cannot be reached right now; nothing has run."""


def open_stream(connection: Connection, url: str, protocols: list[str], deadline: float, doing: str) -> Any:
    """Open a stream. Nothing has run when this fails, so it is tried again while the server cannot be reached."""
    _TRACE.debug("%s", doing)

    def once() -> Any:
        timeout_s = max(0.1, min(CONNECT_TIMEOUT_S, deadline - time.monotonic()))
        try:
            return _handshake(connection.endpoint, url, protocols, timeout_s)
        except websocket.WebSocketBadStatusException as error:
            refusal = Answer(error.status_code, error.resp_headers or {}, error.resp_body or b"").error(doing)
            passes = error.status_code in (429, 503)
            failure = _NotYetError(str(refusal), status=refusal.status, reason=refusal.reason) if passes else refusal
        except ssl.SSLCertVerificationError as error:
            failure = UntrustedError(f"{doing}: the API server's certificate is not trusted: {error.verify_message}")
        except (websocket.WebSocketException, OSError) as error:
            passes = isinstance(error, ConnectionError | TimeoutError)
            kind = _NotYetError if passes else KubeError
            failure = kind(f"{doing}: no stream: {error or type(error).__name__}").as_retryable()
        raise failure

    again = retrying(
        when=tenacity.retry_if_exception_type(_NotYetError),
        attempts=_ATTEMPTS,
        pause_s=tenacity.wait_incrementing(_PAUSE_S, _PAUSE_S),
        stop=connection.stop,
        clock=connection.clock,
        budget_s=deadline - time.monotonic(),
    )
    return again(once)


def _handshake(endpoint: Endpoint, url: str, protocols: list[str], timeout_s: float) -> Any:
    proxy = urlsplit(endpoint.proxy or "http://none.invalid")
    host = endpoint.server_name or urlsplit(url).hostname
    stream: Any = websocket.WebSocket(
        sslopt={"context": endpoint.tls, "server_hostname": host}, sockopt=_DEAD_AFTER, skip_utf8_validation=True
    )
    stream.connect(
        urlsplit(url)._replace(scheme="wss").geturl(),
        subprotocols=protocols,
        suppress_origin=True,
        redirect_limit=0,
        timeout=timeout_s,
        # websocket-client reads the environment, by rules of its own, unless a proxy and its exceptions are given.
        http_proxy_host=proxy.hostname,
        http_proxy_port=proxy.port or 80,
        http_proxy_auth=endpoint.proxy_login(),
        http_no_proxy=["none.invalid"] if endpoint.proxy else ["*"],
    )
    return stream
