"""Commands that run others or wait, and those about who and where one is: sh, sudo, timeout, sleep, id, uname."""

from __future__ import annotations

import math
import re

from crdbmesh_simulator.machines.machine_os import KERNEL, SUDO_PATH, host_of
from crdbmesh_simulator.shell.builtins import set_option
from crdbmesh_simulator.shell.interpreter import Shell
from crdbmesh_simulator.shell.process import (
    Command,
    Process,
    Run,
    Terminal,
    UnsupportedError,
    UsageError,
    decode,
    execute,
    os_error,
)
from crdbmesh_simulator.userland.options import parse

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FOREVER_S = 1e12


def _shell(process: Process) -> Run:
    shell = Shell(process, bash=process.name == "bash" or process.system.sh == "bash", name=process.name)
    arguments, script = process.argv[1:], None
    while arguments and re.fullmatch(r"-\w+", arguments[0]):
        for letter in arguments.pop(0)[1:]:
            if letter == "c":
                script = ""
            elif letter == "o":
                set_option(shell, arguments.pop(0), on=True)
            elif letter not in "sl":
                set_option(shell, letter, on=True)
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments
    if script is not None:
        if not arguments:
            raise UsageError("-c: option requires an argument", 2)
        script = arguments.pop(0)
        shell.name, shell.positional = (arguments[0], arguments[1:]) if arguments else (shell.name, [])
        return (yield from shell.run_text(script))
    if arguments and "-s" not in process.argv:
        shell.name, *shell.positional = arguments
        try:
            script = decode(process.read_file(shell.name))
        except OSError as error:
            process.complain(f"{process.name}: {shell.name}: {os_error(error)}\n")
            return 127
        return (yield from shell.run_text(script))
    shell.positional = arguments
    return (yield from shell.run_source(process.stdin))


def _env(process: Process) -> int:
    if len(process.argv) > 1:
        raise UnsupportedError(" ".join(process.argv))
    process.say("".join(f"{name}={value}\n" for name, value in process.env.items()))
    return 0


def _duration_s(text: str) -> float:
    match = re.fullmatch(r"(\d*\.?\d+|infinity)([smhd]?)", text)
    if not match:
        raise UsageError(f"invalid time interval ‘{text}’")
    return math.inf if match[1] == "infinity" else float(match[1]) * _UNITS[match[2]]


def _timeout(process: Process) -> Run:
    if len(process.argv) < 3:
        raise UsageError("missing operand", 125)
    left_s, inner = _duration_s(process.argv[1]), execute(process.child(process.argv[2:]), "timeout: ")
    try:
        while (wait_s := next(inner)) <= left_s:
            left_s -= wait_s
            yield wait_s
    except StopIteration as end:
        return int(end.value)
    yield left_s
    inner.close()
    return 124


def _sleep(process: Process) -> Run:
    if len(process.argv) != 2:
        raise UsageError("missing operand")
    yield min(_duration_s(process.argv[1]), _FOREVER_S)
    return 0


def _sudo(process: Process) -> Run:
    host, words, target = host_of(process), process.argv[1:], "root"
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "-u" and words:
            target = words.pop(0)
        elif word not in ("-n", "--"):
            raise UnsupportedError(" ".join(process.argv))
    caller = host.user_name(process.actor.uid)
    if process.actor.uid != 0 and not host.may_sudo(caller):
        process.complain("sudo: a password is required\n")
        return 1
    if target not in host.users or not words:
        raise UsageError(f"unknown user {target}" if words else "usage: sudo [-n] [-u user] command")
    user = host.users[target]
    env = {key: value for key, value in process.env.items() if key in ("TERM", "LANG")}
    env |= {
        "PATH": SUDO_PATH,
        "HOME": user.home,
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": user.shell,
        "SUDO_USER": caller,
        "SUDO_UID": str(process.actor.uid),
    }
    actor = host.actor(user.name, process.actor.ledger)
    actor.umask = process.actor.umask | 0o022  # sudoers(5), `umask`: the union of both
    return (yield from execute(process.child(words, env=env, actor=actor), "sudo: "))


def _id(process: Process) -> int:
    options = parse(process.argv[1:], "un")
    host, who = host_of(process), process.actor
    name = host.user_name(who.uid)
    if "u" in options or process.name == "whoami":
        process.say(f"{who.uid if 'u' in options and 'n' not in options else name}\n")
        return 0
    groups = ",".join(f"{gid}({host.group_name(gid)})" for gid in [who.gid, *sorted(who.groups - {who.gid})])
    process.say(f"uid={who.uid}({name}) gid={who.gid}({host.group_name(who.gid)}) groups={groups}\n")
    return 0


def _uname(process: Process) -> int:
    options = parse(process.argv[1:], "asnrm")
    host = host_of(process)
    parts = {"s": "Linux", "n": host.hostname, "r": KERNEL, "v": "#30-Ubuntu SMP"}
    parts |= {"m": host.uname_arch, "o": "GNU/Linux"}
    wanted = [*parts] if "a" in options else [key for key in parts if key in options] or ["s"]
    process.say(" ".join(parts[key] for key in wanted) + "\n")
    return 0


def _hostname(process: Process) -> Run:
    if process.argv[1:] not in ([], ["-f"]):
        raise UnsupportedError(" ".join(process.argv))
    name = process.system.hostname
    if process.argv[1:]:
        addresses, name = yield from process.system.lookup(name)
        if not addresses:
            process.complain("hostname: Name or service not known\n")
            return 1
    process.say(f"{name}\n")
    return 0


def _date(process: Process) -> int:
    if process.argv[1:] != ["+%s.%N"]:
        raise UnsupportedError(" ".join(process.argv))
    process.say(f"{process.world.clock.now():.9f}\n")
    return 0


def _stty(process: Process) -> int:
    if process.argv[1:] != ["size"] or not isinstance(process.stdin, Terminal):
        raise UsageError("'standard input': Inappropriate ioctl for device")
    columns, rows = process.stdin.size
    process.say(f"{rows} {columns}\n")
    return 0


COMMANDS: dict[str, Command] = {
    "sh": _shell,
    "env": _env,
    "bash": _shell,
    "dash": _shell,
    "timeout": _timeout,
    "sleep": _sleep,
    "sudo": _sudo,
    "id": _id,
    "whoami": _id,
    "uname": _uname,
    "hostname": _hostname,
    "true": lambda _process: 0,
    "false": lambda _process: 1,
    "date": _date,
    "stty": _stty,
}
