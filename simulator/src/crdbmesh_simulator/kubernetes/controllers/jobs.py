"""The Job controller, and the status of PodDisruptionBudgets.

After `pkg/controller/job` and `pkg/controller/disruption` of Kubernetes 1.36. The schedules of CronJobs are not part of
this world.
"""

from __future__ import annotations

import functools

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.selectors import matches_selector
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.objects import pod_from
from crdbmesh_simulator.kubernetes.controllers.site import Controller

_NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")


class Jobs(Controller):
    """Runs the pods of every Job to completion."""

    watches = ("Job", "Pod")

    def run(self, now: float) -> float | None:
        """Sync every Job."""
        dues = [
            self.tolerating(job, functools.partial(self._sync, job, now))
            for job in self.api.list("Job")
            if not objects.deleting(job)
        ]
        return min((due for due in dues if due is not None), default=None)

    def _sync(self, job: Obj, now: float) -> float | None:
        if objects.is_true(job, "Complete") or objects.is_true(job, "Failed"):
            return self._expire(job, now)
        spec = objects.spec(job)
        pods = objects.owned(self.api.list("Pod", objects.namespace(job)), job)
        succeeded = [pod for pod in pods if objects.status(pod).get("phase") == "Succeeded"]
        failed = [pod for pod in pods if objects.status(pod).get("phase") == "Failed"]
        active = [pod for pod in pods if objects.pod_active(pod)]
        parallelism = int(spec.get("parallelism", 1))
        completions = spec.get("completions")
        needed = int(completions) if completions is not None else (1 if "parallelism" not in spec else parallelism)
        restarts = sum(
            int(entry.get("restartCount") or 0)
            for pod in active
            for entry in objects.status(pod).get("containerStatuses") or []
        )
        limit = int(spec.get("backoffLimit", 6))
        finished: Obj | None = None
        if len(failed) + restarts > limit:
            finished = {
                "type": "Failed",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }
        if finished is None and len(succeeded) >= needed:
            finished = {
                "type": "Complete",
                "reason": "CompletionsReached",
                "message": "Reached expected number of succeeded pods",
            }
        due: float | None = None
        if finished is not None:
            for pod in active:
                self.api.delete(pod)
            active = []
        elif not spec.get("suspend"):
            due = self._create(job, min(parallelism, needed - len(succeeded)) - len(active), failed, now)
            active = [
                p for p in objects.owned(self.api.list("Pod", objects.namespace(job)), job) if objects.pod_active(p)
            ]
        self._status(job, active, succeeded, failed, finished)
        return due

    def _create(self, job: Obj, count: int, failed: list[Obj], now: float) -> float | None:
        if count <= 0:
            return None
        if failed:
            delay = min(10.0 * 2 ** (len(failed) - 1), 600.0)
            ready_at = max(self._ended(pod, now) for pod in failed) + delay
            if now < ready_at:
                return float(ready_at)
        for _ in range(count):
            template = self.api.copy(objects.spec(job)["template"])
            uid = objects.uid(job)
            labels = template.setdefault("metadata", {}).setdefault("labels", {}) or {}
            labels.update(dict.fromkeys(_UID_LABELS, uid) | {key: objects.name(job) for key in _NAME_LABELS})
            template["metadata"]["labels"] = labels
            pod = self.api.create(pod_from(template, job, generate=f"{objects.name(job)}-"))
            self.api.event(
                job, "Normal", "SuccessfulCreate", f"Created pod: {objects.name(pod)}", component="job-controller"
            )
        return None

    @staticmethod
    def _ended(pod: Obj, now: float) -> float:
        ends = [
            objects.seconds(entry["state"]["terminated"]["finishedAt"])
            for entry in objects.status(pod).get("containerStatuses") or []
            if "terminated" in (entry.get("state") or {})
        ]
        return max(ends, default=now)

    def _status(
        self, job: Obj, active: list[Obj], succeeded: list[Obj], failed: list[Obj], finished: Obj | None
    ) -> None:
        old = objects.status(job)
        stamp = self.site.timestamp()
        status: Obj = {
            **old,
            "startTime": old.get("startTime") or stamp,
            "active": len(active),
            "succeeded": len(succeeded),
            "failed": len(failed),
            "ready": sum(objects.pod_ready(pod) for pod in active),
            "terminating": 0,
            "uncountedTerminatedPods": {},
        }
        for key in ("active", "succeeded", "failed"):
            if not status[key]:
                del status[key]
        if finished is not None:
            conditions = list(old.get("conditions") or [])
            first = "SuccessCriteriaMet" if finished["type"] == "Complete" else "FailureTarget"
            times = {"lastProbeTime": stamp, "lastTransitionTime": stamp}
            conditions += [{**finished, **times, "type": kind, "status": "True"} for kind in (first, finished["type"])]
            status["conditions"] = conditions
            if finished["type"] == "Complete":
                status["completionTime"] = stamp
                self.api.event(job, "Normal", "Completed", "Job completed", component="job-controller")
            else:
                self.api.event(
                    job, "Warning", str(finished["reason"]), str(finished["message"]), component="job-controller"
                )
        if status != old:
            self.api.set_status(job, status)

    def _expire(self, job: Obj, now: float) -> float | None:
        patience = objects.spec(job).get("ttlSecondsAfterFinished")
        if patience is None:
            return None
        done = objects.condition(job, "Complete") or objects.condition(job, "Failed") or {}
        at = objects.seconds(str(done["lastTransitionTime"])) + float(patience)
        if now < at:
            return at
        self.api.delete(job)
        return None


