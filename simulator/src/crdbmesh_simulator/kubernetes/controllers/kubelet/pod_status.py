"""A pod's status as the kubelet writes it.

After `pkg/kubelet/status` and `getPhase` in `pkg/kubelet/kubelet_pods.go` of Kubernetes 1.36.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.kubelet.containers import ContainerState
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.controllers.kubelet.worker import PodWorker


def pod_status(worker: PodWorker, now: float) -> Obj:
    """Return the status as it should be now; equal to the old one when nothing has moved."""
    pod, old = worker.pod, objects.status(worker.pod)
    host_ip = worker.site.private_ip(worker.member)
    status: Obj = {
        **old,
        "phase": phase(pod, worker.inits, worker.main),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": worker.started_at,
        "containerStatuses": [state.status(now, pod) for state in worker.main],
    }
    if worker.inits:
        status["initContainerStatuses"] = [state.status(now, pod) for state in worker.inits]
    if worker.box is not None:
        status["podIP"] = worker.box.ip
        status["podIPs"] = [{"ip": worker.box.ip}]
    stamp = objects.rfc3339(now)
    conditions = list(old.get("conditions") or [])
    for entry in _conditions(worker, status["phase"]):
        previous = next((c for c in conditions if c.get("type") == entry["type"]), None)
        if previous is None or previous.get("status") != entry["status"]:
            conditions = [c for c in conditions if c.get("type") != entry["type"]]
            conditions.append({**entry, "lastTransitionTime": stamp})
        else:
            kept = {**entry, "lastTransitionTime": previous.get("lastTransitionTime", stamp)}
            conditions = [kept if c.get("type") == entry["type"] else c for c in conditions]
    status["conditions"] = conditions
    return status


def phase(pod: Obj, inits: list[ContainerState], main: list[ContainerState]) -> str:
    """The pod's phase."""
    policy = objects.spec(pod).get("restartPolicy", "Always")
    old = objects.status(pod).get("phase")
    if old in ("Succeeded", "Failed"):
        return str(old)
    if any(state.exit_code not in (None, 0) for state in inits) and policy == "Never":
        return "Failed"
    if any(not state.succeeded for state in inits):
        return "Pending"
    if any(not state.running and state.exit_code is None and not state.last for state in main):
        return "Pending"
    if policy == "Always" or any(state.running for state in main):
        return "Running"
    if all(state.exit_code == 0 for state in main):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _conditions(worker: PodWorker, now_phase: str) -> list[Obj]:
    done = now_phase in ("Succeeded", "Failed")
    unready = [state.name for state in worker.main if not state.ready]
    uninit = [s.name for s in worker.inits if not s.succeeded]
    sandboxed = worker.box is not None

    def entry(kind: str, ok: bool, **why: str) -> Obj:
        return {"type": kind, "status": "True" if ok else "False", **({} if ok else why)}

    finished = {"reason": "PodCompleted"} if done else None
    initialized = entry("Initialized", not uninit or done, reason="ContainersNotInitialized",
                        message=f"containers with incomplete status: [{' '.join(uninit)}]")  # fmt: skip
    why = finished or {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(unready)}]",
    }
    ready = not unready and not done and sandboxed
    gates = objects.spec(worker.pod).get("readinessGates") or []
    open_gates = [g["conditionType"] for g in gates if not objects.is_true(worker.pod, g["conditionType"])]
    gate_why = {
        "reason": "ReadinessGatesNotReady",
        "message": f"corresponding condition of pod readiness gates {open_gates}",
    }
    return [
        entry("PodReadyToStartContainers", sandboxed and not done),
        initialized,
        entry("Ready", ready and not open_gates, **(why if not ready else gate_why)),
        entry("ContainersReady", ready, **why),
        {"type": "PodScheduled", "status": "True"},
    ]
