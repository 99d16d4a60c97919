"""The rules by which a k3s cluster takes in a server or an agent (docs.k3s.io, etcd's learner design)."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.machines.k3s_settings import Settings

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.machines.machine_os import MachineOS
    from crdbmesh_simulator.world import Machine, World


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; `ca_hash` is empty in the short form."""

    ca_hash: str
    user: str
    password: str


def parse(text: str) -> Token:
    """Take a token apart. Raises ValueError: it starts like a full one and is none."""
    if not text.startswith("K10"):
        return Token("", "server", text)
    match = re.fullmatch(r"K10([0-9a-f]{64})::(?:([^:]+):)?(.+)", text)
    if not match:
        raise ValueError("token must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
    return Token(match[1], match[2] or "server", match[3])


def full(ca_hash: str, password: str) -> str:
    """The full form, as k3s writes it to /var/lib/rancher/k3s/server/token."""
    return f"K10{ca_hash}::server:{password}"


_PREFIX = (
    "Error: preparing server: failed to bootstrap cluster data: failed to check if bootstrap data has been "
    "initialized: "
)
_DUPLICATE = (
    "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server "
    "node-passwd entry, try enabling a unique node name with the --with-node-id flag"
)


class JoinError(Exception):
    """A cluster does not take a machine in; the text is what k3s logs."""


def find_cluster(machine: MachineOS, settings: Settings, node_name: str) -> Cluster:
    """The cluster behind `server:`, after the checks that every joining machine meets.

    Raises JoinError: it cannot be reached, or refuses.
    """
    url = urllib.parse.urlsplit(settings.text("server"))
    host, port = url.hostname or "", url.port or 443
    prefix = (
        f"{_PREFIX}failed to validate token: "
        if settings.role == "server"
        else "Failed to validate connection to cluster: "
    )
    failed = f'{prefix}failed to get CA certs: Get "https://{host}:{port}/cacerts": '
    addresses = internet.resolve(machine, host)
    if not addresses:
        raise JoinError(f"{failed}dial tcp: lookup {host} on 127.0.0.53:53: no such host")
    address = addresses[0]
    network = machine.world.network
    target = network.machine_at_private(address, machine.hardware)
    if target is None or network.between(machine.hardware, address, port) is not None:
        raise JoinError(
            f"{failed}dial tcp {address}:{port}: i/o timeout (Client.Timeout exceeded while awaiting headers)"
        )
    found = _find_server(machine.world, target) if port == 6443 else None
    if found is None:
        raise JoinError(f"{failed}dial tcp {address}:{port}: connect: connection refused")
    cluster = found[0]
    _check_token(cluster, settings, prefix, f"https://{host}:{port}")
    if not cluster.has_quorum():
        raise JoinError(f"{prefix}https://{host}:{port}/v1-k3s/readyz: 503 Service Unavailable")
    _check_name(cluster, machine, node_name)
    return cluster


def _find_server(world: World, machine: Machine) -> tuple[Cluster, Member] | None:
    """The cluster whose API a machine serves, and its part in it."""
    for cluster in world.clusters:
        for member in cluster.servers():
            if member.machine is machine and member.running:
                return cluster, member
    return None


def _check_token(cluster: Cluster, settings: Settings, prefix: str, url: str) -> None:
    try:
        token = parse(settings.text("token"))
    except ValueError as error:
        raise JoinError(f"{prefix}{error}") from None
    if token.ca_hash and token.ca_hash != cluster.authority.ca_hash:
        raise JoinError(
            f"{prefix}token CA hash does not match the Cluster CA certificate hash: "
            f"{token.ca_hash} != {cluster.authority.ca_hash}"
        )
    accepted = {cluster.token}
    if token.password not in accepted:
        path = "v1-k3s/server-bootstrap" if settings.role == "server" else "v1-k3s/client-kubelet.crt"
        raise JoinError(f"{prefix}{url}/{path}: 401 Unauthorized")


def _check_name(cluster: Cluster, machine: MachineOS, node_name: str) -> None:
    held = cluster.members.get(node_name)
    if held is None or held.machine is machine.hardware:
        return
    if held.running or cluster.store.find(cluster.store.resource("Node"), None, node_name) is not None:
        raise JoinError(_DUPLICATE)


def release_name(cluster: Cluster, node_name: str) -> None:
    """Forget a member whose node was deleted and whose machine is another one."""
    held = cluster.members.get(node_name)
    if held is not None and not held.running:
        del cluster.members[node_name]


def differences(cluster: Cluster, settings: Settings) -> list[str]:
    """Settings that all servers must share and this one does not."""
    own = settings.critical()
    return [name for name, value in cluster.config.items() if name in own and own[name] != value]


def admit_server(cluster: Cluster, node_name: str, *, crowded: bool = False) -> None:
    """Check what etcd asks of a new member; `crowded` when etcd has a learner that is none of this world's.

    Raises JoinError: it refuses; k3s exits, and systemd tries again.
    """
    first = next(iter(cluster.servers()), None)
    if first is not None and not any(
        server.config.get("cluster-init") or server.config.get("server") for server in cluster.servers()
    ):
        raise JoinError(f"{_PREFIX}https://{first.node_name}:6443/v1-k3s/server-bootstrap: 401 Unauthorized")
    release_name(cluster, node_name)
    if crowded or any(server.voter_at is None for server in cluster.servers()):
        raise JoinError(
            "Error: preparing server: start managed database: joining etcd cluster: "
            "etcdserver: too many learner members in cluster"
        )
    if not etcd_quorum(cluster):
        raise JoinError(
            "Error: preparing server: start managed database: joining etcd cluster: etcdserver: unhealthy cluster"
        )


def can_catch_up(cluster: Cluster, member: Member) -> bool:
    """Whether a learner gets the leader's data: etcd's ports are open both ways to the voters that run."""
    if not etcd_quorum(cluster):
        return False
    machine = member.machine
    if machine.os is None:
        return False
    network = machine.os.world.network
    own = network.private_ip(machine)
    for voter in cluster.servers():
        if voter is member or voter.voter_at is None or not etcd_is_up(voter):
            continue
        theirs = network.private_ip(voter.machine)
        if own is None or theirs is None:
            return False
        if (
            network.between(machine, theirs, 2380, "Tcp") is not None
            or network.between(voter.machine, own, 2380, "Tcp") is not None
        ):
            return False
    return True


def etcd_quorum(cluster: Cluster) -> bool:
    """Whether more than half of the voters' etcd processes run, serving the API yet or not."""
    voters = [member for member in cluster.servers() if member.voter_at is not None]
    return 2 * sum(etcd_is_up(member) for member in voters) > len(voters)


def etcd_is_up(member: Member) -> bool:
    """Whether a member's etcd runs."""
    from crdbmesh_simulator.machines.k3s import K3s

    if member.running:
        return True
    machine_os = member.machine.os
    if machine_os is None or not machine_os.running:
        return False
    tasks = [service.task for service in machine_os.systemd.services.values()]
    return any(isinstance(task, K3s) and task.member is member and task.etcd_up for task in tasks)
