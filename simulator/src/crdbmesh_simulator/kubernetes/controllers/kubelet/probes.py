"""Probes of a container: startup, readiness, liveness, on the simulated clock.

After `pkg/kubelet/prober` of Kubernetes 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass

from crdbmesh_simulator.kubernetes.controllers.objects import Obj
from crdbmesh_simulator.kubernetes.programs import Program


@dataclass
class Probe:
    """One probe and what it has seen.

    Attributes:
        spec: the probe's definition.
        passing: the current verdict; None before the first.
        failing: failures in a row have reached the threshold.
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
