"""The Deployment and ReplicaSet controllers.

After `pkg/controller/deployment` and `pkg/controller/replicaset` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.objects import pod_from
from crdbmesh_simulator.kubernetes.controllers.site import Controller, Site

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


class Deployments(Controller):
    """Keeps a ReplicaSet for each revision of a Deployment, and shifts replicas to the newest."""

    watches = ("Deployment", "ReplicaSet")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._progress: dict[str, tuple[tuple[int, ...], float]] = {}

    def run(self, now: float) -> float | None:
        """Sync every Deployment."""
        due: float | None = None
        for deployment in self.api.list("Deployment"):
            if objects.deleting(deployment):
                continue
            if not self.tolerating(deployment, functools.partial(self._sync, deployment, now)):
                due = now + 60.0
        return due

    def _sync(self, deployment: Obj, now: float) -> bool:
        sets = objects.owned(self.api.list("ReplicaSet", objects.namespace(deployment)), deployment)
        sets = [rs for rs in sets if not objects.deleting(rs)]
        current = self._current(deployment, sets)
        if current is None:
            if objects.spec(deployment).get("paused"):
                return True
            self._create(deployment, sets)
            return True
        others = [rs for rs in sets if rs is not current]
        if not objects.spec(deployment).get("paused"):
            if (objects.spec(deployment).get("strategy") or {}).get("type") == "Recreate":
                self._recreate(deployment, current, others)
            else:
                self._roll(deployment, current, others)
            self._clean(deployment, others)
        return self._status(deployment, current, sets, now)

    def _template(self, deployment: Obj) -> Obj:
        return objects.spec(deployment)["template"]  # type: ignore[no-any-return]

    def _current(self, deployment: Obj, sets: list[Obj]) -> Obj | None:
        wanted = objects.digest(self._template(deployment))
        for rs in sets:
            if objects.labels(rs).get(HASH) == wanted:
                return rs
        return None

    def _create(self, deployment: Obj, sets: list[Obj]) -> None:
        spec = objects.spec(deployment)
        code = objects.digest(self._template(deployment))
        revision = max((int(objects.annotations_of(rs).get(REVISION, 0)) for rs in sets), default=0) + 1
        template = self.api.copy(self._template(deployment))
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = code
        selector = self.api.copy(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH] = code
        replicas = int(spec.get("replicas", 1))
        total = sum(int(objects.spec(rs).get("replicas") or 0) for rs in sets)
        surge, _ = _bounds(spec)
        rolling = (spec.get("strategy") or {}).get("type") != "Recreate"
        room = max(replicas + surge - total, 0) if rolling else (replicas if total == 0 else 0)
        patience = spec.get("minReadySeconds")
        blanks: Obj = {"name": f"{objects.name(deployment)}-{code}", "space": objects.namespace(deployment)}
        blanks |= {"owner": objects.owner_reference(deployment), "revision": str(revision)}
        blanks |= {"replicas": min(replicas, room), "selector": selector, "template": template}
        blanks["more"] = {"minReadySeconds": patience} if patience else {}
        self.api.create(objects.fill("replica-set", blanks)[0])
        self.api.annotate(deployment, {REVISION: str(revision)})
        text = f"Scaled up replica set {objects.name(deployment)}-{code} from 0 to {min(replicas, room)}"
        self.api.event(deployment, "Normal", "ScalingReplicaSet", text, component="deployment-controller")

    def _scale(self, deployment: Obj, rs: Obj, replicas: int) -> None:
        old = int(objects.spec(rs).get("replicas") or 0)
        if old == replicas:
            return
        changed = self.api.copy(rs)
        changed["spec"]["replicas"] = replicas
        self.api.replace(changed)
        word = "up" if replicas > old else "down"
        text = f"Scaled {word} replica set {objects.name(rs)} from {old} to {replicas}"
        self.api.event(deployment, "Normal", "ScalingReplicaSet", text, component="deployment-controller")

    def _recreate(self, deployment: Obj, current: Obj, others: list[Obj]) -> None:
        for rs in others:
            self._scale(deployment, rs, 0)
        if all(int(objects.status(rs).get("replicas") or 0) == 0 for rs in others):
            self._scale(deployment, current, int(objects.spec(deployment).get("replicas", 1)))

    def _roll(self, deployment: Obj, current: Obj, others: list[Obj]) -> None:
        spec = objects.spec(deployment)
        replicas = int(spec.get("replicas", 1))
        surge, unavailable = _bounds(spec)
        old_total = sum(int(objects.spec(rs).get("replicas") or 0) for rs in others)
        have = int(objects.spec(current).get("replicas") or 0)
        if not old_total:
            self._scale(deployment, current, replicas)
            return
        if have > replicas:
            self._scale(deployment, current, replicas)
            return
        room = replicas + surge - (have + old_total)
        if room > 0 and have < replicas:
            self._scale(deployment, current, min(replicas, have + room))
            return
        everything = [current, *others]
        available = sum(int(objects.status(rs).get("availableReplicas") or 0) for rs in everything)
        spare = available - (replicas - unavailable)
        for rs in sorted(others, key=lambda each: int(objects.annotations_of(each).get(REVISION, 0))):
            wanted = int(objects.spec(rs).get("replicas") or 0)
            sick = max(wanted - int(objects.status(rs).get("availableReplicas") or 0), 0)
            cut = min(wanted, sick + max(spare, 0))
            if cut > 0:
                self._scale(deployment, rs, wanted - cut)
                spare -= max(cut - sick, 0)

    def _clean(self, deployment: Obj, others: list[Obj]) -> None:
        limit = int(objects.spec(deployment).get("revisionHistoryLimit", 10))
        empty = [rs for rs in others if not objects.spec(rs).get("replicas") and not objects.status(rs).get("replicas")]
        empty.sort(key=lambda each: int(objects.annotations_of(each).get(REVISION, 0)))
        for rs in empty[: max(len(empty) - limit, 0)]:
            self.api.delete(rs)

    def _status(self, deployment: Obj, current: Obj, sets: list[Obj], now: float) -> bool:
        spec, old = objects.spec(deployment), objects.status(deployment)
        replicas = int(spec.get("replicas", 1))

        def total(field: str, among: list[Obj]) -> int:
            return sum(int(objects.status(rs).get(field) or 0) for rs in among)

        available, updated = total("availableReplicas", sets), total("replicas", [current])
        _, unavailable = _bounds(spec)
        everything = total("replicas", sets)
        status: Obj = {
            "observedGeneration": objects.meta(deployment).get("generation", 1),
            "replicas": everything,
            "updatedReplicas": updated,
            "readyReplicas": total("readyReplicas", sets),
            "availableReplicas": available,
            "unavailableReplicas": max(max(replicas, everything) - available, 0),
        }
        status = {key: value for key, value in status.items() if value or key == "observedGeneration"}
        if old.get("collisionCount"):
            status["collisionCount"] = old["collisionCount"]
        enough = available >= replicas - unavailable
        word = "has" if enough else "does not have"
        conditions = objects.with_condition(
            old.get("conditions") or [],
            {
                "type": "Available",
                "status": "True" if enough else "False",
                "reason": f"MinimumReplicas{'Available' if enough else 'Unavailable'}",
                "message": f"Deployment {word} minimum availability.",
            },
            self.site.timestamp(),
        )
        complete = updated == everything == available == replicas
        progress = self._progressing(deployment, current, complete=complete, figures=(updated, available), now=now)
        conditions = objects.with_condition(conditions, progress, self.site.timestamp())
        for entry in conditions:
            before: Obj = next((c for c in old.get("conditions") or [] if c["type"] == entry["type"]), {})
            same = all(before.get(key) == entry.get(key) for key in ("status", "reason", "message"))
            entry["lastUpdateTime"] = before.get("lastUpdateTime") if same and before else self.site.timestamp()
        status["conditions"] = conditions
        if status != old:
            self.api.set_status(deployment, status)
        return complete

    def _progressing(
        self, deployment: Obj, current: Obj, *, complete: bool, figures: tuple[int, ...], now: float
    ) -> Obj:
        name = f'ReplicaSet "{objects.name(current)}"'
        uid = objects.uid(deployment)
        figures = (*figures, int(objects.annotations_of(current).get(REVISION, 0)))
        seen = self._progress.get(uid)
        if seen is None or seen[0] != figures:
            seen = self._progress[uid] = (figures, now)
        if complete:
            self._progress[uid] = (figures, now)
            text = f"{name} has successfully progressed."
            return {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": text}
        if now - seen[1] > float(objects.spec(deployment).get("progressDeadlineSeconds", 600)):
            text = f"{name} has timed out progressing."
            return {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": text}
        text = f"{name} is progressing."
        return {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": text}


def _bounds(spec: Obj) -> tuple[int, int]:
    """Return how many pods too many, and too few, a rolling update may have."""
    strategy = spec.get("strategy") or {}
    replicas = int(spec.get("replicas", 1))
    if strategy.get("type") == "Recreate":
        return 0, replicas
    rolling = strategy.get("rollingUpdate") or {}
    surge = objects.integer_or_percent(rolling.get("maxSurge"), replicas, up=True, default="25%")
    unavailable = objects.integer_or_percent(rolling.get("maxUnavailable"), replicas, up=False, default="25%")
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, replicas)


class ReplicaSets(Controller):
    """Keeps as many pods as each ReplicaSet wants."""

    watches = ("ReplicaSet", "Pod")

    def run(self, now: float) -> float | None:
        """Sync every ReplicaSet."""
        due: float | None = None
        pods: dict[str, list[Obj]] = {}
        for pod in self.api.list("Pod"):
            ref = objects.controller(pod)
            if ref is not None and ref.get("kind") == "ReplicaSet":
                pods.setdefault(str(ref.get("uid")), []).append(pod)
        for rs in self.api.list("ReplicaSet"):
            if not objects.deleting(rs):
                mine = pods.get(objects.uid(rs), [])
                again = self.tolerating(rs, functools.partial(self._sync, rs, mine, now))
                due = again if due is None else min(due, again or due)
        return due

    def _sync(self, rs: Obj, pods: list[Obj], now: float) -> float | None:
        wanted = int(objects.spec(rs).get("replicas", 1))
        active = [pod for pod in pods if objects.pod_active(pod)]
        for _ in range(wanted - len(active)):
            pod = self.api.create(pod_from(objects.spec(rs)["template"], rs, generate=f"{objects.name(rs)}-"))
            self.api.event(
                rs, "Normal", "SuccessfulCreate", f"Created pod: {objects.name(pod)}", component="replicaset-controller"
            )
        if len(active) > wanted:
            active.sort(key=_worth)
            for pod in active[: len(active) - wanted]:
                self.api.delete(pod)
                self.api.event(
                    rs,
                    "Normal",
                    "SuccessfulDelete",
                    f"Deleted pod: {objects.name(pod)}",
                    component="replicaset-controller",
                )
        return self._status(rs, active, now)

    def _status(self, rs: Obj, active: list[Obj], now: float) -> float | None:
        patience = float(objects.spec(rs).get("minReadySeconds") or 0)
        ready = [pod for pod in active if objects.pod_ready(pod)]
        since = [
            objects.seconds(str((objects.condition(pod, "Ready") or {}).get("lastTransitionTime"))) for pod in ready
        ]
        available = sum(now - at >= patience for at in since)
        status: Obj = {
            "replicas": len(active),
            "fullyLabeledReplicas": len(active),
            "readyReplicas": len(ready),
            "availableReplicas": available,
        }
        status = {key: value for key, value in status.items() if value or key == "replicas"}
        status["observedGeneration"] = objects.meta(rs).get("generation", 1)
        if status != objects.status(rs):
            self.api.set_status(rs, status)
        waiting = [at + patience for at in since if now - at < patience]
        return min(waiting, default=None)


def _worth(pod: Obj) -> tuple[bool, bool, str]:
    """Pods without a node go first, then those not ready, then the youngest."""
    created = str(objects.meta(pod).get("creationTimestamp"))
    inverse = "".join(chr(255 - ord(letter)) for letter in created)
    return bool(objects.spec(pod).get("nodeName")), objects.pod_ready(pod), inverse
