"""Programs that make, copy, move and remove files: cp, mv, ln, install, rm, mkdir, rmdir, touch, mktemp, truncate.

Behaviour after the GNU coreutils manual.
"""

from __future__ import annotations

import errno
import posixpath
import re
import stat

from crdbmesh_simulator.machines.commands.table import Options, parse, program
from crdbmesh_simulator.machines.filesystem import Inode
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError, os_error

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def octal(text: str) -> int | None:
    """A numeric mode, or None."""
    return int(text, 8) if re.fullmatch(r"[0-7]{1,4}", text) else None


def symbolic(text: str, mode: int, *, is_dir: bool, umask: int = 0) -> int:
    """A mode after a symbolic or numeric change."""
    number = octal(text)
    if number is not None:
        return number
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)([-+=])([rwxXst]*)", clause)
        if not match:
            raise UsageError(f"invalid mode: ‘{text}’")
        who = match[1] or "ugo"
        who = "ugo" if "a" in who else who
        bits = (4 if "r" in match[3] else 0) | (2 if "w" in match[3] else 0)
        if "x" in match[3] or ("X" in match[3] and (is_dir or mode & 0o111)):
            bits |= 1
        mask = sum(bits << shift for name, shift in (("u", 6), ("g", 3), ("o", 0)) if name in who)
        mask |= 0o1000 if "t" in match[3] else 0
        mask |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0) if "s" in match[3] else 0
        mask &= ~umask if not match[1] else ~0
        if match[2] == "=":
            mode &= ~sum(7 << shift for name, shift in (("u", 6), ("g", 3), ("o", 0)) if name in who)
        mode = mode & ~mask if match[2] == "-" else mode | mask
    return mode


def owner(process: Process, text: str) -> tuple[int | None, int | None]:
    """`user`, `user:group`, `user:` or `:group` as numbers."""
    user, colon, group = text.replace(".", ":", 1).partition(":") if ":" not in text else text.partition(":")
    machine = process.machine
    uid = gid = None
    if user:
        account = machine.users.get(user)
        if account is None and not user.isdigit():
            raise UsageError(f"invalid user: ‘{text}’")
        uid = account.uid if account else int(user)
        gid = account.gid if account and colon and not group else None
    if group:
        if group not in machine.groups and not group.isdigit():
            raise UsageError(f"invalid group: ‘{text}’")
        gid = machine.groups[group] if group in machine.groups else int(group)
    return uid, gid


@program("mkdir")
def _mkdir(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "pvm:", {"parents": "p", "mode=": "m", "verbose": "v"})
    status = 0
    if not options.operands:
        raise UsageError("missing operand")
    for path in options.operands:
        full = process.path(path)
        there = process.find(path) is not None
        try:
            process.machine.files.mkdir(full, process.actor, parents="p" in options)
            if "m" in options and not (there and "p" in options):
                mode = symbolic(options.get("m"), 0o777, is_dir=True)
                process.machine.files.chmod(full, mode, process.actor)
        except OSError as error:
            process.err(f"mkdir: cannot create directory ‘{path}’: {os_error(error)}\n")
            status = 1
    return status


@program("rmdir")
def _rmdir(process: Process, argv: list[str]) -> int:
    status = 0
    for path in parse(argv[1:], "").operands:
        try:
            process.machine.files.rmdir(process.path(path), process.actor)
        except OSError as error:
            process.err(f"rmdir: failed to remove '{path}': {os_error(error)}\n")
            status = 1
    return status


@program("rm", "unlink")
def _rm(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "rRfvid",
        {
            "recursive": "r",
            "force": "f",
            "verbose": "v",
            "preserve-root": "preserve-root",
            "one-file-system": "one-file-system",
        },
    )
    recursive, force, status = "r" in options or "R" in options, "f" in options, 0
    if not options.operands and not force:
        raise UsageError("missing operand")
    for path in options.operands:
        if posixpath.normpath(process.path(path)) == "/":
            process.err("rm: it is dangerous to operate recursively on '/'\n")
            status = 1
            continue
        inode = process.find(path, follow=False)
        try:
            if inode is not None and inode.is_dir and not recursive:
                raise OSError(errno.EISDIR, "", path)  # noqa: TRY301 - as the kernel would
            process.machine.files.remove(process.path(path), process.actor, recursive=recursive)
        except OSError as error:
            if force and error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            process.err(f"rm: cannot remove '{path}': {os_error(error)}\n")
            status = 1
    return status


@program("cp")
def _cp(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "rRafpvnTt:uLPd",
        {
            "recursive": "r",
            "archive": "a",
            "force": "f",
            "preserve": "p",
            "preserve=": "p",
            "no-clobber": "n",
            "no-target-directory": "T",
        },
    )
    if "t" in options:
        raise UnsupportedError("cp -t")
    return _each(process, "cp", options, lambda source, target: _copy(process, options, source, target))


