"""CoreDNS: reads its Corefile as mounted, reloads it when it has changed, answers by it.

Health on 8080 (`/health`), readiness on 8181 (`/ready`), after the plugins `health`, `ready`, `reload` and `loop`.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.programs import Container, HttpAnswer
from crdbmesh_simulator.workloads import paths
from crdbmesh_simulator.workloads.coredns.corefile import CorefileError
from crdbmesh_simulator.workloads.coredns.message import SERVFAIL, Answer, Question
from crdbmesh_simulator.workloads.coredns.plugins import Config, load
from crdbmesh_simulator.workloads.coredns.resolver import Resolver
from crdbmesh_simulator.workloads.service import Port, Service

_START_S = 1.0
_RELOAD_JITTER = 0.5
_API_RETRY_S = 1.0
_LOOP_CHECK_S = 2.0


class CoreDNS(Service):
    """A CoreDNS process."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        words = container.argv
        self.path = words[words.index("-conf") + 1] if "-conf" in words[:-1] else "Corefile"
        self.resolver: Resolver | None = None
        self.synced = False
        self._world = container.world
        self._next = self._world.clock.now() + _START_S
        self._reload_at = 0.0
        self._loop_at = 0.0
        self._refused = ""

    def tick(self) -> None:
        """Start, look for the API, look for a changed Corefile, look for loops."""
        now = self._world.clock.now()
        if self.exit_code is not None or now < self._next:
            return
        if self.resolver is None:
            self._start(now)
            return
        if not self.synced:
            self._sync(now)
        if self._loop_at and now >= self._loop_at:
            self._loop_at = 0.0
            self._look_for_loop()
        if now >= self._reload_at:
            self._reload(now)

    def listening(self) -> frozenset[Port]:
        """Port 53, and those of the plugins that serve HTTP."""
        if self.resolver is None or self.exit_code is not None:
            return frozenset()
        config = self.resolver.config
        http = {9153, *((8080,) if config.health else ()), *((8181,) if config.ready else ())}
        served = {server.port for server in config.servers}
        return frozenset({("UDP", port) for port in served} | {("TCP", port) for port in served | http})

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """Health and readiness."""
        if tls or ("TCP", port) not in self.listening():
            return None
        if port == 8080 and path.startswith("/health"):
            return HttpAnswer(200, b"OK", "text/plain")
        if port == 8181 and path.startswith("/ready"):
            return HttpAnswer(200, b"OK", "text/plain") if self.ready else HttpAnswer(503, b"kubernetes", "text/plain")
        return HttpAnswer(404, b"404 page not found\n", "text/plain")

    @property
    def ready(self) -> bool:
        """Return whether every plugin that reports readiness has."""
        return self.resolver is not None and (self.synced or not self._needs_api())

    def answer(self, question: Question) -> Answer:
        """Answer a question that has arrived."""
        if self.resolver is None:
            return Answer("", reason="not started")
        server = self.resolver.config.find_server(question.name)
        if not self.synced and server is not None and server.kubernetes is not None and not question.probe:
            return Answer(SERVFAIL, reason="plugin/kubernetes: Kubernetes API is not synchronized")
        return self.resolver.answer(question)

    def _start(self, now: float) -> None:
        try:
            config = self._load()
        except CorefileError as error:
            self.say(str(error))
            self.exit_code = 1
            return
        self.resolver = Resolver(self.container, config, self.log)
        self._announce(config)
        self.say("CoreDNS-1.14.4")
        self.say("linux/amd64, go1.26.3")
        self._plan_reload(now)
        if any("loop" in server.plugins for server in config.servers):
            self._loop_at = now + _LOOP_CHECK_S
        self._next = now

    def _load(self) -> Config:
        config = load(self.path, self.container.files, self.container.env)
        for name in config.unhandled:
            self._world.not_known("dns", f"CoreDNS plugin {name}")
        return config

    def _announce(self, config: Config) -> None:
        for warning in config.warnings:
            self.say(f"[WARNING] {warning}")
        for server in config.servers:
            self.say(f"{server.zone}:{server.port}")

    def _needs_api(self) -> bool:
        return self.resolver is not None and any(server.kubernetes for server in self.resolver.config.servers)

    def _sync(self, now: float) -> None:
        if not self._needs_api():
            return
        host = self.container.env.get("KUBERNETES_SERVICE_HOST", "")
        port = self.container.env.get("KUBERNETES_SERVICE_PORT") or "443"
        reason = (
            paths.connect(self._world, self.container, host, int(port)) if host else "no address in the environment"
        )
        if reason is None:
            self.synced = True
            return
        line = '[INFO] plugin/ready: Still waiting on: "kubernetes"'
        if not self.log or self.log[-1] != line:
            self.say(
                f"[WARNING] plugin/kubernetes: Kubernetes API connection failure: Get "
                f'"https://{host}:{port}/version": dial tcp {host}:{port}: {paths.symptom(reason)}'
            )
            self.say(line)
        self._next = now + _API_RETRY_S

    def _plan_reload(self, now: float) -> None:
        assert self.resolver is not None
        interval = self.resolver.config.reload_s
        jitter = self._world.random.uniform(-_RELOAD_JITTER, _RELOAD_JITTER)
        self._reload_at = now + interval * (1 + jitter) if interval else float("inf")

    def _reload(self, now: float) -> None:
        assert self.resolver is not None
        self._plan_reload(now)
        snapshot = repr(
            sorted((path, data) for path, data in self.container.files.items() if path.startswith("/etc/coredns"))
        )
        if snapshot == self._refused:
            return
        try:
            config = self._load()
        except CorefileError as error:
            self._refused = snapshot
            self.say("[INFO] Reloading")
            self.say(f"[ERROR] Restart failed: {error}")
            self.say(f"[ERROR] plugin/reload: Corefile changed but reload failed: {error}")
            return
        self._refused = ""
        if config.text == self.resolver.config.text:
            return
        self.say("[INFO] Reloading")
        self.resolver = Resolver(self.container, config, self.log)
        self._announce(config)
        self.say("[INFO] Reloading complete")
        self._plan_reload(now)
        if any("loop" in server.plugins for server in config.servers):
            self._loop_at = now + _LOOP_CHECK_S

    def _look_for_loop(self) -> None:
        """Ask for a name nobody knows, and end if the question comes back, as plugin `loop` does."""
        assert self.resolver is not None
        for server in self.resolver.config.servers:
            if "loop" not in server.plugins:
                continue
            base = "" if server.zone == "." else server.zone
            name = f"{self._world.random.randrange(1 << 40)}.{self._world.random.randrange(1 << 40)}.{base}"
            self.resolver.answer(Question(name, "HINFO", probe=True))
            if self.resolver.looped:
                self.say(
                    f'[FATAL] plugin/loop: Loop (127.0.0.1:40000 -> :{server.port}) detected for zone "{server.zone}", '
                    f'see https://coredns.io/plugins/loop#troubleshooting. Query: "HINFO {name}"'
                )
                self.exit_code = 1
                return
