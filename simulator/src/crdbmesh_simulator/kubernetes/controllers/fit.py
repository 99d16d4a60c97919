"""Return whether a pod fits on a node: the filters of kube-scheduler, in its order and with its words.

From `pkg/scheduler/framework/plugins` of Kubernetes 1.36. Each filter gives the reasons for which a node is out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, value_of
from crdbmesh_simulator.kubernetes.api.selectors import matches_expression, matches_selector
from crdbmesh_simulator.kubernetes.controllers import objects

_RESOURCES = {"cpu": "Insufficient cpu", "memory": "Insufficient memory"}


@dataclass
class NodeInfo:
    """A node and the unfinished pods that are on it (or about to be)."""

    node: Obj
    pods: list[Obj] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The node's name."""
        return objects.name(self.node)

    @property
    def labels(self) -> dict[str, str]:
        """The node's labels."""
        return objects.labels(self.node)


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Mapping[str, Any]) -> bool:
    """Return whether one of the tolerations covers the taint."""
    for toleration in tolerations:
        if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
            continue
        if toleration.get("key") and toleration["key"] != taint.get("key"):
            continue
        if toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def node_selected(spec: Mapping[str, Any], node: Obj) -> bool:
    """Return whether `nodeSelector` and the required node affinity accept the node."""
    labels = objects.labels(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    return any(term_matches(term, node) for term in affinity.get("nodeSelectorTerms") or [])


def term_matches(term: Mapping[str, Any], node: Obj) -> bool:
    """Return whether a node selector term accepts the node; an empty term accepts none."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    names = {"metadata.name": objects.name(node)}
    return all(matches_expression(rule, objects.labels(node)) for rule in expressions) and all(
        matches_expression(rule, names) for rule in fields
    )


def untolerated(spec: Mapping[str, Any], node: Obj) -> Mapping[str, Any] | None:
    """The first taint that keeps the pod off the node."""
    tolerations = spec.get("tolerations") or []
    for taint in objects.spec(node).get("taints") or []:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return taint  # type: ignore[no-any-return]
    return None


def refusals(pod: Obj, info: NodeInfo, cluster: Sequence[NodeInfo]) -> list[str]:
    """Return why the pod cannot go on the node; empty when it can. Volumes are judged elsewhere."""
    spec = objects.spec(pod)
    unschedulable = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if objects.spec(info.node).get("unschedulable") and not tolerates(spec.get("tolerations") or [], unschedulable):
        return ["node(s) were unschedulable"]
    taint = untolerated(spec, info.node)
    if taint is not None:
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"]
    if not node_selected(spec, info.node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if host_ports(spec) & {port for other in info.pods for port in host_ports(objects.spec(other))}:
        return ["node(s) didn't have free ports for the requested pod ports"]
    short = _short_of(spec, info)
    if short:
        return short
    return _spread(pod, info, cluster) or _affinity(pod, info, cluster)


def host_ports(spec: Mapping[str, Any]) -> set[tuple[int, str]]:
    """The ports of the node that a pod takes."""
    host = bool(spec.get("hostNetwork"))
    return {
        (int(port.get("hostPort") or port["containerPort"]), str(port.get("protocol", "TCP")))
        for container in spec.get("containers") or []
        for port in container.get("ports") or []
        if port.get("hostPort") or host
    }


def _short_of(spec: Mapping[str, Any], info: NodeInfo) -> list[str]:
    allocatable = objects.status(info.node).get("allocatable") or {}
    if len(info.pods) + 1 > float(value_of(allocatable.get("pods", 110))):
        return ["Too many pods"]
    wanted = objects.requests(spec)
    used: dict[str, float] = {}
    for other in info.pods:
        for resource, amount in objects.requests(objects.spec(other)).items():
            used[resource] = used.get(resource, 0.0) + amount
    return [
        _RESOURCES.get(resource, f"Insufficient {resource}")
        for resource, amount in wanted.items()
        if amount > 0 and used.get(resource, 0.0) + amount > float(value_of(allocatable.get(resource, 0))) + 1e-9
    ]


def _terms(pod: Obj, kind: str) -> list[Obj]:
    affinity = (objects.spec(pod).get("affinity") or {}).get(kind) or {}
    return affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []


def _selects(term: Obj, owner: Obj, other: Obj) -> bool:
    spaces = term.get("namespaces") or []
    if not spaces and term.get("namespaceSelector") is None:
        spaces = [objects.namespace(owner)]
    if spaces and objects.namespace(other) not in spaces:
        return False
    return matches_selector(term.get("labelSelector"), objects.labels(other))


def _affinity(pod: Obj, info: NodeInfo, cluster: Sequence[NodeInfo]) -> list[str]:
    everything = [(other, there) for there in cluster for other in there.pods]
    for term in _terms(pod, "podAffinity"):
        key = term["topologyKey"]
        found = [there for other, there in everything if _selects(term, pod, other)]
        if not found and _selects(term, pod, pod):
            continue
        if not any(key in info.labels and there.labels.get(key) == info.labels[key] for there in found):
            return ["node(s) didn't match pod affinity rules"]
    for term in _terms(pod, "podAntiAffinity"):
        key = term["topologyKey"]
        for other, there in everything:
            if key in info.labels and there.labels.get(key) == info.labels[key] and _selects(term, pod, other):
                return ["node(s) didn't match pod anti-affinity rules"]
    for other, there in everything:
        for term in _terms(other, "podAntiAffinity"):
            key = term["topologyKey"]
            if key in info.labels and there.labels.get(key) == info.labels[key] and _selects(term, other, pod):
                return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []


def _spread(pod: Obj, info: NodeInfo, cluster: Sequence[NodeInfo]) -> list[str]:
    for rule in objects.spec(pod).get("topologySpreadConstraints") or []:
        if rule.get("whenUnsatisfiable") != "DoNotSchedule":
            continue
        key = rule["topologyKey"]
        if key not in info.labels:
            return ["node(s) didn't match pod topology spread constraints (missing required label)"]
        counts = _counts(pod, rule, cluster)
        own = 1 if matches_selector(rule.get("labelSelector") or {}, objects.labels(pod)) else 0
        if counts.get(info.labels[key], 0) + own - min(counts.values(), default=0) > int(rule["maxSkew"]):
            return ["node(s) didn't match pod topology spread constraints"]
    return []


def _counts(pod: Obj, rule: Obj, cluster: Sequence[NodeInfo]) -> dict[str, int]:
    key, selector = rule["topologyKey"], rule.get("labelSelector") or {}
    counts: dict[str, int] = {}
    for there in cluster:
        if key not in there.labels or not node_selected(objects.spec(pod), there.node):
            continue
        found = sum(
            objects.namespace(other) == objects.namespace(pod)
            and not objects.deleting(other)
            and matches_selector(selector, objects.labels(other))
            for other in there.pods
        )
        counts[there.labels[key]] = counts.get(there.labels[key], 0) + found
    return counts


def score(pod: Obj, info: NodeInfo, cluster: Sequence[NodeInfo]) -> float:
    """Rate a feasible node; higher is better. Spreads pods of one owner, and the load."""
    spec = objects.spec(pod)
    allocatable = objects.status(info.node).get("allocatable") or {}
    cpu = max(float(value_of(allocatable.get("cpu", 1))), 0.001)
    used = sum(objects.requests(objects.spec(other)).get("cpu", 0.1) for other in info.pods)
    value = 10.0 * (1.0 - used / cpu)
    owner = objects.controller(pod)
    if owner is not None:
        same = sum((objects.controller(other) or {}).get("uid") == owner.get("uid") for other in info.pods)
        value -= 40.0 * same
    affinity = spec.get("affinity") or {}
    for kind, sign in (("podAffinity", 1.0), ("podAntiAffinity", -1.0)):
        for entry in (affinity.get(kind) or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or []:
            term = entry["podAffinityTerm"]
            key = term["topologyKey"]
            found = sum(
                _selects(term, pod, other)
                for there in cluster
                if key in info.labels and there.labels.get(key) == info.labels[key]
                for other in there.pods
            )
            value += sign * float(entry["weight"]) * found
    for rule in spec.get("topologySpreadConstraints") or []:
        if rule["topologyKey"] in info.labels:
            value -= 20.0 * _counts(pod, rule, cluster).get(info.labels[rule["topologyKey"]], 0)
    return value
