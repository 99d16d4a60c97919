"""The knowledge of a node's network plugin: where pod addresses are, and who translates Services."""

from __future__ import annotations

import functools
import ipaddress
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads import objects
from crdbmesh_simulator.workloads.service import Service, unwrap

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member


LINK_MTU = 1500
"""The largest packet between Azure VMs (Microsoft: virtual machine network throughput)."""
TUNNEL_COST = 50
"""The bytes that VXLAN adds: outer IPv4 (20), UDP (8), VXLAN (8) and inner Ethernet (14) headers."""


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """A node of another cluster, as learned over the clustermesh."""

    cluster: str
    name: str
    ip: str
    ranges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """The node that has a range of pod addresses. `cluster` is None for the node's own cluster."""

    network: ipaddress.IPv4Network
    node_name: str
    node_ip: str
    cluster: str | None = None


class Datapath(Service):
    """The agent of a network plugin on one node."""

    replaces_kube_proxy = False
    mtu: int | None = None
    """The MTU that it was told to give to pods, or None when it finds out by itself."""
    initialised = False

    @abstractmethod
    def remote_nodes(self) -> list[RemoteNode]:
        """The nodes of other clusters that the agent has learned of."""


def find_agent(cluster: Cluster, member: Member) -> Datapath | None:
    """The agent that runs on a node."""
    pods = cluster.runtime
    if pods is None:
        return None
    for box in pods.sandboxes.values():
        if box.node is not member:
            continue
        for program in box.programs.values():
            agent = unwrap(program, Datapath)  # type: ignore[type-abstract]
            if agent is not None:
                return agent
    return None


def pod_mtu(cluster: Cluster, member: Member) -> int:
    """The largest packet that the pods of a node send: without other orders, what fits into the tunnel."""
    agent = find_agent(cluster, member)
    return (agent.mtu if agent is not None else None) or LINK_MTU - TUNNEL_COST


def handles_cluster_ip(cluster: Cluster, member: Member, *, host: bool) -> bool:
    """Return whether a connection to a Service's address is translated: on the node itself, or from its pods."""
    if not objects.truth(cluster.config.get("disable-kube-proxy")):
        return True
    agent = find_agent(cluster, member)
    if agent is None or not agent.initialised:
        return False
    return agent.replaces_kube_proxy or not host


def handles_node_port(cluster: Cluster, member: Member) -> bool:
    """Return whether a connection to a NodePort of a node is translated."""
    return handles_cluster_ip(cluster, member, host=True)


def uses_flannel(cluster: Cluster) -> bool:
    """Return whether k3s's own flannel makes the pod network."""
    return str(cluster.config.get("flannel-backend", "vxlan")) != "none"


def own_routes(cluster: Cluster) -> list[Route]:
    """The pod ranges of a cluster's own nodes."""
    found: list[Route] = []
    owners = [] if uses_flannel(cluster) else objects.every(cluster, "CiliumNode")
    for owner in owners:
        spec = objects.spec(owner)
        name = owner["metadata"]["name"]
        ip = next((str(each["ip"]) for each in spec.get("addresses") or [] if each["type"] == "InternalIP"), None)
        ip = ip or objects.internal_ip(cluster, name)
        if ip:
            found.extend(Route(_network(text), name, ip) for text in (spec.get("ipam") or {}).get("podCIDRs") or [])
    if found or not uses_flannel(cluster):
        return found
    for node in objects.every(cluster, "Node"):
        name = node["metadata"]["name"]
        ip, text = objects.internal_ip(cluster, name), objects.spec(node).get("podCIDR")
        if ip and text:
            found.append(Route(_network(text), name, ip))
    return found


def find_route(cluster: Cluster, member: Member, address: str) -> Route | None:
    """Find the route of a packet to a pod address: the own cluster's ranges come before those of others."""
    target = ipaddress.IPv4Address(address)
    return next((route for route in _routes(cluster, member) if target in route.network), None)


def _routes(cluster: Cluster, member: Member) -> Iterator[Route]:
    yield from own_routes(cluster)
    agent = find_agent(cluster, member)
    if agent is None:
        return
    for node in agent.remote_nodes():
        for text in node.ranges:
            yield Route(_network(text), node.name, node.ip, node.cluster)


@functools.lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text, strict=False)
