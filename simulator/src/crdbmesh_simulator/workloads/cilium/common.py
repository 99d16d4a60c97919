"""Helpers of Cilium's programs: options, identity, the way to the API, health answers."""

from __future__ import annotations

from collections.abc import Sequence

from crdbmesh_simulator.kubernetes.programs import Container, HttpAnswer
from crdbmesh_simulator.workloads import objects, paths
from crdbmesh_simulator.workloads.service import Port, Service

_RETRY_S = 3.0


def options(argv: Sequence[str]) -> dict[str, str]:
    """`--name=value` options of a command line; a lone one is `true`."""
    found: dict[str, str] = {}
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = value if equals else "true"
    return found


def api_reachable(container: Container) -> str | None:
    """Return why a container does not reach the Kubernetes API where its environment says it is; None when it does."""
    host = container.env.get("KUBERNETES_SERVICE_HOST") or ""
    port = container.env.get("KUBERNETES_SERVICE_PORT") or "443"
    if not host:
        service = objects.find(container.cluster, "Service", "default", "kubernetes")
        host = str(objects.spec(service or {}).get("clusterIP") or "")
    reason = paths.connect(container.world, container, host, int(port)) if host else "no address"
    return None if reason is None else f"dial tcp {host}:{port}: {paths.symptom(reason)}"


def health_answer(ports: frozenset[Port], port: int, path: str, *, tls: bool, ready: bool) -> HttpAnswer | None:
    """`/readyz` and `/healthz` on a health port."""
    if tls or ("TCP", port) not in ports:
        return None
    if path.startswith("/readyz"):
        return HttpAnswer(200 if ready else 500, b"ok" if ready else b"not ready", "text/plain")
    return HttpAnswer(200, b"ok", "text/plain") if path.startswith("/healthz") else HttpAnswer(404)


class OneShot(Service):
    """A preparatory command of a pod, which ends when it is done; one that needs the API waits for it."""

    def __init__(self, container: Container, *, needs_api: bool = False) -> None:
        super().__init__(container)
        self._needs_api = needs_api
        self._due = container.world.clock.now() + 1.0

    def tick(self) -> None:
        """End when done; try again later without an API that is needed."""
        now = self.container.world.clock.now()
        if self.exit_code is not None or now < self._due:
            return
        reason = api_reachable(self.container) if self._needs_api else None
        if reason is None:
            self.exit_code = 0
            return
        self._due = now + _RETRY_S
        self.say(f'level=warning msg="Unable to contact k8s api-server" error="{reason}"')
