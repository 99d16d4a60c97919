"""Name resolution of a machine: /etc/hosts, its own name, Azure's DNS for its network, the internet."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines import internet

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

_INTERNET = "203.0.113.10"


def resolve(machine: MachineOS, name: str) -> list[str]:
    """The addresses of a host name, or none."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return [name]
    text = machine.files.read("/etc/hosts", Actor()).decode("utf-8", "replace")
    rows = [line.partition("#")[0].split() for line in text.splitlines()]
    found = [row[0] for row in rows if name in row[1:] and ":" not in row[0]]
    if found:
        return found
    if name == machine.hostname:
        own = machine.private_ip()
        return [own] if own else ["127.0.1.1"]
    for other in list(machine.world.machines.values()):
        address = machine.world.network.private_ip(other)
        if (
            other.computer_name == name
            and address
            and machine.world.network.machine_at_private(address, machine.hardware) is other
        ):
            return [address]
    if internet.host_known(f"https://{name}/") and machine.world.network.has_egress(machine.hardware):
        return [_INTERNET]
    return []
