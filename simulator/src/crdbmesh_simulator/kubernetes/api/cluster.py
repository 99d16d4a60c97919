"""One k3s cluster: its servers and agents, its certificate authority, its datastore.

A cluster comes to be when k3s first starts somewhere with `cluster-init` (or as a single server) and ends when no
member's datastore is left. `machines/k3s.py` creates and joins it; `door.py` serves its API in front of `store`, and
`kubernetes/controllers` are what moves inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.authority import Authority
    from crdbmesh_simulator.kubernetes.api.pods import Pods
    from crdbmesh_simulator.kubernetes.api.store import Store
    from crdbmesh_simulator.world import Machine


@dataclass(slots=True)
class Member:
    """A machine's part in a cluster.

    Attributes:
        node_name: `node-name` of its k3s configuration, or its host name.
        role: `server` or `agent`.
        config: the k3s configuration in force, as parsed from config.yaml and flags (keys as in the k3s docs).
        version: k3s version running, such as `v1.36.4+k3s1`.
        joined_at: simulated time at which k3s was admitted.
        voter_at: simulated time from which its etcd member is a voter, or None while it is a learner (servers only).
        running: whether its k3s service is active now (controllers treat a stopped one as a node that is not ready).
    """

    machine: Machine
    node_name: str
    role: str
    config: dict[str, Any]
    version: str
    joined_at: float
    voter_at: float | None = None
    running: bool = True


@dataclass
class Cluster:
    """A k3s cluster.

    Attributes:
        uid: unique in the world.
        token: the secret part of the cluster's token.
        config: the critical settings all servers must share, from the first server
            (`cluster-cidr`, `service-cidr`, `cluster-dns`, `cluster-domain`, `flannel-backend`,
            `disable-network-policy`, `disable-kube-proxy`, `disable`), with k3s's defaults filled in.
        members: by node name.
        authority: server and client CAs, and the certificates they sign.
        store: the Kubernetes objects.
        runtime: running pods, once the controllers have taken it up.
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
