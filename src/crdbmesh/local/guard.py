"""Refuses files and folders that others planted or could change: what crdbmesh reads decides where its secrets go.

A file must be a regular one of the operator's own, and a mesh's folder holds no symbolic links. Every folder above
belongs to the operator or to root, and nobody else can write to it, unless its sticky bit protects what others own.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from crdbmesh.errors import Finding, UnsafeError

_OTHERS_WRITE = 0o022
_SHOWN = 5


def read_text(path: Path, *, private: bool = False) -> str:
    """Return the text of a regular file of our own, without waiting for a FIFO or a device.

    Anything else, such as a link, is an UnsafeError, and so is one that others can change or, if it is `private`, read.
    An OSError or UnicodeDecodeError says that it is absent, cannot be read, or is not UTF-8.
    """
    if path.is_symlink():
        raise _unsafe(path, "is a symbolic link", "put what it points to in its place, if that is yours")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if (reason := why_not_own(status)) is not None:
            raise _unsafe(path, reason, "give a regular file of your own")
        if mode & (0o077 if private else _OTHERS_WRITE):
            what, only = ("read", "600") if private else ("changed", "go-w")
            raise _unsafe(path, f"can be {what} by others (mode {mode:o})", f"run chmod {only} {path}")
        with open(descriptor, encoding="utf-8", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def require_unplanted(path: Path) -> None:
    """Raise UnsafeError for a file, or a link's target, that others than the operator or root own or could change."""
    status = path.stat()
    if stat.S_ISREG(status.st_mode) and status.st_uid in {0, os.getuid()} and not status.st_mode & _OTHERS_WRITE:
        if found := list(problems_above(path.parent)):
            raise UnsafeError(found)
    else:
        others = f"can be changed by others (mode {stat.S_IMODE(status.st_mode):o})"
        raise _unsafe(path, why_not_own(status) or others, f"give a file of your own, and run chmod go-w {path}")


def why_not_own(status: os.stat_result) -> str | None:
    """Say why something is not a regular file of our own; None when it is."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    return None if status.st_uid == os.getuid() else f"belongs to another user (uid {status.st_uid})"


def problems_above(path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the folders from `path` upwards, as it is written and with its links followed."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - as it is written: links are looked at themselves
    for level in dict.fromkeys([absolute, *absolute.parents, *(real := absolute.resolve()).parents, real]):
        try:
            status = level.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        mode = status.st_mode
        if status.st_uid not in {0, os.getuid()}:
            reason = f"belongs to another user (uid {status.st_uid}), who could replace what is in it"
            yield Finding("folder", str(level), reason, "make it yours, or set CRDBMESH_HOME to a folder of your own")
        elif stat.S_ISDIR(mode) and mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
            reason = f"others can write to it (mode {stat.S_IMODE(mode):o}), and could replace what is in it"
            yield Finding("folder", str(level), reason, f"run chmod go-w {level}")


def problems_within(folder: Path) -> Iterator[Finding]:
    """Yield what is wrong within a mesh's folder: links, other people's files, and what is no file at all."""
    within = sorted(folder.rglob("*")) if folder.is_dir() and not folder.is_symlink() else []
    states = {}
    for entry in (folder, *within):
        # A run that is at work renames files.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            states[entry] = entry.lstat()
    strangers = [entry for entry, status in states.items() if status.st_uid != os.getuid()]
    if strangers:
        reason = f"{listed(folder, strangers)} belong to another user"
        yield Finding("folder", str(folder), reason, f"run sudo chown -R {os.getuid()} {folder}")
    odd = [entry for entry, status in states.items() if stat.S_IFMT(status.st_mode) not in {stat.S_IFREG, stat.S_IFDIR}]
    if odd:
        reason = f"a mesh's folder holds plain files only, no links, and these are none: {listed(folder, odd)}"
        yield Finding("folder", str(folder), reason, "put what they stand for in their place, or remove them")


def listed(folder: Path, entries: list[Path]) -> str:
    """Return the first of some entries of a folder, for people."""
    shown = [str(one.relative_to(folder)) if one != folder else "the folder" for one in entries[:_SHOWN]]
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"


def _unsafe(path: Path, reason: str, remedy: str) -> UnsafeError:
    return UnsafeError.of("file", str(path), reason, remedy)
