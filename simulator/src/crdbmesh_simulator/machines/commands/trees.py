"""Programs that look at files: ls, stat, find, readlink, realpath, basename, dirname, df, du, file, tree names."""

from __future__ import annotations

import datetime as dt
import fnmatch
import math
import posixpath
import re
import stat

from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.filesystem import Inode
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError, os_error

_LONG = "  File: %n\n  Size: %s\t%F\nAccess: (%04a/%A)  Uid: (%u/%U)   Gid: (%g/%G)\nModify: %y\n"


@program("ls", "dir")
def _ls(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "laA1dhFRtrnsiS", {"all": "a", "almost-all": "A", "directory": "d", "color=": "color",
                                                 "human-readable": "h", "time-style=": "time-style"})  # fmt: skip
    if "i" in options or "s" in options:
        raise UnsupportedError("ls " + " ".join(argv[1:]))
    status = 0
    plain: list[tuple[str, Inode]] = []
    folders: list[tuple[str, Inode]] = []
    for path in options.operands or ["."]:
        try:
            inode = process.machine.files.stat(process.path(path), process.actor, follow="l" not in options)
            if inode.is_link and "d" not in options and path.endswith("/"):
                inode = process.machine.files.stat(process.path(path), process.actor)
        except OSError as error:
            process.err(f"ls: cannot access '{path}': {os_error(error)}\n")
            status = 2
            continue
        (folders if inode.is_dir and "d" not in options else plain).append((path, inode))
    _list(process, plain, options.found, long="l" in options or "n" in options)
    for number, (path, inode) in enumerate(folders):
        if len(folders) > 1 or plain or "R" in options:
            process.out(f"{chr(10) if number or plain else ''}{path}:\n")
        try:
            names = process.machine.files.names(process.path(path), process.actor)
        except OSError as error:
            process.err(f"ls: cannot open directory '{path}': {os_error(error)}\n")
            status = 2
            continue
        entries = [(name, inode.entries[name]) for name in names]
        if "a" not in options and "A" not in options:
            entries = [(name, entry) for name, entry in entries if not name.startswith(".")]
        elif "a" in options:
            entries = [(".", inode), ("..", inode), *entries]
        if "l" in options or "n" in options:
            process.out(f"total {sum(4 for _, entry in entries if entry.size) or 0}\n")
        _list(process, entries, options.found, long="l" in options or "n" in options)
        if "R" in options:
            below = [(posixpath.join(path, name), entry) for name, entry in entries if name not in (".", "..")]
            folders[number + 1 : number + 1] = [(at, entry) for at, entry in below if entry.is_dir]
    return status


def _list(process: Process, entries: list[tuple[str, Inode]], found: list[tuple[str, str]], *, long: bool) -> None:
    flags = {key for key, _ in found}
    if "t" in flags:
        entries = sorted(entries, key=lambda entry: -entry[1].mtime)
    if "S" in flags:
        entries = sorted(entries, key=lambda entry: -entry[1].size)
    for name, inode in reversed(entries) if "r" in flags else entries:
        shown = name + ("/" if "F" in flags and inode.is_dir else "")
        if not long:
            process.out(shown + "\n")
            continue
        when = dt.datetime.fromtimestamp(inode.mtime, dt.UTC).strftime("%b %e %H:%M")
        user = str(inode.uid) if "n" in flags else process.machine.user_name(inode.uid)
        group = str(inode.gid) if "n" in flags else process.machine.group_name(inode.gid)
        arrow = f" -> {inode.target}" if inode.is_link else ""
        links = 2 if inode.is_dir else 1
        process.out(f"{stat.filemode(inode.mode)} {links} {user} {group} {inode.size} {when} {shown}{arrow}\n")


@program("stat")
def _stat(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "c:Lt", {"format=": "c", "printf=": "printf", "dereference": "L"})
    status = 0
    for path in options.operands:
        try:
            inode = process.machine.files.stat(process.path(path), process.actor, follow="L" in options)
        except OSError as error:
            process.err(f"stat: cannot statx '{path}': {os_error(error)}\n")
            status = 1
            continue
        if "c" in options:
            process.out(_formatted(process, options.get("c"), path, inode) + "\n")
        elif "printf" in options:
            text = options.get("printf").replace("\\n", "\n").replace("\\t", "\t")
            process.out(_formatted(process, text, path, inode))
        else:
            process.out(_formatted(process, _LONG, path, inode))
    return status


