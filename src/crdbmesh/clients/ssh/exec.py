"""Runs one command on an SSH channel: standard input in, both outputs and the exit status out.

One thread moves all three streams, so that neither a full pipe nor a long input can block the other side
(RFC 4254, sections 5.2 and 6.5 to 6.10).
"""

import contextlib
import logging
import selectors
import threading
import time

import paramiko

from crdbmesh.clients.clock import Clock
from crdbmesh.clients.output import Output, TooMuchError
from crdbmesh.errors import CommandError, HostError, StoppedError, WaitError

_TRACE = logging.getLogger("crdbmesh.trace")
KILLED = 255
"""Exit status given for a command that a signal ended; the same as OpenSSH's client gives."""

_CHUNK = 32 * 1024
_PAUSE_S = 0.05
_START_S = 15.0
_SETTLE_S = 0.3
"""The time for a transport to end itself after its channel closed: it closes its channels first."""
_GRACE_S = 1.5
"""The time that outputs may stay open in silence after the exit status: a process left running may hold them."""
_LEAVING_S = 3.0
"""The time that a command may still run after the operator interrupted."""


def execute(
    channel: paramiko.Channel,
    command: str,
    output: Output,
    *,
    stdin: bytes,
    timeout_s: float,
    stop: threading.Event,
    clock: Clock,
    host: str,
    shown: str,
) -> int:
    """Run `command` and give its exit status; what it prints is added to `output` as it comes.

    `shown` stands for it in messages, and `host` for the machine.

    Raises:
        WaitError: it did not end within `timeout_s`; its channel is closed.
        StoppedError: `stop` was set, and it did not end soon after; it is left to itself.
        CommandError: the connection ended before its exit status came, so nobody knows how far it got.
        HostError: the server refused to run commands; nothing ran. Or it printed too much, and was ended.
    """
    deadline = time.monotonic() + clock.real_s(timeout_s)
    try:
        begin(channel, command, host=host, shown=shown, deadline=deadline)
        status = _follow(channel, output, stdin, deadline, stop)
    except TooMuchError as error:
        channel.get_transport().close()
        raise HostError(f"{host}: `{shown}` was ended: {error}") from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        status = None
        if time.monotonic() < deadline:
            raise CommandError(shown, host=host, status=None, tail=output.tail()) from error
    finally:
        close(channel)
    if status is not None:
        return status
    awaited, seen = f"`{shown}` on {host} to end", output.tail() or "no output"
    if time.monotonic() <= deadline:
        raise StoppedError(awaited, last_seen=seen)
    raise WaitError(awaited, seconds=timeout_s, last_seen=seen)


def begin(channel: paramiko.Channel, command: str, *, host: str, shown: str, deadline: float | None = None) -> None:
    """Start a command, by a deadline of the monotonic clock or within seconds; raises as `execute` does."""
    _TRACE.debug("%s: `%s`", host, shown)
    if not _start(channel, command, deadline or time.monotonic() + _START_S):
        raise HostError(f"{host} refused to run `{shown}`")


def close(channel: paramiko.Channel) -> None:
    """Close a channel, on a connection that may be gone."""
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        channel.close()


def _start(channel: paramiko.Channel, command: str, deadline: float) -> bool:
    """Begin the command; False when the server refuses to."""
    # paramiko waits for the answer to a channel request without any limit of its own.
    timer = threading.Timer(deadline - time.monotonic(), close, [channel])
    timer.daemon = True
    timer.start()
    try:
        channel.exec_command(command)
    except (paramiko.SSHException, EOFError, OSError):
        if time.monotonic() < deadline and _connected(channel):
            return False
        raise
    finally:
        timer.cancel()
    return True


def _follow(
    channel: paramiko.Channel, output: Output, stdin: bytes, deadline: float, stop: threading.Event
) -> int | None:
    """Return the exit status, or None when the command is given up: at the deadline, or soon after `stop` is set."""
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
                return None
            if stop.is_set():
                stopped_at = stopped_at or now
                if now - stopped_at > _LEAVING_S:
                    return None
            if channel.eof_received:
                # The descriptor is readable for ever now; only the exit status is still to come.
                channel.status_event.wait(min(_PAUSE_S, deadline - now))
            else:
                selector.select(min(_PAUSE_S if feeding or ended_at else 1.0, max(deadline - now, 0)))


def _drain(channel: paramiko.Channel, output: Output) -> bool:
    moved = False
    while channel.recv_ready():
        output.stdout += channel.recv(_CHUNK)
        output.check()
        moved = True
    while channel.recv_stderr_ready():
        output.stderr += channel.recv_stderr(_CHUNK)
        output.check()
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
        raise EOFError
    return status if status >= 0 else KILLED


def _connected(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    transport.join(_SETTLE_S)
    return transport.is_active()
