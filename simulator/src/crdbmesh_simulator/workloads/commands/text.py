"""Text: cat, grep, head, tail, wc, cut, tr, sort, uniq, sed (one substitution), tee, base64, checksums."""

from __future__ import annotations

import base64
import hashlib
import re

from crdbmesh_simulator.workloads.commands.basic import unknown
from crdbmesh_simulator.workloads.process import Command, Process


def _options(process: Process, with_value: str = "") -> tuple[dict[str, str], list[str]] | None:
    """Short options and operands; `with_value` names those that take a value."""
    found: dict[str, str] = {}
    rest: list[str] = []
    words = list(process.argv[1:])
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in with_value:
                found[letter] = letters or (words.pop(0) if words else "")
                letters = ""
            else:
                found[letter] = ""
    return found, rest


def _inputs(process: Process, paths: list[str]) -> tuple[bytes, int]:
    if not paths:
        return process.stdin, 0
    data, status = b"", 0
    for path in paths:
        try:
            data += process.stdin if path == "-" else process.files.read(process.path(path))
        except FileNotFoundError:
            process.complain(f"{process.name}: {path}: No such file or directory\n")
            status = 1
        except IsADirectoryError:
            process.complain(f"{process.name}: {path}: Is a directory\n")
            status = 1
        except PermissionError:
            process.complain(f"{process.name}: {path}: Permission denied\n")
            status = 1
    return data, status


def _cat(process: Process) -> int:
    data, status = _inputs(process, [word for word in process.argv[1:] if not word.startswith("-") or word == "-"])
    process.out += data
    return status


def _grep(process: Process) -> int:
    parsed = _options(process, "emAB")
    assert parsed is not None
    flags, rest = parsed
    wanted = flags.get("e") or (rest.pop(0) if rest else "")
    if "F" in flags:
        expression = re.escape(wanted)
    else:
        expression = wanted if {"E", "P"} & set(flags) else re.sub(r"\\([|+?(){}])", r"\1", wanted)
    if "w" in flags:
        expression = rf"\b(?:{expression})\b"
    compiled = re.compile(expression, re.IGNORECASE if "i" in flags else 0)
    data, status = _inputs(process, rest)
    lines = [
        line for line in data.decode(errors="replace").splitlines() if (compiled.search(line) is None) == ("v" in flags)
    ]
    if "c" in flags:
        process.say(f"{len(lines)}\n")
    elif "q" not in flags:
        shown = [found[0] for line in lines for found in compiled.finditer(line)] if "o" in flags else lines
        process.say("".join(f"{line}\n" for line in shown))
    return 2 if status else int(not lines)


def _head_tail(process: Process) -> int:
    parsed = _options(process, "nc")
    assert parsed is not None
    flags, rest = parsed
    count = flags.get("n") or next((key for key in flags if key.isdigit()), "10")
    data, status = _inputs(process, rest)
    lines = data.splitlines(keepends=True)
    if "c" in flags:
        size = int(flags["c"])
        process.out += data[:size] if process.name == "head" else data[-size:]
    elif process.name == "head":
        process.out += b"".join(lines[: int(count)])
    elif count.startswith("+"):
        process.out += b"".join(lines[int(count) - 1 :])
    else:
        process.out += b"".join(lines[-int(count) :])
    return status


def _wc(process: Process) -> int:
    parsed = _options(process)
    assert parsed is not None
    flags, rest = parsed
    data, status = _inputs(process, rest)
    counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
    chosen = [str(counts[key]) for key in "lwc" if key in flags or not flags]
    process.say(" ".join(chosen + rest[:1]) + "\n")
    return status


def _cut(process: Process) -> int:
    parsed = _options(process, "dfc")
    assert parsed is not None
    flags, rest = parsed
    data, status = _inputs(process, rest)
    wanted = flags.get("f") or flags.get("c") or "1"
    for line in data.decode(errors="replace").splitlines():
        cells = list(line) if "c" in flags else line.split(flags.get("d", "\t"))
        picked: list[str] = []
        for part in wanted.split(","):
            low, dash, high = part.partition("-")
            first = int(low or 1)
            picked += cells[first - 1 : (int(high) if high else len(cells)) if dash else first]
        process.say(("" if "c" in flags else flags.get("d", "\t")).join(picked) + "\n")
    return status


