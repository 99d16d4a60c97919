"""The life of one container on a node: its image, its probes, its end and new start; and the status of its pod.

After `pkg/kubelet/{kuberuntime,prober,status}` and `getPhase` in `pkg/kubelet/kubelet_pods.go` of Kubernetes 1.36.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.kubelet.environment import ConfigError
from crdbmesh_simulator.kubernetes.programs import Program

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.controllers.kubelet.worker import PodWorker

BACKOFF_S = 10.0
MAX_BACKOFF_S = 300.0
_FORGIVEN_AFTER_S = 600.0


@dataclass
class ContainerState:
    """A container as the kubelet knows it."""

    spec: Obj
    init: bool = False
    program: Program | None = None
    container_id: str = ""
    reason: str = "PodInitializing"
    message: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    last: Obj | None = None
    restarts: int = 0
    restarting: bool = False
    backoff_s: float = 0.0
    not_before: float = 0.0
    started: bool = False
    ready: bool = False
    probes: list[Probe] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        """Return whether its program runs."""
        return self.program is not None

    @property
    def succeeded(self) -> bool:
        """Return whether it has ended with exit code 0."""
        return not self.running and self.exit_code == 0

    def begin(self, program: Program, now: float, identity: str) -> None:
        """Its program has started."""
        if self.restarting:
            self.restarts += 1
            self.restarting = False
        self.program, self.started_at = program, now
        self.finished_at = self.exit_code = None
        self.reason = self.message = ""
        self.started = "startupProbe" not in self.spec
        self.ready = self.started and "readinessProbe" not in self.spec
        self.container_id = "containerd://" + hashlib.sha256(f"{identity}{self.restarts}{now}".encode()).hexdigest()
        self.probes = [
            Probe.begin(kind, self.spec[kind], now)
            for kind in ("startupProbe", "readinessProbe", "livenessProbe")
            if self.spec.get(kind)
        ]

    def end(self, exit_code: int, now: float, reason: str | None = None) -> None:
        """Its program has ended."""
        self.program = None
        self.exit_code, self.finished_at = exit_code, now
        self.ready = self.started = False
        self.reason = reason or ("Completed" if exit_code == 0 else "Error")
        if self.started_at is not None and now - self.started_at > _FORGIVEN_AFTER_S:
            self.backoff_s = 0.0
        self.not_before = now + self.backoff_s
        self.backoff_s = min(max(self.backoff_s * 2, BACKOFF_S), MAX_BACKOFF_S)

    def again(self, now: float) -> None:
        """It is to be started anew: the past goes to `lastState`."""
        self.last = self._terminated()
        self.exit_code = self.finished_at = None
        self.restarting = True
        self.reason, self.message = ("CrashLoopBackOff" if self.not_before > now else "ContainerCreating"), ""

    def _terminated(self) -> Obj:
        assert self.finished_at is not None
        return {
            "terminated": {
                "exitCode": self.exit_code,
                "reason": self.reason or "Error",
                "startedAt": objects.rfc3339(self.started_at or self.finished_at),
                "finishedAt": objects.rfc3339(self.finished_at),
                "containerID": self.container_id,
            }
        }

    def status(self, now: float, pod: Obj) -> Obj:
        """The entry in `containerStatuses` or `initContainerStatuses`."""
        state: dict[str, Any]
        if self.program is not None:
            state = {"running": {"startedAt": objects.rfc3339(self.started_at or now)}}
        elif self.exit_code is not None and self.finished_at is not None:
            state = self._terminated()
        else:
            waiting = {"reason": self.reason or "ContainerCreating"}
            if self.reason == "CrashLoopBackOff":
                identity = f"{self.name} pod={objects.name(pod)}_{objects.namespace(pod)}({objects.uid(pod)})"
                delay = max(self.backoff_s / 2, BACKOFF_S)
                waiting["message"] = f"back-off {_span(delay)} restarting failed container={identity}"
            elif self.message:
                waiting["message"] = self.message
            state = {"waiting": waiting}
        image = str(self.spec["image"])
        entry: Obj = {
            "name": self.name,
            "state": state,
            "lastState": self.last or {},
            "ready": self.succeeded if self.init else self.ready,
            "restartCount": self.restarts,
            "image": qualified(image),
            "imageID": "",
            "started": self.running and self.started,
        }
        if self.container_id:
            entry["containerID"] = self.container_id
            entry["imageID"] = (
                f"{qualified(image).rsplit(':', 1)[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
            )
        return entry


def _span(span_s: float) -> str:
    minutes, rest = divmod(int(span_s), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def qualified(image: str) -> str:
    """An image reference with its registry and tag, as containerd reports it."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    if "@" not in image and ":" not in image.rsplit("/", 1)[-1]:
        image = f"{image}:latest"
    return image


