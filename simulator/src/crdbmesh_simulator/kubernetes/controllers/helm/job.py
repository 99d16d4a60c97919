"""The program in a helm job's container (klipper-helm): installs or upgrades a release, then exits.

After k3s-io/klipper-helm's `entry` script and helm's `install` and `upgrade`. The container sees the API
only where its environment says it is, so that a job without `bootstrap` needs a pod network and Services.
"""

from __future__ import annotations

from collections.abc import Sequence

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.helm import charts, release
from crdbmesh_simulator.kubernetes.controllers.helm.release import ReleaseError
from crdbmesh_simulator.kubernetes.controllers.site import Site, api_unreachable
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, Program, Stdin

_WORK_S = 5.0
_HOOK_TIMEOUT_S = 300.0
_ORDER: list[str] = tables.read_yaml("crdbmesh_simulator.kubernetes", "names-1.36")["install order"]


class HelmJob(Program):
    """One run of klipper-helm."""

    def __init__(self, container: Container, site: Site) -> None:
        super().__init__(container)
        self.site = site
        self._name = container.env["NAME"]
        self._space = container.env["TARGET_NAMESPACE"]
        self._due = site.now() + _WORK_S
        self._hooks: list[Obj] = []
        self._hooks_until = 0.0
        self._revision: tuple[int, charts.Chart, Obj, list[Obj]] | None = None

    def tick(self) -> None:
        """Do the work when it is due, then wait for the hooks."""
        now = self.site.now()
        if self.exit_code is not None or now < self._due:
            return
        try:
            if self._revision is not None:
                self._wait_for_hooks(now)
            else:
                self._install(now)
        except (ReleaseError, StatusError, LookupError) as error:
            self.log.append(f"Error: {error}")
            self.exit_code = 1

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:  # noqa: ARG002 - the interface
        """Nobody asks anything of it."""
        self.site.world.not_known("exec", f"klipper-helm: {' '.join(argv)}")
        return ExecResult(stderr=f'exec: "{argv[0]}": executable file not found in $PATH\n'.encode(), exit_code=127)

    def _reach(self, word: str) -> None:
        reason = api_unreachable(self.site, self.container)
        if reason is not None:
            raise ReleaseError(
                f'{word}: Kubernetes cluster unreachable: Get "https://{reason.split()[2].rstrip(":")}'
                f'/version": {reason}'
            )

    def _install(self, now: float) -> None:
        history = release.find_history(self.site.api, self._space, self._name)
        word = "UPGRADE FAILED" if history else "INSTALLATION FAILED"
        self.log.append(f"+ helm_v3 {'upgrade' if history else 'install'} --namespace {self._space} {self._name}")
        self._reach(word)
        version = int(objects.labels(history[-1])["version"]) + 1 if history else 1
        try:
            chart = charts.find_chart(self.site, self.container)
            files = {path: data for path, data in self.container.files.items() if path.startswith("/config/values")}
            values = charts.read(files)
            rendered = charts.render(self.site, chart, values)
            wanted = release.own(rendered, name=self._name, namespace=self._space)
        except (ValueError, ReleaseError) as error:
            raise ReleaseError(f"{word}: {error}") from error
        hooks = [obj for obj in wanted if release.HOOK in objects.annotations_of(obj)]
        plain = [obj for obj in wanted if release.HOOK not in objects.annotations_of(obj)]
        plain.sort(key=lambda obj: _ORDER.index(obj["kind"]) if obj["kind"] in _ORDER else len(_ORDER))
        for obj in plain:
            release.put(self.site.api, obj)
        if history:
            self._prune(history[-1], plain)
        self._hooks = hooks
        for hook in hooks:
            release.drop(self.site.api, hook)
        self._hooks_until = now + _HOOK_TIMEOUT_S
        self._revision = (version, chart, values, plain)
        status = "pending-upgrade" if history else "pending-install"
        if not hooks:
            self._finish(now)
            return
        self._record(status, now)
        self._due = now + 1.0

    def _prune(self, last: Obj, kept: list[Obj]) -> None:
        keys = {(obj["kind"], objects.namespace(obj), objects.name(obj)) for obj in kept}
        for obj in release.manifest(release.read(last)):
            if (obj["kind"], objects.namespace(obj), objects.name(obj)) not in keys:
                release.drop(self.site.api, obj)

    def _wait_for_hooks(self, now: float) -> None:
        waiting = False
        for hook in self._hooks:
            existing = self.site.api.find(hook["kind"], objects.namespace(hook), objects.name(hook))
            if existing is None:
                self.site.api.create(hook, manager="helm")
                waiting = True
            elif objects.deleting(existing) or not objects.is_true(existing, "Complete"):
                waiting = True
        if not waiting:
            self._finish(now)
        elif now > self._hooks_until:
            self._record("failed", now)
            raise ReleaseError("failed post-install: timed out waiting for the condition")
        else:
            self._due = now + 2.0

    def _finish(self, now: float) -> None:
        self._record("deployed", now)
        assert self._revision is not None
        self.log += [
            f"NAME: {self._name}",
            f"NAMESPACE: {self._space}",
            "STATUS: deployed",
            f"REVISION: {self._revision[0]}",
        ]
        self.exit_code = 0

    def _record(self, status: str, now: float) -> None:
        assert self._revision is not None
        version, chart, values, manifest = self._revision
        release.record(
            self.site.api,
            name=self._name,
            namespace=self._space,
            version=version,
            status=status,
            chart={"name": chart.name, "version": chart.version},
            values=values,
            manifest=manifest,
            now=now,
        )
