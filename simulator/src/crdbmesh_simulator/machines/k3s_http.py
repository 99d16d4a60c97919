"""What the supervisor and API of a k3s server answer to somebody without credentials, inside the simulated network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import Machine, World


def find_member(world: World, machine: Machine, *, server: bool = False) -> tuple[Cluster, Member] | None:
    """The cluster that a machine is a running member of, and its part in it."""
    for cluster in world.clusters:
        for member in cluster.members.values():
            if member.machine is machine and member.running and (member.role == "server" or not server):
                return cluster, member
    return None
