"""The DaemonSet controller: one pod on each node that fits, replaced a few at a time when the template changes.

After `pkg/controller/daemon` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import fit, objects
from crdbmesh_simulator.kubernetes.controllers.objects import pod_from
from crdbmesh_simulator.kubernetes.controllers.site import Controller

REVISION = "controller-revision-hash"
GENERATION = "pod-template-generation"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


class DaemonSets(Controller):
    """Keeps the pods of every DaemonSet."""

    watches = ("DaemonSet", "Pod", "Node")

    def run(self, now: float) -> float | None:  # noqa: ARG002 - the interface
        """Sync every DaemonSet."""
        for daemon in self.api.list("DaemonSet"):
            if not objects.deleting(daemon):
                self.tolerating(daemon, functools.partial(self._sync, daemon))
        return None

    def _sync(self, daemon: Obj) -> None:
        code = objects.digest(objects.spec(daemon)["template"])
        pods = objects.owned(self.api.list("Pod", objects.namespace(daemon)), daemon)
        by_node: dict[str, list[Obj]] = {}
        for pod in pods:
            by_node.setdefault(_node_of(pod), []).append(pod)
        nodes = self.api.list("Node")
        wanted = [node for node in nodes if self._fits(daemon, node)]
        names = {objects.name(node) for node in wanted}
        for name, there in by_node.items():
            for index, pod in enumerate(there):
                failed = objects.status(pod).get("phase") == "Failed"
                if (name not in names or failed or index) and not objects.deleting(pod):
                    self.api.delete(pod)
        for node in wanted:
            if not by_node.get(objects.name(node)):
                self._create(daemon, objects.name(node), code)
        self._roll(daemon, by_node, names, code)
        self._status(daemon, by_node, names, code)

    def _spec(self, daemon: Obj) -> Obj:
        spec = self.api.copy(objects.spec(daemon)["template"]["spec"])
        tolerations = list(spec.get("tolerations") or [])
        extra = [
            *_TOLERATED,
            *([("node.kubernetes.io/network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else []),
        ]
        tolerations += [{"key": key, "operator": "Exists", "effect": effect} for key, effect in extra]
        spec["tolerations"] = tolerations
        return spec

    def _fits(self, daemon: Obj, node: Obj) -> bool:
        spec = objects.spec(daemon)["template"]["spec"]
        spec = {**spec, "tolerations": self._spec(daemon)["tolerations"]}
        return fit.node_selected(spec, node) and fit.untolerated(spec, node) is None

    def _create(self, daemon: Obj, node: str, code: str) -> None:
        template = {**objects.spec(daemon)["template"], "spec": self._spec(daemon)}
        pod = pod_from(template, daemon, generate=f"{objects.name(daemon)}-")
        pod["metadata"]["labels"].update({REVISION: code, GENERATION: str(objects.meta(daemon).get("generation", 1))})
        affinity = pod["spec"].setdefault("affinity", {}) or {}
        pod["spec"]["affinity"] = affinity
        here = {"key": "metadata.name", "operator": "In", "values": [node]}
        affinity.setdefault("nodeAffinity", {})["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchFields": [here]}]
        }
        created = self.api.create(pod)
        self.api.event(
            daemon,
            "Normal",
            "SuccessfulCreate",
            f"Created pod: {objects.name(created)}",
            component="daemonset-controller",
        )

    def _roll(self, daemon: Obj, by_node: dict[str, list[Obj]], names: set[str], code: str) -> None:
        strategy = objects.spec(daemon).get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        allowed = objects.integer_or_percent(
            (strategy.get("rollingUpdate") or {}).get("maxUnavailable"), len(names), up=True, default=1
        )
        present = {name: by_node.get(name) or [] for name in names}
        down = sum(
            not any(objects.pod_ready(p) and not objects.deleting(p) for p in there) for there in present.values()
        )
        for there in present.values():
            for pod in there:
                if objects.labels(pod).get(REVISION) == code or objects.deleting(pod):
                    continue
                if objects.pod_ready(pod):
                    if down >= max(allowed, 1):
                        continue
                    down += 1
                self.api.delete(pod)

    def _status(self, daemon: Obj, by_node: dict[str, list[Obj]], names: set[str], code: str) -> None:
        there = [pods[0] for name, pods in by_node.items() if name in names and pods]
        placed = [pod for pod in there if objects.spec(pod).get("nodeName")]
        ready = [pod for pod in placed if objects.pod_ready(pod)]
        updated = [pod for pod in placed if objects.labels(pod).get(REVISION) == code]
        status: Obj = {
            "observedGeneration": objects.meta(daemon).get("generation", 1),
            "desiredNumberScheduled": len(names),
            "currentNumberScheduled": len(there),
            "numberMisscheduled": sum(bool(pods) and name not in names for name, pods in by_node.items()),
            "numberReady": len(ready),
            "updatedNumberScheduled": len(updated),
            "numberAvailable": len(ready),
            "numberUnavailable": len(names) - len(ready),
        }
        optional = ("updatedNumberScheduled", "numberAvailable", "numberUnavailable")
        status = {key: value for key, value in status.items() if value or key not in optional}
        if status != objects.status(daemon):
            self.api.set_status(daemon, status)


def _node_of(pod: Obj) -> str:
    """The node a daemon's pod is on, or is meant for."""
    placed = objects.spec(pod).get("nodeName")
    if placed:
        return str(placed)
    affinity = (objects.spec(pod).get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or []
    for term in terms:
        for rule in term.get("matchFields") or []:
            if rule["key"] == "metadata.name":
                return str(rule["values"][0])
    return ""
