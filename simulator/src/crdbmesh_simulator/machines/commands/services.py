"""systemctl, journalctl and cloud-init as commands (systemctl(1), journalctl(1), cloud-init's CLI reference)."""

from __future__ import annotations

import datetime as dt
import json
import posixpath
import re

from crdbmesh_simulator.machines import units
from crdbmesh_simulator.machines.commands.table import Options, parse, program
from crdbmesh_simulator.machines.filesystem import Actor
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError
from crdbmesh_simulator.machines.systemd import Entry, Service

_POLL_S = 1.0


@program("systemctl")
def _systemctl(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:], "qp:t:n:alfoH",
        {"quiet": "q", "now": "now", "no-block": "no-block", "property=": "p", "value": "value", "no-pager": "no-pager",
         "type=": "t", "all": "a", "state=": "state", "plain": "plain", "no-legend": "no-legend", "full": "l",
         "lines=": "n", "force": "f", "system": "system", "wait": "wait", "output=": "output", "failed": "failed",
         "no-ask-password": "no-ask-password", "no-reload": "no-reload", "no-wall": "no-wall", "job-mode=": "job-mode"},
    )  # fmt: skip
    verb, *names = options.operands or ["list-units"]
    names = [units.full_name(name) for name in names]
    if verb in _JOBS:
        return _jobs(process, options, verb, names)
    if verb in ("enable", "disable", "mask", "unmask"):
        return _enable(process, options, verb, names)
    if verb in ("daemon-reload", "daemon-reexec"):
        if not _allowed(process, "reload daemon"):
            return 1
        process.machine.systemd.reload()
        return 0
    if verb in ("is-active", "is-enabled", "is-failed"):
        return _is(process, options, verb, names)
    if verb == "status":
        return _status(process, options, names)
    if verb == "show":
        return _show(process, options, names)
    if verb == "cat":
        return _cat(process, names)
    if verb in ("list-units", "list-unit-files"):
        return _list(process, options, verb, options.operands[1:])
    if verb == "is-system-running":
        process.out("running\n" if process.machine.cloud_init.finished else "starting\n")
        return 0 if process.machine.cloud_init.finished else 1
    if verb == "reset-failed":
        for service in process.machine.systemd.services.values():
            if service.active == "failed" and (not names or service.name in names):
                service.active, service.sub = "inactive", "dead"
        return 0
    if verb in ("reboot", "poweroff", "halt"):
        if not _allowed(process, verb):
            return 1
        process.act(verb)
        process.machine.reboot() if verb == "reboot" else process.machine.power_off()
        return 0
    raise UnsupportedError(f"systemctl {verb}")


_JOBS = (
    "start",
    "stop",
    "restart",
    "try-restart",
    "reload",
    "reload-or-restart",
    "try-reload-or-restart",
    "condrestart",
)


def _allowed(process: Process, what: str) -> bool:
    if process.actor.uid == 0:
        return True
    process.err(f"Failed to {what}: Interactive authentication required.\n")
    return False


def _jobs(process: Process, options: Options, verb: str, names: list[str]) -> int:
    systemd = process.machine.systemd
    worst = 0
    for name in names:
        service = systemd.find(name)
        if not _allowed(process, f"{verb} {name}"):
            process.err(f"See system logs and 'systemctl status {name}' for details.\n")
            return 1
        if service is None:
            process.err(f"Failed to {verb} {name}: Unit {name} not found.\n")
            worst = 5
            continue
        if systemd.file_state(name) == "masked" and verb != "stop":
            process.err(f"Failed to {verb} {name}: Unit {name} is masked.\n")
            worst = 1
            continue
        if systemd.stale(service) and verb != "stop":
            process.err(f"Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. "
                        "Run 'systemctl daemon-reload' to reload units.\n")  # fmt: skip
        if verb == "stop":
            if systemd.stop(name):
                process.act(f"stop {name}")
                process.sleep(1.0)
            continue
        if verb.startswith(("try-", "cond")) and service.active != "active":
            continue
        if verb == "reload":
            if service.active != "active" or not service.unit.all("Service.ExecReload"):
                process.err(f"Failed to reload {name}: Job type reload is not applicable for unit {name}.\n")
                worst = 1
            continue
        if verb != "start" and systemd.stop(name):
            process.act(f"restart {name}")
            process.sleep(0.5)
        failures = service.failed_jobs
        if systemd.start(name):
            process.act(f"start {name}")
        if "no-block" not in options:
            worst = worst or _wait(process, name, failures)
    return worst


