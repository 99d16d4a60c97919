"""One k3s cluster: its servers and agents, its certificate authority, its datastore, its running pods.

A cluster comes to be when k3s first starts somewhere with `cluster-init` (or as a single server) and ends when no
member's datastore is left. `machines/k3s.py` creates and joins it; `door.py` serves its API in front of `store`, and
`kubernetes/controllers` are what moves inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, LogLine, Program, Stdin

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.authority import Authority
    from crdbmesh_simulator.kubernetes.api.store import Store
    from crdbmesh_simulator.workloads.dialogue import Dialogue
    from crdbmesh_simulator.world import Machine, World


@dataclass(slots=True)
class Member:
    """A machine's part in a cluster.

    `node_name`: `node-name` of its k3s configuration, or its host name. `role`: `server` or `agent`. `config`: the k3s
    configuration in force, as parsed from config.yaml and flags (keys as in the k3s docs). `version`: k3s version
    running, such as `v1.36.4+k3s1`. `joined_at`: simulated time at which k3s was admitted. `voter_at`: simulated time
    from which its etcd member is a voter, or None while it is a learner (servers only). `running`: whether its k3s
    service is active now (controllers treat a stopped one as a node that is not ready). `kubelet`: the configuration in
    force of its kubelet, as KubeletConfiguration.
    """

    machine: Machine
    node_name: str
    role: str
    config: dict[str, Any]
    version: str
    joined_at: float
    voter_at: float | None = None
    running: bool = True
    kubelet: dict[str, Any] = field(default_factory=dict)


@dataclass
class Cluster:
    """A k3s cluster.

    `uid`: unique in the world. `token`: the secret part of the cluster's token. `config`: the critical settings all
    servers must share, from the first server (`cluster-cidr`, `service-cidr`, `cluster-dns`, `cluster-domain`,
    `flannel-backend`, `disable-network-policy`, `disable-kube-proxy`, `disable`), with k3s's defaults filled in.
    `members`: by node name. `authority`: server and client CAs, and the certificates they sign. `store`: the Kubernetes
    objects. `runtime`: running pods, once the controllers have taken it up.
    """

    uid: str
    token: str
    config: dict[str, Any]
    version: str
    authority: Authority
    store: Store
    members: dict[str, Member] = field(default_factory=dict)
    runtime: Pods | None = None

    def servers(self) -> list[Member]:
        """Members whose role is server, in order of joining."""
        return [member for member in self.members.values() if member.role == "server"]

    def has_quorum(self) -> bool:
        """Tell whether more than half of the etcd voters run; without them the API serves no request."""
        voters = [member for member in self.servers() if member.voter_at is not None]
        return 2 * sum(member.running for member in voters) > len(voters)


@dataclass
class Sandbox:
    """A pod on its node, from the creation of its network namespace until it is torn down.

    `pod`: the Pod object as last seen. `node`: the member it runs on. `ip`: its address; the node's own with
    `hostNetwork`. `programs`: the running program of each container, by container name. `ended`: the last program of a
    container that does not run now (its log is still readable).
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

    def connect(self, namespace: str, pod: str, port: int) -> Dialogue | None:
        """Connect to a pod's port, or None when nothing listens there."""
        with self._world.lock:
            box = self.find(namespace, pod)
            programs = box.programs.values() if box is not None and self._reachable(box) else ()
            return next((found for program in programs if (found := program.connect(port)) is not None), None)

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
