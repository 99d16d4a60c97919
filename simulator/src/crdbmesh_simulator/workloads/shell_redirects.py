"""Redirections of a shell in a container: files, here-documents, duplicated descriptors, bash's `/dev/tcp`."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines.process import UnsupportedError
from crdbmesh_simulator.workloads import shell_builtins, shell_words

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.shell_syntax import Redirect
    from crdbmesh_simulator.workloads.shell import Shell


def point(
    shell: Shell, redirects: tuple[Redirect, ...]
) -> Generator[float, None, list[tuple[str, bytearray, bool]] | None]:
    """Point the streams elsewhere; None when that fails. What is returned is written to files at the end."""
    pending: list[tuple[str, bytearray, bool]] = []
    for redirect in redirects:
        target = yield from shell_words.text(shell, redirect.word)
        operator = redirect.operator
        if operator in ("<<", "<<-", "<<<"):
            shell.process.stdin = (target + ("\n" if operator == "<<<" else "")).encode()
        elif operator in ("<", "<>"):
            if not (yield from _open_input(shell, target)):
                return None
        elif operator in (">&", "<&"):
            _duplicate(shell, redirect.fd, target)
        elif operator in ("&>", "&>>"):
            shell.process.out = shell.process.err = _sink(shell, target, pending, append=operator == "&>>")
        elif redirect.fd == 2:
            shell.process.err = _sink(shell, target, pending, append=operator == ">>")
        else:
            shell.process.out = _sink(shell, target, pending, append=operator == ">>")
    return pending


def _open_input(shell: Shell, target: str) -> Generator[float, None, bool]:
    if target.startswith(("/dev/tcp/", "/dev/udp/")):
        return (yield from shell_builtins.connect(shell, target))
    try:
        shell.process.stdin = shell.process.files.read(shell.process.path(target))
    except FileNotFoundError:
        shell.process.complain(f"{shell.name}: line 1: {target}: No such file or directory\n")
        return False
    except OSError as error:
        shell.process.complain(f"{shell.name}: line 1: {target}: {error.strerror or 'Permission denied'}\n")
        return False
    return True


def _duplicate(shell: Shell, fd: int | None, target: str) -> None:
    if target == "1":
        shell.process.err = shell.process.out
    elif target == "2":
        shell.process.out = shell.process.err
    elif target != "-" and fd is None:
        raise UnsupportedError(f"a redirection to descriptor {target}")


def _sink(shell: Shell, target: str, pending: list[tuple[str, bytearray, bool]], *, append: bool) -> bytearray:
    streams = {
        "/dev/stdout": shell.process.out,
        "/dev/stderr": shell.process.err,
        "/dev/null": bytearray(),
        "/proc/1/fd/1": shell.process.out,
        "/proc/1/fd/2": shell.process.err,
    }
    if target in streams:
        return streams[target]
    buffer = bytearray()
    pending.append((shell.process.path(target), buffer, append))
    return buffer


def restore(
    shell: Shell, streams: tuple[bytes, bytearray, bytearray], pending: list[tuple[str, bytearray, bool]]
) -> None:
    """Put the streams back, and write what went to files."""
    shell.process.stdin, shell.process.out, shell.process.err = streams
    for path, buffer, append in pending:
        old = shell.process.files.read(path) if append and shell.process.files.is_file(path) else b""
        try:
            shell.process.files.write(path, old + bytes(buffer))
        except OSError as error:
            shell.process.complain(f"{shell.name}: line 1: {path}: {error.strerror}\n")
            shell.status = 1