@program("mv")
def _mv(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "fvnT", {"force": "f", "no-clobber": "n", "no-target-directory": "T", "verbose": "v"})

    def move(source: str, target: str) -> None:
        if "n" in options and process.find(target) is not None:
            return
        process.machine.files.rename(process.path(source), process.path(target), process.actor)

    return _each(process, "mv", options, move)


def _each(process: Process, name: str, options: Options, work: object) -> int:
    assert callable(work)
    operands = options.operands
    if not operands:
        raise UsageError("missing file operand")
    if len(operands) < 2:
        raise UsageError(f"missing destination file operand after '{operands[0]}'")
    *sources, target = operands
    folder = process.find(target)
    into = folder is not None and folder.is_dir and "T" not in options
    if len(sources) > 1 and not into:
        raise UsageError(f"target '{target}': No such file or directory" if folder is None else f"target '{target}'")
    status = 0
    verb = "copy" if name == "cp" else "move"
    for source in sources:
        if process.find(source, follow=False) is None and process.find(source) is None and source != "/dev/stdin":
            reason = _reason(process, source)
            process.err(f"{name}: cannot stat '{source}': {reason}\n")
            status = 1
            continue
        aim = posixpath.join(target, posixpath.basename(source.rstrip("/"))) if into else target
        try:
            work(source, aim)
        except OSError as error:
            at = error.filename if error.filename and error.errno == errno.EACCES else aim
            kind = f"cannot create regular file '{aim}'" if name == "cp" else f"cannot {verb} '{source}' to '{aim}'"
            kind = f"cannot open '{source}' for reading" if at == process.path(source) else kind
            process.err(f"{name}: {kind}: {os_error(error)}\n")
            status = 1
    return status


def _reason(process: Process, path: str) -> str:
    try:
        process.machine.files.stat(process.path(path), process.actor)
    except OSError as error:
        return os_error(error)
    return "No such file or directory"


def _copy(process: Process, options: Options, source: str, target: str) -> None:
    files, who = process.machine.files, process.actor
    if "n" in options and process.find(target) is not None:
        return
    keep = "a" in options or "p" in options
    if source == "/dev/stdin":
        files.write(process.path(target), process.stdin.read(), who)
        return
    recursive = "r" in options or "R" in options or "a" in options
    inode = files.stat(process.path(source), who, follow=not ("a" in options or "d" in options or "P" in options))
    if inode.is_dir and not recursive:
        raise UsageError(f"-r not specified; omitting directory '{source}'")
    if inode.is_dir:
        there = process.find(target)
        if there is None:
            files.mkdir(process.path(target), who, mode=inode.permissions)
        for name in files.names(process.path(source), who):
            _copy(process, options, posixpath.join(source, name), posixpath.join(target, name))
    elif inode.is_link:
        if process.find(target, follow=False) is not None:
            files.remove(process.path(target), who)
        files.symlink(inode.target, process.path(target), who)
        return
    else:
        files.write(process.path(target), files.read(process.path(source), who), who, mode=inode.permissions)
    if keep:
        _preserve(process, inode, target)


def _preserve(process: Process, inode: Inode, target: str) -> None:
    full = process.path(target)
    if process.actor.uid == 0:
        process.machine.files.chown(full, inode.uid, inode.gid, process.actor)
    process.machine.files.chmod(full, inode.permissions, process.actor)


@program("ln")
def _ln(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "sfnTvr", {"symbolic": "s", "force": "f", "no-dereference": "n"})
    files = process.machine.files
    operands = options.operands if len(options.operands) > 1 else [*options.operands, "."]
    *sources, target = operands
    folder = process.find(target, follow="n" not in options)
    for source in sources:
        into = folder is not None and folder.is_dir and "T" not in options
        path = process.path(posixpath.join(target, posixpath.basename(source)) if into else target)
        if files.find(path, process.actor, follow=False) is not None:
            if "f" not in options:
                process.err(
                    f"ln: failed to create {'symbolic' if 's' in options else 'hard'} link '{target}': File exists\n"
                )
                return 1
            current = files.find(path, process.actor, follow=False)
            if "s" in options and current is not None and current.is_link and current.target == source:
                continue
            files.remove(path, process.actor)
        if "s" in options:
            files.symlink(source, path, process.actor)
        else:
            files.link(process.path(source), path, process.actor)
    return 0


