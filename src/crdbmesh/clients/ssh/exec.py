"""Runs one command on an SSH channel: standard input in, both outputs and the exit status out.

One thread moves all three streams, so that neither a full pipe nor a long input can block the other side
(RFC 4254, sections 5.2 and 6.5 to 6.10).
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time

import paramiko

from crdbmesh.clients.output import Output

KILLED = 255
"""Exit status given for a command that a signal ended; the same as OpenSSH's client gives."""

_CHUNK = 32 * 1024
_PAUSE_S = 0.05
_SETTLE_S = 0.3
"""The time for a transport to end itself after its channel closed: it closes its channels first."""
_GRACE_S = 1.5
"""The time that outputs may stay open in silence after the exit status: a process left running may hold them."""
_LEAVING_S = 3.0
"""The time that a command may still run after the operator interrupted."""


class TimedOutError(Exception):
    """The command did not end in time; its channel is closed."""


class LeftError(Exception):
    """The operator interrupted; the command is left to itself."""


class LostError(Exception):
    """The connection ended before the command's exit status came: nobody knows how far it got."""


class NotStartedError(Exception):
    """The server refused to run commands; nothing ran."""


def execute(
    channel: paramiko.Channel, command: str, output: Output, *, stdin: bytes, timeout_s: float, stop: threading.Event
) -> int:
    """Run `command` and give its exit status; what it prints is added to `output` as it comes.

    Raises:
        TimedOutError: it did not end within `timeout_s`.
        LeftError: `stop` was set, and it did not end soon after.
        LostError: the connection broke.
        NotStartedError: the server does not run commands.
    """
    deadline = time.monotonic() + timeout_s
    try:
        _start(channel, command, deadline)
        return _follow(channel, output, stdin, deadline, stop)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise LostError from error
    finally:
        close(channel)


def close(channel: paramiko.Channel) -> None:
    """Close a channel, on a connection that may be gone."""
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        channel.close()


def _start(channel: paramiko.Channel, command: str, deadline: float) -> None:
    # paramiko waits for the answer to a channel request without any limit of its own.
    timer = threading.Timer(deadline - time.monotonic(), close, [channel])
    timer.daemon = True
    timer.start()
    try:
        channel.exec_command(command)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if time.monotonic() >= deadline:
            raise TimedOutError from error
        if _connected(channel):
            raise NotStartedError from error
        raise LostError from error
    finally:
        timer.cancel()


def _follow(channel: paramiko.Channel, output: Output, stdin: bytes, deadline: float, stop: threading.Event) -> int:
    unsent = memoryview(stdin)
    feeding = True
    ended_at: float | None = None
    stopped_at: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        while True:
            if _drain(channel, output):
                ended_at = None
            if feeding:
                unsent, feeding = _feed(channel, unsent)
            now = time.monotonic()
            if channel.exit_status_ready():
                if _finished(channel):
                    return _status(channel, output)
                ended_at = ended_at or now
                if now - ended_at > _GRACE_S:
                    return _status(channel, output)
            if now > deadline:
                raise TimedOutError
            if stop.is_set():
                stopped_at = stopped_at or now
                if now - stopped_at > _LEAVING_S:
                    raise LeftError
            if channel.eof_received:
                # The descriptor is readable for ever now; only the exit status is still to come.
                channel.status_event.wait(min(_PAUSE_S, deadline - now))
            else:
                selector.select(min(_PAUSE_S if feeding or ended_at else 1.0, max(deadline - now, 0)))


def _drain(channel: paramiko.Channel, output: Output) -> bool:
    moved = False
    while channel.recv_ready():
        output.stdout += channel.recv(_CHUNK)
        moved = True
    while channel.recv_stderr_ready():
        output.stderr += channel.recv_stderr(_CHUNK)
        moved = True
    return moved


def _feed(channel: paramiko.Channel, unsent: memoryview) -> tuple[memoryview, bool]:
    """Send what the window allows; afterwards (what is left, whether to come back)."""
    try:
        while unsent and channel.send_ready():
            unsent = unsent[channel.send(bytes(unsent[:_CHUNK])) :]
        if unsent:
            return unsent, not channel.closed
        channel.shutdown_write()
    except (OSError, EOFError, paramiko.SSHException):
        pass  # the command ended without reading all of it, or the connection broke: its status will tell
    return unsent, False


def _finished(channel: paramiko.Channel) -> bool:
    ended = bool(channel.eof_received or channel.closed)
    return ended and not channel.recv_ready() and not channel.recv_stderr_ready()


def _status(channel: paramiko.Channel, output: Output) -> int:
    _drain(channel, output)
    status = channel.recv_exit_status()
    if status >= 0 and channel.eof_received:
        return status
    if not _connected(channel):
        raise LostError
    return status if status >= 0 else KILLED


def _connected(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    transport.join(_SETTLE_S)
    return transport.is_active()
