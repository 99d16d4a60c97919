"""Name resolution of a machine: /etc/hosts, its own name, Azure's DNS for its network, the internet."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines import internet

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS
    from crdbmesh_simulator.world import Machine

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


def machine_at(machine: MachineOS, address: str) -> tuple[Machine | None, bool]:
    """The machine at an address as seen from `machine`, and whether the address is a public one."""
    network = machine.world.network
    own = address.startswith("127.") or address == machine.private_ip()
    if own and not _is_public(machine, address):
        return machine.hardware, False
    for other in list(machine.world.machines.values()):
        if network.public_ip(other) == address:
            return other, True
    return network.machine_at_private(address, machine.hardware), False


def _is_public(machine: MachineOS, address: str) -> bool:
    return any(machine.world.network.public_ip(other) == address for other in list(machine.world.machines.values()))


def reach(machine: MachineOS, address: str, port: int, protocol: str = "Tcp") -> str | None:
    """Why a packet to an address and port does not arrive, or None when it does."""
    target, public = machine_at(machine, address)
    network = machine.world.network
    if target is machine.hardware and not public:
        return None
    if target is None:
        return "no such host"
    if not public:
        return network.between(machine.hardware, address, port, protocol)
    source = network.public_ip(machine.hardware)
    if source is None:
        return "no way out: the machine has no public address"
    return None if network.inbound_from_internet(target, source, port, protocol) else "dropped by an NSG rule"
