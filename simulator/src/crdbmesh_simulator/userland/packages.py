"""apt-get as far as a machine is kept patched with it: update, and upgrade, for real or simulated (apt-get(8)).

A marketplace image is weeks old, so a new machine has packages to upgrade; a new kernel asks for a reboot by
`/run/reboot-required` (Ubuntu's update-notifier-common), which a reboot takes away with the rest of `/run`.
"""

from __future__ import annotations

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines.machine_os import MachineOS, host_of
from crdbmesh_simulator.shell.process import Command, Process, Run, UnsupportedError
from crdbmesh_simulator.userland.options import parse

_LISTS = "/var/lib/apt/lists/archive_dists_noble_InRelease"
_STATUS = "/var/lib/apt/lists/upgraded"
_OLD = {
    "libssl3t64": ("3.0.13-0ubuntu3.5", "3.0.13-0ubuntu3.6"),
    "linux-image-azure": ("6.11.0-1012.12", "6.11.0-1015.15"),
    "openssh-server": ("1:9.6p1-3ubuntu13.8", "1:9.6p1-3ubuntu13.11"),
}
"""The packages of the image that have newer versions: the one it has, and the newest."""
_KERNEL = "linux-image-azure"
_EACH_S = 12.0


def _apt_get(process: Process) -> Run:
    options = parse(process.argv[1:], "qsyo:", {"with-new-pkgs": "with-new-pkgs", "quiet": "q", "yes": "y"})
    machine, verb = host_of(process), (options.operands or [""])[0]
    if verb not in ("update", "upgrade") or len(options.operands) > 1:
        raise UnsupportedError(" ".join(process.argv))
    if process.actor.uid != 0 and "s" not in options:
        process.complain("E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)\n")
        return 100
    if verb == "update":
        return (yield from _update(process, machine))
    known = machine.files.find(_LISTS, Actor()) is not None
    waiting = [name for name in _OLD if known and name not in _upgraded(machine)]
    waiting = [name for name in waiting if name != _KERNEL or "with-new-pkgs" in options]
    for name in waiting:
        old, new = _OLD[name]
        process.say(f"Inst {name} [{old}] ({new} Ubuntu:24.04/noble-updates [amd64])\n")
    process.say(f"{len(waiting)} upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n")
    if "s" in options:
        return 0
    if "y" not in options and waiting:
        process.say("Do you want to continue? [Y/n] Abort.\n")
        return 1
    for name in waiting:
        yield _EACH_S
        machine.files.write(_STATUS, f"{name}\n", Actor(), append=True)
        if name == _KERNEL:
            machine.files.write("/run/reboot-required", "*** System restart required ***\n", Actor())
    return 0


def _update(process: Process, machine: MachineOS) -> Run:
    yield 4.0
    if not machine.world.network.has_egress(machine.hardware):
        process.complain("W: Failed to fetch: Could not connect to the archive, connection timed out\n")
        process.complain("E: Some index files failed to download.\n")
        return 100
    machine.files.mkdir("/var/lib/apt/lists", Actor(), parents=True)
    machine.files.write(_LISTS, "Origin: Ubuntu\n", Actor())
    process.say("Reading package lists...\n")
    return 0


def _upgraded(machine: MachineOS) -> list[str]:
    inode = machine.files.find(_STATUS, Actor())
    return bytes(inode.content).decode().split() if inode else []


COMMANDS: dict[str, Command] = {"apt-get": _apt_get}
