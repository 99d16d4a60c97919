"""sed: addresses, `s`, `y`, `d`, `p`, `q`, `=`, `a`, `i`, `c` and `-i`; the rest is refused aloud (GNU sed manual)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from crdbmesh_simulator.machines.commands.filters import expression
from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.commands.text import inputs
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError, decode, encode

_Address = int | str | re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Change:
    """The arguments of `s` and `y`, or the text of `a`, `i` and `c`."""

    pattern: re.Pattern[str] | None = None
    source: str = ""
    replacement: str = ""
    flags: str = ""


@program("sed")
def _sed(process: Process, argv: list[str]) -> int:
    arguments, backup, in_place = [], "", False
    for word in argv[1:]:
        match = re.fullmatch(r"(?:-i|--in-place=?)(.*)", word)
        if match and not word.startswith("--inv"):
            in_place, backup = True, match[1]
        else:
            arguments.append(word)
    options = parse(arguments, "nrEe:s", {"quiet": "n", "regexp-extended": "E", "expression=": "e"})
    scripts, operands = options.all("e"), list(options.operands)
    if not scripts:
        if not operands:
            raise UsageError("no script specified", 1)
        scripts = [operands.pop(0)]
    extended = "r" in options or "E" in options
    rules = [rule for script in scripts for rule in _Reader(script, extended=extended).rules()]
    if not in_place:
        found, status = inputs(process, operands)
        process.out(_edit(decode(b"".join(content for _, content in found)), rules, silent="n" in options))
        return 2 if status else 0
    for path in operands:
        full = process.path(path)
        content = process.machine.files.read(full, process.actor)
        edited = encode(_edit(decode(content), rules, silent="n" in options))
        if backup:
            process.machine.files.write(full + backup, content, process.actor)
        if edited != content:
            process.machine.files.write(full, edited, process.actor)
    return 0


@dataclass(slots=True)
class _Rule:
    """One command: its addresses, whether they are negated, its verb and what belongs to it."""

    addresses: list[_Address]
    negated: bool
    verb: str
    change: _Change
    inside: bool = False

    def applies(self, number: int, last: int, line: str) -> bool:
        """Whether the command is for this line."""
        return self._selects(number, last, line) != self.negated

    def _selects(self, number: int, last: int, line: str) -> bool:
        if not self.addresses:
            return True
        if len(self.addresses) == 1:
            return _at(self.addresses[0], number, last, line)
        end = self.addresses[1]
        if self.inside:
            self.inside = not _at(end, number, last, line)
            return True
        if not _at(self.addresses[0], number, last, line):
            return False
        self.inside = not (isinstance(end, int) and end <= number)
        return True


def _at(address: _Address, number: int, last: int, line: str) -> bool:
    if isinstance(address, int):
        return number == address
    return number == last if isinstance(address, str) else address.search(line) is not None


class _Reader:
    """Reads a script."""

    def __init__(self, script: str, *, extended: bool) -> None:
        self._script = script
        self._at = 0
        self._extended = extended

    def rules(self) -> list[_Rule]:
        """All its commands."""
        found = []
        while self._skip(" \t\n;"):
            addresses = self._addresses()
            self._skip(" ")
            negated = self._peek() == "!"
            self._at += negated
            verb = self._peek()
            self._at += 1
            found.append(_Rule(addresses, negated, verb, self._change(verb)))
            if self._peek() not in ("", ";", "\n", " "):
                raise UnsupportedError(f"sed: {self._script!r}")
        return found

    def _addresses(self) -> list[_Address]:
        found: list[_Address] = []
        while True:
            number = re.compile(r"\d+").match(self._script, self._at)
            if number:
                found.append(int(number[0]))
                self._at = number.end()
            elif self._peek() == "$":
                found.append("$")
                self._at += 1
            elif self._peek() in ("/", "\\"):
                self._at += self._peek() == "\\"
                found.append(expression(self._delimited(self._take()), extended=self._extended))
            if self._peek() != "," or len(found) != 1:
                return found
            self._at += 1

    def _change(self, verb: str) -> _Change:
        if verb in ("d", "p", "q", "="):
            return _Change()
        if verb in ("a", "i", "c"):
            text = self._script[self._at :].split("\n", 1)[0]
            self._at += len(text)
            return _Change(replacement=re.sub(r"^\s*\\?\s*", "", text))
        if verb not in ("s", "y"):
            raise UnsupportedError(f"sed: the command {verb!r} in {self._script!r}")
        delimiter = self._take()
        source, replacement = self._delimited(delimiter), self._delimited(delimiter)
        flags = re.compile(r"[gpiI0-9]*").match(self._script, self._at)
        assert flags is not None
        self._at = flags.end()
        if re.search(r"\d", flags[0]):
            raise UnsupportedError(f"sed: a number as flag of s in {self._script!r}")
        insensitive = re.IGNORECASE if "i" in flags[0].lower() else 0
        pattern = expression(source, extended=self._extended, flags=insensitive) if verb == "s" else None
        return _Change(pattern, source, replacement, flags[0])

    def _delimited(self, delimiter: str) -> str:
        out: list[str] = []
        while True:
            character = self._take()
            if not character:
                raise UsageError("-e expression #1: unterminated `s' command", 1)
            if character == delimiter:
                return "".join(out)
            if character == "\\":
                follows = self._take()
                out.append(follows if follows == delimiter else "\\" + follows)
                continue
            out.append(character)

    def _peek(self) -> str:
        return self._script[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _skip(self, characters: str) -> bool:
        while self._peek() and self._peek() in characters:
            self._at += 1
        return bool(self._peek())


def _edit(text: str, rules: list[_Rule], *, silent: bool) -> str:
    ended = text.endswith("\n") or not text
    lines = text.removesuffix("\n").split("\n") if text else []
    out: list[str] = []
    for number, line in enumerate(lines, 1):
        printed, stop = _edit_line(number, len(lines), line, rules, silent=silent)
        out += printed
        if stop:
            break
    return "\n".join(out) + ("\n" if out and ended else "")


def _edit_line(number: int, last: int, line: str, rules: list[_Rule], *, silent: bool) -> tuple[list[str], bool]:
    before: list[str] = []
    after: list[str] = []
    for rule in rules:
        if not rule.applies(number, last, line):
            continue
        change = rule.change
        if rule.verb == "s" and change.pattern is not None:
            line, count = change.pattern.subn(_replacement(change), line, count=0 if "g" in change.flags else 1)
            before += [line] if count and "p" in change.flags else []
        elif rule.verb == "y":
            line = line.translate(str.maketrans(change.source, change.replacement))
        elif rule.verb in ("p", "=", "i"):
            before.append({"p": line, "=": str(number), "i": change.replacement}[rule.verb])
        elif rule.verb == "a":
            after.append(change.replacement)
        elif rule.verb in ("c", "d"):
            return before + ([change.replacement] if rule.verb == "c" else []) + after, False
        elif rule.verb == "q":
            return [*before, *([] if silent else [line]), *after], True
    return [*before, *([] if silent else [line]), *after], False


def _replacement(change: _Change) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        def part(found: re.Match[str]) -> str:
            if found[0] == "&":
                return match[0]
            if found[1].isdigit():
                return match[int(found[1])] or ""
            return {"n": "\n", "t": "\t"}.get(found[1], found[1])

        return re.sub(r"\\(.)|&", part, change.replacement, flags=re.DOTALL)

    return replace
