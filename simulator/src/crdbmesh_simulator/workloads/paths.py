"""Return whether packets arrive: between pods, nodes and Services, within a cluster and across clusters.

Pod traffic between nodes goes through a VXLAN tunnel (UDP 8472) from InternalIP to InternalIP, so that it needs the
network between the machines in both directions. A pod of another cluster is reached only if the agents on both nodes
know each other's over the clustermesh. Services are translated on the node where a connection starts (ClusterIP) or
arrives (NodePort). Sources: docs.cilium.io (cluster mesh, kube-proxy replacement), Kubernetes service documentation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator import latency
from crdbmesh_simulator.kubernetes.api.cluster import Sandbox
from crdbmesh_simulator.kubernetes.programs import Container, Program
from crdbmesh_simulator.workloads import datapath, objects, policies
from crdbmesh_simulator.workloads.service import listens

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import Machine, World

REFUSED = "connection refused"
TIMEOUT = "i/o timeout"
_TUNNEL_PORT = 8472
_LOCAL_S = 0.0001
_JITTER = 1.05
AZURE_DNS = "168.63.129.16"


@dataclass(frozen=True, slots=True)
class Origin:
    """The start of a connection: a pod with its address, or a node."""

    cluster: Cluster
    node: Member
    ip: str
    host: bool
    box: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """The end of a connection that is answered.

    `program`: the program that listens, or None when it is a service of the node itself. `service`: what it is when it
    is no program: `kubernetes`, `azure-dns`, `internet`.
    """

    cluster: Cluster | None
    node: Member | None
    box: Sandbox | None
    program: Program | None
    ip: str
    port: int
    service: str = ""


Source = Container | Origin


def origin(world: World, source: Source) -> Origin:
    """Return the start of a container's or a node's connections."""
    if isinstance(source, Origin):
        return source
    host = bool(source.pod["spec"].get("hostNetwork"))
    ip = str((source.pod.get("status") or {}).get("podIP") or "")
    pods = source.cluster.runtime
    box = pods.sandboxes.get(str(source.pod["metadata"].get("uid"))) if pods else None
    if host:
        ip = world.network.private_ip(source.node.machine) or ip
    return Origin(source.cluster, source.node, box.ip if box and not host else ip, host, box)


def node_origin(world: World, cluster: Cluster, member: Member) -> Origin:
    """The node itself as a source."""
    return Origin(cluster, member, world.network.private_ip(member.machine) or "", host=True)


def connect(world: World, source: Source, ip: str, port: int, protocol: str = "TCP") -> str | None:
    """None when a connection is accepted (or, for UDP, a datagram is taken); else why not.

    The reason starts with `connection refused` or `i/o timeout`, as the client sees it; a cause may follow in brackets.
    """
    answer = reach(world, source, ip, port, protocol)
    return answer if isinstance(answer, str) else None


def symptom(reason: str) -> str:
    """The part of a reason that the client sees."""
    return reason.split(" (", 1)[0]


def reach(world: World, source: Source, ip: str, port: int, protocol: str = "TCP") -> Reached | str:
    """Find what answers at an address and port, or return why nothing does. With `world.lock` held."""
    start = origin(world, source)
    if not _powered(world, start.node.machine):
        return f"{TIMEOUT} (the node is off)"
    try:
        address = ipaddress.IPv4Address(ip)
    except ValueError:
        return "no route to host (not an IPv4 address)"
    if address.is_loopback:
        return _on_loopback(world, start, port, protocol)
    if start.box is not None and ip == start.ip and not start.host:
        return _in_sandbox(start.cluster, start.box, port, protocol)
    for service in objects.every(start.cluster, "Service"):
        if ip in _cluster_ips(service):
            return _through_cluster_ip(world, start, service, port, protocol)
    own = world.network.private_ip(start.node.machine)
    if ip == own or ip == objects.internal_ip(start.cluster, start.node.node_name):
        dropped = leaves(start, "host", port, protocol)
        return dropped or _at_node(world, start.cluster, start.node, ip, port, protocol, start)
    if datapath.find_route(start.cluster, start.node, ip) is not None:
        return _through_tunnel(world, start, ip, port, protocol)
    machine = world.network.machine_at_private(ip, start.node.machine)
    if (dropped := leaves(start, ip if machine is None else "remote-node", port, protocol)) is not None:
        return dropped
    if machine is not None:
        return _across(world, start, machine, ip, port, protocol)
    return _outside(world, start, ip, port)


# Services.


def _cluster_ips(service: objects.Obj) -> list[str]:
    spec = objects.spec(service)
    listed = [*(spec.get("clusterIPs") or []), spec.get("clusterIP"), *(spec.get("externalIPs") or [])]
    return [str(ip) for ip in listed if ip and ip != "None"]


def _through_cluster_ip(world: World, start: Origin, service: objects.Obj, port: int, protocol: str) -> Reached | str:
    if not datapath.handles_cluster_ip(start.cluster, start.node, host=start.host):
        return f"{TIMEOUT} (nothing on node {start.node.node_name} translates Service addresses)"
    entry = find_port(service, port, protocol)
    if entry is None:
        return f"{TIMEOUT} (Service {_label(service)} has no port {port}/{protocol})"
    if _label(service) == "default/kubernetes":
        return leaves(start, "host", 6443, protocol) or _api_server(world, start)
    return _to_backend(world, start, service, entry, protocol)


def find_port(service: objects.Obj, port: int, protocol: str, *, key: str = "port") -> objects.Obj | None:
    """The port of a Service by number (`key` may be `nodePort`) and protocol."""
    for entry in objects.spec(service).get("ports") or []:
        if entry.get(key) == port and entry.get("protocol", "TCP") == protocol:
            return dict(entry)
    return None


def list_backends(
    start: Origin, service: objects.Obj, entry: objects.Obj, protocol: str, *, local: bool = False
) -> list[tuple[str, int]]:
    """Address and port of each endpoint that takes traffic for a Service's port."""
    meta = service["metadata"]
    own = objects.endpoints(start.cluster, meta["namespace"], meta["name"])
    if local:
        own = [each for each in own if each.node == start.node.node_name]
    return _addresses(own, entry, protocol)


