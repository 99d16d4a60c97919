"""Redirections of the shell (POSIX.1 Shell Command Language, 2.7, and bash's `&>` and `<<<`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import process as processes
from crdbmesh_simulator.machines import shell_expand
from crdbmesh_simulator.machines.process import Bytes, Sink, UnsupportedError
from crdbmesh_simulator.machines.shell_syntax import Redirect

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.shell import Shell


def redirect(shell: Shell, redirects: tuple[Redirect, ...]) -> bool:
    """Point the shell's streams elsewhere. False when that failed, which has been said."""
    for each in redirects:
        target = shell_expand.text(shell, each.word)
        try:
            _redirect_one(shell, each, target)
        except OSError as error:
            shell.process.err(f"{shell.label()}{target}: {processes.os_error(error)}\n")
            shell.status = 1
            return False
    return True


def _redirect_one(shell: Shell, redirect: Redirect, target: str) -> None:
    process, operator = shell.process, redirect.operator
    if operator in ("<<", "<<-", "<<<"):
        process.stdin = Bytes(processes.encode(target + ("\n" if operator == "<<<" else "")))
    elif operator == "<":
        process.stdin = process.stdin if target == "/dev/stdin" else Bytes(process.read_file(target))
    elif operator == "<&":
        if target != "-":
            raise UnsupportedError(f"the redirection <&{target}")
        process.stdin = Bytes()
    elif operator in ("&>", "&>>") or (operator == ">&" and not re.fullmatch(r"\d+|-", target)):
        process.stdout = process.stderr = process.open_sink(target, append=operator == "&>>")
    elif operator == ">&":
        _point(shell, redirect.fd if redirect.fd is not None else 1, _stream(shell, target))
    elif operator in (">", ">>", ">|"):
        sink = process.open_sink(target, append=operator == ">>")
        _point(shell, redirect.fd if redirect.fd is not None else 1, sink)
    else:
        raise UnsupportedError(f"the redirection {operator}")


def _stream(shell: Shell, target: str) -> Sink:
    if target == "-":
        return Sink()
    if target in ("1", "2"):
        return shell.process.stdout if target == "1" else shell.process.stderr
    stream = shell.process.fds.get(int(target))
    if not isinstance(stream, Sink):
        raise UnsupportedError(f"the file descriptor {target}")
    return stream


def _point(shell: Shell, fd: int, sink: Sink) -> None:
    if fd == 1:
        shell.process.stdout = sink
    elif fd == 2:
        shell.process.stderr = sink
    else:
        shell.process.fds = {**shell.process.fds, fd: sink}