def _wait(process: Process, name: str, failures: int) -> int:
    systemd = process.machine.systemd
    while True:
        service = systemd.services.get(name)
        if service is None or service.active in ("active", "inactive"):
            return 0
        if service.failed_jobs > failures or service.active == "failed":
            cause = "the control process exited with error code"
            cause = {
                "resources": "of unavailable resources or another system error",
                "protocol": "the service did not take the steps required by its unit configuration",
                "start-limit-hit": "start of the service was attempted too often",
            }.get(service.result, cause)
            process.err(f"Job for {name} failed because {cause}.\n"
                        f'See "systemctl status {name}" and "journalctl -xeu {name}" for details.\n')  # fmt: skip
            return 1
        process.sleep(_POLL_S)


def _enable(process: Process, options: Options, verb: str, names: list[str]) -> int:
    machine, files = process.machine, process.machine.files
    if not _allowed(process, f"{verb} unit"):
        return 1
    for given in names:
        name = posixpath.basename(given)
        state = machine.systemd.file_state(name)
        if state == "not-found":
            process.err(f"Failed to {verb} unit: Unit file {name} does not exist.\n")
            return 1
        if verb in ("mask", "unmask"):
            _mask(process, verb, name, masked=state == "masked")
            continue
        if state == "masked" and verb == "enable":
            process.err(f"Failed to enable unit: Unit file /etc/systemd/system/{name} is masked.\n")
            return 1
        links = machine.systemd.install_links(name)
        if not links:
            process.err(
                "The unit files have no installation config (WantedBy=, RequiredBy=, UpheldBy=,\n"
                "Also=, or Alias= settings in the [Install] section, and DefaultInstance= for\n"
                "template units). This means they are not meant to be enabled or disabled using systemctl.\n"
            )
            continue
        for path, target in links:
            there = files.find(path, process.actor, follow=False)
            if verb == "enable" and there is None:
                files.mkdir(posixpath.dirname(path), process.actor, parents=True)
                files.symlink(target, path, process.actor)
                process.err(f"Created symlink {path} → {target}.\n")
            elif verb == "disable" and there is not None:
                files.remove(path, process.actor)
                process.err(f'Removed "{path}".\n')
        if "no-reload" not in options:
            machine.systemd.reload()
        if "now" in options:
            status = _jobs(process, options, "start" if verb == "enable" else "stop", [name])
            if status:
                return status
    return 0


def _mask(process: Process, verb: str, name: str, *, masked: bool) -> None:
    path = f"/etc/systemd/system/{name}"
    if verb == "mask" and not masked:
        process.machine.files.symlink("/dev/null", path, process.actor)
        process.err(f"Created symlink {path} → /dev/null.\n")
    elif verb == "unmask" and masked:
        process.machine.files.remove(path, process.actor)
        process.err(f'Removed "{path}".\n')


def _is(process: Process, options: Options, verb: str, names: list[str]) -> int:
    systemd, good, found = process.machine.systemd, False, False
    for name in names:
        if verb == "is-enabled":
            state = systemd.file_state(posixpath.basename(name))
            good = good or state in ("enabled", "static", "alias")
            found = found or state != "not-found"
        else:
            service = systemd.find(name)
            state = service.active if service else "inactive"
            found = found or service is not None
            good = good or state == ("active" if verb == "is-active" else "failed")
        process.out("" if "q" in options else f"{state}\n")
    if good:
        return 0
    if verb == "is-enabled":
        return 1 if found else 4
    return (3 if found else 4) if verb == "is-active" else 1


def _status(process: Process, options: Options, names: list[str]) -> int:
    machine, worst = process.machine, 0
    for name in names:
        service = machine.systemd.find(name)
        if service is None:
            process.err(f"Unit {name} could not be found.\n")
            worst = 4
            continue
        state = machine.systemd.file_state(name)
        dot = {"active": "●", "failed": "×"}.get(service.active, "○")
        since = _stamp(service.since)
        result = f" (Result: {service.result})" if service.active == "failed" else ""
        process.out(f"{dot} {name} - {service.unit.get('Unit.Description', name)}\n"
                    f"     Loaded: loaded ({service.unit.path}; {state}; preset: enabled)\n"
                    f"     Active: {service.active} ({service.sub}){result} since {since}\n")  # fmt: skip
        if service.pid:
            process.out(f"   Main PID: {service.pid}\n")
        lines = [entry for entry in machine.systemd.journal if entry.unit == name][-int(options.get("n", "10")) :]
        process.out("".join(["\n", *(_short(machine.hostname, entry) for entry in lines)]) if lines else "")
        worst = worst or (0 if service.active in ("active", "reloading") else 3)
    return worst


