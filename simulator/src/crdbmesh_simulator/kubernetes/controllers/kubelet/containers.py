"""The life of one container on a node: waiting, running, terminated, started again; and its entry in the pod's status.

After `pkg/kubelet/kuberuntime` of Kubernetes 1.36.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.kubelet.probes import Probe
from crdbmesh_simulator.kubernetes.controllers.objects import Obj
from crdbmesh_simulator.kubernetes.programs import Program

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
