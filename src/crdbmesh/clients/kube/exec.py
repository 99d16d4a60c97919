"""Runs a command in a pod: Kubernetes' remote command protocol over a WebSocket.

Channels 1 and 2 are the outputs, 3 is a Status object that says how the command ended (KEP-4006; apimachinery,
pkg/util/remotecommand/constants.go and pkg/util/httpstream/wsstream), 0 is the input and 4 the size of the terminal.
Only v5 can end an input, by a message on 255; v4 serves commands without one. Why this is not `kubernetes.stream`:
docs/decisions/0010.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from crdbmesh.clients.kube import stream as streams
from crdbmesh.clients.kube.connection import CONNECT_TIMEOUT_S, Connection
from crdbmesh.clients.output import CommandResult, Output
from crdbmesh.errors import KubeError, StoppedError, WaitError
from crdbmesh.spec import documents

_STDOUT, _STDERR, _ERROR, _RESIZE = 1, 2, 3, 4
_END_OF_INPUT = bytes([255, streams.INPUT])
_V5 = "v5.channel.k8s.io"
_CLOSING_S = 5.0
"""The time the server may take to close after it sent the command's status."""
_LEAVING_S = 3.0
"""The time that a command may still run after the operator interrupted."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The operator's side of a command.

    Attributes:
        stdin: the file descriptor that its input is read from.
        write, complain: take its output and error output as they come.
        size: returns the terminal's columns and lines; None when the command gets no terminal.
    """

    stdin: int
    write: Callable[[bytes], object]
    complain: Callable[[bytes], object]
    size: Callable[[], tuple[int, int]] | None = None


def execute(
    connection: Connection,
    path: str,
    argv: list[str],
    *,
    container: str | None,
    timeout_s: float,
    doing: str,
    stdin: bytes | None = None,
) -> CommandResult:
    """Run `argv` through the `exec` subresource at `path`; see `Kube.exec`, which raises the same.

    `timeout_s` is for all of it, on the connection's clock; `doing` names it in messages.
    """
    deadline = streams.deadline(connection, timeout_s)
    url, protocols = _asked(connection, path, argv, container, stdin=stdin is not None, terminal=False)
    stream = streams.open_stream(connection, url, protocols, deadline, doing)
    output, status = Output(), bytearray()
    sinks = {_STDOUT: output.stdout.extend, _STDERR: output.stderr.extend, _ERROR: status.extend}
    closes = leaves = math.inf
    with streams.closing(stream, doing):
        if stdin is not None:
            stream.send_binary(bytes([streams.INPUT]) + stdin)
            stream.send_binary(_END_OF_INPUT)
        while time.monotonic() < closes and streams.receive(stream, sinks):
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


def attach(connection: Connection, path: str, argv: list[str], *, container: str | None, doing: str, ends: Ends) -> int:
    """Run `argv` through the `exec` subresource at `path`, attached; see `Kube.attach`, which raises the same."""
    url, protocols = _asked(connection, path, argv, container, stdin=True, terminal=ends.size is not None)
    deadline = streams.deadline(connection, CONNECT_TIMEOUT_S)
    stream = streams.open_stream(connection, url, protocols, deadline, doing)
    status, shown = bytearray(), None

    def check() -> bool:
        nonlocal shown
        if ends.size is not None and (size := ends.size()) != shown:
            document = {"Width": size[0], "Height": size[1]}
            stream.send_binary(bytes([_RESIZE]) + json.dumps(document).encode())
            shown = size
        return not status

    sinks = {_STDOUT: ends.write, _STDERR: ends.complain, _ERROR: status.extend}
    with streams.closing(stream, doing):
        streams.relay(stream, ends.stdin, sinks, ended=lambda: stream.send_binary(_END_OF_INPUT), check=check)
        return _exit_status(bytes(status), doing)


def _asked(
    connection: Connection, path: str, argv: list[str], container: str | None, *, stdin: bool, terminal: bool
) -> tuple[str, list[str]]:
    """Return the URL and the protocols; a terminal has one output, and the API server refuses a second one."""
    query: dict[str, Any] = {"command": argv, "stdout": "true"}
    query |= {"tty": "true"} if terminal else {"stderr": "true"}
    query |= {"stdin": "true"} if stdin else {}
    query |= {"container": container} if container else {}
    url = f"{connection.endpoint.server}{path}?{urlencode(query, doseq=True)}"
    return url, [_V5] if stdin else [_V5, "v4.channel.k8s.io"]


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