def _show(process: Process, options: Options, names: list[str]) -> int:
    wanted = [name for value in options.all("p") for name in value.split(",")]
    for number, name in enumerate(names or ["system"]):
        properties = _properties(process, name)
        unknown = [key for key in wanted if key not in properties]
        if unknown:
            process.machine.world.not_known("ssh", f"systemctl show -p {','.join(unknown)}")
        process.out("\n" if number else "")
        for key in wanted or properties:
            if key in properties:
                process.out(f"{properties[key]}\n" if "value" in options else f"{key}={properties[key]}\n")
    return 0


def _properties(process: Process, name: str) -> dict[str, str]:
    service: Service | None = process.machine.systemd.find(name)
    state = process.machine.systemd.file_state(name)
    unit = service.unit if service else None
    now = process.machine.world.clock.now()
    active = service.active if service else "inactive"
    since = _stamp(service.since) if service and service.since else ""
    return {
        "Id": name, "Names": name, "LoadState": "loaded" if service else "not-found", "ActiveState": active,
        "SubState": service.sub if service else "dead", "UnitFileState": "" if state == "not-found" else state,
        "Result": service.result if service else "success", "MainPID": str(service.pid if service else 0),
        "ExecMainStatus": str(service.exit_code if service else 0), "ExecMainPID": str(service.pid if service else 0),
        "NRestarts": str(service.restarts if service else 0), "Type": unit.type if unit else "",
        "Description": unit.get("Unit.Description", name) if unit else name, "FragmentPath": unit.path if unit else "",
        "NeedDaemonReload": "yes" if service and process.machine.systemd.stale(service) else "no",
        "ActiveEnterTimestamp": since if active == "active" else "", "StateChangeTimestamp": since,
        "ActiveEnterTimestampMonotonic": str(int((service.since if service else now) * 1e6)),
        "ExecMainStartTimestamp": since, "Restart": unit.get("Service.Restart", "no") if unit else "no",
        "User": unit.get("Service.User") if unit else "", "StatusErrno": "0", "InvocationID": "simulated",
    }  # fmt: skip


def _cat(process: Process, names: list[str]) -> int:
    for name in names:
        unit = units.find_unit(process.machine.files, name)
        if unit is None:
            process.err(f"No files found for {name}.\n")
            return 1
        process.out(f"# {unit.path}\n{unit.text}\n")
    return 0


def _list(process: Process, options: Options, verb: str, patterns: list[str]) -> int:
    machine = process.machine
    kinds = options.get("t", "service").split(",")
    names = {posixpath.basename(path) for folder in units.FOLDERS for kind in kinds
             for path in machine.files.glob(f"{folder}/*.{kind}", Actor())}  # fmt: skip
    wanted = {units.full_name(pattern) for pattern in patterns if "*" not in pattern}
    for name in sorted(names):
        fits = not patterns or name in wanted or any(
            re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*"), name) for pattern in patterns if "*" in pattern
        )  # fmt: skip
        if not fits:
            continue
        if verb == "list-unit-files":
            process.out(f"{name} {machine.systemd.file_state(name)} enabled\n")
            continue
        service = machine.systemd.find(name)
        active = service.active if service else "inactive"
        state = options.get("state") or ("failed" if "failed" in options else "")
        if service and (active != "inactive" or "a" in options) and state in ("", active, service.sub):
            process.out(f"{name} loaded {active} {service.sub} {service.unit.get('Unit.Description', name)}\n")
    return 0


@program("reboot", "shutdown", "poweroff", folder="/usr/sbin")
def _reboot(process: Process, argv: list[str]) -> int:
    if process.actor.uid != 0:
        process.err("Call to Reboot failed: Interactive authentication required.\n")
        return 1
    words = [word for word in argv[1:] if word not in ("now", "+0", "-f", "--force")]
    reboots = argv[0] == "reboot" or "-r" in words
    if argv[0] == "shutdown" and ("-c" in words or any(word.startswith("+") for word in words)):
        raise UnsupportedError(" ".join(argv))
    process.act(argv[0])
    process.machine.reboot() if reboots else process.machine.power_off()
    return 0


