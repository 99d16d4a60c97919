"""The SSH door of the world: boots machines, listens where their sshd does, and lets in whom the firewall lets in.

One thread with an event loop accepts connections for all machines and moves their services; each command of a
session has a thread of its own.

- A machine's sshd is served at (its public IP, its port). Binding a port below 1024 needs the privilege to; without it
  such a port stays closed.
- A connection that the machine's network security groups deny is accepted and left silent: on loopback a packet cannot
  be dropped.
- An address without a listener answers "connection refused" at once, where Azure would let the client time out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.machines import faults, k3s
from crdbmesh_simulator.machines.connection import Connection
from crdbmesh_simulator.machines.machine_os import MachineOS
from crdbmesh_simulator.resets import reset_on_close
from crdbmesh_simulator.shell.process import Command

if TYPE_CHECKING:
    from crdbmesh_simulator.world import Machine, World

_TICK_S = 1.0
_TICKS_A_REFRESH = 3
_BACKLOG = 64
_MAX_SESSIONS = 400
_STOP_DEADLINE_S = 5.0

_LOADED = k3s
"""What threads would otherwise import while they hold the world's lock."""

_Place = tuple[str, str, int]
"""Machine's key, address and port of a listener."""


class Hosts:
    """All machines' operating systems and their SSH servers.

    `world`: where the machines are. `commands`: what is installed on each of them, by name. `corrupt_downloads`: a
    named fault: what machines fetch from these URLs arrives damaged.
    """

    def __init__(self, world: World, commands: Mapping[str, Command]) -> None:
        self._world = world
        self._commands = commands
        self._systems: dict[str, MachineOS] = {}
        self._listeners: dict[_Place, tuple[socket.socket, asyncio.Task[None]]] = {}
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._threads = ThreadPoolExecutor(_MAX_SESSIONS, "ssh session")
        self._down_until: dict[_Place, float] = {}
        self.corrupt_downloads: set[str] = set()
        world.boot, world.halt = self.boot, self.halt

    def start(self) -> None:
        """Begin to serve."""
        self._stopping.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="ssh door", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Switch all machines off, close everything, wait for every thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_DEADLINE_S)
            self._thread = None
        self._threads.shutdown()

    def boot(self, machine: Machine) -> None:
        """Switch a machine on: with a new disk, or with the one it had."""
        with self._world.lock:
            if machine.os is None:
                machine.os = MachineOS(self._world, machine, self._commands, self.corrupt_downloads)
            system = machine.os
            if system.running:
                return
            self._systems[machine.key] = system
            system.boot()

    def halt(self, machine: Machine) -> None:
        """Switch a machine off, as when its VM is deleted or deallocated."""
        with self._world.lock:
            if machine.os is None:
                return
            machine.os.cut()
            if self._systems.get(machine.key) is machine.os:
                del self._systems[machine.key]

    # --- the thread ---

    async def _serve(self) -> None:
        ticks = 0
        while not self._stopping.is_set():
            await self._world.clock.pause(_TICK_S, coarse=True)
            now = self._world.clock.now()
            with self._world.lock:
                systems = list(self._systems.values())
            for system in systems:
                system.tick(now)
            ticks += 1
            if ticks % _TICKS_A_REFRESH == 0:
                self._refresh()
        for system in list(self._systems.values()):
            system.cut()
        for place in list(self._listeners):
            self._close_listener(place)
        for connection in list(self._connections):
            connection.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _refresh(self) -> None:
        wanted = self._wanted()
        for place in [place for place in self._listeners if place not in wanted]:
            self._close_listener(place)
        for place in wanted:
            if place not in self._listeners and self._down_until.get(place, 0.0) <= self._world.clock.now():
                self._open_listener(place)
        for connection in list(self._connections):
            with self._world.lock:
                reachable = connection.reachable()
            if not reachable:
                connection.drop()

    def _wanted(self) -> set[_Place]:
        with self._world.lock:
            found = set()
            for key, system in self._systems.items():
                address = system.public_ip() if system.running else None
                found |= {(key, address, port) for port in system.sshd.ports} if address else set()
            return found

    def _open_listener(self, place: _Place) -> None:
        _, address, port = place
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(_BACKLOG)
            sock.setblocking(False)
        except OSError:
            sock.close()
            return
        self._listeners[place] = sock, self._begin(self._listen(sock, place))

    def _close_listener(self, place: _Place) -> None:
        sock, task = self._listeners.pop(place)
        task.cancel()
        sock.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _listen(self, listener: socket.socket, place: _Place) -> None:
        loop = asyncio.get_running_loop()
        while place in self._listeners or not self._stopping.is_set():
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError:
                return
            self._world.clock.meet(peer)
            self._answer(sock, peer[0], place)

    def _answer(self, sock: socket.socket, peer: str, place: _Place) -> None:
        key, address, port = place
        with self._world.lock:
            system = self._systems.get(key)
            allowed = system is not None and self._world.network.inbound_from_internet(system.hardware, peer, port)
            keys = system.sshd.host_keys() if system is not None else []
        if not keys or system is None:
            sock.close()
        elif not allowed:
            self._begin(_keep_silent(sock))
        elif refusal := faults.refusal(system):
            reset_on_close(sock)
            sock.close()
            if refusal == faults.DOWN:
                self._down_until[place] = self._world.clock.now() + faults.down_s(system)
                self._close_listener(place)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(system, address, port, self._threads, self._connections)
            self._begin(connection.serve(sock, keys))


async def _keep_silent(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with sock, contextlib.suppress(OSError):
        while await loop.sock_recv(sock, 4096):
            pass
