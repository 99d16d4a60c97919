"""A remote cluster as Cilium's agent or kvstoremesh keeps it: connection, configuration, what has been synced.

The state machine and the status follow `pkg/clustermesh/common/remote_cluster.go` and `api/v1/models/remote_cluster.go`
of Cilium: false booleans, empty strings and zeros are left out of the JSON.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from crdbmesh_simulator.workloads.datapath import RemoteNode

WAITING = "Waiting for initial connection to be established"
NEVER = "0001-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state that one cluster shows to the others.

    `name` and `id` and `limit`: `cluster-name`, `cluster-id`, `max-connected-clusters`. `cached`: whether this is a
    copy that kvstoremesh keeps.
    """

    name: str
    id: int
    limit: int
    nodes: tuple[RemoteNode, ...] = ()
    endpoints: int = 0
    identities: int = 0
    cached: bool = False


@dataclass(slots=True)
class Remote:
    """The link to one remote cluster.

    Attributes:
        data: the mounted configuration.
        etcd: the identity of the etcd that is connected to; None without a connection.
        connected_at: when the connection was established, or None.
        retrieved_at: when the remote's cluster configuration was read, or None.
        synced_at: when everything had been listed, or None.
        silent_since: when the connected etcd was last heard of, if it does not answer now.
        snapshot: the last that was seen of the remote; kept when the connection is lost.
        problem: why there is no link, as Go says it.
        attempts: how many tries have failed.
        failures, failed_at: how often an established connection was lost, and when last.
        etcd_status: the etcd client's own report while connected.
        conflict: the remote's configuration is refused.
        complete: everything has been listed at least once.
    """

    name: str
    data: bytes
    next_look: float = 0.0
    etcd: str | None = None
    connected_at: float | None = None
    retrieved_at: float | None = None
    synced_at: float | None = None
    silent_since: float | None = None
    snapshot: Snapshot | None = None
    problem: str = ""
    attempts: int = 0
    failures: int = 0
    failed_at: float | None = None
    etcd_status: str = ""
    conflict: bool = False
    complete: bool = False

    @property
    def ready(self) -> bool:
        """Return whether the link carries everything."""
        return self.connected_at is not None and self.retrieved_at is not None and self.synced_at is not None

    def connect(self, etcd: str, status: str, now: float) -> None:
        """The connection is established."""
        self.etcd, self.etcd_status, self.connected_at, self.problem = etcd, status, now, ""

    def lose(self, problem: str, now: float) -> None:
        """An established connection is given up."""
        self.failures += 1
        self.failed_at = now
        self.problem = problem
        self.etcd = self.connected_at = self.retrieved_at = self.synced_at = self.silent_since = None

    @property
    def status(self) -> str:
        """The one-line status."""
        return self.etcd_status if self.connected_at is not None else WAITING

    def model(self) -> dict[str, Any]:
        """The RemoteCluster object of Cilium's API."""
        failed = NEVER
        if self.failed_at is not None:
            when = dt.datetime.fromtimestamp(self.failed_at, tz=dt.UTC)
            failed = when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"
        connected = self.connected_at is not None
        synced = self.synced_at is not None
        found: dict[str, Any] = {
            "connected": connected,
            "last-failure": failed,
            "name": self.name,
            "num-failures": self.failures,
            "ready": self.ready,
            "status": self.status,
            "synced": _without_zeros({"endpoints": synced, "identities": synced, "nodes": synced, "services": synced}),
        }
        if connected:
            found["config"] = self._config()
        if self.snapshot is not None and synced:
            found["num-nodes"] = len(self.snapshot.nodes)
            found["num-endpoints"] = self.snapshot.endpoints
            found["num-identities"] = self.snapshot.identities
        kept = _without_zeros(found)
        kept["synced"] = found["synced"]
        return dict(sorted(kept.items()))

    def _config(self) -> dict[str, Any]:
        if self.retrieved_at is None or self.snapshot is None:
            return {"required": True}
        return _without_zeros(
            {
                "cluster-id": self.snapshot.id,
                "kvstoremesh": self.snapshot.cached,
                "required": True,
                "retrieved": True,
                "sync-canaries": True,
            }
        )


def _without_zeros(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value not in (False, "", 0) or value is None}
