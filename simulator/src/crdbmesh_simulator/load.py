"""How long the processes of the world have computed, or waited for a core: what the world's clock does not count.

Linux tells it: the CPU clock of a process (clock_getcpuclockid(3)), and for each thread how long it was runnable but
did not run (`/proc/<pid>/task/<tid>/schedstat`, the second number, in nanoseconds; Documentation/scheduler/
sched-stats.rst). A client is observed from its first request on, if it is a process of this computer and of this user:
its end of the connection is in `/proc/net/tcp`, and the socket of that number among its descriptors. Where there is no
such `/proc`, only this process's own computing is known.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_SCAN_S = 0.02
"""How often, in real seconds, the threads of a process that computes are looked at: each costs some microseconds."""
_LOOKUP_PAUSE_S = 2.0
"""A look for the process behind a connection reads every connection of this computer: not for each at once."""
_MOST_PEERS = 4096
_SOCKET = re.compile(r"socket:\[(\d+)\]")

Address = tuple[str, int]


class Load:
    """The computing of this process and of its clients.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: dict[int, _Process] = {os.getpid(): _Process(os.getpid())}
        self._peers: set[Address] = set()
        self._looked = -_LOOKUP_PAUSE_S

    def meet(self, peer: Address) -> None:
        """Observe the process that a connection comes from.

        `peer`: its end of the connection, an IPv4 address and a port.
        """
        if peer in self._peers or not peer[0].startswith("127."):
            return
        with self._lock:
            if time.monotonic() - self._looked < _LOOKUP_PAUSE_S:
                return
            self._looked = time.monotonic()
            if len(self._peers) >= _MOST_PEERS:
                self._peers.clear()
            self._peers.add(peer)
            pid = _pid_of(peer, first=[*self._processes])
            if pid is not None and pid not in self._processes:
                self._processes[pid] = _Process(pid)

    def take_s(self) -> tuple[float, float]:
        """Real seconds that threads have run, or waited for a core, since the last call: the sum over all of them."""
        with self._lock:
            ran_s = waited_s = 0.0
            for pid, process in list(self._processes.items()):
                try:
                    ran, waited = process.take_s()
                    ran_s += ran
                    waited_s += waited
                except OSError:
                    process.close()
                    del self._processes[pid]
            return ran_s, waited_s

    def processes(self) -> frozenset[int]:
        """The processes that are observed."""
        with self._lock:
            return frozenset(self._processes)


class _Process:
    """One process; OSError once it is gone."""

    def __init__(self, pid: int) -> None:
        self._own = pid == os.getpid()
        self._clock = (~pid << 3) | 2  # clock_getcpuclockid(3) of Linux: CPUCLOCK_SCHED of a process
        self._tasks = _PROC / str(pid) / "task"
        self._threads: dict[str, tuple[int, int]] = {}
        """By thread id: its schedstat, open, and how long it had waited."""
        self._ran_s = self._read_ran_s()
        self._scanned, self._scan_due = time.monotonic(), False
        self._take_waited_s()

    def take_s(self) -> tuple[float, float]:
        before_s, self._ran_s = self._ran_s, self._read_ran_s()
        ran_s = self._ran_s - before_s
        self._scan_due = self._scan_due or ran_s > 0
        now = time.monotonic()
        if self._scan_due and now - self._scanned >= _SCAN_S:
            self._scanned, self._scan_due = now, False
            return ran_s, self._take_waited_s()
        return ran_s, 0.0

    def close(self) -> None:
        for descriptor, _ in self._threads.values():
            os.close(descriptor)
        self._threads.clear()

    def _read_ran_s(self) -> float:
        return time.process_time() if self._own else time.clock_gettime(self._clock)

    def _take_waited_s(self) -> float:
        try:
            with os.scandir(self._tasks) as tasks:
                there = {task.name for task in tasks}
        except OSError:
            if self._own:
                return 0.0  # no Linux
            raise
        for gone in self._threads.keys() - there:
            os.close(self._threads.pop(gone)[0])
        waited_ns = 0
        for thread in there:
            descriptor, before = self._threads.get(thread, (-1, 0))
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if descriptor < 0:
                    descriptor = os.open(self._tasks / thread / "schedstat", os.O_RDONLY | os.O_CLOEXEC)
                    self._threads[thread] = descriptor, before
                now = int(os.pread(descriptor, 64, 0).split()[1])
                waited_ns += now - before
                self._threads[thread] = descriptor, now
        return waited_ns / 1e9


def _pid_of(peer: Address, *, first: list[int]) -> int | None:
    """The process that has this end of a connection, or None when it cannot be told."""
    inode = _inode_of(peer)
    if inode is None:
        return None
    others = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return next((pid for pid in dict.fromkeys([*first, *others]) if inode in _sockets(pid)), None)


def _inode_of(peer: Address) -> str | None:
    wanted = f"{_hexadecimal(peer[0])}:{peer[1]:04X}"
    with contextlib.suppress(OSError):
        for line in (_PROC / "net" / "tcp").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[1] == wanted:
                return fields[9]
    return None


def _hexadecimal(address: str) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def _sockets(pid: int) -> Iterator[str]:
    folder = _PROC / str(pid) / "fd"
    with contextlib.suppress(OSError):  # somebody else's, or gone
        for descriptor in folder.iterdir():
            with contextlib.suppress(OSError):
                if found := _SOCKET.fullmatch(str(descriptor.readlink())):
                    yield found[1]
