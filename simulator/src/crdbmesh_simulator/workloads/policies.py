"""Return whether Cilium's network policies let a connection of a pod through (docs.cilium.io, "Network Policy").

Endpoints are selected by labels; a selector without a cluster is about the policy's own, one in a namespaced policy
without a namespace about its own. A pod that a policy's rules select is denied what no rule allows, unless the policy
says otherwise (`enableDefaultDeny`); a denial wins. A pod's own node may always reach it. Ranges of addresses match no
pods.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.api.selectors import matches_selector
from crdbmesh_simulator.workloads import objects

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Sandbox

_CLUSTER, _NAMESPACE = "io.cilium.k8s.policy.cluster", "io.kubernetes.pod.namespace"
_SIDE = {"ingress": "from", "egress": "to"}
Peer = dict[str, str] | str
"""The other end: a pod's labels, `host` (the pod's own node), `remote-node`, or an address outside."""


def labels(cluster: Cluster, box: Sandbox) -> dict[str, str]:
    """The security labels of a pod."""
    space = objects.find(cluster, "Namespace", None, box.namespace) or {"metadata": {}}
    marks = (space["metadata"].get("labels") or {}).items()
    own = {_CLUSTER: _name(cluster), _NAMESPACE: box.namespace, **(box.pod["metadata"].get("labels") or {})}
    return {**own, **{f"io.cilium.k8s.namespace.labels.{key}": value for key, value in marks}}


def denies(cluster: Cluster, box: Sandbox, way: str, peer: Peer, port: int, protocol: str) -> bool:
    """Return whether the policies of a pod's cluster keep it from a connection: `way` is `ingress` or `egress`."""
    own, enforced, allowed = labels(cluster, box), False, peer == "host" and way == "ingress"
    for space, spec in _specs(cluster):
        if not _selects(cluster, space, spec.get("endpointSelector") or {}, own):
            continue
        rules, denials = spec.get(way), spec.get(f"{way}Deny")
        if any(_covers(cluster, space, way, rule, peer, port, protocol) for rule in denials or []):
            return True
        if rules is not None or denials is not None:
            enforced = enforced or (spec.get("enableDefaultDeny") or {}).get(way, True)
        allowed = allowed or any(_covers(cluster, space, way, rule, peer, port, protocol) for rule in rules or [])
    return enforced and not allowed


def _name(cluster: Cluster) -> str:
    return objects.config_map(cluster, "cilium-config").get("cluster-name", "default")


def _specs(cluster: Cluster) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"):
        for policy in objects.every(cluster, kind):
            space = policy["metadata"].get("namespace") or ""
            yield from ((space, spec) for spec in (policy.get("spec"), *(policy.get("specs") or [])) if spec)


def _selects(cluster: Cluster, space: str, selector: dict[str, Any], found: dict[str, str]) -> bool:
    pairs = {_bare(key): value for key, value in (selector.get("matchLabels") or {}).items()}
    rules = [{**rule, "key": _bare(rule["key"])} for rule in selector.get("matchExpressions") or []]
    named = {*pairs, *(rule["key"] for rule in rules)}
    if space and not any(key == _NAMESPACE or key.startswith("io.cilium.k8s.namespace") for key in named):
        pairs[_NAMESPACE] = space
    if _CLUSTER not in named:
        pairs[_CLUSTER] = _name(cluster)
    return matches_selector({"matchLabels": pairs, "matchExpressions": rules}, found)


def _bare(key: str) -> str:
    return re.sub(r"^(k8s|any):", "", key)


def _covers(cluster: Cluster, space: str, way: str, rule: dict[str, Any], peer: Peer, port: int, protocol: str) -> bool:
    listed = [one for ports in rule.get("toPorts") or [] for one in ports["ports"]]
    open_to = {one.get("protocol", "ANY") for one in listed if one["port"] == str(port)}
    if listed and not open_to & {"ANY", protocol}:
        return False
    if isinstance(peer, dict):
        return any(_selects(cluster, space, one, peer) for one in rule.get(f"{_SIDE[way]}Endpoints") or [])
    entities = rule.get(f"{_SIDE[way]}Entities") or []
    if peer in ("host", "remote-node"):
        return peer in entities
    if "world" in entities:
        return True
    address = ipaddress.ip_address(peer)
    return any(address in ipaddress.ip_network(text) for text in rule.get(f"{_SIDE[way]}CIDR") or [])
