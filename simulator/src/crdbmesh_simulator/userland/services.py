"""Commands of a host's services: systemctl, journalctl, cloud-init, modprobe, ssh-keygen (their manual pages)."""

from __future__ import annotations

import contextlib
import datetime as dt
import posixpath
import re
from collections.abc import Generator

from crdbmesh_simulator.machines import sshd, units
from crdbmesh_simulator.machines.machine_os import host_of
from crdbmesh_simulator.machines.systemd import Entry
from crdbmesh_simulator.shell.process import Command, Process, Run, UnsupportedError
from crdbmesh_simulator.userland.options import Options, parse

_POLL_S = 1.0
_CAUSES = {
    "resources": "of unavailable resources or another system error",
    "protocol": "the service did not take the steps required by its unit configuration",
    "start-limit-hit": "start of the service was attempted too often",
}


def _systemctl(process: Process) -> Run:
    options = parse(
        process.argv[1:],
        "p:",
        {"now": "now", "no-block": "no-block", "property=": "p", "value": "value", "no-pager": "no-pager"},
    )
    verb, *names = options.operands or [""]
    names = [units.full_name(name) for name in names]
    if verb in ("is-active", "is-enabled", "is-failed"):
        return _is(process, verb, names)
    if verb == "show":
        return _show(process, options, names)
    host = host_of(process)
    if verb not in ("start", "stop", "restart", "enable", "disable", "daemon-reload", "reboot"):
        raise UnsupportedError(" ".join(process.argv))
    if process.actor.uid != 0:
        process.complain(f"Failed to {' '.join([verb, *names])}: Interactive authentication required.\n")
        return 1
    if verb == "daemon-reload":
        host.systemd.reload()
    elif verb == "reboot":
        process.actor.ledger.act(verb)
        host.reboot()
    elif verb in ("enable", "disable"):
        return (yield from _enable(process, options, verb, names))
    else:
        return (yield from _jobs(process, options, verb, names))
    return 0


def _jobs(process: Process, options: Options, verb: str, names: list[str]) -> Run:
    systemd, ledger = host_of(process).systemd, process.actor.ledger
    worst = 0
    for name in names:
        service = systemd.find(name)
        if service is None:
            process.complain(f"Failed to {verb} {name}: Unit {name} not found.\n")
            worst = 5
            continue
        if systemd.stale(service) and verb != "stop":
            process.complain(
                f"Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. "
                "Run 'systemctl daemon-reload' to reload units.\n"
            )
        if verb != "start" and systemd.stop(name):
            ledger.act(f"{verb} {name}")
            yield 0.5
        if verb == "stop":
            continue
        failures = service.failed_jobs
        if systemd.start(name):
            ledger.act(f"start {name}")
        if "no-block" not in options:
            worst = worst or (yield from _wait(process, name, failures))
    return worst


def _wait(process: Process, name: str, failures: int) -> Generator[float, None, int]:
    systemd = host_of(process).systemd
    while True:
        service = systemd.services.get(name)
        if service is not None and service.result == "dependency":
            process.complain(f"A dependency job for {name} failed. See 'journalctl -xe' for details.\n")
            return 1
        if service is None or service.active in ("active", "inactive"):
            return 0
        if service.failed_jobs > failures or service.active == "failed":
            cause = _CAUSES.get(service.result, "the control process exited with error code")
            process.complain(
                f"Job for {name} failed because {cause}.\n"
                f'See "systemctl status {name}" and "journalctl -xeu {name}" for details.\n'
            )
            return 1
        yield _POLL_S


def _enable(process: Process, options: Options, verb: str, names: list[str]) -> Run:
    host = host_of(process)
    for name in names:
        if host.systemd.file_state(name) == "not-found":
            process.complain(f"Failed to {verb} unit: Unit file {name} does not exist.\n")
            return 1
        for path, target in host.systemd.install_links(name):
            there = host.files.find(path, process.actor, follow=False)
            if verb == "enable" and there is None:
                host.files.mkdir(posixpath.dirname(path), process.actor, parents=True)
                host.files.symlink(target, path, process.actor)
                process.complain(f"Created symlink {path} → {target}.\n")
            elif verb == "disable" and there is not None:
                host.files.remove(path, process.actor)
                process.complain(f'Removed "{path}".\n')
        host.systemd.reload()
    if "now" in options:
        return (yield from _jobs(process, options, "start" if verb == "enable" else "stop", names))
    return 0


def _is(process: Process, verb: str, names: list[str]) -> int:
    systemd, good, found = host_of(process).systemd, False, False
    for name in names:
        if verb == "is-enabled":
            state = systemd.file_state(name)
            good = good or state in ("enabled", "static")
            found = found or state != "not-found"
        else:
            service = systemd.find(name)
            state = service.active if service else "inactive"
            found = found or service is not None
            good = good or state == verb.removeprefix("is-")
        process.say(f"{state}\n")
    if good:
        return 0
    return (1 if found else 4) if verb == "is-enabled" else (3 if found else 4) if verb == "is-active" else 1


def _show(process: Process, options: Options, names: list[str]) -> int:
    systemd = host_of(process).systemd
    for name in names:
        service = systemd.find(name)
        properties = {
            "LoadState": "loaded" if service else "not-found",
            "ActiveState": service.active if service else "inactive",
            "SubState": service.sub if service else "dead",
            "Result": service.result if service else "success",
            "ExecMainStatus": str(service.exit_code if service else 0),
            "NRestarts": str(service.restarts if service else 0),
            "NeedDaemonReload": "yes" if service and systemd.stale(service) else "no",
        }
        for key in [key for given in options.all("p") for key in given.split(",")]:
            if key not in properties:
                raise UnsupportedError(f"systemctl show -p {key}")
            process.say(f"{properties[key]}\n" if "value" in options else f"{key}={properties[key]}\n")
    return 0


