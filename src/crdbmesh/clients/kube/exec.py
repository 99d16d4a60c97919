"""Running a command in a pod: Kubernetes' remote command protocol over a WebSocket.

Each binary message starts with a channel byte: 0 standard input, 1 and 2 the outputs, 3 a Status object that says how
the command ended; in v5, 255 followed by a channel byte closes that channel (KEP-4006; apimachinery,
pkg/util/remotecommand/constants.go and pkg/util/httpstream/wsstream). Only v5 can end standard input, so only v5 is
offered when there is any.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import websocket

from crdbmesh.clients.clock import Clock
from crdbmesh.clients.kube import http as kube_http
from crdbmesh.errors import KubeError, WaitError

_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_CHUNK = 8 * 1024
"""Small enough that a socket that takes anything takes all of it."""
_TICK_S = 1.0
_CLOSING_S = 5.0
"""How long the server may take to close after it said how the command ended."""
_ATTEMPTS = 4
_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in a pod ended. What it printed may be secret, so it is not shown."""

    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    status: int


def execute(
    access: kube_http.Access,
    path: str,
    argv: list[str],
    *,
    container: str | None,
    stdin: bytes,
    timeout_s: float,
    clock: Clock,
    doing: str,
) -> ExecResult:
    """Run `argv` through the `exec` subresource at `path`.

    Args:
        access: the API server.
        path: of the subresource.
        argv: the command; it shows in audit logs, so no secrets in it.
        container: which of the pod's.
        stdin: what the command reads.
        timeout_s: for all of it, on `clock`.
        clock: the cloud's.
        doing: what this is, for messages.

    Raises:
        KubeError: it could not be started, or the stream broke before it was known how the command ended.
        WaitError: it did not end in time.
    """
    deadline = time.monotonic() + clock.real_s(timeout_s)
    query: dict[str, Any] = {"command": argv, "stdout": "true", "stderr": "true"}
    if stdin:
        query["stdin"] = "true"
    if container:
        query["container"] = container
    url = f"{access.server}{path}?{urlencode(query, doseq=True)}"
    connection = _connect(access, url, [_V5] if stdin else [_V5, _V4], deadline, clock, doing)
    try:
        return _Session(connection, stdin, doing).run(deadline, timeout_s)
    except (websocket.WebSocketException, OSError) as error:
        raise KubeError(f"{doing}: the stream broke: {error or type(error).__name__}").as_retryable() from None
    finally:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            connection.shutdown()


def _connect(
    access: kube_http.Access, url: str, protocols: list[str], deadline: float, clock: Clock, doing: str
) -> Any:
    """Open the stream. Nothing has run when this fails, so it is tried again while the server cannot be reached."""
    for attempt in range(1, _ATTEMPTS + 1):
        last = attempt == _ATTEMPTS or time.monotonic() + _PAUSE_S > deadline
        timeout_s = max(0.1, min(kube_http.CONNECT_TIMEOUT_S, deadline - time.monotonic()))
        try:
            return _handshake(access, url, protocols, timeout_s)
        except websocket.WebSocketBadStatusException as error:
            if last or error.status_code not in (429, 503):
                raise _refusal(error, doing) from None
        except ssl.SSLCertVerificationError as error:
            raise KubeError(f"{doing}: the API server's certificate is not trusted: {error.verify_message}") from None
        except (websocket.WebSocketException, http.client.HTTPException, OSError) as error:
            if last or not isinstance(error, ConnectionError | TimeoutError):
                raise KubeError(f"{doing}: no stream: {error or type(error).__name__}").as_retryable() from None
        clock.sleep(_PAUSE_S * attempt)
    raise AssertionError("the loop ends by returning or raising")


def _handshake(access: kube_http.Access, url: str, protocols: list[str], timeout_s: float) -> Any:
    parts = urlsplit(url)
    stream = _dial(access, timeout_s)
    try:
        connection: Any = websocket.WebSocket(skip_utf8_validation=True)
        connection.connect(
            parts._replace(scheme="wss").geturl(),
            header=[f"{name}: {value}" for name, value in access.headers.items()],
            subprotocols=protocols,
            suppress_origin=True,
            redirect_limit=0,
            socket=stream,
        )
    except BaseException:
        stream.close()
        raise
    return connection


