"""The containers of clustermesh-apiserver: etcd, apiserver (which fills it), kvstoremesh (which copies the remotes).

After `clustermesh-apiserver/` of Cilium 1.20. kvstoremesh connects to each remote cluster of its mounted Secret and
keeps a copy; the agents of the cluster read that copy and never leave the cluster.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Callable, Mapping, Sequence

import yaml

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, Stdin
from crdbmesh_simulator.workloads import objects
from crdbmesh_simulator.workloads.cilium import etcd_link, troubleshoot
from crdbmesh_simulator.workloads.cilium.common import OneShot, api_reachable, health_answer, options
from crdbmesh_simulator.workloads.cilium.links import Links
from crdbmesh_simulator.workloads.cilium.remote_cluster import Remote, Snapshot
from crdbmesh_simulator.workloads.cilium.troubleshoot import wants_json
from crdbmesh_simulator.workloads.datapath import RemoteNode
from crdbmesh_simulator.workloads.service import Port, Service

_START_S = 1.0
_SYNC_S = 3.0
_PER_CLUSTER_READY_S = 15.0
_SERVER = "/var/lib/etcd-secrets"
_BINARY = "clustermesh-apiserver"


class Etcd(Service):
    """The etcd that other clusters and the cluster's own agents read."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.copies: dict[str, tuple[Snapshot, bool]] = {}
        """What kvstoremesh has written of each remote cluster, and whether it is complete; it outlives the links."""
        self._options = options(container.argv)
        self._up_at = container.world.clock.now() + _START_S

    def tick(self) -> None:
        """Check the certificates once, then serve."""
        if self.exit_code is not None or self.container.world.clock.now() < self._up_at or self._started():
            return
        self.say('{"level":"info","msg":"serving client traffic securely","address":":2379"}')

    def _started(self) -> bool:
        return bool(self.log)

    def listening(self) -> frozenset[Port]:
        """The client port."""
        up = self.exit_code is None and self._started()
        return frozenset({("TCP", 2379)}) if up else frozenset()

    def server_files(self) -> tuple[bytes, bytes]:
        """The serving certificate and the CA of the clients that are let in, as mounted now."""
        files = self.container.files
        return (
            files.get(self._options.get("cert-file", f"{_SERVER}/tls.crt"), b""),
            files.get(self._options.get("trusted-ca-file", f"{_SERVER}/ca.crt"), b""),
        )

    def users(self) -> set[str]:
        """The users that may log in: the built-in ones, and those that the apiserver container has added."""
        name = objects.config_map(self.container.cluster, "cilium-config").get("cluster-name", "default")
        known = {"root", "remote", f"admin-{name}", f"local-{name}", "local"}
        server = self.sibling("apiserver")
        return known | (server.remote_users() if isinstance(server, ApiServer) else set())

    def sibling(self, name: str) -> object:
        """The program of another container of the pod."""
        return find_sibling(self.container, name)

    @property
    def identity(self) -> str:
        """Its cluster id, which is another one for each pod."""
        return f"{zlib.crc32(str(self.container.pod['metadata'].get('uid')).encode()):016x}"


def find_sibling(container: Container, name: str) -> object:
    """The program of another container of a container's pod."""
    pods = container.cluster.runtime
    box = pods.sandboxes.get(str(container.pod["metadata"].get("uid"))) if pods else None
    return box.programs.get(name) if box else None


class ApiServer(Service):
    """`clustermesh-apiserver clustermesh`: shows the cluster's own state in etcd."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.options = options(container.argv)
        self._world = container.world
        self._synced_at: float | None = None

    def tick(self) -> None:
        """Sync once the API answers."""
        if self._synced_at is not None or self.exit_code is not None:
            return
        if api_reachable(self.container) is None:
            self._synced_at = self._world.clock.now() + _SYNC_S

    @property
    def synced(self) -> bool:
        """Return whether the cluster's state is in etcd."""
        return self._synced_at is not None and self._world.clock.now() >= self._synced_at

    def listening(self) -> frozenset[Port]:
        """The health port."""
        return frozenset({("TCP", int(self.options.get("health-port", "9880")))})

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """`/readyz` and `/healthz`."""
        return health_answer(self.listening(), port, path, tls=tls, ready=self.synced)

    def remote_users(self) -> set[str]:
        """The users that the mounted configuration names."""
        path = self.options.get("cluster-users-config-path")
        if not path or "cluster-users-enabled" not in self.options:
            return set()
        return set(_user_names(self.container.files.get(path, b"")))

    def snapshot(self) -> Snapshot | None:
        """Return the cluster's own state; None before it has synced."""
        if not self.synced:
            return None
        name = self.options.get("cluster-name", "default")
        cluster = self.container.cluster
        nodes = []
        for owner in objects.every(cluster, "CiliumNode"):
            spec = objects.spec(owner)
            ip = next((str(each["ip"]) for each in spec.get("addresses") or [] if each["type"] == "InternalIP"), "")
            ranges = tuple((spec.get("ipam") or {}).get("podCIDRs") or ())
            nodes.append(RemoteNode(name, owner["metadata"]["name"], ip, ranges))
        return Snapshot(
            name=name,
            id=int(self.options.get("cluster-id", "0")),
            limit=int(self.options.get("max-connected-clusters", "255")),
            nodes=tuple(nodes),
            endpoints=len(objects.every(cluster, "CiliumEndpoint")),
            identities=len(objects.every(cluster, "CiliumIdentity")),
        )


