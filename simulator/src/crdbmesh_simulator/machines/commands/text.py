"""Programs that print and cut text: cat, echo, printf, head, tail, cut, wc, sort, uniq, tr, tee and their kin.

Behaviour after the GNU coreutils manual.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.process import (
    Process,
    UnsupportedError,
    UsageError,
    decode,
    encode,
    os_error,
)
from crdbmesh_simulator.machines.shell_expand import posix_classes


def inputs(process: Process, operands: list[str]) -> tuple[list[tuple[str, bytes]], int]:
    """What the operands name, or standard input; and an exit status of 1 when one could not be read."""
    found, status = [], 0
    for path in operands or ["-"]:
        try:
            found.append((path, process.read_file(path)))
        except OSError as error:
            process.err(f"{process.name}: {path}: {os_error(error)}\n")
            status = 1
    return found, status


def lines_of(data: bytes) -> list[str]:
    """Lines without their ends."""
    return decode(data).removesuffix("\n").split("\n") if data else []


@program("cat")
def _cat(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "nAu")
    found, status = inputs(process, options.operands)
    data = b"".join(content for _, content in found)
    if "n" in options:
        data = encode("".join(f"{number:6d}\t{line}\n" for number, line in enumerate(lines_of(data), 1)))
    process.out(data)
    return status


@program("echo")
def _echo(process: Process, argv: list[str]) -> int:
    dash, newline, escapes = process.name == "dash-echo", True, process.name == "dash-echo"
    words = argv[1:]
    while words and re.fullmatch(r"-n" if dash else r"-[neE]+", words[0]):
        flags = words.pop(0)
        newline = newline and "n" not in flags
        escapes = dash or ("e" in flags and "E" not in flags)
    text = " ".join(words)
    if escapes:
        text, stopped = unescape(text)
        newline = newline and not stopped
    process.out(text + ("\n" if newline else ""))
    return 0


def unescape(text: str) -> tuple[str, bool]:
    r"""Text with `\n` and the like replaced; and whether `\c` ended it."""
    stop = re.search(r"(?<!\\)(?:\\\\)*\\c", text)
    if stop:
        text = text[: stop.end() - 2]
    table = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "\\": "\\"}

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 8))
        return chr(int(match[2], 16)) if match[2] else table.get(match[3], match[0])

    return re.sub(r"\\(?:0?([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", replace, text), bool(stop)


@program("printf")
def _printf(process: Process, argv: list[str]) -> int:
    words = argv[1:]
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("usage: printf [-v var] format [arguments]", 2)
    if words[0] == "-v":
        raise UnsupportedError("printf -v")
    form, arguments = unescape(words[0])[0], words[1:]
    directive = re.compile(r"%%|%([-+ 0#]*)(\*|\d+)?(?:\.(\*|\d+))?([a-zA-Z])")
    consuming = any(match[0] != "%%" for match in directive.finditer(form))
    out: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        width = arguments.pop(0) if match[2] == "*" and arguments else match[2]
        value = arguments.pop(0) if arguments else ""
        shape = f"%{match[1]}{width or ''}{'.' + match[3] if match[3] else ''}"
        if match[4] in "sb":
            return (shape + "s") % (unescape(value)[0] if match[4] == "b" else value)
        if match[4] == "c":
            return value[:1]
        if match[4] == "q":
            return value if re.fullmatch(r"[\w@%+=:,./-]+", value) else "'" + value.replace("'", "'\\''") + "'"
        if match[4] in "diouxX":
            try:
                return (shape + match[4].replace("u", "d").replace("i", "d")) % (int(value, 0) if value else 0)
            except ValueError:
                raise UsageError(f"{value}: invalid number", 1) from None
        if match[4] in "feg":
            return (shape + match[4]) % float(value or 0)
        raise UnsupportedError(f"printf %{match[4]}")

    while True:
        out.append(directive.sub(replace, form))
        if not arguments or not consuming:
            break
    process.out("".join(out))
    return 0


@program("tee")
def _tee(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "ai", {"append": "a"})
    status, sinks = 0, []
    for path in options.operands:
        try:
            sinks.append(process.open_sink(path, append="a" in options))
        except OSError as error:
            process.err(f"tee: {path}: {os_error(error)}\n")
            status = 1
    data = process.stdin.read()
    for sink in [*sinks, process.stdout]:
        sink.write(data)
    return status


@program("head", "tail")
def _head(process: Process, argv: list[str]) -> int:
    arguments = [re.sub(r"^-(\d+)$", r"-n\1", word) for word in argv[1:]]
    options = parse(arguments, "n:c:qvfF", {"lines=": "n", "bytes=": "c", "quiet": "q", "follow": "f"})
    if "f" in options or "F" in options:
        raise UnsupportedError("tail -f")
    found, status = inputs(process, options.operands)
    for number, (path, content) in enumerate(found):
        if len(found) > 1 and "q" not in options:
            process.out(f"{chr(10) if number else ''}==> {path} <==\n")
        amount = options.get("c") or options.get("n", "10")
        unit: list[bytes] = [content[at : at + 1] for at in range(len(content))] if "c" in options else (
            content.splitlines(keepends=True)
        )  # fmt: skip
        process.out(b"".join(_portion(unit, amount, tail=argv[0] == "tail")))
    return status


def _portion(unit: list[bytes], amount: str, *, tail: bool) -> list[bytes]:
    if not re.fullmatch(r"[+-]?\d+", amount):
        raise UsageError(f"invalid number of lines: ‘{amount}’")
    count = int(amount.lstrip("+-"))
    if tail:
        return unit[max(count - 1, 0) :] if amount[0] == "+" else unit[-count:] if count else []
    return unit[: len(unit) - count] if amount[0] == "-" else unit[:count]


@program("wc")
def _wc(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "lwcm", {"lines": "l", "words": "w", "bytes": "c", "chars": "m"})
    found, status = inputs(process, options.operands)
    wanted = [key for key in "lwmc" if key in options] or ["l", "w", "c"]
    rows = []
    for path, content in found:
        counts = {"l": content.count(b"\n"), "w": len(content.split()), "c": len(content), "m": len(decode(content))}
        rows.append(([counts[key] for key in wanted], path if options.operands else ""))
    if len(rows) > 1:
        rows.append(([sum(column) for column in zip(*(row for row, _ in rows), strict=True)], "total"))
    width = (
        1 if len(rows) == 1 and (len(wanted) == 1) else max((len(str(n)) for row, _ in rows for n in row), default=1)
    )
    width = 7 if not options.operands and len(wanted) > 1 else width
    for row, path in rows:
        process.out(" ".join(f"{value:{width}d}" for value in row) + (f" {path}" if path else "") + "\n")
    return status


@program("cut")
def _cut(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "d:f:c:b:s",
        {
            "delimiter=": "d",
            "fields=": "f",
            "characters=": "c",
            "output-delimiter=": "output-delimiter",
            "only-delimited": "s",
        },
    )
    delimiter = options.get("d", "\t")
    chosen = options.get("f") or options.get("c") or options.get("b")
    if not chosen:
        raise UsageError("you must specify a list of bytes, characters, or fields")
    found, status = inputs(process, options.operands)
    for line in lines_of(b"".join(content for _, content in found)):
        if "f" not in options:
            process.out("".join(_chosen(list(line), chosen)) + "\n")
        elif delimiter not in line:
            process.out("" if "s" in options else line + "\n")
        else:
            process.out(options.get("output-delimiter", delimiter).join(_chosen(line.split(delimiter), chosen)) + "\n")
    return status


def _chosen(items: list[str], ranges: str) -> list[str]:
    wanted: set[int] = set()
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        begin = int(first or 1)
        wanted.update(range(begin, (int(last) if last else len(items)) + 1 if dash else begin + 1))
    return [item for number, item in enumerate(items, 1) if number in wanted]


@program("sort")
def _sort(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "nruVk:t:bf", {"numeric-sort": "n", "reverse": "r", "unique": "u", "version-sort": "V"})
    found, status = inputs(process, options.operands)
    lines = lines_of(b"".join(content for _, content in found))
    separator = options.get("t") or None
    match = re.fullmatch(r"(\d+)(?:,(\d+))?([nrV]*)", options.get("k", "1"))
    if not match:
        raise UnsupportedError(f"sort -k {options.get('k')}")
    numeric, version = "n" in options or "n" in match[3], "V" in options or "V" in match[3]

    def key(line: str) -> tuple[object, ...]:
        value = line
        if "k" in options:
            columns = line.split(separator)
            value = " ".join(columns[int(match[1]) - 1 : int(match[2]) if match[2] else None])
        if numeric:
            number = re.match(r"\s*-?\d*\.?\d+", value)
            return (float(number[0]) if number else 0.0, line)
        if version:
            return (
                [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", value)],
                line,
            )
        return (value, line)

    lines.sort(key=key, reverse="r" in options or "r" in match[3])
    if "u" in options:
        lines = list(dict.fromkeys(lines))
    process.out("".join(line + "\n" for line in lines))
    return status


@program("uniq")
def _uniq(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "cdu", {"count": "c"})
    found, status = inputs(process, options.operands[:1])
    groups: list[tuple[str, int]] = []
    for line in lines_of(b"".join(content for _, content in found)):
        if groups and groups[-1][0] == line:
            groups[-1] = (line, groups[-1][1] + 1)
        else:
            groups.append((line, 1))
    for line, count in groups:
        if ("d" in options and count == 1) or ("u" in options and count > 1):
            continue
        process.out(f"{count:7d} {line}\n" if "c" in options else f"{line}\n")
    return status


@program("tr")
def _tr(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "dscC", {"delete": "d", "squeeze-repeats": "s", "complement": "c"}, mixed=False)
    sets = [_characters(operand) for operand in options.operands]
    if not sets:
        raise UsageError("missing operand")
    text = decode(process.stdin.read())
    complement = "c" in options or "C" in options

    def chosen(character: str) -> bool:
        return (character in sets[0]) != complement

    if "d" in options:
        process.out("".join(character for character in text if not chosen(character)))
        return 0
    if len(sets) > 1:
        second = sets[1] + sets[1][-1:] * len(sets[0])
        text = "".join(
            (sets[1][-1] if complement else second[sets[0].index(character)]) if chosen(character) else character
            for character in text
        )
    if "s" in options:
        squeezed = re.escape(sets[-1])
        text = re.sub(f"([{squeezed}])\\1+", r"\1", text)
    process.out(text)
    return 0


def _characters(operand: str) -> str:
    expanded = unescape(operand)[0]
    classes = re.sub(r"\[:\w+:\]", lambda match: posix_classes(match[0]).replace("\\s", " \t\n\r\v\f"), expanded)
    return re.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), classes, flags=re.DOTALL)


@program("sha256sum", "md5sum", "sha1sum", "sha512sum")
def _sha256sum(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "cbtw",
        {
            "check": "c",
            "status": "status",
            "quiet": "quiet",
            "binary": "b",
            "strict": "strict",
            "ignore-missing": "ignore-missing",
        },
    )
    if "c" in options:
        return _check_sums(process, argv[0], options.operands, silent="status" in options, quiet="quiet" in options,
                           skip="ignore-missing" in options)  # fmt: skip
    found, status = inputs(process, options.operands)
    for path, content in found:
        process.out(f"{_digest(argv[0], content)}  {path}\n")
    return status


def _digest(name: str, content: bytes) -> str:
    if name == "sha256sum":
        return internet.sha256(content)
    return hashlib.new(name.removesuffix("sum"), content, usedforsecurity=False).hexdigest()


def _check_sums(process: Process, name: str, operands: list[str], *, silent: bool, quiet: bool, skip: bool) -> int:
    lists, status = inputs(process, operands)
    failed = unread = checked = 0
    for _, content in lists:
        for line in lines_of(content):
            match = re.fullmatch(r"\\?([0-9a-fA-F]{32,128}) [ *](.+)", line)
            if not match:
                continue
            try:
                same = _digest(name, process.read_file(match[2])) == match[1].lower()
            except OSError as error:
                if skip:
                    continue
                process.err(f"{name}: {match[2]}: {os_error(error)}\n")
                process.out("" if silent else f"{match[2]}: FAILED open or read\n")
                unread += 1
                continue
            checked += 1
            failed += not same
            if not silent and not (quiet and same):
                process.out(f"{match[2]}: {'OK' if same else 'FAILED'}\n")
    if not checked and not unread:
        shown = "standard input" if operands in ([], ["-"]) else operands[0]
        process.err(f"{name}: {shown}: no properly formatted checksum lines found\n")
        return 1
    if not silent:
        plural = "checksum did" if failed == 1 else "checksums did"
        process.err(f"{name}: WARNING: {unread} listed file could not be read\n" if unread else "")
        process.err(f"{name}: WARNING: {failed} computed {plural} NOT match\n" if failed else "")
    return 1 if failed or unread else status


@program("base64")
def _base64(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "dw:i", {"decode": "d", "wrap=": "w", "ignore-garbage": "i"})
    found, status = inputs(process, options.operands[:1])
    data = b"".join(content for _, content in found)
    if "d" in options:
        try:
            process.out(base64.b64decode(re.sub(rb"\s+", b"", data), validate="i" not in options))
        except binascii.Error:
            raise UsageError("invalid input") from None
        return status
    text, width = base64.b64encode(data).decode(), int(options.get("w", "76"))
    rows = [text[at : at + width] for at in range(0, len(text), width)] if width else [text]
    process.out("".join(f"{row}\n" for row in rows) if width else text)
    return status


@program("seq")
def _seq(process: Process, argv: list[str]) -> int:
    numbers = [int(word) for word in parse(argv[1:], "").operands]
    first, step, last = (1, 1, numbers[0]) if len(numbers) == 1 else (
        (numbers[0], 1, numbers[1]) if len(numbers) == 2 else tuple(numbers[:3])
    )  # fmt: skip
    process.out("".join(f"{value}\n" for value in range(first, last + (1 if step > 0 else -1), step)))
    return 0


@program("tac", "rev")
def _tac(process: Process, argv: list[str]) -> int:
    found, status = inputs(process, parse(argv[1:], "").operands)
    lines = lines_of(b"".join(content for _, content in found))
    shown = reversed(lines) if argv[0] == "tac" else (line[::-1] for line in lines)
    process.out("".join(f"{line}\n" for line in shown))
    return status


@program("cmp", "diff")
def _cmp(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "sqQ", {"silent": "s", "quiet": "s", "brief": "q"})
    if argv[0] == "diff" and "q" not in options:
        raise UnsupportedError("diff without -q")
    if len(options.operands) != 2:
        raise UsageError("needs two files", 2)
    found, status = inputs(process, options.operands)
    if status:
        return 2
    (first, left), (second, right) = found
    if left == right:
        return 0
    if argv[0] == "diff":
        process.out(f"Files {first} and {second} differ\n")
    elif "s" not in options:
        at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
        process.out(f"{first} {second} differ: byte {at + 1}, line {left[:at].count(10) + 1}\n")
    return 1
