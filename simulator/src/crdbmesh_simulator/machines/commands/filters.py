"""grep, sed, awk and xargs: what one-liners use of them; the rest is refused aloud."""

from __future__ import annotations

import re

from crdbmesh_simulator.machines.commands.table import Options, parse, program
from crdbmesh_simulator.machines.commands.text import inputs, lines_of
from crdbmesh_simulator.machines.process import (
    Bytes,
    Process,
    UnsupportedError,
    UsageError,
    decode,
    os_error,
)
from crdbmesh_simulator.machines.shell_expand import posix_classes


def expression(text: str, *, extended: bool, flags: int = 0) -> re.Pattern[str]:
    """A POSIX regular expression, basic or extended, as Python's."""
    out, at = [], 0
    while at < len(text):
        character, follows = text[at], text[at + 1 : at + 2]
        if character == "[":
            match = re.compile(r"\[(\^?)(\]?(?:\[:\w+:\]|[^\]])*)\]").match(text, at)
            if not match:
                raise UsageError("Unmatched [, [^, [:, [., or [=", 2)
            inside = posix_classes(match[2].replace("\\", "\\\\"))
            out.append(f"[{match[1]}{inside.replace(']', chr(92) + ']') if inside.startswith(']') else inside}]")
            at = match.end()
            continue
        if character == "\\":
            at += 2
            if follows in "(){}+?|" and follows:
                out.append("\\" + follows if extended else follows)
            elif follows in "<>":
                out.append(r"\b")
            else:
                out.append("\\" + follows)
            continue
        if not extended and character in "(){}+?|":
            out.append("\\" + character)
        elif not extended and character == "*" and (not out or out[-1] in ("^", "(")):
            out.append("\\*")
        else:
            out.append(character)
        at += 1
    try:
        return re.compile("".join(out), flags)
    except re.error as error:
        raise UnsupportedError(f"the regular expression {text!r} ({error})") from None


@program("grep", "egrep", "fgrep")
def _grep(process: Process, argv: list[str]) -> int:
    arguments = [re.sub(r"^-(\d+)$", r"-C\1", word) for word in argv[1:]]
    options = parse(
        arguments, "EFGPivcnlLqsoxwhHre:A:B:C:m:f:R",
        {"extended-regexp": "E", "fixed-strings": "F", "ignore-case": "i", "invert-match": "v", "count": "c",
         "line-number": "n", "quiet": "q", "silent": "q", "only-matching": "o", "line-regexp": "x", "word-regexp": "w",
         "no-messages": "s", "regexp=": "e", "files-with-matches": "l", "recursive": "r", "max-count=": "m",
         "color=": "color", "color": "color"},
    )  # fmt: skip
    patterns = options.all("e")
    for path in options.all("f"):
        patterns += lines_of(process.read_file(path))
    operands = list(options.operands)
    if not patterns and "f" not in options:
        if not operands:
            raise UsageError("usage: grep [OPTION]... PATTERNS [FILE]...", 2)
        patterns = operands.pop(0).split("\n")
    compiled = [_compile(pattern, argv[0], options) for pattern in patterns]
    if "r" in options or "R" in options:
        operands = [path for operand in operands or ["."] for path, inode in process.machine.files.walk(
            process.path(operand), process.actor) if inode.is_file]  # fmt: skip
    limit = int(options.get("m", "0")) or None
    found, missing = [], 0
    for path in operands or ["-"]:
        try:
            found.append((path, process.read_file(path)))
        except OSError as error:
            missing = 2
            if "s" not in options:
                process.err(f"grep: {path}: {os_error(error)}\n")
    named = ("H" in options or len(operands) > 1 or "r" in options) and "h" not in options
    any_match = False
    for path, content in found:
        lines = lines_of(content)
        hits = [n for n, line in enumerate(lines) if any(p.search(line) for p in compiled) != ("v" in options)][:limit]
        any_match = any_match or bool(hits)
        if "q" in options:
            continue
        label = ("(standard input)" if path == "-" else path) if named else ""
        _print_hits(process, options, lines, hits, compiled, label, path)
    if any_match and "q" in options:
        return 0
    return missing or int(not any_match)


def _compile(pattern: str, name: str, chosen: Options) -> re.Pattern[str]:
    flags = re.IGNORECASE if "i" in chosen else 0
    if "F" in chosen or name == "fgrep":
        source = re.escape(pattern)
    elif "P" in chosen:
        source = pattern
    else:
        source = expression(pattern, extended="E" in chosen or name == "egrep").pattern
    if "w" in chosen:
        source = rf"(?<!\w)(?:{source})(?!\w)"
    if "x" in chosen:
        source = rf"^(?:{source})$"
    return re.compile(source, flags)


