"""Reading a cluster's Kubernetes objects, shared and for reading only, and what follows from some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster

Obj = dict[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"


def find(cluster: Cluster, kind: str, namespace: str | None, name: str) -> Obj | None:
    """An object by name; None also when the cluster serves no such kind."""
    try:
        return cluster.store.peek(cluster.store.resource(kind), namespace, name)
    except LookupError:
        return None


def every(
    cluster: Cluster, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
) -> list[Obj]:
    """The objects of a kind; empty also when the cluster serves no such kind."""
    try:
        return cluster.store.peek_all(cluster.store.resource(kind), namespace, labels)
    except LookupError:
        return []


def notes(obj: Obj) -> dict[str, str]:
    """The object's annotations."""
    return obj["metadata"].get("annotations") or {}


def spec(obj: Obj) -> Obj:
    """The object's spec."""
    return obj.get("spec") or {}


def config_map(cluster: Cluster, name: str, namespace: str = "kube-system") -> dict[str, str]:
    """The data of a ConfigMap; empty when there is none."""
    return (find(cluster, "ConfigMap", namespace, name) or {}).get("data") or {}


def truth(value: object) -> bool:
    """A k3s or Cilium option as a boolean."""
    return value is True or str(value).lower() in ("true", "1", "yes")


def internal_ip(cluster: Cluster, node_name: str) -> str | None:
    """The InternalIP of a node."""
    node = find(cluster, "Node", None, node_name)
    for entry in ((node or {}).get("status") or {}).get("addresses") or []:
        if entry["type"] == "InternalIP":
            return str(entry["address"])
    return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address behind a Service.

    `ip`: the address. `hostname`: the name it is published under, or None. `pod`: the pod it is the address of, or
    None. `ready`: whether it takes traffic. `node`: the node it is on, or None. `ports`: (name, protocol, number) of
    each port.
    """

    ip: str
    hostname: str | None
    pod: str | None
    node: str | None
    ports: tuple[tuple[str, str, int], ...]
    ready: bool


def endpoints(cluster: Cluster, namespace: str, service: str) -> list[Endpoint]:
    """The endpoints of a Service from its EndpointSlices."""
    return list(_sliced(every(cluster, "EndpointSlice", namespace, {SERVICE_NAME: service})))


def _sliced(slices: list[Obj]) -> Iterator[Endpoint]:
    for each in slices:
        ports = _ports(each.get("ports"))
        for entry in each.get("endpoints") or []:
            ready = (entry.get("conditions") or {}).get("ready")
            for ip in entry.get("addresses") or []:
                yield Endpoint(
                    ip, entry.get("hostname"), _pod(entry), entry.get("nodeName"), ports, ready=ready is not False
                )


def _pod(entry: Obj) -> str | None:
    target = entry.get("targetRef") or {}
    return target.get("name") if target.get("kind") == "Pod" else None


def _ports(listed: list[Obj] | None) -> tuple[tuple[str, str, int], ...]:
    return tuple(
        (str(port.get("name") or ""), str(port.get("protocol") or "TCP"), int(port["port"]))
        for port in listed or []
        if port.get("port")
    )
