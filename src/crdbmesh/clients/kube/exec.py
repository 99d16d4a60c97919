"""Runs a command in a pod: Kubernetes' remote command protocol over a WebSocket.

Each binary message starts with a channel byte: 1 and 2 for the outputs, 3 for a Status object that says how the command
ended (KEP-4006; apimachinery, pkg/util/remotecommand/constants.go and pkg/util/httpstream/wsstream). Commands get no
standard input, so v4 serves as well as v5. Why this is not `kubernetes.stream`: docs/decisions/0010.
"""

from __future__ import annotations

import contextlib
import logging
import math
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import tenacity
import websocket

from crdbmesh.clients.kube.connection import CONNECT_TIMEOUT_S, Connection
from crdbmesh.clients.kube.endpoint import Endpoint
from crdbmesh.clients.kube.failures import Answer, UntrustedError
from crdbmesh.clients.output import CommandResult, Output
from crdbmesh.clients.retrying import retrying
from crdbmesh.errors import KubeError, StoppedError, WaitError
from crdbmesh.spec import documents

_TRACE = logging.getLogger("crdbmesh.trace")
_STDOUT, _STDERR, _ERROR = 1, 2, 3
_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
_TICK_S = 0.5
_CLOSING_S = 5.0
"""The time the server may take to close after it sent the command's status."""
_LEAVING_S = 3.0
"""The time that a command may still run after the operator interrupted."""
_ATTEMPTS = 4
_PAUSE_S = 0.3


def execute(
    connection: Connection, path: str, argv: list[str], *, container: str | None, timeout_s: float, doing: str
) -> CommandResult:
    """Run `argv` through the `exec` subresource at `path`; see `Kube.exec`, which raises the same.

    `timeout_s` is for all of it, on the connection's clock; `doing` names it in messages.
    """
    deadline = time.monotonic() + connection.clock.real_s(timeout_s)
    query: dict[str, Any] = {"command": argv, "stdout": "true", "stderr": "true"}
    if container:
        query["container"] = container
    url = f"{connection.endpoint.server}{path}?{urlencode(query, doseq=True)}"
    _TRACE.debug("%s", doing)
    stream = _open(connection, url, deadline, doing)
    output, status = Output(), bytearray()
    channels = {_STDOUT: output.stdout, _STDERR: output.stderr, _ERROR: status}
    closes = leaves = math.inf
    try:
        while time.monotonic() < closes and _receive(stream, channels):
            now = time.monotonic()
            if status:
                closes = min(closes, now + _CLOSING_S)
            elif now > deadline:
                raise WaitError(f"{doing} to end", seconds=timeout_s, last_seen=output.tail() or "no output")
            elif connection.stop.is_set():
                leaves = min(leaves, now + _LEAVING_S)
                if now > leaves:
                    raise StoppedError(f"{doing} to end", last_seen=output.tail() or "no output")
        return output.result(_exit_status(bytes(status), doing))
    except (websocket.WebSocketException, OSError) as error:
        raise KubeError(f"{doing}: the stream broke: {error or type(error).__name__}").as_retryable() from None
    finally:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            stream.shutdown()


class _NotYetError(KubeError):
    """The server cannot be reached right now; nothing has run."""


def _open(connection: Connection, url: str, deadline: float, doing: str) -> Any:
    """Open the stream. Nothing has run when this fails, so it is tried again while the server cannot be reached."""

    def once() -> Any:
        timeout_s = max(0.1, min(CONNECT_TIMEOUT_S, deadline - time.monotonic()))
        try:
            return _handshake(connection.endpoint, url, timeout_s)
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


def _handshake(endpoint: Endpoint, url: str, timeout_s: float) -> Any:
    proxy = urlsplit(endpoint.proxy or "http://none.invalid")
    host = endpoint.server_name or urlsplit(url).hostname
    stream: Any = websocket.WebSocket(
        sslopt={"context": endpoint.tls, "server_hostname": host}, skip_utf8_validation=True
    )
    stream.connect(
        urlsplit(url)._replace(scheme="wss").geturl(),
        subprotocols=_PROTOCOLS,
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


def _receive(stream: Any, channels: Mapping[int, bytearray]) -> bool:
    """Take one message in, if one comes within a moment; False when the server closed the stream."""
    stream.settimeout(_TICK_S)
    try:
        opcode, frame = stream.recv_data_frame(control_frame=True)
    except websocket.WebSocketTimeoutException:
        return True  # nothing, or part of a message: what has come is kept, and the rest taken next time
    except websocket.WebSocketConnectionClosedException:
        return False
    if opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data[:1]:
        channels.get(frame.data[0], bytearray()).extend(frame.data[1:])
    return bool(opcode != websocket.ABNF.OPCODE_CLOSE)


def _exit_status(text: bytes, doing: str) -> int:
    """Return the exit status in a Status object; a KubeError when the command did not start, or nobody knows."""
    try:
        status = documents.read_json(text)
    except documents.DocumentError:
        raise KubeError(f"{doing}: the stream broke before the command's status came").as_retryable() from None
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).isdigit():
            return int(cause["message"])
    reason = str(status.get("reason") or "")
    raise KubeError(f"{doing}: {status.get('message') or 'failed'}", status=status.get("code"), reason=reason)
