"""Connections between CockroachDB processes: name, packet, TLS both ways, cluster name; with Go's and gRPC's texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads import dns, paths
from crdbmesh_simulator.workloads.cockroachdb import certificates
from crdbmesh_simulator.workloads.coredns.message import NOERROR, NXDOMAIN
from crdbmesh_simulator.workloads.service import unwrap

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.workloads.cockroachdb.certificates import Pair
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

_DIAL_S = 5.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A connection that could not be made.

    `reason`: what the client says. `elapsed_s`: how long it took. `kind`: `name`, `packet`, `tls` or `peer`.
    """

    reason: str
    elapsed_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, the address it was reached at, and whether full-sized packets arrive there."""

    node: CockroachNode
    ip: str
    large: bool = True


def dial(container: Container, host: str, port: int, client: Pair | None) -> Peer | Failed:
    """Connect to a process's RPC or SQL port. With `world.lock` held.

    Args:
        container: where the connection starts.
        host: name or address.
        port: the port.
        client: the client's certificate and CA; None when it does not use TLS.
    """
    answer = dns.resolve(container.world, container, host)
    if not answer.found:
        server = answer.server.replace("#", ":") or f"{_nameserver(container)}:53"
        why = "no such host" if answer.rcode in (NXDOMAIN, NOERROR) else answer.reason or "server misbehaving"
        if not answer.rcode:
            why = f"read udp: {why}" if "i/o timeout" not in why else "i/o timeout"
        return Failed(f"lookup {host} on {server}: {why}", answer.elapsed_s, "name")
    failed = Failed("no address", 0.0, "packet")
    for ip in answer.addresses:
        found = connect(container, ip, port)
        if isinstance(found, Failed):
            failed = found
            continue
        if not found.large:
            return Failed(f"dial tcp {ip}:{port}: i/o timeout", _DIAL_S, "packet")
        reason = tls(container, found.node, host, client)
        if reason is None:
            return found
        return Failed(reason, 0.05, "tls")
    return failed


def connect(container: Container, ip: str, port: int) -> Peer | Failed:
    """The packet alone: who answers at an address."""
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

    reached = paths.reach(container.world, container, ip, port)
    if isinstance(reached, str):
        symptom = paths.symptom(reached)
        said = f"connect: {symptom}" if symptom == paths.REFUSED else symptom
        return Failed(f"dial tcp {ip}:{port}: {said}", _DIAL_S if symptom == paths.TIMEOUT else 0.01, "packet")
    node = unwrap(reached.program, CockroachNode) if reached.program is not None else None
    if node is None:
        return Failed('connection error: desc = "error reading server preface: EOF"', 0.05, "peer")
    return Peer(node, ip, paths.carries_large(container.world, container, reached))


def tls(container: Container, node: CockroachNode, host: str, client: Pair | None) -> str | None:
    """Return why the handshake fails, or None."""
    head = 'connection error: desc = "transport: authentication handshake failed: '
    if client is None or node.pair is None:
        return 'connection error: desc = "error reading server preface: EOF"'
    reason = certificates.handshake(client, node.pair, host, container.world.clock.utc())
    return f'{head}{reason}"' if reason else None


def name_mismatch(own: str, peer: str) -> str | None:
    """Return why a peer refuses a cluster name, as the one that was refused says it; None when both are equal."""
    if own == peer:
        return None
    if not own:
        return f'peer node expects cluster name "{peer}", use --cluster-name to configure'
    if not peer:
        return "peer node does not have a cluster name configured, cannot use --cluster-name"
    return f'local cluster name "{own}" does not match peer cluster name "{peer}"'


def _nameserver(container: Container) -> str:
    servers = dns.resolv_conf(container).servers
    return servers[0] if servers else "127.0.0.1"
