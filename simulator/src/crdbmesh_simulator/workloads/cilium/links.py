"""The links of an agent or of kvstoremesh to the remote clusters that are configured in a mounted folder.

After `pkg/clustermesh/common/remote_cluster.go` and `pkg/kvstore/etcd.go` of Cilium 1.20: a connection that has been
established counts as lost only when no heartbeat (written once a minute) was seen for two of its periods, or when
another etcd answers in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads.cilium import etcd_link
from crdbmesh_simulator.workloads.cilium.remote_cluster import Remote, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.workloads.cilium.clustermesh import Etcd
    from crdbmesh_simulator.workloads.cilium.etcd_link import Connected, EtcdConfig

HEARTBEAT_S = 120.0
_RETRY_S = 5.0
_CHECK_S = 5.0
_CONFIG_S = 1.0
_LIST_S = 2.0
NOT_FOUND = "cluster configuration expected to be present but not found"


class Links(ABC):
    """The links of one program.

    `container`: where the connections start. `say`: writes to the program's log: level and message as one text, and the
    error. `remotes`: the link to each remote cluster, by its name.
    """

    def __init__(self, container: Container, say: Callable[[str, str], None]) -> None:
        self.remotes: dict[str, Remote] = {}
        self._container = container
        self._say = say

    @abstractmethod
    def fetch(self, remote: Remote, etcd: Etcd) -> tuple[Snapshot, bool] | None:
        """Return the remote's state in the etcd, and whether it is complete; None without a configuration."""

    @abstractmethod
    def find_conflict(self, remote: Remote, seen: Snapshot) -> str:
        """Return why the remote's configuration is not accepted; empty when it is."""

    def resolve(self, config: EtcdConfig) -> EtcdConfig:
        """The configuration with the addresses that the program finds without DNS."""
        return config

    def dial(self, remote: Remote) -> Connected | str:
        """Connect to the etcd that the remote's configuration names; or why that fails."""
        try:
            config = etcd_link.read(remote.data)
        except ValueError as error:
            return str(error)
        return etcd_link.connect(self._container, self.resolve(config))

    def follow(self, folder: str, own: str, now: float) -> None:
        """Take up and let go of remotes as their files come and go, and keep the links."""
        wanted = etcd_link.find_remotes(self._container, folder, own)
        for name in [name for name in self.remotes if name not in wanted]:
            del self.remotes[name]
            self._say(f'level=info msg="Remote cluster disconnected" clusterName={name}', "")
        for name, data in wanted.items():
            remote = self.remotes.get(name)
            if remote is None or remote.data != data:
                self.remotes[name] = remote = Remote(name, data, next_look=now + 1.0)
                self._say(f'level=info msg="New remote cluster configuration" clusterName={name}', "")
            if now >= remote.next_look:
                self._look(remote, now)

    def _look(self, remote: Remote, now: float) -> None:
        remote.next_look = now + _CHECK_S
        found = self.dial(remote)
        if isinstance(found, str):
            if remote.etcd is None:
                self._warn(remote, "Unable to establish etcd connection to remote cluster", found)
                remote.attempts += 1
                remote.next_look = now + _RETRY_S
            elif remote.silent_since is None:
                remote.silent_since = now
            elif now >= remote.silent_since + HEARTBEAT_S:
                silence = f"{now - remote.silent_since:.0f}s since last heartbeat update has been received"
                self._lose(remote, f"quorum check failed 3 times in a row: {silence}", now)
            return
        remote.silent_since = None
        if remote.etcd is None:
            remote.connect(found.etcd.identity, found.status, now)
            self._say(f'level=info msg="Connection to remote cluster established" clusterName={remote.name}', "")
            remote.next_look = now + _CONFIG_S
        elif remote.etcd != found.etcd.identity:
            self._lose(remote, f"etcd cluster ID mismatch: {remote.etcd} is now {found.etcd.identity}", now)
            remote.next_look = now + 1.0
        else:
            self._read(remote, found.etcd, now)

    def _lose(self, remote: Remote, problem: str, now: float) -> None:
        self._warn(remote, "Error observed on etcd connection, reconnecting etcd", problem)
        remote.lose(problem, now)

    def _read(self, remote: Remote, etcd: Etcd, now: float) -> None:
        seen = self.fetch(remote, etcd)
        if seen is None:
            if remote.retrieved_at is None:
                self._warn(remote, "Unable to get remote cluster configuration", NOT_FOUND)
                remote.next_look = now + 1.0
            return
        snapshot, complete = seen
        conflict = self.find_conflict(remote, snapshot)
        remote.snapshot, remote.conflict = snapshot, bool(conflict)
        remote.retrieved_at = remote.retrieved_at or now
        if conflict:
            self._warn(remote, "Connection to remote cluster failed", conflict)
            remote.synced_at, remote.complete = None, False
            return
        remote.problem = ""
        if remote.synced_at is not None:
            return
        remote.next_look = now + 1.0
        if complete and now >= remote.retrieved_at + _LIST_S:
            remote.synced_at, remote.complete, remote.next_look = now, True, now + _CHECK_S

    def _warn(self, remote: Remote, message: str, error: str) -> None:
        """Log an error about a remote once, and keep it."""
        if error != remote.problem:
            self._say(f'level=warning msg="{message}" clusterName={remote.name}', error)
        remote.problem = error
