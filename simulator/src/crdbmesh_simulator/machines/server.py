"""The SSH door of the world: boots machines, listens where their sshd does, and lets in whom the firewall lets in.

One thread accepts connections for all machines and moves their services; each connection has its own.

- A machine's sshd is served at (its public IP, its port). Binding a port below 1024 needs the privilege to; without it
  such a port stays closed.
- A connection that the machine's network security groups deny is accepted and left silent: on loopback a packet cannot
  be dropped.
- An address without a listener answers "connection refused" at once, where Azure would let the client time out.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

import paramiko

from crdbmesh_simulator.machines import faults, k3s, k3s_cli, k3s_install
from crdbmesh_simulator.machines.connection import Connection, quick_ack
from crdbmesh_simulator.machines.machine_os import MachineOS
from crdbmesh_simulator.resets import reset_on_close

if TYPE_CHECKING:
    from crdbmesh_simulator.world import Machine, World

_TICK_S = 0.02
_REFRESH_S = 0.05
_BACKLOG = 64
_MAX_CONNECTIONS = 400
_MAX_SILENT = 200
_STOP_DEADLINE_S = 5.0

_LOADED = (k3s, k3s_cli, k3s_install)
"""Modules that threads would otherwise import while they hold the world's lock."""

_Place = tuple[str, str, int]
"""Machine's key, address and port of a listener."""


class Hosts:
    """All machines' operating systems and their SSH servers.

    Attributes:
        corrupt_downloads: a named fault: what machines fetch from these URLs arrives damaged.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._systems: dict[str, MachineOS] = {}
        self._listeners: dict[_Place, socket.socket] = {}
        self._connections: list[Connection] = []
        self._silent: list[socket.socket] = []
        self._selector: selectors.BaseSelector | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._refreshed = 0.0
        self._down_until: dict[_Place, float] = {}
        self.corrupt_downloads: set[str] = set()
        world.boot, world.halt = self.boot, self.halt

    def start(self) -> None:
        """Begin to serve."""
        self._selector = selectors.DefaultSelector()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._serve, name="ssh door", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Switch all machines off, close everything, wait for every thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_DEADLINE_S)
            self._thread = None
        for system in list(self._systems.values()):
            system.cut()
        for connection in self._connections:
            connection.close(_STOP_DEADLINE_S)
        self._connections.clear()
        for system in list(self._systems.values()):
            system.join(_STOP_DEADLINE_S)
        for sock in [*self._listeners.values(), *self._silent]:
            sock.close()
        self._listeners.clear()
        self._silent.clear()
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def boot(self, machine: Machine) -> None:
        """Switch a machine on: with a new disk, or with the one it had."""
        with self._world.lock:
            if machine.os is None:
                machine.os = MachineOS(self._world, machine, self.corrupt_downloads)
            system = machine.os
            if system.running:
                return
            self._systems[machine.key] = system
            system.boot()

    def halt(self, machine: Machine) -> None:
        """Switch a machine off, as when its VM is deleted or deallocated."""
        with self._world.lock:
            system = self._systems.pop(machine.key, None) if machine.os is not None else None
            if machine.os is not None:
                machine.os.cut()
            if system is not None and system is not machine.os:
                self._systems[machine.key] = system

    # --- the thread ---

    def _serve(self) -> None:
        assert self._selector is not None
        while not self._stopping.is_set():
            for key, _ in self._selector.select(_TICK_S):
                assert isinstance(key.fileobj, socket.socket)
                if key.data is None:
                    self._hear(key.fileobj)
                else:
                    self._accept(key.fileobj, key.data)
            now = self._world.clock.now()
            with self._world.lock:
                systems = list(self._systems.values())
            for system in systems:
                system.tick(now)
            if time.monotonic() - self._refreshed > _REFRESH_S:
                self._refreshed = time.monotonic()
                self._refresh()

    def _refresh(self) -> None:
        wanted = self._wanted()
        for place in [place for place in self._listeners if place not in wanted]:
            self._close_listener(place)
        for place in wanted:
            if place not in self._listeners and self._down_until.get(place, 0.0) <= self._world.clock.now():
                self._open_listener(place)
        for connection in self._connections:
            connection.poke()
            if not self._reachable(connection):
                connection.drop()
        self._connections = [connection for connection in self._connections if connection.alive]

    def _wanted(self) -> set[_Place]:
        with self._world.lock:
            found = set()
            for key, system in self._systems.items():
                address = system.public_ip() if system.running else None
                found |= {(key, address, port) for port in system.sshd.ports} if address else set()
            return found

    def _reachable(self, connection: Connection) -> bool:
        with self._world.lock:
            system = connection.machine
            return system.running and not connection.outlived and system.public_ip() == connection.address

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
        self._listeners[place] = sock
        assert self._selector is not None
        self._selector.register(sock, selectors.EVENT_READ, place)

    def _close_listener(self, place: _Place) -> None:
        sock = self._listeners.pop(place)
        assert self._selector is not None
        self._selector.unregister(sock)
        sock.close()

    def _accept(self, listener: socket.socket, place: _Place) -> None:
        try:
            sock, peer = listener.accept()
        except OSError:
            return
        key, address, port = place
        with self._world.lock:
            system = self._systems.get(key)
            allowed = system is not None and self._world.network.inbound_from_internet(system.hardware, peer[0], port)
        if system is None or len(self._connections) >= _MAX_CONNECTIONS:
            sock.close()
        elif allowed and (refusal := faults.refusal(system)):
            self._turn_away(system, sock, place, down=refusal == faults.DOWN)
        elif allowed:
            self._connect(system, sock, address, port)
        else:
            self._keep_silent(sock)

    def _turn_away(self, system: MachineOS, sock: socket.socket, place: _Place, *, down: bool) -> None:
        reset_on_close(sock)
        sock.close()
        if down:
            self._down_until[place] = self._world.clock.now() + faults.down_s(system)
            self._close_listener(place)

    def _connect(self, system: MachineOS, sock: socket.socket, address: str, port: int) -> None:
        with self._world.lock:
            keys = system.sshd.host_keys()
        if not keys:
            sock.close()
            return
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        quick_ack(sock)
        try:
            self._connections.append(Connection(system, sock, address, port, keys))
        except (OSError, EOFError, paramiko.SSHException):
            sock.close()

    def _keep_silent(self, sock: socket.socket) -> None:
        assert self._selector is not None
        sock.setblocking(False)
        self._silent.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, None)
        if len(self._silent) > _MAX_SILENT:
            self._forget(self._silent[0])

    def _hear(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        assert self._selector is not None
        self._silent.remove(sock)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()
