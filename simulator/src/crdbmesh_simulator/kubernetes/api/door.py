"""HTTPS doors: the Kubernetes API of each running server, at its machine's public address, port 6443.

Doors open and close as members start and stop, and as public addresses come and go. A connection that the machine's
network security group does not let in is accepted and left without an answer, which is as near to a dropped packet as
a listening socket comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crdbmesh_simulator import doors, tls
from crdbmesh_simulator.kubernetes.api.handler import Handler
from crdbmesh_simulator.kubernetes.api.negotiation import BODY_LIMIT

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.authority import Issued
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import World

PORT = 6443
_LOOK_S = 2.0
_BACKLOG = 128
_HANDSHAKE_S = 20.0
_GOODBYE_S = 0.2
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
_Key = tuple[str, str, float, str]


class KubeDoors(doors.Doors[_Key]):
    """All Kubernetes doors of a world. `port`: where every server listens."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop, *, port: int = PORT) -> None:
        super().__init__(world, loop, name="kube", threads=16, look_s=_LOOK_S)
        self._port = port

    def make(self, key: _Key, cluster: Cluster, member: Member) -> Door:
        """The door of a server."""
        return Door(self.world, Handler(self.world, cluster, member, self.executor), key[3], self._port)

    def wanted(self) -> dict[_Key, tuple[Cluster, Member]]:
        """One for each server that runs on a machine with a public address."""
        found: dict[_Key, tuple[Cluster, Member]] = {}
        for cluster in self.world.clusters:
            for member in cluster.servers():
                if member.running and self.world.machines.get(member.machine.key) is member.machine:
                    address = self.world.network.public_ip(member.machine)
                    if address is not None:
                        found[cluster.uid, member.node_name, member.joined_at, address] = (cluster, member)
        return found


class Door:
    """One server's API, listening."""

    def __init__(self, world: World, handler: Handler, address: str, port: int) -> None:
        self._world = world
        self._handler = handler
        self._address = address
        self._port = port
        app = web.Application(client_max_size=BODY_LIMIT + 1)
        app.router.add_route("*", "/{path:.*}", handler.answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GOODBYE_S, handler_cancellation=True)
        self._context: ssl.SSLContext | None = None
        self._certificate: Issued | None = None
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted: set[socket.socket] = set()
        self._transports: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    async def open(self) -> None:
        """Listen. Raises OSError: the address cannot be listened at."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind((self._address, self._port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        await self._handler.run(self._issue)
        await self._runner.setup()
        self._spawn(self._accept(listener))

    async def close(self) -> None:
        """Stop listening, and end every connection."""
        self._handler.closing.set()
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._accepted:
            connection.close()
        server = self._runner.server
        if server is not None:
            with contextlib.suppress(TimeoutError):
                await server.shutdown(_GOODBYE_S)
        await self._runner.cleanup()
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:
                return
            self._accepted.add(connection)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._admit(connection, str(peer[0])))

    async def _admit(self, connection: socket.socket, source: str) -> None:
        loop = asyncio.get_running_loop()
        if not await self._handler.run(self._lets_in, source):
            await _ignore(loop, connection)
            self._accepted.discard(connection)
            return
        server = self._runner.server
        assert server is not None
        self._accepted.discard(connection)
        with contextlib.suppress(OSError, ssl.SSLError):
            transport, _ = await loop.connect_accepted_socket(
                server, connection, ssl=self._tls(), ssl_handshake_timeout=_HANDSHAKE_S
            )
            self._transports.add(transport)

    def _issue(self) -> None:
        cluster, member = self._handler.cluster, self._handler.member
        names = server_names(cluster, member, self._world)
        issued = cluster.authority.server_certificate(member.node_name, names, now=self._handler.now)
        self._context, self._certificate = self._present(issued), issued

    def _tls(self) -> ssl.SSLContext:
        """The TLS of a new connection: from its end on, clients see the certificate as expired."""
        assert self._context is not None
        if self._certificate is not None and self._certificate.ends <= self._handler.now:
            cluster = self._handler.cluster
            self._context = self._present(cluster.authority.expired_twin(self._certificate))
            self._certificate = None
        return self._context

    def _present(self, issued: Issued) -> ssl.SSLContext:
        client_ca = self._handler.cluster.authority.client_ca_pem
        return tls.server_context(issued.certificate_pem, issued.key_pem, client_ca)

    def _lets_in(self, source: str) -> bool:
        with self._world.lock:
            return self._world.network.inbound_from_internet(self._handler.member.machine, source, self._port)


async def _ignore(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Hold a connection until its client gives up."""
    try:
        while await loop.sock_recv(connection, 4096):
            pass
    except OSError:
        pass
    finally:
        connection.close()


def server_names(cluster: Cluster, member: Member, world: World) -> list[str]:
    """Return the host names and addresses that a server's certificate is valid for."""
    config = member.config
    names = [member.node_name, *_SERVICE_NAMES, "127.0.0.1", "::1"]
    names.append(f"kubernetes.default.svc.{cluster.config.get('cluster-domain') or 'cluster.local'}")
    for key in ("tls-san", "node-ip", "advertise-address", "node-external-ip"):
        given = config.get(key) or []
        names += [
            word.strip() for text in (given if isinstance(given, list) else [given]) for word in str(text).split(",")
        ]
    private = world.network.private_ip(member.machine)
    if private:
        names.append(private)
    for text in str(cluster.config.get("service-cidr") or "10.43.0.0/16").split(","):
        with contextlib.suppress(ValueError, IndexError):
            names.append(str(ipaddress.ip_network(text.strip())[1]))
    return [name for name in names if name]
