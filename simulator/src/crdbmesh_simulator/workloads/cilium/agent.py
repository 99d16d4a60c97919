"""The Cilium agent of a node: its configuration, its readiness, and the clusters it knows through kvstoremesh.

After `daemon/` and `pkg/clustermesh/` of Cilium 1.20. The agent reads the copies of remote clusters in the etcd of its
own cluster's clustermesh-apiserver, which it finds by the Service's name without asking DNS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, Stdin
from crdbmesh_simulator.workloads import datapath, objects
from crdbmesh_simulator.workloads.cilium.common import OneShot, api_reachable, options
from crdbmesh_simulator.workloads.cilium.links import Links
from crdbmesh_simulator.workloads.service import Daemon, Port, Service

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cilium.clustermesh import Etcd
    from crdbmesh_simulator.workloads.cilium.etcd_link import EtcdConfig
    from crdbmesh_simulator.workloads.cilium.remote_cluster import Remote, Snapshot
    from crdbmesh_simulator.workloads.datapath import RemoteNode

_START_S = 2.0
_READY_S = 3.0
_RETRY_S = 3.0
_MESH_FOLDER = "/var/lib/cilium/clustermesh/"


class CiliumAgent(datapath.Datapath):
    """A `cilium-agent` process.

    `config`: `cilium-config` as it was when the agent started. `links`: to the remote clusters. `problem`: why it does
    not get on, or empty.
    """

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.config: dict[str, str] = {}
        self.links = _OwnEtcd(self, self._write)
        self.problem = ""
        self.started_at = container.world.clock.now()
        self._world = container.world
        self._next = self.started_at + _START_S
        self._range_since: float | None = None
        self._loaded = False

    # Life.

    def tick(self) -> None:
        """Load the configuration, wait for the API and for a range of addresses, then keep the links."""
        now = self._world.clock.now()
        if self.exit_code is not None or now < self._next:
            return
        if not self._loaded:
            self._load()
            return
        if not self.initialised:
            self._initialise(now)
        if self.initialised:
            self.links.follow(self.mesh_folder, self.cluster_name, now)

    def _load(self) -> None:
        given = options(self.container.argv)
        folder = given.get("config-dir", "/tmp/cilium/config-map").rstrip("/") + "/"  # noqa: S108 - Cilium's own path
        files = {path: data for path, data in self.container.files.items() if path.startswith(folder)}
        self.config = {path[len(folder) :]: data.decode().strip() for path, data in files.items()}
        self.config = {**(self.config or objects.config_map(self.container.cluster, "cilium-config")), **given}
        self.replaces_kube_proxy = self.config.get("kube-proxy-replacement") == "true"
        self.mtu = int(self.config.get("mtu") or 0) or None
        self._loaded = True
        self._write(f'level=info msg="Cilium {self.version}" subsys=daemon', "")

    def _initialise(self, now: float) -> None:
        reason = api_reachable(self.container)
        if reason is not None:
            self._complain("Unable to contact k8s api-server", reason)
            self._next = now + _RETRY_S
            return
        if self.pod_range is None:
            self._range_since = None
            self._complain("Waiting for k8s node information", "required IPv4 PodCIDR not available")
            self._next = now + 1.0
            return
        if self._range_since is None:
            self._range_since = now
        if now >= self._range_since + _READY_S:
            self.initialised, self.problem = True, ""
            self._write('level=info msg="Daemon initialization completed" subsys=daemon', "")

    def _complain(self, message: str, error: str) -> None:
        if error != self.problem:
            self._write(f'level=error msg="{message}" subsys=k8s-client', error)
        self.problem = error

    def _write(self, text: str, error: str) -> None:
        stamp = self._world.clock.utc().strftime("%Y-%m-%dT%H:%M:%SZ")
        self.say(f'time="{stamp}" {text}' + (f' error="{error}"' if error else ""))

    # What it is.

    @property
    def remotes(self) -> dict[str, Remote]:
        """The links by the names of the remote clusters."""
        return self.links.remotes

    @property
    def version(self) -> str:
        """The version, from the image's tag."""
        tag = self.container.image.split("@")[0].rpartition(":")[2]
        return tag.removeprefix("v") if "/" not in tag else "1.20.0"

    @property
    def cluster_name(self) -> str:
        """`cluster-name`."""
        return self.config.get("cluster-name", "default")

    @property
    def node_name(self) -> str:
        """The node's name."""
        return self.container.node.node_name

    @property
    def pod_range(self) -> str | None:
        """The range from which the node's pods have their addresses."""
        owner = objects.find(self.container.cluster, "CiliumNode", None, self.node_name)
        ranges = (objects.spec(owner or {}).get("ipam") or {}).get("podCIDRs") or []
        return str(ranges[0]) if ranges else None

    @property
    def ready(self) -> bool:
        """Return whether the agent is healthy."""
        return self.initialised and self.exit_code is None

    def listening(self) -> frozenset[Port]:
        """Health (9879), node health (4240), VXLAN (8472)."""
        if not self._loaded or self.exit_code is not None:
            return frozenset()
        ports = {("TCP", self._health_port())}
        if self.initialised:
            ports |= {("TCP", 4240), ("UDP", int(self.config.get("tunnel-port") or 8472))}
        return frozenset(ports)

    def _health_port(self) -> int:
        return int(self.config.get("agent-health-port") or 9879)

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """`/healthz`."""
        if tls or not self._loaded or port != self._health_port():
            return None
        if not path.startswith("/healthz"):
            return HttpAnswer(404, b"404 page not found\n", "text/plain")
        if self.ready:
            return HttpAnswer(200, b"", "text/plain")
        return HttpAnswer(503, self.problem.encode(), "text/plain")

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
        """`cilium-dbg`, or `cilium`, which is the same; anything else is the image's."""
        from crdbmesh_simulator.workloads.cilium import troubleshoot

        name = argv[0].rsplit("/", 1)[-1] if argv else ""
        if name in ("cilium", "cilium-dbg"):
            with self._world.lock:
                return troubleshoot.run(self, name, list(argv[1:]))
        return super().exec(argv, stdin)

    # Other clusters.

    def remote_nodes(self) -> list[RemoteNode]:
        """The nodes in the copies that were complete."""
        return [
            node
            for remote in self.remotes.values()
            if remote.complete and remote.snapshot
            for node in remote.snapshot.nodes
        ]

    @property
    def mesh_folder(self) -> str:
        """The folder with the configurations of the remote clusters."""
        return self.container.env.get("CILIUM_CLUSTERMESH_CONFIG") or _MESH_FOLDER