def _dial(access: kube_http.Access, timeout_s: float) -> ssl.SSLSocket:
    """A TLS connection, through the proxy if there is one: websocket-client has rules of its own for proxies."""
    target = urlsplit(access.server)
    assert target.hostname is not None
    port = target.port or 443
    if access.proxy:
        proxy = urlsplit(access.proxy)
        plain = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout_s)
        plain.set_tunnel(target.hostname, port, headers=_proxy_headers(proxy.username, proxy.password))
    else:
        plain = http.client.HTTPConnection(target.hostname, port, timeout=timeout_s)
    plain.connect()
    stream: socket.socket = plain.sock
    try:
        return access.tls.wrap_socket(stream, server_hostname=access.server_name or target.hostname)
    except BaseException:
        stream.close()
        raise


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    basic = base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {basic}"}


class _Session:
    def __init__(self, connection: Any, stdin: bytes, doing: str) -> None:
        self._connection = connection
        self._unsent = memoryview(stdin)
        self._stdin_open = bool(stdin)
        self._doing = doing
        self._received = {channel: bytearray() for channel in (_STDOUT, _STDERR, _ERROR)}

    def run(self, deadline: float, timeout_s: float) -> ExecResult:
        """Move all streams in turn, so that neither side waits for the other to read."""
        ended_at: float | None = None
        while True:
            now = time.monotonic()
            if ended_at is not None and now > ended_at + _CLOSING_S:
                break
            if now > deadline and ended_at is None:
                seen = self._received[_STDERR] or self._received[_STDOUT]
                last_seen = seen.decode(errors="replace")[-200:].strip() or "no output"
                raise WaitError(f"{self._doing} to end", seconds=timeout_s, last_seen=last_seen)
            readable, writable = self._poll(min(_TICK_S, max(deadline - now, 0.0)))
            if readable:
                if not self._receive():
                    break
                if self._received[_ERROR] and ended_at is None:
                    ended_at = time.monotonic()
                    self._stdin_open = False
            elif writable:
                self._feed()
        return ExecResult(
            self._received[_STDOUT].decode(errors="replace"),
            self._received[_STDERR].decode(errors="replace"),
            self._status(),
        )

    def _poll(self, timeout_s: float) -> tuple[bool, bool]:
        plain: socket.socket = self._connection.sock
        if isinstance(plain, ssl.SSLSocket) and plain.pending():
            return True, False
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(plain, select.POLLIN | (select.POLLOUT if self._stdin_open else 0))
            events = sum(event for _, event in poll.poll(timeout_s * 1000))
            return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)
        read, write, _ = select.select([plain], [plain] if self._stdin_open else [], [], timeout_s)
        return bool(read), bool(write)

    def _receive(self) -> bool:
        """Take one message in; False when the server closed the stream."""
        self._connection.settimeout(_TICK_S)
        try:
            opcode, frame = self._connection.recv_data_frame(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return True  # part of a message: what has come is kept, and the rest taken next time
        except websocket.WebSocketConnectionClosedException:
            return False
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return False
        if opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data:
            channel = frame.data[0]
            if channel in self._received:
                self._received[channel] += frame.data[1:]
        return True

    def _feed(self) -> None:
        self._connection.settimeout(kube_http.READ_TIMEOUT_S)
        if self._unsent:
            self._connection.send_binary(bytes([_STDIN]) + self._unsent[:_CHUNK])
            self._unsent = self._unsent[_CHUNK:]
        else:
            self._connection.send_binary(bytes([_CLOSE, _STDIN]))
            self._stdin_open = False

    def _status(self) -> int:
        try:
            status = json.loads(bytes(self._received[_ERROR]))
        except ValueError:
            reason = "the stream broke before the command's status came"
            raise KubeError(f"{self._doing}: {reason}").as_retryable() from None
        if status.get("status") == "Success":
            return 0
        causes = (status.get("details") or {}).get("causes") or []
        for cause in causes:
            if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
                return int(cause["message"])
        raise KubeError(
            f"{self._doing}: {status.get('message') or 'failed'}",
            status=status.get("code"),
            reason=str(status.get("reason") or ""),
        )


def _refusal(error: websocket.WebSocketBadStatusException, doing: str) -> KubeError:
    body = error.resp_body or b""
    with contextlib.suppress(ValueError):
        status = json.loads(body)
        if isinstance(status, dict) and status.get("kind") == "Status":
            return KubeError(
                f"{doing}: {status.get('message') or status.get('reason')}",
                status=error.status_code,
                reason=str(status.get("reason") or ""),
            )
    return KubeError(f"{doing}: HTTP {error.status_code}", status=error.status_code)