class Budgets(Controller):
    """The status of PodDisruptionBudgets, which the eviction subresource goes by."""

    watches = ("PodDisruptionBudget", "Pod")

    def run(self, now: float) -> float | None:  # noqa: ARG002 - the interface
        """Sync every budget."""
        for budget in self.api.list("PodDisruptionBudget"):
            self._sync(budget)
        return None

    def _sync(self, budget: Obj) -> None:
        spec = objects.spec(budget)
        pods = [
            pod
            for pod in self.api.list("Pod", objects.namespace(budget))
            if matches_selector(spec.get("selector"), objects.labels(pod)) and objects.pod_active(pod)
        ]
        expected = self._expected(pods)
        healthy = sum(objects.pod_ready(pod) for pod in pods)
        if spec.get("minAvailable") is not None:
            desired = objects.integer_or_percent(spec["minAvailable"], expected, up=True, default=0)
        else:
            desired = max(
                expected - objects.integer_or_percent(spec.get("maxUnavailable"), expected, up=True, default=0), 0
            )
        allowed = max(healthy - desired, 0) if expected else 0
        stamp = self.site.timestamp()
        reason = "SufficientPods" if allowed else "InsufficientPods"
        entry = {
            "type": "DisruptionAllowed",
            "status": "True" if allowed else "False",
            "reason": reason,
            "message": "",
            "observedGeneration": objects.meta(budget).get("generation", 1),
        }
        status = {
            "observedGeneration": objects.meta(budget).get("generation", 1),
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "conditions": objects.with_condition(objects.status(budget).get("conditions") or [], entry, stamp),
        }
        if status != objects.status(budget):
            self.api.set_status(budget, status)

    def _expected(self, pods: list[Obj]) -> int:
        """Return how many pods their controllers want; a pod without a controller counts as one."""
        total, seen = 0, set()
        for pod in pods:
            ref = objects.controller(pod)
            if ref is None:
                total += 1
            elif ref["uid"] not in seen:
                seen.add(ref["uid"])
                owner = self.api.find(str(ref["kind"]), objects.namespace(pod), str(ref["name"]))
                total += int(objects.spec(owner or {}).get("replicas", 1))
        return total