def _addresses(endpoints: list[objects.Endpoint], entry: objects.Obj, protocol: str) -> list[tuple[str, int]]:
    return [
        (each.ip, number)
        for each in endpoints
        if each.ready
        for name, kind, number in each.ports
        if name == str(entry.get("name") or "") and kind == protocol
    ]


def _to_backend(
    world: World, start: Origin, service: objects.Obj, entry: objects.Obj, protocol: str, *, local: bool = False
) -> Reached | str:
    backends = list_backends(start, service, entry, protocol, local=local)
    if not backends:
        return f"{REFUSED} (Service {_label(service)} has no endpoint)"
    if objects.spec(service).get("sessionAffinity") == "ClientIP":
        ip, port = backends[sum(map(ord, start.ip)) % len(backends)]
    else:
        ip, port = world.random.choice(backends)
    if start.box is not None and ip == start.ip and not start.host:
        return _in_sandbox(start.cluster, start.box, port, protocol)
    return reach(world, start, ip, port, protocol)


def _label(service: objects.Obj) -> str:
    return f"{service['metadata'].get('namespace')}/{service['metadata']['name']}"


def _api_server(world: World, start: Origin) -> Reached | str:
    servers = [member for member in start.cluster.servers() if member.running and _powered(world, member.machine)]
    if not servers or not start.cluster.has_quorum():
        return f"{REFUSED} (no API server runs)"
    member = start.node if start.node in servers else world.random.choice(servers)
    ip = world.network.private_ip(member.machine) or ""
    if member is not start.node:
        reason = world.network.between(start.node.machine, ip, 6443, "Tcp")
        if reason is not None:
            return f"{TIMEOUT} ({reason})"
    return Reached(start.cluster, member, None, None, ip, 6443, "kubernetes")


# Nodes.


