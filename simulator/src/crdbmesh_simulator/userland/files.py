"""Commands that make, show, move and remove files: ls, stat, mkdir, rm, mv, install, mktemp, touch, chmod.

Behaviour after the GNU coreutils manual.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Callable

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


def _each(process: Process, paths: list[str], failure: str, act: Callable[[str], None], status: int = 1) -> int:
    """Do something with each path; what fails is told, with the path in `failure`, and gives the status."""
    worst = 0
    for path in paths:
        try:
            act(path)
        except OSError as error:
            process.complain(f"{process.name}: {failure.format(path)}: {os_error(error)}\n")
            worst = status
    return worst


def _ls(process: Process) -> int:
    options = parse(process.argv[1:], "lAad1")

    def show(path: str) -> None:
        full = process.path(path)
        inode = process.files.stat(full, process.actor)
        if not inode.is_dir or "d" in options:
            _show(process, path, inode, long="l" in options)
            return
        for name in process.files.names(full, process.actor):
            if not name.startswith(".") or "A" in options or "a" in options:
                entry = process.files.stat(posixpath.join(full, name), process.actor, follow=False)
                _show(process, name, entry, long="l" in options)

    return _each(process, options.operands or ["."], "cannot access '{}'", show, 2)


def _show(process: Process, name: str, inode: Inode, *, long: bool) -> None:
    details = f"{stat.filemode(inode.mode)} 1 {inode.uid} {inode.gid} {inode.size} " if long else ""
    process.say(f"{details}{name}\n")


def _stat(process: Process) -> int:
    options, host = parse(process.argv[1:], "c:", {"format=": "c"}), host_of(process)

    def show(path: str) -> None:
        inode = host.files.stat(process.path(path), process.actor, follow=False)
        table = {
            "%a": f"{inode.permissions:o}",
            "%U": host.user_name(inode.uid),
            "%G": host.group_name(inode.gid),
            "%s": str(inode.size),
            "%n": path,
        }
        text = re.sub(r"%.", lambda found: table.get(found[0], found[0]), options.get("c"))
        if "%" in text or "c" not in options:
            raise UnsupportedError(" ".join(process.argv))
        process.say(text + "\n")

    return _each(process, options.operands, "cannot statx '{}'", show)


def _mkdir(process: Process) -> int:
    options, files = parse(process.argv[1:], "pm:", {"parents": "p", "mode=": "m"}), host_of(process).files

    def make(path: str) -> None:
        full = process.path(path)
        there = files.find(full, process.actor) is not None
        files.mkdir(full, process.actor, parents="p" in options)
        if "m" in options and not there:
            files.chmod(full, _mode(options.get("m")), process.actor)

    return _each(process, options.operands, "cannot create directory ‘{}’", make)


def _rm(process: Process) -> int:
    options, files = parse(process.argv[1:], "rRf", {"recursive": "r", "force": "f"}), host_of(process).files

    def remove(path: str) -> None:
        if "f" not in options or files.find(process.path(path), process.actor, follow=False) is not None:
            files.remove(process.path(path), process.actor, recursive="r" in options or "R" in options)

    return _each(process, options.operands, "cannot remove '{}'", remove)


def _mv(process: Process) -> int:
    options = parse(process.argv[1:], "fT", {"force": "f", "no-target-directory": "T"})
    source, target = _two(process, options.operands)
    folder = process.find(target)
    if folder is not None and folder.is_dir and "T" not in options:
        target = posixpath.join(target, posixpath.basename(source))
    files, full = host_of(process).files, process.path(target)
    return _each(
        process,
        [source],
        f"cannot move '{{}}' to '{target}'",
        lambda path: files.rename(process.path(path), full, process.actor),
    )


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
    if "d" in options:
        files.mkdir(path, process.actor, mode=0o700)
    else:
        files.write(path, b"", process.actor, mode=0o600)
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

    def change(path: str) -> None:
        inode = files.stat(process.path(path), process.actor)
        mode = inode.permissions | 0o111 if operands[0] == "+x" else _mode(operands[0])
        files.chmod(process.path(path), mode, process.actor)

    return _each(process, operands[1:], "changing permissions of '{}'", change)


COMMANDS: dict[str, Command] = {
    "ls": _ls,
    "stat": _stat,
    "mkdir": _mkdir,
    "rm": _rm,
    "mv": _mv,
    "install": _install,
    "mktemp": _mktemp,
    "touch": _touch,
    "chmod": _chmod,
}
