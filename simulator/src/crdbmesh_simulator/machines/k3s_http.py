"""What the supervisor and API of a k3s server answer to somebody without credentials, inside the simulated network."""

from __future__ import annotations

import json
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


def answer(world: World, machine: Machine, path: str) -> tuple[int, bytes]:
    """Status and body of an anonymous GET on port 6443 of a machine."""
    found = find_member(world, machine)
    if found is None:
        return 503, b"service unavailable\n"
    if path == "/ping":
        return 200, b"pong"
    if path == "/cacerts":
        return 200, found[0].authority.ca_pem.encode()
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
              "reason": "Unauthorized", "code": 401}  # fmt: skip
    return 401, json.dumps(status, indent=2).encode()