def _on_loopback(world: World, start: Origin, port: int, protocol: str) -> Reached | str:
    if start.box is not None and not start.host:
        return _in_sandbox(start.cluster, start.box, port, protocol)
    if protocol == "TCP" and port == 6444 and start.node.running:
        return _api_server(world, start)
    return _at_node(world, start.cluster, start.node, "127.0.0.1", port, protocol, start)


def _in_sandbox(cluster: Cluster, box: Sandbox, port: int, protocol: str) -> Reached | str:
    for program in box.programs.values():
        if listens(program, port, protocol):
            return Reached(cluster, box.node, box, program, box.ip, port)
    return f"{REFUSED} (nothing listens on {port}/{protocol} in pod {box.namespace}/{box.name})"


def _at_node(
    world: World, cluster: Cluster, member: Member, ip: str, port: int, protocol: str, start: Origin | None
) -> Reached | str:
    """A connection that has arrived at a node's own address."""
    local = start is not None and start.node is member
    if protocol == "TCP" and port == 6443 and member.role == "server" and member.running and cluster.has_quorum():
        return Reached(cluster, member, None, None, ip, port, "kubernetes")
    for box in _boxes(cluster, member):
        if box.host_network:
            found = _in_sandbox(cluster, box, port, protocol)
            if isinstance(found, Reached):
                return found
    for service in objects.every(cluster, "Service"):
        spec = objects.spec(service)
        entry = find_port(service, port, protocol, key="nodePort")
        if entry is None or spec.get("type") not in ("NodePort", "LoadBalancer"):
            continue
        if not datapath.handles_node_port(cluster, member):
            return f"{REFUSED} (nothing on node {member.node_name} translates NodePorts)"
        only_local = spec.get("externalTrafficPolicy") == "Local" and not local
        inside = Origin(cluster, member, world.network.private_ip(member.machine) or ip, host=True)
        return _to_backend(world, inside, service, entry, protocol, local=only_local)
    return f"{REFUSED} (nothing listens on {port}/{protocol} at node {member.node_name})"


def _boxes(cluster: Cluster, member: Member) -> Iterator[Sandbox]:
    pods = cluster.runtime
    if pods is not None:
        yield from (box for box in list(pods.sandboxes.values()) if box.node is member)


def _across(world: World, start: Origin, machine: Machine, ip: str, port: int, protocol: str) -> Reached | str:
    """From node to node, over the virtual networks: a pod's address is translated to its node's on the way."""
    reason = world.network.between(start.node.machine, ip, port, protocol.capitalize())
    if reason is not None:
        return f"{TIMEOUT} ({reason})"
    if not _powered(world, machine):
        return f"{TIMEOUT} (the machine at {ip} is off)"
    found = find_member(world, machine)
    if found is None:
        return f"{REFUSED} (nothing listens on {port}/{protocol} at {machine.name})"
    cluster, member = found
    return _at_node(world, cluster, member, ip, port, protocol, start)


def find_member(world: World, machine: Machine) -> tuple[Cluster, Member] | None:
    """The cluster that a machine is a node of."""
    for cluster in world.clusters:
        for member in cluster.members.values():
            if member.machine is machine:
                return cluster, member
    return None


# Pods.


def _through_tunnel(world: World, start: Origin, ip: str, port: int, protocol: str) -> Reached | str:
    route = datapath.find_route(start.cluster, start.node, ip)
    assert route is not None
    if route.cluster is None and route.node_name == start.node.node_name:
        cluster, member = start.cluster, start.node
    else:
        found = _tunnel(world, start, route)
        if isinstance(found, str):
            return found
        cluster, member = found
    box = next((box for box in _boxes(cluster, member) if box.ip == ip and not box.host_network), None)
    if box is None:
        return f"{TIMEOUT} (no pod has address {ip} on node {member.node_name})"
    if member is not start.node:
        reason = _reply(world, start, cluster, member)
        if reason is not None:
            return reason
    return _policed(start, cluster, box, port, protocol) or _in_sandbox(cluster, box, port, protocol)


