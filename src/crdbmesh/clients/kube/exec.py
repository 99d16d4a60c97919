"""Runs a command in a pod: Kubernetes' remote command protocol over a WebSocket.

Each binary message starts with a channel byte: 0 standard input, 1 and 2 the outputs, 3 a Status object that says how
the command ended; in v5, 255 followed by a channel byte closes that channel (KEP-4006; apimachinery,
pkg/util/remotecommand/constants.go and pkg/util/httpstream/wsstream). Only v5 can end standard input, so only v5 is
offered when there is any. Why this is not `kubernetes.stream`: docs/decisions/0010.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import tenacity
import websocket

from crdbmesh.clients.kube.connection import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Connection
from crdbmesh.clients.kube.endpoint import Endpoint
from crdbmesh.clients.kube.failures import Answer, UntrustedError
from crdbmesh.clients.retrying import retrying
from crdbmesh.errors import KubeError, StoppedError, WaitError

_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_CHUNK = 8 * 1024
"""Small enough that a socket that takes anything takes all of it."""
_TICK_S = 1.0
_CLOSING_S = 5.0
"""The time the server may take to close after it sent the command's status."""
_LEAVING_S = 3.0
"""The time that a command may still run after the operator interrupted."""
_ATTEMPTS = 4
_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The result of a command in a pod. Its output may be secret, so it is not shown."""

    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    status: int


def execute(
    connection: Connection,
    path: str,
    argv: list[str],
    *,
    container: str | None,
    stdin: bytes,
    timeout_s: float,
    doing: str,
) -> ExecResult:
    """Run `argv` through the `exec` subresource at `path`; see `Kube.exec`, which raises the same.

    `timeout_s` is for all of it, on the connection's clock; `doing` names it in messages.
    """
    deadline = time.monotonic() + connection.clock.real_s(timeout_s)
    query: dict[str, Any] = {"command": argv, "stdout": "true", "stderr": "true"}
    if stdin:
        query["stdin"] = "true"
    if container:
        query["container"] = container
    url = f"{connection.endpoint.server}{path}?{urlencode(query, doseq=True)}"
    stream = _open(connection, url, [_V5] if stdin else [_V5, _V4], deadline, doing)
    try:
        return _Session(stream, stdin, doing, connection.stop).run(deadline, timeout_s)
    except (websocket.WebSocketException, OSError) as error:
        raise KubeError(f"{doing}: the stream broke: {error or type(error).__name__}").as_retryable() from None
    finally:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            stream.shutdown()


class _NotYetError(KubeError):
    """The server cannot be reached right now; nothing has run."""


def _open(connection: Connection, url: str, protocols: list[str], deadline: float, doing: str) -> Any:
    """Open the stream. Nothing has run when this fails, so it is tried again while the server cannot be reached."""

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
        sslopt={"context": endpoint.tls, "server_hostname": host}, skip_utf8_validation=True
    )
    stream.connect(
        urlsplit(url)._replace(scheme="wss").geturl(),
        header=[f"Authorization: Bearer {endpoint.token}"] if endpoint.token else [],
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


class _Session:
    """One command, from its start to its status."""

    def __init__(self, stream: Any, stdin: bytes, doing: str, stop: threading.Event) -> None:
        self._stream = stream
        self._unsent = memoryview(stdin)
        self._stdin_open = bool(stdin)
        self._doing = doing
        self._stop = stop
        self._received = {channel: bytearray() for channel in (_STDOUT, _STDERR, _ERROR)}

    def run(self, deadline: float, timeout_s: float) -> ExecResult:
        """Move all streams in turn, so that neither side waits for the other to read."""
        ended_at: float | None = None
        stopped_at: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._stream.sock, selectors.EVENT_READ)
            while True:
                now = time.monotonic()
                if ended_at is not None:
                    if now > ended_at + _CLOSING_S:
                        break
                elif now > deadline:
                    raise WaitError(f"{self._doing} to end", seconds=timeout_s, last_seen=self._last_seen())
                elif self._stop.is_set():
                    stopped_at = stopped_at or now
                    if now > stopped_at + _LEAVING_S:
                        raise StoppedError(f"{self._doing} to end", last_seen=self._last_seen())
                readable, writable = self._poll(selector, min(_TICK_S, max(deadline - now, 0.0)))
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

    def _poll(self, selector: selectors.BaseSelector, timeout_s: float) -> tuple[bool, bool]:
        if self._stream.sock.pending():
            return True, False
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._stdin_open else 0)
        selector.modify(self._stream.sock, wanted)
        events = sum(event for _, event in selector.select(timeout_s))
        return bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE)

    def _receive(self) -> bool:
        """Take one message in; False when the server closed the stream."""
        self._stream.settimeout(_TICK_S)
        try:
            opcode, frame = self._stream.recv_data_frame(control_frame=True)
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
        self._stream.settimeout(READ_TIMEOUT_S)
        if self._unsent:
            self._stream.send_binary(bytes([_STDIN]) + self._unsent[:_CHUNK])
            self._unsent = self._unsent[_CHUNK:]
        else:
            self._stream.send_binary(bytes([_CLOSE, _STDIN]))
            self._stdin_open = False

    def _last_seen(self) -> str:
        seen = self._received[_STDERR] or self._received[_STDOUT]
        return seen.decode(errors="replace")[-200:].strip() or "no output"

    def _status(self) -> int:
        try:
            status = json.loads(bytes(self._received[_ERROR]))
        except ValueError:
            raise KubeError(
                f"{self._doing}: the stream broke before the command's status came"
            ).as_retryable() from None
        if status.get("status") == "Success":
            return 0
        for cause in (status.get("details") or {}).get("causes") or []:
            if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
                return int(cause["message"])
        raise KubeError(
            f"{self._doing}: {status.get('message') or 'failed'}",
            status=status.get("code"),
            reason=str(status.get("reason") or ""),
        )