def _journalctl(process: Process) -> Run:
    options = parse(
        process.argv[1:], "u:t:n:o:bfq",
        {"no-pager": "no-pager", "since=": "since", "unit=": "u", "lines=": "n", "output=": "o", "follow": "f"},
    )  # fmt: skip
    host, style = host_of(process), options.get("o", "short")
    if process.actor.uid != 0 and not {host.groups["adm"], host.groups["sudo"]} & process.actor.groups:
        process.complain("No journal files were opened due to insufficient permissions.\n")
        return 1
    if options.operands or style not in ("cat", "short-iso", "short-iso-precise"):
        raise UnsupportedError(" ".join(process.argv))
    since = _since(options.get("since"), host.world.clock.now()) if "since" in options else None
    lines = options.get("n") or ("10" if "f" in options and since is None else "all")
    if (since is not None and since < 0) or not (lines == "all" or lines.isdigit()):
        process.complain(f"Failed to parse arguments: {' '.join(process.argv[1:])}\n")
        return 1
    names = {units.full_name(name) for name in options.all("u")}

    def chosen(entries: list[Entry]) -> list[Entry]:
        return [
            entry
            for entry in entries
            if (not names or entry.unit in names)
            and ("t" not in options or entry.identifier in options.all("t"))
            and ("b" not in options or entry.boot == host.boots)
            and (since is None or entry.time >= since)
        ]

    seen = list(host.systemd.journal)
    found = chosen(seen)
    found = found if lines == "all" else found[max(0, len(found) - int(lines)) :]
    process.say("".join(_entry(entry, style, host.hostname) for entry in found))
    if not found and "f" not in options and "q" not in options:
        process.say("-- No entries --\n")
    while "f" in options:
        yield _POLL_S
        now, last = list(host.systemd.journal), seen[-1] if seen else None
        new = now[next((at + 1 for at in reversed(range(len(now))) if now[at] is last), 0) :]
        # Nothing is written too: like journalctl, it ends when nobody reads its output any more.
        process.say("".join(_entry(entry, style, host.hostname) for entry in chosen(new)))
        seen = now
    return 0


def _since(text: str, now: float) -> float:
    """The seconds since the epoch that a time of systemd.time(7) means; below 0 for one that is none."""
    if relative := re.fullmatch(r"-(\d+)(s|sec|m|min|h|d)?", text):
        return now - float(relative[1]) * {"m": 60, "h": 3600, "d": 86400}.get((relative[2] or "s")[0], 1)
    if absolute := re.fullmatch(r"@(\d+(\.\d+)?)", text):
        return float(absolute[1])
    with contextlib.suppress(ValueError):
        return dt.datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=dt.UTC).timestamp()
    return -1.0


def _entry(entry: Entry, style: str, hostname: str) -> str:
    if style == "cat":
        return f"{entry.message}\n"
    at = dt.datetime.fromtimestamp(entry.time, tz=dt.UTC)
    when = at.isoformat(timespec="seconds" if style == "short-iso" else "microseconds")
    lead = f"{when} {hostname} {entry.identifier}{f'[{entry.pid}]' if entry.pid else ''}: "
    further = "\n" + " " * len(lead)
    return f"{lead}{entry.message.replace(chr(10), further)}\n"


def _cloud_init(process: Process) -> Run:
    if process.argv[1:2] != ["status"]:
        raise UnsupportedError(" ".join(process.argv))
    options = parse(process.argv[2:], "w", {"wait": "w", "format=": "format"})
    state = host_of(process).cloud_init
    as_json = options.get("format") == "json"
    while "w" in options and not state.finished:
        process.say("" if as_json else ".")
        yield 2.0
    text = state.status_json() if as_json else state.status_text()
    process.say(text if as_json or "w" not in options else f"\n{text}")
    return state.exit_code


def _modprobe(process: Process) -> int:
    if process.actor.uid != 0:
        process.complain(f"modprobe: ERROR: could not insert '{process.argv[-1]}': Operation not permitted\n")
        return 1
    host_of(process).modules.update(parse(process.argv[1:]).operands)
    return 0


def _ssh_keygen(process: Process) -> int:
    options = parse(process.argv[1:], "qt:N:C:f:")
    kind, path = options.get("t", "ed25519"), process.path(options.get("f"))
    if not options.get("f") or "N" not in options or options.get("N") or kind not in sshd.KINDS:
        raise UnsupportedError(" ".join(process.argv))
    files = host_of(process).files
    if files.find(path, process.actor) is not None:
        process.say(f"{options.get('f')} already exists.\nOverwrite (y/n)? ")
        return 1
    comment = options.get("C", f"{process.env.get('USER', 'root')}@{host_of(process).hostname}")
    private, public = sshd.generate_key(kind, comment)
    files.write(path, private, process.actor, mode=0o600)
    files.write(f"{path}.pub", public, process.actor, mode=0o644)
    if "q" not in options:
        process.say(f"Your identification has been saved in {options.get('f')}\n")
    return 0


COMMANDS: dict[str, Command] = {
    "systemctl": _systemctl,
    "journalctl": _journalctl,
    "cloud-init": _cloud_init,
    "modprobe": _modprobe,
    "ssh-keygen": _ssh_keygen,
}