def _policed(start: Origin, cluster: Cluster, box: Sandbox, port: int, protocol: str) -> str | None:
    """Return that a network policy at either end drops a packet to a pod; None when none does."""
    if (dropped := leaves(start, policies.labels(cluster, box), port, protocol)) is not None:
        return dropped
    source: policies.Peer = "host" if start.node is box.node else "remote-node"
    if start.box is not None and not start.host:
        source = policies.labels(start.cluster, start.box)
    if policies.denies(cluster, box, "ingress", source, port, protocol):
        return f"{TIMEOUT} (policy denied: ingress of pod {box.namespace}/{box.name})"
    return None


def leaves(start: Origin, peer: policies.Peer, port: int, protocol: str) -> str | None:
    """Return that a network policy keeps a pod from connecting; None when none does, or it is no pod."""
    box = start.box
    if box is None or start.host or not policies.denies(start.cluster, box, "egress", peer, port, protocol):
        return None
    return f"{TIMEOUT} (policy denied: egress of pod {box.namespace}/{box.name})"


def round_trip_s(world: World, source: Source, reached: Reached) -> float:
    """Return the seconds that a packet takes to what was reached and back, a little more or less each time."""
    start, there = origin(world, source).node.machine, reached.node
    if there is None or there.machine is start:
        return _LOCAL_S
    seconds = latency.between(start.location, there.machine.location, same_zone=start.zone == there.machine.zone)
    return seconds * world.random.uniform(1.0, _JITTER)


def carries_large(world: World, source: Source, reached: Reached) -> bool:
    """Return whether full-sized packets of a connection arrive as well, which TCP does not let be fragmented.

    Between pods of two nodes they go through the tunnel, and those that do not fit with what VXLAN adds are lost
    without a word. Both ends keep to the smaller of their own MTUs.
    """
    start = origin(world, source)
    box = reached.box
    if box is None or start.box is None or start.host or box.host_network or box.node is start.node:
        return True
    assert reached.cluster is not None
    segment = min(datapath.pod_mtu(start.cluster, start.node), datapath.pod_mtu(reached.cluster, box.node))
    return segment + datapath.TUNNEL_COST <= datapath.LINK_MTU


def _tunnel(world: World, start: Origin, route: datapath.Route) -> tuple[Cluster, Member] | str:
    source = start.node.machine
    machine = world.network.machine_at_private(route.node_ip, source)
    reason = world.network.between(source, route.node_ip, _TUNNEL_PORT, "Udp")
    if reason is not None or machine is None:
        return f"{TIMEOUT} (tunnel to {route.node_ip}: {reason or 'no route'})"
    if not _powered(world, machine):
        return f"{TIMEOUT} (node {route.node_name} is off)"
    found = find_member(world, machine)
    return found or f"{TIMEOUT} ({machine.name} is not a node)"


def _reply(world: World, start: Origin, cluster: Cluster, member: Member) -> str | None:
    """Return why replies do not find their way back to where the connection started; None when they do."""
    back = world.network.private_ip(start.node.machine) or ""
    if not start.host:
        route = datapath.find_route(cluster, member, start.ip)
        if route is None:
            return f"{TIMEOUT} (node {member.node_name} has no route back to {start.ip})"
        home = (route.cluster is None) == (cluster is start.cluster)
        if not home or route.node_name != start.node.node_name:
            return f"{TIMEOUT} (node {member.node_name} sends replies to {start.ip} to node {route.node_name})"
        back = route.node_ip
    reason = world.network.between(member.machine, back, _TUNNEL_PORT, "Udp")
    return None if reason is None else f"{TIMEOUT} (tunnel back to {back}: {reason})"


# Everything else.


def _outside(world: World, start: Origin, ip: str, port: int) -> Reached | str:
    if ip == AZURE_DNS and port == 53:
        return Reached(None, None, None, None, ip, port, "azure-dns")
    if ipaddress.IPv4Address(ip).is_private:
        return f"{TIMEOUT} (no route to {ip})"
    if not world.network.has_egress(start.node.machine):
        return f"{TIMEOUT} (machine {start.node.machine.name} has no way out)"
    return Reached(None, None, None, None, ip, port, "internet")


def _powered(world: World, machine: Machine) -> bool:
    return world.machines.get(machine.key) is machine
