"""The running pods of a cluster: which programs run where, and at which address.

Filled by the kubelet controller, read by the Kubernetes API door (exec, logs, proxy) and by whatever asks who answers
at an address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, LogLine, Program, Stdin

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import World


@dataclass
class Sandbox:
    """A pod on its node, from the creation of its network namespace until it is torn down.

    Attributes:
        pod: the Pod object as last seen.
        node: the member it runs on.
        ip: its address; the node's own with `hostNetwork`.
        programs: the running program of each container, by container name.
        ended: the last program of a container that does not run now (its log is still readable).
    """

    pod: dict[str, Any]
    node: Member
    ip: str
    host_network: bool
    booted_at: float
    programs: dict[str, Program] = field(default_factory=dict)
    ended: dict[str, Program] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self.pod["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.pod["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self.pod["metadata"]["uid"])


class Pods:
    """The pods that run in a cluster."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self._world = world
        self._cluster = cluster
        self.sandboxes: dict[str, Sandbox] = {}
        """By pod uid. Read under `world.lock`."""
        self.finished: dict[str, Sandbox] = {}
        """Pods that have ended but are not deleted: no network, no programs, only logs. By pod uid."""

    def find(self, namespace: str, pod: str) -> Sandbox | None:
        """The sandbox of a pod; with `world.lock` held.

        A lost machine may still hold one of an earlier pod of that name, so the last one on a machine that runs counts.
        """
        found = [box for box in self.sandboxes.values() if box.name == pod and box.namespace == namespace]
        running = [box for box in found if self._reachable(box)]
        candidates = running or found
        return candidates[-1] if candidates else None

    def finish(self, uid: str) -> None:
        """The pod has ended for good: its address is free, its logs stay."""
        box = self.sandboxes.pop(uid, None)
        if box is not None:
            box.ended |= box.programs
            box.programs.clear()
            self.finished[uid] = box

    def forget(self, uid: str) -> None:
        """The pod is deleted, or starts anew."""
        for held in (self.sandboxes, self.finished):
            box = held.pop(uid, None)
            if box is not None:
                box.programs.clear()

    def program(self, namespace: str, pod: str, container: str) -> Program | None:
        """The running program of a container; with `world.lock` held."""
        box = self.find(namespace, pod)
        return None if box is None else box.programs.get(container)

    def programs(self) -> Iterator[tuple[Sandbox, Program]]:
        """Every running program; with `world.lock` held."""
        for box in list(self.sandboxes.values()):
            for program in list(box.programs.values()):
                yield box, program

    def containers(self, image: str = "", *, node: str | None = None) -> list[Container]:
        """Running containers whose image reference contains `image`; with `world.lock` held."""
        return [
            program.container
            for box, program in self.programs()
            if image in program.container.image and (node is None or box.node.node_name == node)
        ]

    # What the API door asks, without the lock held.

    def exec(self, namespace: str, pod: str, container: str | None, argv: Sequence[str], stdin: Stdin) -> ExecResult:
        """Run `argv` in a container (None: the pod's default one).

        Raises LookupError: no such container, or it does not run.
        """
        with self._world.lock:
            box, name = self._locate(namespace, pod, container)
            program = box.programs.get(name)
            if box.uid in self.finished:
                phase = (box.pod.get("status") or {}).get("phase")
                raise LookupError(f"cannot exec into a container in a completed pod; current phase is {phase}")
        if program is None:
            raise LookupError(f'container not found ("{name}")')
        return program.exec(argv, stdin)

    def logs(self, namespace: str, pod: str, container: str | None, previous: bool = False) -> list[LogLine]:
        """The log lines of a container's running, or else last, program; or of the one that ended before it.

        Raises LookupError: no such container, or it never started.
        """
        with self._world.lock:
            box, name = self._locate(namespace, pod, container)
            running, ended = box.programs.get(name), box.ended.get(name)
            program = ended if previous else running or ended
            if previous and program is None:
                raise LookupError(f'previous terminated container "{name}" in pod "{pod}" not found')
            if program is None:
                raise LookupError(f'container "{name}" in pod "{pod}" is waiting to start: ContainerCreating')
            return program.log.lines()

    def http_get(self, namespace: str, pod: str, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """GET on a pod's port, or None when nothing answers there."""
        with self._world.lock:
            box = self.find(namespace, pod)
            if box is None or not self._reachable(box):
                return None
            for program in box.programs.values():
                answer = program.http_get(port, path, tls=tls)
                if answer is not None:
                    return answer
        return None

    def _reachable(self, box: Sandbox) -> bool:
        return box.node.running and box.node.machine.key in self._world.machines

    def _locate(self, namespace: str, pod: str, container: str | None) -> tuple[Sandbox, str]:
        box = self.find(namespace, pod)
        if box is None:
            ended = self.finished.values()
            box = next((each for each in ended if each.name == pod and each.namespace == namespace), None)
        if box is None:
            raise LookupError(f'pod "{pod}" does not have a host assigned or is not running')
        if not self._reachable(box):
            raise LookupError(f"error dialing backend: no connection to kubelet of node {box.node.node_name}")
        spec = box.pod["spec"]
        names = [entry["name"] for entry in [*spec["containers"], *(spec.get("initContainers") or [])]]
        if container is None:
            annotations = box.pod["metadata"].get("annotations") or {}
            container = annotations.get("kubectl.kubernetes.io/default-container", names[0])
        if container not in names:
            raise LookupError(f"container {container} is not valid for pod {pod}")
        return box, str(container)
