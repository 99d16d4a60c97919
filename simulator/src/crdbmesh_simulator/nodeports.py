"""DNS doors: the NodePorts behind which a CoreDNS answers, at each node's public address, over UDP and TCP.

A NodePort is open on every node, whichever node its pod is on. A firewall that lets the asker not in is silence. Other
NodePorts lead to programs that speak no protocol of their own here, and stay closed.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from crdbmesh_simulator import doors
from crdbmesh_simulator.workloads import objects, paths
from crdbmesh_simulator.workloads.coredns import wire
from crdbmesh_simulator.workloads.coredns.message import Answer, Question, Record, absolute
from crdbmesh_simulator.workloads.coredns.resolver import exchange
from crdbmesh_simulator.workloads.coredns.server import CoreDNS

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import World

_LOOK_S = 10.0
_IDLE_S = 10.0
_ANSWER_S = 5.0
_MOST_TARGETS = 20
"""Targets of SRV records whose addresses are added, at most."""
_Key = tuple[str, str, str, int, str]


class NodePorts(doors.Doors[_Key]):
    """All DNS doors of a world."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(world, loop, name="dns", threads=4, look_s=_LOOK_S)

    def make(self, key: _Key, cluster: Cluster, member: Member) -> _Door:
        """The door of a NodePort."""
        return _Door(self.world, self.executor, cluster, member, key)

    def wanted(self) -> dict[_Key, tuple[Cluster, Member]]:
        """One for each node's public address and NodePort that leads to a CoreDNS."""
        world = self.world
        found: dict[_Key, tuple[Cluster, Member]] = {}
        for cluster in world.clusters:
            ports = _node_ports(cluster)
            for member in cluster.members.values() if ports else ():
                if world.machines.get(member.machine.key) is not member.machine:
                    continue
                address = world.network.public_ip(member.machine)
                own = world.network.private_ip(member.machine)
                if address is None or own is None:
                    continue
                start = paths.node_origin(world, cluster, member)
                for port, protocol in ports:
                    reached = paths.reach(world, start, own, port, protocol)
                    if not isinstance(reached, str) and isinstance(reached.program, CoreDNS):
                        found[cluster.uid, member.node_name, address, port, protocol] = (cluster, member)
        return found


def _node_ports(cluster: Cluster) -> set[tuple[int, str]]:
    """Every NodePort of a cluster, with its protocol."""
    return {
        (int(port["nodePort"]), str(port.get("protocol", "TCP")))
        for service in objects.every(cluster, "Service")
        for port in objects.spec(service).get("ports") or []
        if port.get("nodePort") and port.get("protocol", "TCP") in ("TCP", "UDP")
    }


class _Door(asyncio.DatagramProtocol):
    def __init__(self, world: World, executor: ThreadPoolExecutor, cluster: Cluster, member: Member, key: _Key) -> None:
        self._world = world
        self._executor = executor
        self._cluster = cluster
        self._member = member
        self._address, self._port, self._protocol = key[2:]
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        where = (self._address, self._port)
        if self._protocol == "UDP":
            self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=where)
        else:
            self._tcp = await asyncio.start_server(self._connected, *where)

    async def close(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # UDP.

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        async def run() -> None:
            answer = await self._run(data, addr[0])
            if answer is not None and self._udp is not None:
                self._udp.sendto(answer, addr)

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # TCP.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        source = str(writer.get_extra_info("peername")[0])
        try:
            while True:
                async with asyncio.timeout(_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                answer = await self._run(data, source)
                if answer is None:
                    # As a dropped packet: open, and silent.
                    await reader.read()
                    return
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    # Both.

    async def _run(self, data: bytes, source: str) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._answer, data, source)

    def _answer(self, data: bytes, source: str) -> bytes | None:
        packet = wire.read(data)
        if packet is None:
            return None
        world = self._world
        with world.lock:
            title = self._protocol.title()
            if not world.network.inbound_from_internet(self._member.machine, source, self._port, title):
                return None
            if packet.fault is not None:
                return wire.refuse(packet, packet.fault)
            answer = self._ask(packet.name, packet.type)
            if not answer.rcode:
                return None
            targets = [record.data.split()[3] for record in answer.records if record.type == "SRV"]
            more: dict[Record, None] = {}
            for target in dict.fromkeys(targets[:_MOST_TARGETS]):
                more |= dict.fromkeys(record for record in self._ask(target, "A").records if record.type == "A")
        return wire.write(packet, answer, tuple(more), transport=self._protocol)

    def _ask(self, name: str, kind: str) -> Answer:
        start = paths.node_origin(self._world, self._cluster, self._member)
        own = str(self._world.network.private_ip(self._member.machine))
        question = Question(absolute(name), kind, self._protocol)
        return exchange(self._world, start, (own, self._port), question, timeout_s=_ANSWER_S)
