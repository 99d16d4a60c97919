"""Commands that make, show, move and remove files: ls, stat, mkdir, rm, mv, cp, install, mktemp, touch, chmod.

Behaviour after the GNU coreutils manual.
"""

from __future__ import annotations

import errno
import posixpath
import re
import stat

from crdbmesh_simulator.inodes import Inode
from crdbmesh_simulator.machines.machine_os import host_of
from crdbmesh_simulator.shell.process import Command, Process, UnsupportedError, UsageError, os_error
from crdbmesh_simulator.userland.options import parse

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{1,4}", text):
        raise UnsupportedError(f"the mode {text}")
    return int(text, 8)


def _owner(process: Process, text: str) -> tuple[int | None, int | None]:
    """`user`, `user:group` or `:group` as numbers."""
    host = host_of(process)
    user, _, group = text.partition(":")
    if user and user not in host.users:
        raise UsageError(f"invalid user: ‘{text}’")
    if group and group not in host.groups:
        raise UsageError(f"invalid group: ‘{text}’")
    return host.users[user].uid if user else None, host.groups[group] if group else None


def _ls(process: Process) -> int:
    options = parse(process.argv[1:], "lAad1")
    status = 0
    for path in options.operands or ["."]:
        try:
            inode = process.files.stat(process.path(path), process.actor)
            if not inode.is_dir or "d" in options:
                _show(process, path, inode, long="l" in options)
                continue
            names = process.files.names(process.path(path), process.actor)
        except OSError as error:
            process.complain(f"ls: cannot access '{path}': {os_error(error)}\n")
            status = 2
            continue
        if len(options.operands) > 1:
            process.say(f"{path}:\n")
        for name in names:
            if not name.startswith(".") or "A" in options or "a" in options:
                entry = process.files.stat(posixpath.join(process.path(path), name), process.actor, follow=False)
                _show(process, name, entry, long="l" in options)
    return status


def _show(process: Process, name: str, inode: Inode, *, long: bool) -> None:
    details = f"{stat.filemode(inode.mode)} 1 {inode.uid} {inode.gid} {inode.size} " if long else ""
    process.say(f"{details}{name}\n")


def _stat(process: Process) -> int:
    options = parse(process.argv[1:], "c:", {"format=": "c"})
    host, status = host_of(process), 0
    for path in options.operands:
        try:
            inode = host.files.stat(process.path(path), process.actor, follow=False)
        except OSError as error:
            process.complain(f"stat: cannot statx '{path}': {os_error(error)}\n")
            status = 1
            continue
        table = {"%a": f"{inode.permissions:o}", "%U": host.user_name(inode.uid), "%G": host.group_name(inode.gid),
                 "%s": str(inode.size), "%n": path}  # fmt: skip
        text = re.sub(r"%.", lambda found, table=table: table.get(found[0], found[0]), options.get("c"))  # type: ignore[misc]
        if "%" in text or "c" not in options:
            raise UnsupportedError(" ".join(process.argv))
        process.say(text + "\n")
    return status


def _mkdir(process: Process) -> int:
    options = parse(process.argv[1:], "pm:", {"parents": "p", "mode=": "m"})
    files, status = host_of(process).files, 0
    for path in options.operands:
        full = process.path(path)
        try:
            there = files.find(full, process.actor) is not None
            files.mkdir(full, process.actor, parents="p" in options)
            if "m" in options and not there:
                files.chmod(full, _mode(options.get("m")), process.actor)
        except OSError as error:
            process.complain(f"mkdir: cannot create directory ‘{path}’: {os_error(error)}\n")
            status = 1
    return status


def _rm(process: Process) -> int:
    options = parse(process.argv[1:], "rRf", {"recursive": "r", "force": "f"})
    files, status = host_of(process).files, 0
    for path in options.operands:
        try:
            files.remove(process.path(path), process.actor, recursive="r" in options or "R" in options)
        except OSError as error:
            if "f" not in options or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                process.complain(f"rm: cannot remove '{path}': {os_error(error)}\n")
                status = 1
    return status


