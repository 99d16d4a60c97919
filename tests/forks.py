"""`subprocess` for `python -m crdbmesh …`: each command is a fork of one process that has imported everything already.

It is a process of its own all the same, with its own environment, streams, session and, where its input is a terminal,
controlling terminal. Only the second or two are saved in which Python imports the SDKs.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, AnyStr, NoReturn

_SDKS = ("compute", "network", "resource.resources", "resource.subscriptions")
_NUMBER = struct.Struct("i")
_asking = threading.Lock()


class Popen(subprocess.Popen[AnyStr]):
    """A command line of the form `[sys.executable, "-m", module, …]`, begun in a session of its own."""

    _keeper: socket.socket

    def _execute_child(self, args: Sequence[str], *more: Any) -> None:
        """Begin, as `subprocess.Popen` asks for it; its other parameters are those of CPython 3.11 to 3.14."""
        _, _, _, _, cwd, env, _, _, _, stdin, _, _, stdout, _, stderr, *_ = more
        assert [*args[:2]] == [sys.executable, "-m"], args
        order = {"argv": [str(one) for one in args[2:]], "cwd": str(cwd or Path.cwd()), "env": {**(env or os.environ)}}
        self._keeper, theirs = socket.socketpair()
        streams: list[int] = [own if given == -1 else given for own, given in enumerate((stdin, stdout, stderr))]
        with theirs, _asking:
            socket.send_fds(_server(), [b"?"], [*streams, theirs.fileno()])
        self._keeper.sendall(json.dumps(order).encode() + b"\n")
        (self.pid,) = _NUMBER.unpack(self._keeper.recv(_NUMBER.size))
        self._child_created = True
        getattr(self, "_close_pipe_fds")(*more[9:15])  # noqa: B009 - of the base class, not known to mypy

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags and not _is_readable(self._keeper):
            return 0, 0
        with self._keeper:
            return self.pid, *_NUMBER.unpack(self._keeper.recv(_NUMBER.size))

    def _internal_poll(self, _deadstate: int | None = None) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for its end; a test that has failed waits for nothing."""
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


def _is_readable(stream: socket.socket) -> bool:
    """Tell whether something can be read, also of a stream whose number is beyond what select(2) takes."""
    asked = select.poll()
    asked.register(stream, select.POLLIN)
    return bool(asked.poll(0))


def run(
    command: Sequence[str], *, env: dict[str, str], timeout: float, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `given` is its input."""
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    with Popen(command, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            stdout, stderr = process.communicate(given, timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@functools.cache
def _server() -> socket.socket:
    """The way to the process that is forked, which ends with this one."""
    ours, theirs = socket.socketpair()
    program = f"import socket; from tests.forks import serve; serve(socket.socket(fileno={theirs.fileno()}))"
    with theirs:
        command = [sys.executable, "-c", program]
        server = subprocess.Popen(
            command, cwd=Path(__file__).parents[1], pass_fds=[theirs.fileno()], start_new_session=True
        )
    server.returncode = 0  # Nobody waits for it: it is not missed.
    atexit.register(ours.close)
    return ours


def serve(orders: socket.socket) -> None:
    """Fork for each order until there are none."""
    for name in ("crdbmesh", "crdbmesh_simulator"):
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in ("azure.identity", *(f"azure.mgmt.{sdk}" for sdk in _SDKS)):
        importlib.import_module(name)
    gc.freeze()
    while descriptors := socket.recv_fds(orders, 1, 4)[1]:
        if os.fork() == 0:
            orders.close()
            _keep(socket.socket(fileno=descriptors.pop()), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _keep(client: socket.socket, streams: list[int]) -> NoReturn:
    """Be, or wait for, the command, and tell its end."""
    with client.makefile() as lines:
        order = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        client.close()
        _become(order, streams)
    for descriptor in (*streams, 0, 1, 2):
        os.close(descriptor)
    with contextlib.suppress(OSError):
        client.sendall(_NUMBER.pack(pid))
        client.sendall(_NUMBER.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(order: dict[str, Any], streams: list[int]) -> NoReturn:
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    with contextlib.suppress(OSError):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = order["argv"]
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, errors="backslashreplace")
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit()
