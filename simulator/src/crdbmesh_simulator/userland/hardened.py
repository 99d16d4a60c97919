"""Commands about the state of a host and its k3s: k3s's own, sysctl, chronyc (docs.k3s.io; sysctl(8), chronyc(1))."""

from __future__ import annotations

import datetime as dt
import re

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.machines import k3s_hardening
from crdbmesh_simulator.machines.image import apply_sysctl
from crdbmesh_simulator.machines.machine_os import host_of
from crdbmesh_simulator.shell.process import Command, Process, UnsupportedError, os_error

_DATA = "/var/lib/rancher/k3s"
_KEYS = "\nActive  Key Type  Name\n------  --------  ----\n *      AES-CBC   aescbckey\n"


def _k3s(process: Process) -> int:
    host, (verb, what, *_) = host_of(process), [*process.argv[1:], "", ""]
    service = host.systemd.find("k3s.service")
    if service is None or service.active != "active" or process.actor.uid != 0:
        process.complain('level=fatal msg="see server log for details: connect: connection refused"\n')
        return 1
    if verb == "secrets-encrypt" and what in ("enable", "disable"):
        k3s_hardening.set_encryption(host.files, _DATA, enabled=what == "enable")
        process.actor.ledger.act(f"secrets-encrypt {what}")
        process.say(f"secrets-encryption {what}d\n")
    elif (verb, what) == ("secrets-encrypt", "status"):
        enabled = k3s_hardening.read_encryption(host.files, _DATA)
        if enabled is None:
            process.say("Encryption Status: Disabled, no configuration file found\n")
            return 0
        stage = "Current Rotation Stage: start\nServer Encryption Hashes: All hashes match\n"
        process.say(f"Encryption Status: {'Enabled' if enabled else 'Disabled'}\n{stage}{_KEYS}\n")
    elif verb == "etcd-snapshot" and what in ("ls", "list", "l"):
        process.say("Name Location Size Created\n")
        for path in host.files.glob(f"{k3s_hardening.snapshots(_DATA)}/*", Actor()):
            inode, name = host.files.stat(path, Actor()), path.rpartition("/")[2]
            taken = re.search(r"-(\d+)(\.zip)?$", name)
            at = dt.datetime.fromtimestamp(int(taken[1]) if taken else int(inode.mtime), dt.UTC)
            process.say(f"{name} file://{path} {inode.size} {at:%Y-%m-%dT%H:%M:%SZ}\n")
    else:
        raise UnsupportedError(" ".join(process.argv))
    return 0


def _sysctl(process: Process) -> int:
    match [word for word in process.argv[1:] if word != "-q"]:
        case ["-p", path]:
            if process.actor.uid != 0:
                process.complain(f"sysctl: permission denied on {path}\n")
                return 1
            try:
                text = process.read_file(path).decode()
            except OSError as error:
                process.complain(f'sysctl: cannot open "{path}": {os_error(error)}\n')
                return 1
            if unknown := apply_sysctl(host_of(process).files, text):
                process.complain(f"sysctl: cannot stat /proc/sys/{unknown}: No such file or directory\n")
                return 1
            process.actor.ledger.act("sysctl -p")
        case ["-n", name]:
            process.say(process.read_file(f"/proc/sys/{name.replace('.', '/')}"))
        case _:
            raise UnsupportedError(" ".join(process.argv))
    return 0


def _chronyc(process: Process) -> int:
    """Tell how the clock is, by the fault `clock.off`; on Azure the host's clock is the source, as PHC0."""
    host = host_of(process)
    if process.argv[1:] not in (["-c", "tracking"], ["-c", "sources"]):
        raise UnsupportedError(" ".join(process.argv))
    service = host.systemd.find("chrony.service")
    if service is None or service.active != "active":
        process.complain("506 Cannot talk to daemon\n")
        return 1
    place = (host.hardware.location, host.hardware.name)
    off = host.world.faults.happens("clock.off", place, host.hardware.name)
    if process.argv[2] == "sources":
        process.say(f"#,{'?' if off else '*'},PHC0,2,3,377,6,0.000000412,0.000000530,0.000000089\n")
        return 0
    source, leap = ("00000000,,0", "Not synchronised") if off else ("50484330,PHC0,3", "Normal")
    offset = "0.400000000" if off else "0.000000215"
    rest = "0.000000412,0.000000833,-11.034,0.000,0.012,0.000000001,0.000021204,8.0"
    process.say(f"{source},{host.world.clock.now():.9f},{offset},{rest},{leap}\n")
    return 0


COMMANDS: dict[str, Command] = {"k3s": _k3s, "sysctl": _sysctl, "chronyc": _chronyc}
