"""Which TCP ports of a machine have a listener, from its state: sshd, and k3s with what it brings.

Source: docs.k3s.io, requirements (ports).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS
    from crdbmesh_simulator.world import Machine

_SERVER = (("0.0.0.0", 6443, "k3s-server"), ("127.0.0.1", 10257, "k3s-server"), ("127.0.0.1", 10259, "k3s-server"))  # noqa: S104
_AGENT = (("127.0.0.1", 6444, "k3s-agent"), ("0.0.0.0", 10250, "k3s-agent"), ("127.0.0.1", 10248, "k3s-agent"))  # noqa: S104


def listening(machine: MachineOS) -> list[tuple[str, int, str]]:
    """Address, port and program of each listener."""
    found = [("0.0.0.0", port, "sshd") for port in machine.sshd.ports]  # noqa: S104 - printed, not bound
    found.append(("127.0.0.53%lo", 53, "systemd-resolve"))
    for cluster in machine.world.clusters:
        for member in cluster.members.values():
            if member.machine is not machine.hardware or not member.running:
                continue
            found += _AGENT
            if member.role == "server":
                found += _SERVER
                own = machine.private_ip() or "127.0.0.1"
                found += [(own, 2379, "k3s-server"), (own, 2380, "k3s-server"), ("127.0.0.1", 2379, "k3s-server")]
    return sorted(found, key=lambda row: row[1])


def is_open(target: Machine | None, port: int) -> bool:
    """Whether a connection from another machine would be accepted."""
    if target is None or target.os is None or not target.os.running:
        return False
    return any(number == port and not address.startswith("127.") for address, number, _ in listening(target.os))