def _tr(process: Process) -> int:
    words = process.argv[1:]
    delete = words[:1] == ["-d"]
    sets = [_expanded(word) for word in (words[1:] if delete else words) if not word.startswith("-")]
    text = process.stdin.decode(errors="replace")
    if delete:
        process.say("".join(each for each in text if each not in sets[0]))
    elif len(sets) == 2:
        target = sets[1].ljust(len(sets[0]), sets[1][-1])
        process.say(text.translate(str.maketrans(sets[0], target[: len(sets[0])])))
    else:
        return unknown(process, " ".join(words))
    return 0


def _expanded(word: str) -> str:
    word = word.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
    word = word.replace("[:upper:]", "A-Z").replace("[:lower:]", "a-z").replace("[:digit:]", "0-9")
    word = word.replace("[:space:]", " \t\n\r")
    return re.sub(r"(.)-(.)", lambda found: "".join(map(chr, range(ord(found[1]), ord(found[2]) + 1))), word)


def _sort(process: Process) -> int:
    parsed = _options(process, "kt")
    assert parsed is not None
    flags, rest = parsed
    data, status = _inputs(process, rest)
    lines = data.decode(errors="replace").splitlines()
    if process.name == "uniq":
        lines = [line for index, line in enumerate(lines) if index == 0 or line != lines[index - 1]]
    else:
        lines = sorted(set(lines) if "u" in flags else lines, reverse="r" in flags)
    process.say("".join(f"{line}\n" for line in lines))
    return status


def _sed(process: Process) -> int:
    parsed = _options(process, "e")
    assert parsed is not None
    flags, rest = parsed
    script = flags.get("e") or (rest.pop(0) if rest else "")
    match = re.fullmatch(r"s(.)(.*?)(?<!\\)\1(.*?)(?<!\\)\1([gip]*)", script)
    if match is None or set(flags) - {"e", "n", "E", "r"}:
        return unknown(process, script)
    data, status = _inputs(process, rest)
    expression = match[2] if {"E", "r"} & set(flags) else re.sub(r"\\([|+?(){}])", r"\1", match[2])
    replacement = re.sub(r"(?<!\\)&", r"\\g<0>", match[3])
    compiled = re.compile(expression, re.IGNORECASE if "i" in match[4] else 0)
    for line in data.decode(errors="replace").splitlines():
        changed, count = compiled.subn(replacement, line, count=0 if "g" in match[4] else 1)
        if "n" not in flags or ("p" in match[4] and count):
            process.say(f"{changed}\n")
    return status


def _tee(process: Process) -> int:
    process.out += process.stdin
    for word in process.argv[1:]:
        if not word.startswith("-"):
            process.files.write(process.path(word), process.stdin)
    return 0


def _base64(process: Process) -> int:
    parsed = _options(process, "w")
    assert parsed is not None
    flags, rest = parsed
    data, status = _inputs(process, rest)
    process.out += base64.b64decode(data) if "d" in flags else base64.b64encode(data) + b"\n"
    return status


def _checksum(process: Process) -> int:
    status = 0
    for path in process.argv[1:] or ["-"]:
        data, failed = _inputs(process, [path])
        status = status or failed
        digest = hashlib.new(process.name.removesuffix("sum"), data, usedforsecurity=False).hexdigest()
        process.say(f"{digest}  {path}\n")
    return status


COMMANDS: dict[str, Command] = {
    "cat": _cat,
    "grep": _grep,
    "head": _head_tail,
    "tail": _head_tail,
    "wc": _wc,
    "cut": _cut,
    "tr": _tr,
    "sort": _sort,
    "uniq": _sort,
    "sed": _sed,
    "tee": _tee,
    "base64": _base64,
    "md5sum": _checksum,
    "sha256sum": _checksum,
}
