"""kube-scheduler: gives each pod a node, or says why none will do.

Filters and scores are in `fit.py`. A claim whose class binds at first use gets the node as annotation
`volume.kubernetes.io/selected-node`; the pod is bound when the claim is.
"""

from __future__ import annotations

import collections

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import fit, objects
from crdbmesh_simulator.kubernetes.controllers.api import Api
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_RETRY_S = 10.0


class Scheduler(Controller):
    """Binds pending pods."""

    watches = ("Pod", "Node", "PersistentVolumeClaim", "PersistentVolume", "StorageClass")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._assumed: dict[str, str] = {}
        self._reported: dict[str, tuple[str, float]] = {}

    def run(self, now: float) -> float | None:
        """Try every pod that has no node."""
        pending = [
            pod
            for pod in self.api.list("Pod")
            if not objects.spec(pod).get("nodeName")
            and not objects.deleting(pod)
            and objects.spec(pod).get("schedulerName", "default-scheduler") == "default-scheduler"
            and not objects.spec(pod).get("schedulingGates")
        ]
        waiting = {objects.uid(pod) for pod in pending}
        self._assumed = {uid: node for uid, node in self._assumed.items() if uid in waiting}
        self._reported = {uid: seen for uid, seen in self._reported.items() if uid in waiting}
        if not pending:
            return None
        cluster = self._cluster(pending)
        pending.sort(
            key=lambda pod: (
                -int(objects.spec(pod).get("priority") or 0),
                objects.meta(pod).get("creationTimestamp", ""),
                objects.name(pod),
            )
        )
        for pod in pending:
            self._schedule(pod, cluster, now)
        return now + _RETRY_S

    def _cluster(self, pending: list[Obj]) -> list[fit.NodeInfo]:
        cluster = {objects.name(node): fit.NodeInfo(node) for node in self.api.list("Node")}
        for pod in self.api.list("Pod"):
            node = objects.spec(pod).get("nodeName")
            if node in cluster and objects.status(pod).get("phase") not in ("Succeeded", "Failed"):
                cluster[node].pods.append(pod)
        for pod in pending:
            assumed = self._assumed.get(objects.uid(pod))
            if assumed in cluster:
                cluster[assumed].pods.append(pod)
        return list(cluster.values())

    def _schedule(self, pod: Obj, cluster: list[fit.NodeInfo], now: float) -> None:
        assumed = self._assumed.get(objects.uid(pod))
        if assumed is not None:
            if not any(info.name == assumed for info in cluster):
                del self._assumed[objects.uid(pod)]
            elif self._volumes_bound(pod):
                self._bind(pod, assumed)
            return
        missing = self._missing_claim(pod)
        if missing is not None:
            self._report(pod, f"0/{len(cluster)} nodes are available: {missing}.", now)
            return
        reasons: collections.Counter[str] = collections.Counter()
        feasible: list[fit.NodeInfo] = []
        for info in cluster:
            found = fit.refusals(pod, info, cluster) or self._volume_refusal(pod, info)
            reasons.update(found)
            if not found:
                feasible.append(info)
        if not feasible:
            text = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            message = (
                f"0/{len(cluster)} nodes are available: {text}." if cluster else "no nodes available to schedule pods"
            )
            self._report(pod, message, now)
            return
        best = max(feasible, key=lambda info: (fit.score(pod, info, cluster), info.name))
        best.pods.append(pod)
        if self._volumes_bound(pod):
            self._bind(pod, best.name)
            return
        self._assumed[objects.uid(pod)] = best.name
        for claim in self._claims(pod):
            if not objects.spec(claim).get("volumeName") and self._binds_late(claim):
                self.api.annotate(claim, {SELECTED_NODE: best.name})

    def _bind(self, pod: Obj, node: str) -> None:
        uid = objects.uid(pod)
        self._assumed.pop(uid, None)
        self._reported.pop(uid, None)
        bound = self.api.copy(pod)
        bound["spec"]["nodeName"] = node
        self.api.replace(bound)
        conditions = objects.with_condition(
            objects.status(pod).get("conditions") or [],
            {"type": "PodScheduled", "status": "True", "observedGeneration": 1},
            self.site.timestamp(),
        )
        self.api.set_status(pod, {**objects.status(pod), "conditions": _clean(conditions)})
        text = f"Successfully assigned {objects.namespace(pod)}/{objects.name(pod)} to {node}"
        self.api.event(pod, "Normal", "Scheduled", text, component="default-scheduler")

    def _report(self, pod: Obj, message: str, now: float) -> None:
        seen = self._reported.get(objects.uid(pod))
        if seen is None or seen[0] != message or now - seen[1] > 300:
            self._reported[objects.uid(pod)] = (message, now)
            self.api.event(pod, "Warning", "FailedScheduling", message, component="default-scheduler")
        if seen is not None and seen[0] == message:
            return
        entry = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        conditions = objects.with_condition(objects.status(pod).get("conditions") or [], entry, self.site.timestamp())
        self.api.set_status(pod, {**objects.status(pod), "phase": "Pending", "conditions": conditions})

    def _claim_names(self, pod: Obj) -> list[str]:
        volumes = objects.spec(pod).get("volumes") or []
        return [str(each["persistentVolumeClaim"]["claimName"]) for each in volumes if "persistentVolumeClaim" in each]

    def _claims(self, pod: Obj) -> list[Obj]:
        space = objects.namespace(pod)
        found = (self.api.find("PersistentVolumeClaim", space, name) for name in self._claim_names(pod))
        return [claim for claim in found if claim is not None]

    def _binds_late(self, claim: Obj) -> bool:
        chosen = self.api.find("StorageClass", None, str(objects.spec(claim).get("storageClassName") or ""))
        return chosen is not None and chosen.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _missing_claim(self, pod: Obj) -> str | None:
        space = objects.namespace(pod)
        for name in self._claim_names(pod):
            claim = self.api.find("PersistentVolumeClaim", space, name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if objects.deleting(claim):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if objects.status(claim).get("phase") != "Bound" and not self._binds_late(claim):
                return "pod has unbound immediate PersistentVolumeClaims"
        return None

    def _volume_refusal(self, pod: Obj, info: fit.NodeInfo) -> list[str]:
        for claim in self._claims(pod):
            volume = self.api.find("PersistentVolume", None, str(objects.spec(claim).get("volumeName") or ""))
            if volume is None:
                if objects.spec(claim).get("volumeName"):
                    return ["node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"]
                if _is_static(self.api, claim) and find_static(self.api, claim, info.node) is None:
                    return ["node(s) didn't find available persistent volumes to bind"]
                continue
            required = (objects.spec(volume).get("nodeAffinity") or {}).get("required")
            if required and not any(fit.term_matches(term, info.node) for term in required["nodeSelectorTerms"]):
                return ["node(s) didn't match PersistentVolume's node affinity"]
        return []

    def _volumes_bound(self, pod: Obj) -> bool:
        return all(objects.status(claim).get("phase") == "Bound" for claim in self._claims(pod))


def _is_static(api: Api, claim: Obj) -> bool:
    chosen = api.find("StorageClass", None, str(objects.spec(claim).get("storageClassName") or ""))
    return chosen is not None and chosen.get("provisioner") == "kubernetes.io/no-provisioner"


def find_static(api: Api, claim: Obj, node: Obj) -> Obj | None:
    """The volume that somebody made, is free, of the claim's class and on the node; of a class without provisioner."""
    for volume in api.list("PersistentVolume") if _is_static(api, claim) else ():
        spec = objects.spec(volume)
        required = (spec.get("nodeAffinity") or {}).get("required")
        is_near = not required or any(fit.term_matches(term, node) for term in required["nodeSelectorTerms"])
        is_alike = spec.get("storageClassName") == objects.spec(claim).get("storageClassName")
        if is_near and is_alike and not spec.get("claimRef"):
            return volume
    return None


def _clean(conditions: list[Obj]) -> list[Obj]:
    """PodScheduled=True carries neither the reason nor the message of an earlier refusal."""
    return [
        {key: value for key, value in entry.items() if key not in ("reason", "message")}
        if entry["type"] == "PodScheduled"
        else entry
        for entry in conditions
    ]