def _formatted(process: Process, form: str, path: str, inode: Inode) -> str:
    when = dt.datetime.fromtimestamp(inode.mtime, dt.UTC)
    kind = "directory" if inode.is_dir else "symbolic link" if inode.is_link else (
        "character special file" if stat.S_ISCHR(inode.mode) else
        "regular file" if inode.size else "regular empty file"
    )  # fmt: skip
    table = {
        "n": path, "N": f"'{path}' -> '{inode.target}'" if inode.is_link else f"'{path}'", "s": str(inode.size),
        "a": f"{inode.permissions:o}", "A": stat.filemode(inode.mode), "f": f"{inode.mode:x}", "F": kind,
        "u": str(inode.uid), "U": process.machine.user_name(inode.uid), "g": str(inode.gid),
        "G": process.machine.group_name(inode.gid), "y": when.strftime("%Y-%m-%d %H:%M:%S.%f000 +0000"),
        "Y": str(int(inode.mtime)), "X": str(int(inode.mtime)), "Z": str(int(inode.mtime)), "i": str(inode.number),
        "h": "2" if inode.is_dir else "1", "b": str((inode.size + 511) // 512), "B": "512", "%": "%",
    }  # fmt: skip

    def replace(match: re.Match[str]) -> str:
        if match[2] not in table:
            raise UnsupportedError(f"stat %{match[2]}")
        value = table[match[2]]
        return value.zfill(int(match[1])) if match[1].startswith("0") else value.rjust(int(match[1] or 0))

    return re.sub(r"%(\d*)(.)", replace, form)


@program("find")
def _find(process: Process, argv: list[str]) -> int:
    arguments = argv[1:]
    roots = []
    while arguments and not arguments[0].startswith(("-", "(", "!")):
        roots.append(arguments.pop(0))
    names: list[str] = []
    kinds, depth, lowest, actions = "", 99, 0, []
    while arguments:
        word = arguments.pop(0)
        if word in ("-print", "-delete", "-print0"):
            actions.append(word)
            continue
        if word not in ("-name", "-type", "-maxdepth", "-mindepth", "-path") or not arguments:
            raise UnsupportedError(f"find … {word}")
        value = arguments.pop(0)
        if word in ("-name", "-path"):
            names.append(("/" if word == "-path" else "") + value)
        elif word == "-type":
            kinds = value
        else:
            depth, lowest = (int(value), lowest) if word == "-maxdepth" else (depth, int(value))
    status = 0
    for root in roots or ["."]:
        try:
            found = list(process.machine.files.walk(process.path(root), process.actor))
        except OSError as error:
            process.err(f"find: ‘{root}’: {os_error(error)}\n")
            status = 1
            continue
        hits = []
        for path, inode in found:
            relative = path[len(process.path(root)) :].strip("/")
            level = relative.count("/") + 1 if relative else 0
            kind = "d" if inode.is_dir else "l" if inode.is_link else "f"
            shown = posixpath.join(root, relative) if relative else root
            fits = all(
                fnmatch.fnmatchcase(shown, name[1:]) if name.startswith("/") else
                fnmatch.fnmatchcase(posixpath.basename(path), name) for name in names
            )  # fmt: skip
            if lowest <= level <= depth and (not kinds or kind in kinds) and fits:
                hits.append((path, shown, inode))
        for path, _, inode in reversed(hits) if "-delete" in actions else []:
            if inode.is_dir:
                process.machine.files.rmdir(path, process.actor)
            else:
                process.machine.files.remove(path, process.actor)
        if "-delete" not in actions:
            process.out("".join(shown + ("\0" if "-print0" in actions else "\n") for _, shown, _ in hits))
    return status


@program("readlink", "realpath")
def _readlink(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "fenmqs", {"canonicalize": "f", "canonicalize-existing": "e"})
    status = 0
    for path in options.operands:
        try:
            if argv[0] == "realpath" or "f" in options or "e" in options:
                spot = process.machine.files.locate(process.path(path), process.actor)
                if spot.inode is None and ("e" in options):
                    raise OSError(2, "", path)  # noqa: TRY301 - as the kernel would
                process.out(spot.path + ("" if "n" in options else "\n"))
                continue
            inode = process.machine.files.stat(process.path(path), process.actor, follow=False)
        except OSError as error:
            if argv[0] == "realpath":
                process.err(f"realpath: {path}: {os_error(error)}\n")
            status = 1
            continue
        if not inode.is_link:
            status = 1
            continue
        process.out(inode.target + ("" if "n" in options else "\n"))
    return status


@program("basename", "dirname")
def _basename(process: Process, argv: list[str]) -> int:
    operands = parse(argv[1:], "").operands
    if not operands:
        raise UsageError("missing operand")
    path = operands[0].rstrip("/") or "/"
    if argv[0] == "dirname":
        process.out((posixpath.dirname(path) or ("/" if path == "/" else ".")) + "\n")
        return 0
    name = posixpath.basename(path) or "/"
    if len(operands) > 1 and name != operands[1]:
        name = name.removesuffix(operands[1])
    process.out(name + "\n")
    return 0


@program("df")
def _df(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "hkTPBm", {"output=": "output", "human-readable": "h"})
    if "output" in options or "B" in options:
        raise UnsupportedError("df " + " ".join(argv[1:]))
    size = process.machine.disk_gib
    share = math.ceil(100 * 2202010 / ((size - 1) * 1024 * 1024 - 16384))
    if "h" in options:
        process.out("Filesystem      Size  Used Avail Use% Mounted on\n")
        process.out(f"/dev/root        {size - 1}G  2.1G   {size - 4}G {share:3}% /\n")
    else:
        kib = (size - 1) * 1024 * 1024
        process.out("Filesystem     1K-blocks    Used Available Use% Mounted on\n")
        process.out(f"/dev/root       {kib} 2202010  {kib - 2218394} {share:3}% /\n")
    return 0


@program("du")
def _du(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "shkbc")
    if "s" not in options:
        raise UnsupportedError("du without -s")
    for path in options.operands or ["."]:
        total = sum(inode.size for _, inode in process.machine.files.walk(process.path(path), process.actor))
        process.out(f"{total if 'b' in options else max(total // 1024, 4)}{'K' if 'h' in options else ''}\t{path}\n")
    return 0