@functools.lru_cache(maxsize=64)
def _user_names(data: bytes) -> tuple[str, ...]:
    document = yaml.load(data, Loader=yaml.CSafeLoader) or {}
    return tuple(str(user["name"]) for user in document.get("users") or [] if isinstance(user, Mapping))


class _RemoteEtcds(Links):
    """kvstoremesh's links: to the etcd of each remote cluster, which shows that cluster's own state."""

    def __init__(self, container: Container, say: Callable[[str, str], None], limit: int) -> None:
        super().__init__(container, say)
        self._limit = limit

    def fetch(self, remote: Remote, etcd: Etcd) -> tuple[Snapshot, bool] | None:
        """The remote's state, under the name by which it is configured here."""
        server = etcd.sibling("apiserver")
        seen = server.snapshot() if isinstance(server, ApiServer) else None
        return None if seen is None or seen.name != remote.name else (seen, True)

    def find_conflict(self, remote: Remote, seen: Snapshot) -> str:  # noqa: ARG002 - the interface
        """Return why the remote's configuration is not valid here."""
        return ""


class KVStoreMesh(Service):
    """`clustermesh-apiserver kvstoremesh`: connects to the remote clusters and keeps a copy of each in the own etcd."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.options = options(container.argv)
        self.folder = self.options.get("clustermesh-config", "/var/lib/cilium/clustermesh")
        self.links = _RemoteEtcds(container, self._write, int(self.options.get("max-connected-clusters", "255")))
        self._world = container.world
        self._started_at = container.world.clock.now()

    @property
    def remotes(self) -> dict[str, Remote]:
        """The links by the names of the remote clusters."""
        return self.links.remotes

    def _write(self, text: str, error: str) -> None:
        self.say(f'{text} error="{error}"' if error else text)

    def tick(self) -> None:
        """Follow the mounted configuration, keep the links, and copy what they show into the own etcd."""
        now = self._world.clock.now()
        if self.exit_code is not None or now < self._started_at + _START_S:
            return
        self.links.follow(self.folder, self.options.get("cluster-name", ""), now)
        etcd = find_sibling(self.container, "etcd")
        if isinstance(etcd, Etcd):
            etcd.copies = {name: copy for name, copy in etcd.copies.items() if name in self.remotes}
            for name, remote in self.remotes.items():
                if remote.conflict:
                    etcd.copies.pop(name, None)
                elif remote.snapshot is not None:
                    etcd.copies[name] = (remote.snapshot, remote.complete)

    @property
    def ready(self) -> bool:
        """Return whether every remote is in sync, or has had its chance."""
        now = self._world.clock.now()
        if now < self._started_at + _SYNC_S:
            return False
        return now > self._started_at + _PER_CLUSTER_READY_S or all(each.ready for each in self.remotes.values())

    def listening(self) -> frozenset[Port]:
        """The health port."""
        return frozenset({("TCP", int(self.options.get("health-port", "9881")))})

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """`/readyz` and `/healthz`."""
        return health_answer(self.listening(), port, path, tls=tls, ready=self.ready)

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
        """`clustermesh-apiserver kvstoremesh-dbg status|troubleshoot`."""
        if argv and argv[0].rsplit("/", 1)[-1] == _BINARY and list(argv[1:2]) == ["kvstoremesh-dbg"]:
            with self._world.lock:
                return self._debug(list(argv[2:]))
        return super().exec(argv, stdin)

    def _debug(self, words: list[str]) -> ExecResult:
        verb = words[0] if words else ""
        if verb == "status" and wants_json(words[1:]):
            text = json.dumps([self.remotes[name].model() for name in sorted(self.remotes)], indent=2)
            return ExecResult(f"{text}\n".encode())
        if verb == "troubleshoot":
            files = etcd_link.find_remotes(self.container, self.folder, self.options.get("cluster-name", ""))
            return troubleshoot.report(self.container, self.folder, files, words[1:])
        self._world.not_known("exec", f"{_BINARY} kvstoremesh-dbg {' '.join(words)}")
        return ExecResult(stderr=f'Error: unknown command "{verb}" for "kvstoremesh-dbg"\n'.encode(), exit_code=1)


def start(container: Container) -> Service:
    """The program of a container of the clustermesh-apiserver image, by its command line."""
    words = container.argv or ["/usr/bin/clustermesh-apiserver"]
    if words[0].endswith("/etcd") or words[0] == "etcd":
        return Etcd(container)
    verb = words[1] if len(words) > 1 else ""
    if verb == "etcdinit":
        return OneShot(container)
    return KVStoreMesh(container) if verb == "kvstoremesh" else ApiServer(container)