@program("install")
def _install(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "m:o:g:dDvTt:pCc",
        {
            "mode=": "m",
            "owner=": "o",
            "group=": "g",
            "directory": "d",
            "target-directory=": "t",
            "no-target-directory": "T",
        },
    )
    files, who = process.machine.files, process.actor
    mode = symbolic(options.get("m", "0755"), 0, is_dir=False)
    uid = owner(process, options.get("o"))[0] if "o" in options else None
    gid = owner(process, ":" + options.get("g"))[1] if "g" in options else None

    def finish(path: str) -> None:
        files.chmod(path, mode, who)
        if uid is not None or gid is not None:
            files.chown(path, uid, gid, who)

    if "d" in options:
        for path in options.operands:
            files.mkdir(process.path(path), who, parents=True)
            finish(process.path(path))
        return 0
    operands = [*options.operands, options.get("t")] if "t" in options else options.operands
    if len(operands) < 2:
        raise UsageError(
            "missing file operand" if not operands else f"missing destination file operand after '{operands[0]}'"
        )
    *sources, target = operands
    for source in sources:
        content = process.read_file(source)
        folder = process.find(target)
        into = (folder is not None and folder.is_dir and "T" not in options) or "t" in options
        aim = process.path(posixpath.join(target, posixpath.basename(source)) if into else target)
        if "D" in options:
            files.mkdir(
                posixpath.dirname(aim), process.machine.root(who), parents=True
            ) if who.uid == 0 else files.mkdir(posixpath.dirname(aim), who, parents=True)
        if files.find(aim, who, follow=False) is not None and files.find(aim, who) is not None:
            spot = files.stat(aim, who)
            if bytes(spot.content) == content and spot.permissions == mode:
                finish(aim)
                continue
            files.remove(aim, who)
        files.write(aim, content, who, mode=0o600)
        finish(aim)
    return 0


@program("touch")
def _touch(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "camt:d:r:", {"no-create": "c"})
    for path in options.operands:
        inode = process.find(path)
        if inode is not None:
            inode.mtime = process.machine.world.clock.now()
        elif "c" not in options:
            try:
                process.machine.files.write(process.path(path), b"", process.actor)
            except OSError as error:
                process.err(f"touch: cannot touch '{path}': {os_error(error)}\n")
                return 1
    return 0


@program("mktemp")
def _mktemp(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "dqtup:", {"directory": "d", "tmpdir=": "p", "suffix=": "suffix"})
    template = options.operands[0] if options.operands else "tmp.XXXXXXXXXX"
    match = re.fullmatch(r"(.*?)(X{3,})([^X/]*)", template, re.DOTALL)
    if not match:
        raise UsageError(f"too few X's in template ‘{template}’")
    chance = process.machine.world.random
    name = match[1] + "".join(chance.choice(_LETTERS) for _ in match[2]) + match[3] + options.get("suffix")
    if not options.operands or "t" in options or "p" in options:
        name = posixpath.join(options.get("p") or process.env.get("TMPDIR", "/tmp"), name)  # noqa: S108
    path = process.path(name)
    try:
        if "d" in options:
            process.machine.files.mkdir(path, process.actor)
            process.machine.files.chmod(path, 0o700, process.actor)
        elif "u" not in options:
            process.machine.files.write(path, b"", process.actor, mode=0o600)
    except OSError as error:
        process.err(f"mktemp: failed to create file via template ‘{template}’: {os_error(error)}\n")
        return 1
    process.out(name + "\n")
    return 0


@program("truncate")
def _truncate(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "s:c", {"size=": "s"})
    for path in options.operands:
        inode = process.machine.files.open_write(process.path(path), process.actor, truncate=False)
        process.machine.files.truncate(inode, int(options.get("s", "0")))
    return 0


@program("chmod")
def _chmod(process: Process, argv: list[str]) -> int:
    arguments = argv[1:]
    recursive = any(re.fullmatch(r"-[vfc]*R[vfc]*|--recursive", word) for word in arguments)
    rest = [word for word in arguments if not re.fullmatch(r"-[Rvfc]+|--recursive|--", word)]
    if len(rest) < 2:
        raise UsageError(f"missing operand{f' after ‘{rest[0]}’' if rest else ''}")
    status = 0
    for operand in rest[1:]:
        try:
            for path, inode in _below(process, operand, recursive=recursive):
                mode = symbolic(rest[0], inode.permissions, is_dir=inode.is_dir, umask=process.actor.umask)
                process.machine.files.chmod(path, mode, process.actor)
        except OSError as error:
            verb = "changing permissions of" if error.errno == errno.EPERM else "cannot access"
            process.err(f"chmod: {verb} '{operand}': {os_error(error)}\n")
            status = 1
    return status


@program("chown", "chgrp")
def _chown(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "Rvhfc", {"recursive": "R", "no-dereference": "h"})
    if len(options.operands) < 2:
        raise UsageError("missing operand")
    text, *paths = options.operands
    uid, gid = owner(process, f":{text}" if argv[0] == "chgrp" else text)
    status = 0
    for operand in paths:
        try:
            for path, _ in _below(process, operand, recursive="R" in options):
                process.machine.files.chown(path, uid, gid, process.actor)
        except OSError as error:
            verb = "changing ownership of" if error.errno == errno.EPERM else "cannot access"
            process.err(f"{argv[0]}: {verb} '{operand}': {os_error(error)}\n")
            status = 1
    return status


def _below(process: Process, operand: str, *, recursive: bool) -> list[tuple[str, Inode]]:
    path = process.path(operand)
    if not recursive:
        return [(path, process.machine.files.stat(path, process.actor))]
    return [
        (at, inode) for at, inode in process.machine.files.walk(path, process.actor) if not stat.S_ISLNK(inode.mode)
    ]
