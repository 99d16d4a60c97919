"""Attaches the operator's terminal or pipes to a shell or a command on an SSH channel (RFC 4254, section 6)."""

import os
import select
from typing import Any

import paramiko

from crdbmesh.clients.kube.exec import Ends
from crdbmesh.clients.ssh.exec import KILLED

_CHUNK = 32 * 1024
_TICK_S = 0.5


def attach(channel: paramiko.Channel, command: str | None, ends: Ends) -> int:
    """Run a command, or a shell, until it ends, and return its exit status; with a terminal if the ends have one."""
    size = ends.size() if ends.size else None
    if size:
        channel.get_pty(os.environ.get("TERM", "xterm"), *size)
    if command is None:
        channel.invoke_shell()
    else:
        channel.exec_command(command)
    reads = True
    while not (channel.exit_status_ready() and (channel.eof_received or channel.closed)):
        watched: list[Any] = [channel, ends.stdin] if reads else [channel]
        ready, _, _ = select.select(watched, [], [], _TICK_S)
        if ends.size and (now := ends.size()) != size:
            channel.resize_pty(*(size := now))
        if ends.stdin in ready:
            if data := os.read(ends.stdin, _CHUNK):
                channel.sendall(data)
            else:
                reads = False
                channel.shutdown_write()
        _drain(channel, ends)
    _drain(channel, ends)
    status = channel.recv_exit_status()
    return status if status >= 0 else KILLED


def _drain(channel: paramiko.Channel, ends: Ends) -> None:
    while channel.recv_ready():
        ends.write(channel.recv(_CHUNK))
    while channel.recv_stderr_ready():
        ends.complain(channel.recv_stderr(_CHUNK))
