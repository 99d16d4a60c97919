"""DNS at the nodes' public addresses: any resolver's questions, through the NodePort, to the cluster's CoreDNS."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from crdbmesh_simulator.kubernetes.api.cluster import Cluster
from crdbmesh_simulator.nodeports import NodePorts

PORT = 30053
NODES = tuple(f"127.{64 + (os.getpid() >> 8) % 128}.{os.getpid() % 256}.{number}" for number in (10, 11))
HERE = NODES[0]
NAME = "db-0.db.west.svc.cluster.local."


@pytest.fixture
def doors(bench: Any) -> Iterator[NodePorts]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = NodePorts(bench.world, loop)
    yield served
    served.stop()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def west(bench: Any) -> Cluster:
    """A cluster of two nodes with public addresses, one pod of a headless Service, and DNS at a NodePort."""
    cluster: Cluster = bench.cluster(2, nodes=2)
    bench.wires.public = dict(zip((each.machine.key for each in cluster.members.values()), NODES, strict=True))
    bench.coredns(cluster, node_port=PORT)
    bench.namespace(cluster, "west")
    main = {"name": "main", "image": "busybox", "command": ["sleep", "infinity"]}
    pod = bench.pod(cluster, "n20", "west", "db-0", [main], hostname="db-0", subdomain="db")
    bench.service(cluster, "west", "db", [{"name": "grpc", "port": 26257}], [pod], clusterIP="None")
    bench.advance(5)
    return cluster


def pod_address(west: Cluster) -> str:
    slices = west.store.peek_all(west.store.resource("EndpointSlice"), "west")
    return str(slices[0]["endpoints"][0]["addresses"][0])


def ask(query: dns.message.Message, *, tcp: bool = False, address: str = HERE) -> dns.message.Message:
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, address, port=PORT, timeout=3)


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("node", [0, 1])
def test_a_pod_resolves_at_every_node(west: Cluster, doors: NodePorts, *, tcp: bool, node: int) -> None:
    doors.tick()
    answer = ask(dns.message.make_query(NAME, "A"), tcp=tcp, address=NODES[node])
    assert [record.to_text() for record in answer.answer[0]] == [pod_address(west)]
    assert answer.flags & dns.flags.AA
    assert answer.flags & dns.flags.RD


@pytest.mark.usefixtures("west")
def test_the_letter_case_of_the_question_comes_back(doors: NodePorts) -> None:
    doors.tick()
    mixed = "Db-0.dB.weST.svc.Cluster.LOCAL."
    answer = ask(dns.message.make_query(mixed, "A"))
    assert answer.question[0].name.to_text() == mixed
    assert answer.answer[0].name.to_text() == mixed


@pytest.mark.usefixtures("west")
def test_a_service_is_found_with_its_port_and_its_pod_s_address(doors: NodePorts) -> None:
    doors.tick()
    answer = ask(dns.message.make_query("_grpc._tcp.db.west.svc.cluster.local.", "SRV"))
    assert answer.answer[0][0].to_text() == f"0 100 26257 {NAME}"
    assert [each.rdtype for each in answer.additional] == [dns.rdatatype.A]


@pytest.mark.usefixtures("west")
def test_a_name_that_does_not_exist_comes_with_the_zone_s_soa(doors: NodePorts) -> None:
    doors.tick()
    answer = ask(dns.message.make_query("db-9.db.west.svc.cluster.local.", "A"))
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


def test_an_answer_that_is_too_long_for_udp_is_cut_and_whole_over_tcp(
    bench: Any, west: Cluster, doors: NodePorts
) -> None:
    main = {"name": "main", "image": "busybox", "command": ["sleep", "infinity"]}
    pods = [bench.pod(west, "n20", "west", f"web-{number}", [main]) for number in range(60)]
    bench.service(west, "west", "web", [{"port": 80}], pods, clusterIP="None")
    doors.tick()
    query = dns.message.make_query("web.west.svc.cluster.local.", "A")
    cut = ask(query)
    assert cut.flags & dns.flags.TC
    assert 0 < len(cut.answer[0]) < 60
    assert len(cut.to_wire()) <= 512
    assert len(ask(query, tcp=True).answer[0]) == 60
    larger = dns.message.make_query("web.west.svc.cluster.local.", "A", use_edns=0, payload=1232)
    answer = ask(larger)
    assert not answer.flags & dns.flags.TC
    assert (len(answer.answer[0]), answer.edns, answer.payload) == (60, 0, 1232)


@pytest.mark.usefixtures("west")
def test_a_firewall_that_lets_the_asker_not_in_is_silence(bench: Any, doors: NodePorts) -> None:
    doors.tick()
    bench.wires.closed.add((PORT, "Udp"))
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(dns.message.make_query(NAME, "A"), HERE, port=PORT, timeout=0.5)
    assert ask(dns.message.make_query(NAME, "A"), tcp=True).answer


def test_the_port_is_closed_when_its_service_is_gone(west: Cluster, doors: NodePorts) -> None:
    doors.tick()
    resource = west.store.resource("Service")
    [name] = [
        each["metadata"]["name"]
        for each in west.store.peek_all(resource)
        if any(port.get("nodePort") == PORT for port in each["spec"]["ports"])
    ]
    west.store.delete(resource, "kube-system", name)
    doors.tick()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, PORT), timeout=3).close()


def packet(*, flags: int = 0x0100, questions: int = 1, body: bytes | None = None) -> bytes:
    question = b"\x04db-0\x02db\x04west\x03svc\x07cluster\x05local\x00" + struct.pack(">HH", 1, 1)
    return struct.pack(">6H", 4711, flags, questions, 0, 0, 0) + (question if body is None else body)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (packet(), 0),
        (packet(questions=0, body=b""), 1),
        (packet(body=b"\x3fcut"), 1),
        (packet(body=b"\xc0\x0c\x00\x01\x00\x01"), 1),
        (packet(flags=0x2800), 4),
        (packet(body=b"\x07version\x04bind\x00" + struct.pack(">HH", 16, 3)), 5),
        (packet(body=b"\x07cluster\x05local\x00" + struct.pack(">HH", 252, 1)), 5),
    ],
    ids=["well formed", "no question", "cut off", "points at itself", "an update", "another class", "a transfer"],
)
@pytest.mark.usefixtures("west")
def test_what_is_not_a_question_is_refused_by_its_code(
    doors: NodePorts,
    sent: bytes,
    code: int,
) -> None:
    doors.tick()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.settimeout(3)
        door.sendto(sent, (HERE, PORT))
        got = door.recv(4096)
    number, flags = struct.unpack_from(">HH", got)
    assert (number, flags >> 15, flags & 0xF) == (4711, 1, code)


@pytest.mark.usefixtures("west")
def test_a_response_and_a_fragment_are_ignored_and_the_next_question_answered(
    doors: NodePorts,
) -> None:
    doors.tick()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.settimeout(3)
        for sent in (packet(flags=0x8180), b"\x00" * 11, packet()):
            door.sendto(sent, (HERE, PORT))
        assert struct.unpack_from(">H", door.recv(4096))[0] == 4711
        door.settimeout(0.3)
        with pytest.raises(TimeoutError):
            door.recv(4096)


@pytest.mark.usefixtures("west")
def test_an_edns_version_that_nobody_knows_is_badvers(doors: NodePorts) -> None:
    doors.tick()
    query = dns.message.make_query(NAME, "A", use_edns=1)
    assert ask(query).rcode() == dns.rcode.BADVERS