_SLOW = {"cockroachdb/cockroach": 14.0, "cilium/cilium": 12.0, "klipper-helm": 6.0, "clustermesh-apiserver": 6.0}
_UNPRIVILEGED = ("klipper-helm", "coredns", "metrics-server", "cilium/certgen")


def pull_s(image: str) -> float:
    """Simulated seconds that a first pull takes on an Azure VM."""
    base = next((span for word, span in _SLOW.items() if word in image), 3.0)
    return base + (zlib.crc32(image.encode()) % 20) / 10


def check_user(pod: Obj, container: Obj, image: str) -> None:
    """Hold a container to `runAsNonRoot`. Raises ConfigError: it would run as root."""
    outer = objects.spec(pod).get("securityContext") or {}
    inner = container.get("securityContext") or {}
    if not inner.get("runAsNonRoot", outer.get("runAsNonRoot")):
        return
    user = inner.get("runAsUser", outer.get("runAsUser"))
    where = f'(pod: "{objects.name(pod)}_{objects.namespace(pod)}({objects.uid(pod)})", container: {container["name"]})'
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if user is None and not any(word in image for word in _UNPRIVILEGED):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


@dataclass
class Probe:
    """One probe and what it has seen.

    `spec`: the probe's definition. `passing`: the current verdict; None before the first. `failing`: failures in a row
    have reached the threshold.
    """

    kind: str
    spec: Obj
    next_at: float
    passing: bool | None = None
    failing: bool = False
    successes: int = 0
    failures: int = 0
    output: str = ""

    @classmethod
    def begin(cls, kind: str, spec: Obj, started_at: float) -> Probe:
        """A probe of a container that started at `started_at`."""
        return cls(kind, spec, started_at + float(spec.get("initialDelaySeconds") or 0))

    @property
    def period_s(self) -> float:
        """Simulated seconds between two tries."""
        return float(self.spec.get("periodSeconds") or 10)

    def result(self, *, ok: bool, output: str, now: float) -> None:
        """Take in one try."""
        self.next_at = now + self.period_s
        self.output = output
        if ok:
            self.successes, self.failures = self.successes + 1, 0
            if self.successes >= int(self.spec.get("successThreshold") or 1):
                self.passing, self.failing = True, False
            return
        self.successes, self.failures = 0, self.failures + 1
        if self.failures >= int(self.spec.get("failureThreshold") or 3):
            self.passing, self.failing = False, True


def ask(probe: Probe, container: Obj, program: Program, now: float) -> None:
    """Try a probe that is due; only those by HTTP are part of this world, and any other passes."""
    ok, output = _http(probe.spec["httpGet"], container, program) if "httpGet" in probe.spec else (True, "")
    probe.result(ok=ok, output=output, now=now)


def _http(spec: Obj, container: Obj, program: Program) -> tuple[bool, str]:
    port = port_number(spec["port"], container)
    scheme = str(spec.get("scheme", "HTTP")).upper()
    path = str(spec.get("path") or "/")
    answer = program.http_get(port, path, tls=scheme == "HTTPS")
    if answer is None:
        url = f"{scheme.lower()}://{spec.get('host') or 'pod'}:{port}{path}"
        return False, f'Get "{url}": dial tcp: connect: connection refused'
    if 200 <= answer.status < 400:
        return True, ""
    return False, f"HTTP probe failed with statuscode: {answer.status}"


def port_number(port: int | str, container: Obj) -> int:
    """A port by number or by the name that the container gives it."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    return next((int(p["containerPort"]) for p in container.get("ports") or [] if p.get("name") == port), 0)


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
    initialized = entry(
        "Initialized",
        not uninit or done,
        reason="ContainersNotInitialized",
        message=f"containers with incomplete status: [{' '.join(uninit)}]",
    )
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
