"""The kubelet's worker for one pod: mounts, sandbox, init containers, containers, probes, status, and the end.

After `pkg/kubelet/kubelet.go` (`SyncPod`, `SyncTerminatingPod`) of Kubernetes 1.36. Every stage takes simulated time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.cluster import Sandbox
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.kubelet import containers, environment
from crdbmesh_simulator.kubernetes.controllers.kubelet.containers import ContainerState, pod_status, qualified
from crdbmesh_simulator.kubernetes.programs import Container

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Member
    from crdbmesh_simulator.kubernetes.controllers.site import Site

MOUNT_S = 1.0
SANDBOX_S = 1.5
SYNC_S = 60.0
STOP_S = 2.0
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 15.0
FAR = 1e18


class PodWorker:
    """One pod on one node.

    `due`: simulated time at which it wants `sync` again. `seen`: resource version of the Pod object at the last sync.
    """

    def __init__(self, site: Site, member: Member, pod: Obj, allocate: Callable[[Member], str | None]) -> None:
        self.site = site
        self.member = member
        self.pod = pod
        self.uid = objects.uid(pod)
        self.seen = ""
        self.due = 0.0
        self.box: Sandbox | None = None
        self.kept: dict[str, environment.Mount] = {}
        self.mounts: dict[str, environment.Mount] = {}
        self.started_at: str | None = None
        self._allocate = allocate
        self._stage = "mount"
        self._stage_at: float | None = None
        self._retry_s = _FIRST_RETRY_S
        self._stopping_until: float | None = None
        self._refresh_at = FAR
        self._pulls: dict[str, float] = {}
        self._pull_failures: dict[str, int] = {}
        spec = objects.spec(pod)
        self.inits = [ContainerState(entry, init=True) for entry in spec.get("initContainers") or []]
        self.main = [ContainerState(entry) for entry in spec["containers"]]
        for state in [*self.inits, *self.main]:
            state.reason = "PodInitializing" if self.inits else "ContainerCreating"
        self._adopt(pod)

    def _adopt(self, pod: Obj) -> None:
        """Take restart counts from the status: the kubelet may have restarted, or the machine."""
        for key, states in (("initContainerStatuses", self.inits), ("containerStatuses", self.main)):
            counts = {
                entry["name"]: int(entry.get("restartCount") or 0) for entry in objects.status(pod).get(key) or []
            }
            for state in states:
                state.restarts = counts.get(state.name, 0)
        self.started_at = objects.status(pod).get("startTime")

    def sync(self, pod: Obj, now: float) -> bool:
        """Go on with the pod; True when it is gone for good."""
        self.pod, self.seen, self.due = pod, str(objects.meta(pod).get("resourceVersion")), FAR
        if self.box is not None:
            self.box.pod = pod
            for program in self.box.programs.values():
                program.container.pod = pod
        if objects.deleting(pod):
            return self._terminate(now)
        if objects.status(pod).get("phase") in ("Succeeded", "Failed") and self.box is None:
            return False
        if self.started_at is None:
            self.started_at = objects.rfc3339(now)
        if self.box is not None and self.box.booted_at != self.member.machine.booted_at:
            self._lost(now)
        if self._stage == "mount":
            self._mount(now)
        if self._stage == "sandbox":
            self._sandbox(now)
        if self._stage == "run":
            self._run(now)
        self._write(now)
        return False

    def wake(self, at: float) -> None:
        """Ask for a sync at that time at the latest."""
        self.due = min(self.due, at)

    def drop(self) -> None:
        """Forget the pod at once: its object is gone, or its machine is off."""
        if self.box is not None:
            self.site.pods.forget(self.uid)
            self.box = None

    # Stages before the first container.

    def _enter(self, stage: str) -> None:
        self._stage, self._stage_at, self._retry_s = stage, None, _FIRST_RETRY_S

    def _ripe(self, now: float, takes_s: float) -> bool:
        if self._stage_at is None:
            self._stage_at = now + takes_s
        if now < self._stage_at:
            self.wake(self._stage_at)
            return False
        return True

    def _retry(self, now: float) -> None:
        self._stage_at = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)
        self.wake(self._stage_at)

    def _mount(self, now: float) -> None:
        if not self._ripe(now, MOUNT_S):
            return
        try:
            self.mounts = environment.volumes(self.site, self.pod, self.member, pod_ip="", kept=self.kept)
        except environment.MountError as error:
            self._event("Warning", "FailedMount", str(error))
            self._retry(now)
            return
        self._enter("sandbox")

    def _sandbox(self, now: float) -> None:
        if not self._ripe(now, SANDBOX_S):
            return
        host = bool(objects.spec(self.pod).get("hostNetwork"))
        if host:
            ip: str | None = self.site.private_ip(self.member)
        elif not self.site.network_ready(self.member):
            self._event("Warning", "FailedCreatePodSandBox", self._no_network())
            self._retry(now)
            return
        else:
            ip = self._allocate(self.member)
        if not ip:
            self._event(
                "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: no IPs available in the pool"
            )
            self._retry(now)
            return
        self.box = Sandbox(self.pod, self.member, ip, host, self.member.machine.booted_at)
        self.site.pods.sandboxes[self.uid] = self.box
        self.mounts = environment.volumes(self.site, self.pod, self.member, pod_ip=ip, kept=self.kept)
        self._refresh_at = now + self.site.world.random.uniform(0.5, 1.0) * SYNC_S
        self._enter("run")

    def _no_network(self) -> str:
        head = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: "
        if not self.site.networked_on(self.member):
            return (
                "network is not ready: container runtime network not ready: NetworkReady=false "
                "reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
            )
        return head + (
            'plugin type="cilium-cni" failed (add): unable to connect to Cilium agent: Get '
            '"http://localhost/v1/config": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory'
        )

    # Containers.

    def _run(self, now: float) -> None:
        if now >= self._refresh_at:
            self._refresh(now)
        self.wake(self._refresh_at)
        for state in [*self.inits, *self.main]:
            self._reap(state, now)
        if objects.status(self.pod).get("phase") in ("Succeeded", "Failed"):
            return
        init = next((state for state in self.inits if not state.succeeded), None)
        for state in [init] if init is not None else self.main:
            if not state.running:
                self._advance(state, now)
        for state in [*self.inits, *self.main]:
            if state.running:
                self._probe(state, now)

    def _reap(self, state: ContainerState, now: float) -> None:
        if state.program is None or state.program.exit_code is None:
            return
        code = state.program.exit_code
        assert self.box is not None
        program = self.box.programs.pop(state.name, None)
        if program is not None:
            self.box.ended[state.name] = program
        state.end(code, now)

    def _wants(self, state: ContainerState) -> bool:
        """Return whether a container that does not run should."""
        if state.exit_code is None:
            return True
        policy = objects.spec(self.pod).get("restartPolicy", "Always")
        if state.init:
            return state.exit_code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and state.exit_code != 0)

    def _advance(self, state: ContainerState, now: float) -> None:
        if not self._wants(state):
            return
        if state.exit_code is not None:
            state.again(now)
            if state.reason == "CrashLoopBackOff":
                self._event(
                    "Warning",
                    "BackOff",
                    f"Back-off restarting failed container {state.name} in pod "
                    f"{objects.name(self.pod)}_{objects.namespace(self.pod)}({self.uid})",
                )
        if now < state.not_before:
            self.wake(state.not_before)
            return
        if not self._pulled(state, now):
            return
        self._start(state, now)

    @property
    def _images(self) -> dict[str, object]:
        """The images on the node's disk."""
        return self.member.machine.disk.volumes.setdefault(("images",), {})

    def _pulled(self, state: ContainerState, now: float) -> bool:
        image = qualified(str(state.spec["image"]))
        policy = state.spec.get("imagePullPolicy") or ("Always" if image.endswith(":latest") else "IfNotPresent")
        if image in self._images and policy != "Always":
            return True
        ends = self._pulls.get(image)
        if ends is None:
            self._pulls[image] = ends = now + (containers.pull_s(image) if image not in self._images else 1.0)
            self._event("Normal", "Pulling", f'Pulling image "{image}"')
            if state.reason in ("ImagePullBackOff", "ErrImagePull"):
                state.reason = "ErrImagePull"
        if now < ends:
            self.wake(ends)
            return False
        if not self.site.world.network.has_egress(self.member.machine):
            registry = image.split("/", 1)[0]
            self._pull_failed(
                state, image, now, f'failed to do request: Head "https://{registry}/v2/": dial tcp: i/o timeout'
            )
            return False
        return True

    def _pull_failed(self, state: ContainerState, image: str, now: float, why: str) -> None:
        self._pulls.pop(image, None)
        count = self._pull_failures[image] = self._pull_failures.get(image, 0) + 1
        delay = min(10.0 * 2 ** (count - 1), 300.0)
        text = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {why}'
        state.reason = "ErrImagePull" if count == 1 else "ImagePullBackOff"
        state.message = text if count == 1 else f'Back-off pulling image "{image}": ErrImagePull: {text}'
        state.not_before = now + delay
        self.wake(state.not_before)
        self._event("Warning", "Failed", f'Failed to pull image "{image}": {text}')

    def _start(self, state: ContainerState, now: float) -> None:
        assert self.box is not None
        image = qualified(str(state.spec["image"]))
        node = self.site.api.find("Node", None, self.member.node_name) or {}
        host_ip = self.site.private_ip(self.member)
        try:
            containers.check_user(self.pod, state.spec, image)
            env = environment.environment(
                self.site, self.pod, state.spec, pod_ip=self.box.ip, host_ip=host_ip, node=node
            )
        except environment.ConfigError as error:
            state.reason, state.message = "CreateContainerConfigError", str(error)
            self._event("Warning", "Failed", f"Error: {error}")
            state.not_before = now + 5.0
            self.wake(state.not_before)
            return
        files, modes = environment.place(state.spec, self.mounts)
        system = environment.system_files(self.site, self.pod, pod_ip=self.box.ip, node_name=self.member.node_name)
        live = {**self.pod, "status": {**objects.status(self.pod), "podIP": self.box.ip, "hostIP": host_ip}}
        container = Container(
            world=self.site.world,
            cluster=self.site.cluster,
            node=self.member,
            pod=live,
            spec=state.spec,
            argv=environment.arguments(state.spec, env),
            env=env,
            files={**system, **files},
            modes=modes,
        )
        try:
            program = self.site.start(container)
        except LookupError:
            self._pull_failed(state, image, now, f"{image}: not found")
            return
        if image in self._pulls:
            self._pulls.pop(image)
            self._event("Normal", "Pulled", f'Successfully pulled image "{image}"')
        elif image in self._images:
            self._event("Normal", "Pulled", f'Container image "{image}" already present on machine')
        self._images[image] = True
        self.box.programs[state.name] = program
        state.begin(program, now, f"{self.uid}{state.name}")
        for probe in state.probes:
            if "httpGet" not in probe.spec:
                self.site.world.not_known("kubelet", f"{probe.kind} of container {state.name}: it is not one by HTTP")
        self._event("Normal", "Started", f"Container started: {state.name}")
        self.wake(now)

    def _probe(self, state: ContainerState, now: float) -> None:
        assert state.program is not None
        for probe in state.probes:
            if state.started == (probe.kind == "startupProbe"):
                continue
            if now >= probe.next_at:
                containers.ask(probe, state.spec, state.program, now)
            self.wake(probe.next_at)
            if probe.kind == "startupProbe" and probe.passing:
                state.started = True
                state.ready = not state.spec.get("readinessProbe")
                self.wake(now)
            elif probe.kind == "readinessProbe":
                ready = bool(probe.passing)
                if probe.failing and (state.ready or probe.failures == 1):
                    self._event("Warning", "Unhealthy", f"Readiness probe failed: {probe.output}")
                state.ready = ready
            if probe.failing and probe.kind != "readinessProbe":
                word = "Startup" if probe.kind == "startupProbe" else "Liveness"
                self._event("Warning", "Unhealthy", f"{word} probe failed: {probe.output}")
                self._event(
                    "Normal", "Killing", f"Container {state.name} failed {word.lower()} probe, will be restarted"
                )
                assert self.box is not None
                self.box.ended[state.name] = self.box.programs.pop(state.name)
                state.end(137, now, "Error")
                self.wake(now)
                return

    def _refresh(self, now: float) -> None:
        """Bring changed Secrets and ConfigMaps into the running containers."""
        self._refresh_at = now + self.site.world.random.uniform(0.7, 1.0) * SYNC_S
        assert self.box is not None
        try:
            self.mounts = environment.volumes(self.site, self.pod, self.member, pod_ip=self.box.ip, kept=self.kept)
        except environment.MountError as error:
            self._event("Warning", "FailedMount", str(error))
            return
        for state in [*self.inits, *self.main]:
            if state.program is not None:
                environment.refresh(self.pod, state.program.container, self.mounts)

    # The end.

    def _lost(self, now: float) -> None:
        """The machine has been off: no container survived."""
        for state in [*self.inits, *self.main]:
            if state.running:
                state.end(255, now, "Unknown")
                state.again(now)
                state.not_before = now
            elif state.init:
                state.exit_code = state.finished_at = None
        self.drop()
        self.kept.clear()
        self._pulls.clear()
        self._enter("mount")

    def _terminate(self, now: float) -> bool:
        running = [state for state in [*self.inits, *self.main] if state.running]
        if running:
            if self._stopping_until is None:
                grace = float(objects.meta(self.pod).get("deletionGracePeriodSeconds") or 0)
                self._stopping_until = now + min(grace, STOP_S)
                for state in running:
                    self._event("Normal", "Killing", f"Stopping container {state.name}")
            if now < self._stopping_until:
                self.wake(self._stopping_until)
                return False
        self.drop()
        written = self.member.machine.disk.volumes
        for place in [each for each in written if each[:2] == ("pod", self.uid)]:
            del written[place]
        return True

    def _write(self, now: float) -> None:
        wanted = pod_status(self, now)
        if wanted != objects.status(self.pod):
            self.site.api.set_status(self.pod, wanted)
            if wanted.get("phase") in ("Succeeded", "Failed"):
                self.site.pods.finish(self.uid)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self.site.api.event(self.pod, kind, reason, message, component="kubelet", host=self.member.node_name)
