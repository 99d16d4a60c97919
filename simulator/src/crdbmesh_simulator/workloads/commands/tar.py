"""`tar` through standard input and output, as `kubectl cp` runs it."""

from __future__ import annotations

import io
import posixpath
import tarfile
from dataclasses import dataclass, field

from crdbmesh_simulator.workloads.commands.basic import unknown
from crdbmesh_simulator.workloads.process import Command, Process

_LONG = {
    "--create": "c",
    "--extract": "x",
    "--list": "t",
    "--gzip": "z",
    "--verbose": "v",
    "--touch": "m",
    "--same-permissions": "p",
    "--no-same-permissions": "",
    "--no-same-owner": "",
}
_FATAL = "Error is not recoverable: exiting now"


@dataclass
class _Call:
    """What a command line asks for; `wrong` is an option that is not known."""

    flags: str = ""
    file: str = "-"
    folder: str = "."
    operands: list[str] = field(default_factory=list)
    wrong: str = ""


def _parse(words: list[str]) -> _Call:
    found = _Call()
    rest = list(words)
    if rest and not rest[0].startswith("-"):
        rest[0] = f"-{rest[0]}"
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.operands += rest
            break
        if word in _LONG:
            found.flags += _LONG[word]
        elif word.startswith("--"):
            found.wrong = word
        elif word.startswith("-") and word != "-":
            _read_short(found, word[1:], rest)
        else:
            found.operands.append(word)
    return found


def _read_short(found: _Call, letters: str, rest: list[str]) -> None:
    for index, letter in enumerate(letters):
        if letter in "fC":
            value = letters[index + 1 :] or (rest.pop(0) if rest else "")
            if letter == "f":
                found.file = value
            else:
                found.folder = value
            return
        if letter not in "cxtzvmpo":
            found.wrong = f"-{letter}"
        found.flags += letter


def _tar(process: Process) -> int:
    asked = _parse(process.argv[1:])
    modes = [letter for letter in asked.flags if letter in "cxt"]
    if asked.wrong or len(modes) != 1 or ("x" in modes and asked.operands):
        return unknown(process, asked.wrong or " ".join(process.argv[1:]))
    if "c" in modes:
        return _create(process, asked)
    try:
        data = process.stdin if asked.file == "-" else process.files.read(process.path(asked.file))
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            return _unpack(process, asked, archive)
    except OSError as error:
        process.complain(f"tar: {error.filename or asked.file}: Cannot open: {error.strerror or 'No such file'}\n")
    except (tarfile.TarError, EOFError):
        process.complain("tar: This does not look like a tar archive\n")
    process.complain(f"tar: {_FATAL}\n")
    return 2


def _unpack(process: Process, asked: _Call, archive: tarfile.TarFile) -> int:
    status = 0
    for member in archive:
        if "t" in asked.flags or "v" in asked.flags:
            process.say(f"{member.name}{'/' if member.isdir() else ''}\n")
        content = archive.extractfile(member) if member.isfile() else None
        if "t" in asked.flags or content is None:
            continue
        path = posixpath.join(process.path(asked.folder), member.name.lstrip("/"))
        try:
            process.files.write(path, content.read())
        except OSError as error:
            process.complain(f"tar: {member.name}: Cannot open: {error.strerror}\n")
            status = 2
    if status:
        process.complain("tar: Exiting with failure status due to previous errors\n")
    return status


def _create(process: Process, asked: _Call) -> int:
    if not asked.operands:
        process.complain("tar: Cowardly refusing to create an empty archive\n")
        return 2
    target, status = io.BytesIO(), 0
    if any(word.startswith("/") for word in asked.operands):
        process.complain("tar: Removing leading `/' from member names\n")
    with tarfile.open(fileobj=target, mode="w:gz" if "z" in asked.flags else "w") as archive:
        for word in asked.operands:
            path = process.path(posixpath.join(asked.folder, word))
            if not process.files.is_file(path) and not process.files.is_dir(path):
                process.complain(f"tar: {word}: Cannot stat: No such file or directory\n")
                status = 2
            elif not _add(process, archive, path, word.lstrip("/") or "."):
                status = 2
    if status:
        process.complain("tar: Exiting with failure status due to previous errors\n")
    if asked.file == "-":
        process.out += target.getvalue()
    else:
        process.files.write(process.path(asked.file), target.getvalue())
    return status


def _add(process: Process, archive: tarfile.TarFile, path: str, name: str) -> bool:
    """Put a file or a folder into the archive; whether all of it could be read."""
    entry = tarfile.TarInfo(name)
    entry.mtime = int(process.world.clock.now())
    if process.files.is_file(path):
        if not process.files.readable(path):
            process.complain(f"tar: {path}: Cannot open: Permission denied\n")
            return False
        data = process.files.read(path)
        entry.size, entry.mode = len(data), process.files.mode(path)
        archive.addfile(entry, io.BytesIO(data))
        return True
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(entry)
    whole = True
    for each in process.files.entries(path):
        whole = _add(process, archive, posixpath.join(path, each), f"{name}/{each}") and whole
    return whole


COMMANDS: dict[str, Command] = {"tar": _tar}