def _mv(process: Process) -> int:
    options = parse(process.argv[1:], "fT", {"force": "f", "no-target-directory": "T"})
    source, target = _two(process, options.operands)
    folder = process.find(target)
    if folder is not None and folder.is_dir and "T" not in options:
        target = posixpath.join(target, posixpath.basename(source))
    try:
        host_of(process).files.rename(process.path(source), process.path(target), process.actor)
    except OSError as error:
        process.complain(f"mv: cannot move '{source}' to '{target}': {os_error(error)}\n")
        return 1
    return 0


def _cp(process: Process) -> int:
    source, target = _two(process, parse(process.argv[1:], "f").operands)
    files = host_of(process).files
    folder = process.find(target)
    if folder is not None and folder.is_dir:
        target = posixpath.join(target, posixpath.basename(source))
    try:
        inode = files.stat(process.path(source), process.actor)
        content = files.read(process.path(source), process.actor)
        files.write(process.path(target), content, process.actor, mode=inode.permissions)
    except OSError as error:
        process.complain(f"cp: cannot copy '{source}' to '{target}': {os_error(error)}\n")
        return 1
    return 0


def _two(process: Process, operands: list[str]) -> tuple[str, str]:
    if len(operands) != 2:
        raise UnsupportedError(" ".join(process.argv))
    return operands[0], operands[1]


def _install(process: Process) -> int:
    options = parse(process.argv[1:], "m:o:g:T", {"mode=": "m", "owner=": "o", "group=": "g"})
    files, who = host_of(process).files, process.actor
    source, target = _two(process, options.operands)
    uid, gid = _owner(process, f"{options.get('o')}:{options.get('g')}")
    full = process.path(target)
    content = files.read(process.path(source), who)
    if files.find(full, who, follow=False) is not None:
        files.remove(full, who)
    files.write(full, content, who, mode=0o600)
    files.chmod(full, _mode(options.get("m", "0755")), who)
    if uid is not None or gid is not None:
        files.chown(full, uid, gid, who)
    return 0


def _mktemp(process: Process) -> int:
    options = parse(process.argv[1:], "d", {"directory": "d"})
    template = options.operands[0] if options.operands else "/tmp/tmp.XXXXXXXXXX"  # noqa: S108 - of a simulated machine
    match = re.fullmatch(r"(.*?)(X{3,})", template, re.DOTALL)
    if not match:
        raise UsageError(f"too few X's in template ‘{template}’")
    name = match[1] + "".join(process.world.random.choice(_LETTERS) for _ in match[2])
    files, path = host_of(process).files, process.path(name)
    try:
        if "d" in options:
            files.mkdir(path, process.actor, mode=0o700)
        else:
            files.write(path, b"", process.actor, mode=0o600)
    except OSError as error:
        process.complain(f"mktemp: failed to create file via template ‘{template}’: {os_error(error)}\n")
        return 1
    process.say(name + "\n")
    return 0


def _touch(process: Process) -> int:
    for path in parse(process.argv[1:]).operands:
        process.files.write(process.path(path), b"", process.actor, append=True)
    return 0


def _chmod(process: Process) -> int:
    operands = parse(process.argv[1:]).operands
    if len(operands) < 2:
        raise UsageError("missing operand")
    files = host_of(process).files
    for operand in operands[1:]:
        path = process.path(operand)
        try:
            inode = files.stat(path, process.actor)
            mode = inode.permissions | 0o111 if operands[0] == "+x" else _mode(operands[0])
            files.chmod(path, mode, process.actor)
        except OSError as error:
            process.complain(f"chmod: changing permissions of '{operand}': {os_error(error)}\n")
            return 1
    return 0


COMMANDS: dict[str, Command] = {
    "ls": _ls, "stat": _stat, "mkdir": _mkdir, "rm": _rm, "mv": _mv, "cp": _cp, "install": _install,
    "mktemp": _mktemp, "touch": _touch, "chmod": _chmod,
}  # fmt: skip
