"""Commands that print and look through text, as of GNU coreutils and grep(1)."""

from __future__ import annotations

import base64
import re

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.shell.builtins import echoed
from crdbmesh_simulator.shell.process import Command, Process, UsageError, decode, os_error
from crdbmesh_simulator.userland.options import parse

_ZEROES = "/dev/zero"


def inputs(process: Process, operands: list[str]) -> tuple[list[tuple[str, bytes]], int]:
    """What the operands name, or standard input; and an exit status of 1 when one could not be read."""
    found, status = [], 0
    for path in operands or ["-"]:
        try:
            found.append((path, process.read_file(path)))
        except OSError as error:
            process.complain(f"{process.name}: {path}: {os_error(error)}\n")
            status = 1
    return found, status


def _cat(process: Process) -> int:
    found, status = inputs(process, parse(process.argv[1:]).operands)
    process.say(b"".join(content for _, content in found))
    return status


def _echo(process: Process) -> int:
    process.say(echoed(process.argv))
    return 0


def _head(process: Process) -> int:
    arguments = [re.sub(r"^-(\d+)$", r"-n\1", word) for word in process.argv[1:]]
    options = parse(arguments, "n:c:")
    if options.operands == [_ZEROES]:
        process.say(bytes(int(options.get("c"))))
        return 0
    found, status = inputs(process, options.operands)
    for _, content in found:
        if "c" in options:
            process.say(content[: int(options.get("c"))])
        else:
            process.say(b"".join(content.splitlines(keepends=True)[: int(options.get("n", "10"))]))
    return status


def _tee(process: Process) -> int:
    options = parse(process.argv[1:], "a")
    data = process.stdin.read()
    for path in options.operands:
        process.open_sink(path, append="a" in options).write(data)
    process.say(data)
    return 0


def _wc(process: Process) -> int:
    options = parse(process.argv[1:], "lc")
    found, status = inputs(process, options.operands)
    for path, content in found:
        number = content.count(b"\n") if "l" in options else len(content)
        process.say(f"{number}{'' if path == '-' else f' {path}'}\n")
    return status


def _grep(process: Process) -> int:
    options = parse(process.argv[1:], "EFcqrlvio")
    if not options.operands:
        raise UsageError("usage: grep [OPTION]... PATTERNS [FILE]...", 2)
    pattern, *operands = options.operands
    source = re.escape(pattern) if "F" in options else pattern if "E" in options else _basic(pattern)
    compiled = re.compile(source, re.IGNORECASE if "i" in options else 0)
    if "r" in options:
        operands = [path for operand in operands for path in _below(process, process.path(operand))]
    found, status = inputs(process, operands)
    any_match = False
    for path, content in found:
        lines = decode(content).splitlines()
        hits = [line for line in lines if bool(compiled.search(line)) != ("v" in options)]
        any_match = any_match or bool(hits)
        if "q" in options:
            continue
        if "l" in options:
            process.say(f"{path}\n" if hits else "")
        elif "c" in options:
            process.say(f"{len(hits)}\n")
        else:
            shown = [match[0] for line in hits for match in compiled.finditer(line)] if "o" in options else hits
            prefix = f"{path}:" if len(operands) > 1 else ""
            process.say("".join(f"{prefix}{line}\n" for line in shown))
    return 0 if any_match else 2 if status else 1


def _basic(pattern: str) -> str:
    """A POSIX basic regular expression as Python's."""
    return re.sub(r"\\?[(){}+?|]", lambda found: found[0][1:] or "\\" + found[0], pattern)


def _below(process: Process, path: str) -> list[str]:
    inode = process.files.find(path, process.actor, follow=False)
    if inode is None or not inode.is_dir:
        return [path] if inode is not None and inode.is_file else []
    try:
        names = process.files.names(path, process.actor)
    except OSError:
        return []
    return [found for name in names for found in _below(process, f"{path.rstrip('/')}/{name}")]


def _base64(process: Process) -> int:
    options = parse(process.argv[1:], "w:", {"wrap=": "w"})
    found, status = inputs(process, options.operands)
    text = base64.b64encode(b"".join(content for _, content in found)).decode()
    width = int(options.get("w", "76")) or len(text) or 1
    process.say("\n".join(text[at : at + width] for at in range(0, len(text), width)))
    process.say("" if options.get("w") == "0" else "\n")
    return status


def _sha256sum(process: Process) -> int:
    found, status = inputs(process, parse(process.argv[1:]).operands)
    for path, content in found:
        process.say(f"{internet.sha256(content)}  {path}\n")
    return status


COMMANDS: dict[str, Command] = {
    "cat": _cat,
    "echo": _echo,
    "head": _head,
    "tee": _tee,
    "wc": _wc,
    "grep": _grep,
    "base64": _base64,
    "sha256sum": _sha256sum,
}