def _print_hits(process: Process, chosen: Options, lines: list[str], hits: list[int], compiled: list[re.Pattern[str]],
                label: str, path: str) -> None:  # fmt: skip
    prefix = f"{label}:" if label else ""
    if "c" in chosen:
        process.out(f"{prefix}{len(hits)}\n")
    elif "l" in chosen:
        process.out(f"{path}\n" if hits else "")
    elif "L" in chosen:
        process.out("" if hits else f"{path}\n")
    elif "o" in chosen:
        for hit in hits:
            for pattern in compiled:
                process.out("".join(f"{prefix}{match[0]}\n" for match in pattern.finditer(lines[hit]) if match[0]))
    else:
        after = int(chosen.get("A") or chosen.get("C") or 0)
        before = int(chosen.get("B") or chosen.get("C") or 0)
        shown = sorted({n for hit in hits for n in range(max(hit - before, 0), min(hit + after + 1, len(lines)))})
        previous = None
        for number in shown:
            if previous is not None and number > previous + 1 and (after or before):
                process.out("--\n")
            mark = ":" if number in hits else "-"
            position = f"{number + 1}{mark}" if "n" in chosen else ""
            process.out(f"{label + mark if label else ''}{position}{lines[number]}\n")
            previous = number


@program("awk", "mawk", "gawk")
def _awk(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "F:v:", mixed=False)
    if not options.operands:
        raise UsageError("usage: awk [-F fs] 'program' [file ...]", 2)
    script = options.operands[0].strip()
    match = re.fullmatch(r"(?:(NR)\s*(==|>|<|>=|<=|!=)\s*(\d+)|/((?:[^/\\]|\\.)*)/|"
                         r"\$(\d+)\s*(==|!=)\s*\"([^\"]*)\")?\s*"
                         r"(?:\{\s*print\b\s*([^{}]*?)\s*;?\s*(exit)?\s*;?\s*\})?", script)  # fmt: skip
    if not match or not script or "v" in options:
        raise UnsupportedError(f"the awk program {script!r}")
    found, status = inputs(process, options.operands[1:])
    pattern = expression(match[4], extended=True) if match[4] else None
    for number, line in enumerate(lines_of(b"".join(content for _, content in found)), 1):
        separator = options.get("F")
        columns = line.split() if separator in ("", " ") else (
            line.split(separator) if len(separator) == 1 else re.split(expression(separator, extended=True), line)
        )  # fmt: skip
        if pattern and not pattern.search(line):
            continue
        if match[1] and not _compare(number, match[2], int(match[3])):
            continue
        if match[5]:
            value = line if match[5] == "0" else columns[int(match[5]) - 1] if int(match[5]) <= len(columns) else ""
            if (value == match[7]) != (match[6] == "=="):
                continue
        process.out(_awk_print(match[8] or "", line, columns, number) + "\n")
        if match[9]:
            break
    return 2 if status else 0


def _compare(left: int, operator: str, right: int) -> bool:
    return {"==": left == right, "!=": left != right, ">": left > right, "<": left < right, ">=": left >= right,
            "<=": left <= right}[operator]  # fmt: skip


def _awk_print(expressions: str, line: str, columns: list[str], number: int) -> str:
    if not expressions:
        return line
    out = []
    for item in re.split(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", expressions):
        value = ""
        for piece in re.findall(r"\"(?:[^\"\\]|\\.)*\"|\S+", re.sub(r"(\$\w+)", r" \1 ", item)):
            if piece.startswith('"'):
                value += piece[1:-1].replace("\\t", "\t").replace("\\n", "\n").replace('\\"', '"')
            elif re.fullmatch(r"\$\d+", piece):
                index = int(piece[1:])
                value += line if index == 0 else columns[index - 1] if index <= len(columns) else ""
            elif piece == "$NF":
                value += columns[-1] if columns else ""
            elif piece in ("NF", "NR"):
                value += str(len(columns) if piece == "NF" else number)
            else:
                raise UnsupportedError(f"awk: print {expressions}")
        out.append(value)
    return " ".join(out)


@program("xargs")
def _xargs(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "rn:I:0td:P:", {"no-run-if-empty": "r", "null": "0", "max-args=": "n"}, mixed=False)
    text = decode(process.stdin.read())
    command = options.operands or ["echo"]
    if "0" in options:
        items = [item for item in text.split("\0") if item]
    elif "d" in options or "I" in options:
        items = [item for item in text.rstrip("\n").split(options.get("d").replace("\\n", "\n") or "\n") if item]
    else:
        items = [item.strip("'\"") for item in text.split()]
    if not items and ("r" in options or "I" in options):
        return 0
    batches = [[part.replace(options.get("I"), item) for part in command] for item in items] if "I" in options else []
    if not batches:
        size = int(options.get("n", "0")) or max(len(items), 1)
        batches = [[*command, *items[at : at + size]] for at in range(0, max(len(items), 1), size)]
    worst = 0
    for batch in batches:
        status = process.run(batch, stdin=Bytes())
        if status in (126, 127):
            return status
        worst = 123 if status else worst
    return worst
