"""How faults of machines and their SSH look from outside.

A reset is what a broken network makes of a connection (RST): a command without a terminal goes on until it writes or
reads what is no longer there (SIGPIPE, end of file), as under a real sshd; one with a terminal is hung up (SIGHUP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

CLOSED, DOWN = "closed", "down"
"""A refused connection: closed before the banner; or that, and nobody listening for a while."""

EARLY, MIDST, LATE, BROKEN = "early", "midst", "late", "broken"
"""A reset comes as the command starts; with its first output; before its exit status; it has come."""

BEFORE, AFTER = "before", "after"
"""A reset of a file transfer comes before a packet is carried out, or after."""

_DOWN_S = (2.0, 8.0)


def refusal(machine: MachineOS) -> str:
    """How a connection to a machine is refused; empty when it is not."""
    faults, name = machine.world.faults, "ssh.refused"
    if not faults.happens(name, _places(machine), machine.hardware.name):
        return ""
    return faults.choose(name, (CLOSED, DOWN), machine.hardware.name)


def down_s(machine: MachineOS) -> float:
    """For how many simulated seconds nobody listens after a refusal."""
    return machine.world.faults.between("ssh.refused", *_DOWN_S, machine.hardware.name)


def of_command(machine: MachineOS) -> str:
    """When the connection of a command is reset; empty when it is not. The host may begin to reboot."""
    faults, host = machine.world.faults, machine.hardware.name
    name = faults.pick(("ssh.reboot", "ssh.reset"), _places(machine), host)
    if name == "ssh.reboot":
        machine.reboot()
    return faults.choose(name, (EARLY, MIDST, LATE), host) if name == "ssh.reset" else ""


def of_transfer(machine: MachineOS) -> str:
    """When, at its first packet, the transfer of a file is reset; empty when it is not."""
    faults, name, host = machine.world.faults, "ssh.reset_sftp", machine.hardware.name
    return faults.choose(name, (BEFORE, AFTER), host) if faults.happens(name, _places(machine), host) else ""


def too_many_learners(machine: MachineOS) -> bool:
    """Whether etcd refuses a server that joins because, so it says, another one is still learning."""
    return machine.world.faults.happens("k3s.learners", _places(machine), machine.hardware.name)


def _places(machine: MachineOS) -> tuple[str, str]:
    return (machine.hardware.location, machine.hardware.name)