@program("journalctl")
def _journalctl(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:], "u:n:o:b:exrqfkp:t:S:U:ag:",
        {"unit=": "u", "lines=": "n", "output=": "o", "no-pager": "no-pager", "reverse": "r", "pager-end": "e",
         "catalog": "x", "quiet": "q", "follow": "f", "since=": "S", "until=": "U", "no-hostname": "no-hostname",
         "priority=": "p", "boot": "boot", "utc": "utc", "grep=": "g", "identifier=": "t", "no-tail": "no-tail",
         "all": "a", "full": "full"},
    ) if not _bare_boot(argv) else parse([word for word in argv[1:] if word != "-b"], "u:n:o:exrqp:t:aS:",
                                         {"unit=": "u", "no-pager": "no-pager", "lines=": "n", "output=": "o",
                                          "since=": "S"})  # fmt: skip
    if "f" in options or "U" in options:
        raise UnsupportedError("journalctl " + " ".join(argv[1:]))
    entries = process.machine.systemd.journal
    names = {units.full_name(name) for name in options.all("u")}
    if process.actor.uid != 0 and not {"adm", "systemd-journal", "sudo"} & {
        process.machine.group_name(group) for group in process.actor.groups
    }:
        process.err("No journal files were opened due to insufficient permissions.\n")
        return 1
    chosen = [entry for entry in entries if not names or entry.unit in names]
    if "b" in options or "boot" in options or _bare_boot(argv):
        chosen = [entry for entry in chosen if entry.boot == process.machine.boots]
    if "S" in options:
        chosen = [entry for entry in chosen if entry.time >= _since(process, options.get("S"))]
    if "t" in options:
        chosen = [entry for entry in chosen if entry.identifier in options.all("t")]
    if "g" in options:
        chosen = [entry for entry in chosen if re.search(options.get("g"), entry.message)]
    count = options.get("n", "1000" if "e" in options else "")
    if count and count != "all":
        chosen = chosen[-int(count) :] if int(count) else []
    if "r" in options:
        chosen = chosen[::-1]
    if not chosen and "q" not in options:
        process.out("-- No entries --\n")
    host = process.machine.hostname
    for entry in chosen:
        process.out(_line(host, entry, options.get("o", "short")))
    return 0


def _bare_boot(argv: list[str]) -> bool:
    return "-b" in argv and not any(re.fullmatch(r"-?\d+", word) for word in argv[argv.index("-b") + 1 :][:1])


def _since(process: Process, text: str) -> float:
    now = process.machine.world.clock.now()
    match = re.fullmatch(r"-?(\d+)\s*(s|sec|seconds?|m|min|minutes?|h|hours?)(?: ago)?", text)
    if match:
        return now - int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2][0]]
    if text in ("today", "yesterday"):
        return now - 86400.0 * (1 if text == "today" else 2)
    try:
        if text.startswith("@"):
            return float(text[1:])
        return dt.datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        raise UnsupportedError(f"journalctl --since {text!r}") from None


def _line(host: str, entry: Entry, form: str) -> str:
    if form == "cat":
        return f"{entry.message}\n"
    if form in ("short-iso", "short-iso-precise"):
        when = dt.datetime.fromtimestamp(entry.time, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
        return f"{when} {host} {entry.identifier}[{entry.pid}]: {entry.message}\n"
    if form == "json":
        return json.dumps({"__REALTIME_TIMESTAMP": str(int(entry.time * 1e6)), "_SYSTEMD_UNIT": entry.unit,
                           "SYSLOG_IDENTIFIER": entry.identifier, "_PID": str(entry.pid), "MESSAGE": entry.message,
                           "_HOSTNAME": host}) + "\n"  # fmt: skip
    if form not in ("short", "short-precise", "short-full"):
        raise UnsupportedError(f"journalctl -o {form}")
    return _short(host, entry)


def _short(host: str, entry: Entry) -> str:
    when = dt.datetime.fromtimestamp(entry.time, dt.UTC).strftime("%b %d %H:%M:%S")
    return f"{when} {host} {entry.identifier}[{entry.pid}]: {entry.message}\n"


def _stamp(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC")


@program("cloud-init", "cloud-id")
def _cloud_init(process: Process, argv: list[str]) -> int:
    if argv[0] == "cloud-id":
        process.out("azure\n")
        return 0
    if argv[1:2] in (["--version"], ["-v"]):
        process.out("/usr/bin/cloud-init 25.1.4-0ubuntu0~24.04.1\n")
        return 0
    if argv[1:2] == ["query"] or argv[1:2] != ["status"]:
        raise UnsupportedError(" ".join(argv))
    options = parse(argv[2:], "wl", {"wait": "w", "long": "l", "format=": "format"})
    state = process.machine.cloud_init
    form = options.get("format", "tabular")
    if form not in ("tabular", "json"):
        raise UsageError(f"status: error: argument --format: invalid choice: '{form}'", 2)
    while "w" in options and not state.finished:
        process.out("." if form == "tabular" else "")
        process.sleep(2.0)
    process.out(state.status_json() if form == "json" else
                ("\n" if "w" in options else "") + state.status_text(long="l" in options))  # fmt: skip
    return state.exit_code
