"""Who one is and becomes: id, whoami, groups, sudo, su, getent passwd (sudo(8), sudoers(5), id(1))."""

from __future__ import annotations

import re

from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError, run

_SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"


@program("id")
def _id(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "ungGr", {"user": "u", "group": "g", "groups": "G", "name": "n"})
    machine, actor = process.machine, process.actor
    uid, gid, groups = actor.uid, actor.gid, actor.groups
    if options.operands:
        user = machine.users.get(options.operands[0])
        if user is None:
            process.err(f"id: ‘{options.operands[0]}’: no such user\n")
            return 1
        uid, gid, groups = user.uid, user.gid, frozenset(user.groups)
    everything = [gid, *sorted(groups - {gid})]
    if "u" in options:
        process.out(f"{machine.user_name(uid) if 'n' in options else uid}\n")
    elif "g" in options:
        process.out(f"{machine.group_name(gid) if 'n' in options else gid}\n")
    elif "G" in options:
        process.out(" ".join(machine.group_name(g) if "n" in options else str(g) for g in everything) + "\n")
    else:
        listed = ",".join(f"{group}({machine.group_name(group)})" for group in everything)
        process.out(f"uid={uid}({machine.user_name(uid)}) gid={gid}({machine.group_name(gid)}) groups={listed}\n")
    return 0


@program("whoami", "logname")
def _whoami(process: Process, argv: list[str]) -> int:  # noqa: ARG001
    process.out(process.machine.user_name(process.actor.uid) + "\n")
    return 0


@program("groups")
def _groups(process: Process, argv: list[str]) -> int:  # noqa: ARG001
    groups = [process.actor.gid, *sorted(process.actor.groups - {process.actor.gid})]
    process.out(" ".join(process.machine.group_name(group) for group in groups) + "\n")
    return 0


@program("sudo")
def _sudo(process: Process, argv: list[str]) -> int:
    arguments, target, login, keep = argv[1:], "root", "", False
    kept: set[str] = set()
    while arguments and arguments[0].startswith("-"):
        word = arguments.pop(0)
        if word == "--":
            break
        if word in ("-u", "-g", "--user", "-p", "-C", "-h", "-D", "--group"):
            value = arguments.pop(0) if arguments else ""
            if word in ("-u", "--user"):
                target = value
            elif word != "-p":
                raise UnsupportedError(f"sudo {word}")
        elif match := re.fullmatch(r"--(?:user=(.+)|preserve-env=(.+))", word):
            target = match[1] or target
            kept.update((match[2] or "").split(","))
        elif word in ("--preserve-env", "--non-interactive", "--set-home", "--login", "--stdin", "--validate"):
            keep = keep or word == "--preserve-env"
            login = "i" if word == "--login" else login
            if word == "--validate":
                return 0
        elif match := re.fullmatch(r"-([nEHSiskKvlb]+)", word):
            if set(match[1]) & set("kKv") and not arguments:
                return 0
            if set(match[1]) & set("lb"):
                raise UnsupportedError(f"sudo {word}")
            keep = keep or "E" in match[1]
            login = "i" if "i" in match[1] else "s" if "s" in match[1] else login
        elif re.fullmatch(r"-u.+", word):
            target = word[2:]
        else:
            raise UnsupportedError(f"sudo {word}")
    own: dict[str, str] = {}
    while arguments and (match := re.fullmatch(r"([A-Za-z_]\w*)=(.*)", arguments[0], re.DOTALL)):
        own[match[1]] = match[2]
        arguments.pop(0)
    return _become(process, target, arguments, login=login, own=own, kept=None if keep else kept)


def _become(process: Process, target: str, arguments: list[str], *, login: str, own: dict[str, str],
            kept: set[str] | None) -> int:  # fmt: skip
    machine = process.machine
    user = machine.users.get(target) or next((u for u in machine.users.values() if f"#{u.uid}" == target), None)
    caller = machine.user_name(process.actor.uid)
    if user is None:
        process.err(f"sudo: unknown user {target}\nsudo: error initializing audit plugin sudoers_audit\n")
        return 1
    if process.actor.uid != 0 and not machine.may_sudo(caller):
        process.err("sudo: a password is required\n")
        return 1
    if not arguments and not login:
        raise UsageError("usage: sudo [-E] [-n] [-u user] [VAR=value] [-i|-s] [command]", 1)
    env = {key: value for key, value in process.env.items() if kept is None or key in kept or key in ("TERM", "LANG")}
    env |= {"PATH": _SECURE_PATH, "HOME": user.home, "USER": user.name, "LOGNAME": user.name, "SHELL": user.shell,
            "SUDO_USER": caller, "SUDO_UID": str(process.actor.uid), "SUDO_GID": str(process.actor.gid),
            "SUDO_COMMAND": " ".join(arguments), "MAIL": f"/var/mail/{user.name}", **own}  # fmt: skip
    actor = machine.actor(user.name, process.actor.ledger)
    actor.umask = process.actor.umask | 0o022  # sudoers(5), `umask`: the union of both
    child = process.child(env=env, actor=actor, cwd=user.home if login == "i" else process.cwd)
    if login:
        arguments = ["bash", *(["-c", " ".join(arguments)] if arguments else [])]
    if not child.find(arguments[0]) and "/" not in arguments[0]:
        from crdbmesh_simulator.machines.process import search

        if search(child, arguments[0]) is None:
            process.err(f"sudo: {arguments[0]}: command not found\n")
            machine.world.not_known("ssh", " ".join(["sudo", *arguments])[:200])
            return 1
    return run(child, arguments, label="sudo: ")


@program("su")
def _su(process: Process, argv: list[str]) -> int:
    if process.actor.uid != 0:
        process.err("su: Authentication failure\n")
        return 1
    match argv[1:]:
        case ["-" | "-l", name, "-c", command] | [name, "-c", command] | ["-c", command, name]:
            return _become(process, name, ["bash", "-c", command], login="", own={}, kept=set())
    raise UnsupportedError(" ".join(argv))