class _OwnEtcd(Links):
    """An agent's links: to the etcd of its own cluster, for the copy of each remote that kvstoremesh keeps there."""

    def __init__(self, agent: CiliumAgent, say: Callable[[str, str], None]) -> None:
        super().__init__(agent.container, say)
        self._agent = agent

    def resolve(self, config: EtcdConfig) -> EtcdConfig:
        """Put in the address of a Service of the own cluster, which the agent looks up in the API and not in DNS."""
        host = config.endpoints[0].removeprefix("https://").rpartition(":")[0]
        parts = host.split(".")
        service = objects.find(self._agent.container.cluster, "Service", parts[1], parts[0])
        ip = str(objects.spec(service or {}).get("clusterIP") or "")
        return dataclasses.replace(config, aliases={**config.aliases, host: (ip,)}) if ip else config

    def fetch(self, remote: Remote, etcd: Etcd) -> tuple[Snapshot, bool] | None:
        """The copy of the remote."""
        copied = etcd.copies.get(remote.name)
        return None if copied is None else (dataclasses.replace(copied[0], cached=True), copied[1])

    def find_conflict(self, remote: Remote, seen: Snapshot) -> str:
        """Return whether another cluster has the remote's id."""
        used = {int(self._agent.config.get("cluster-id") or 0)}
        used |= {
            each.snapshot.id
            for each in self.remotes.values()
            if each is not remote and each.snapshot and not each.conflict
        }
        return f"clusterID {seen.id} is already used" if seen.id in used else ""


class CiliumOperator(Daemon):
    """`cilium-operator`: healthy while it reaches the API; `/healthz` on 9234."""

    more = frozenset({("TCP", 9234)})

    def healthy(self) -> bool:
        """Whether it reaches the API."""
        return api_reachable(self.container) is None


class Envoy(Daemon):
    """`cilium-envoy`: healthy; `/healthz` on 9878."""

    more = frozenset({("TCP", 9878)})


def start(container: Container) -> Service:
    """The program of a container of the agent's image: the agent, or a command of one of its init containers."""
    name = (container.argv or ["cilium-agent"])[0].rsplit("/", 1)[-1]
    if name == "cilium-agent":
        return CiliumAgent(container)
    return OneShot(container, needs_api=name == "cilium-dbg")
