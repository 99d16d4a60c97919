"""Expands the words of a shell script (POSIX.1 Shell Command Language, 2.6): parameters, splitting, patterns."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import shell_test
from crdbmesh_simulator.machines.process import UnsupportedError, UsageError
from crdbmesh_simulator.machines.shell_syntax import Arithmetic, Substitution, Text, Variable, Word

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.shell import Shell

_Piece = tuple[str, bool, bool]
"""Characters, whether they were quoted, and whether they are split at blanks."""
_Field = list[_Piece]
_MAGIC = re.compile(r"[*?\[]")
_BRACES = re.compile(r"^(.*?)\{([^{}]*(?:,[^{}]*)+|-?\d+\.\.-?\d+)\}(.*)$", re.DOTALL)


def fields(shell: Shell, words: tuple[Word, ...]) -> list[str]:
    """Words after all expansions, as a command's arguments."""
    found = []
    for word in words:
        for alternative in _braces(word) if not shell.dash else [word]:
            for parts in _split(shell, alternative):
                found.extend(_paths(shell, parts))
    return found


def text(shell: Shell, word: Word) -> str:
    """A word after expansion, without splitting or patterns."""
    return "".join(value for value, _, _ in _join(_expand(shell, word)))


def pattern(shell: Shell, word: Word) -> str:
    """A word as a pattern: what was quoted stands for itself."""
    return "".join(_escape(value) if quoted else value for value, quoted, _ in _join(_expand(shell, word)))


def regular(shell: Shell, word: Word) -> str:
    """A word as an extended regular expression: what was quoted stands for itself."""
    return "".join(re.escape(value) if quoted else value for value, quoted, _ in _join(_expand(shell, word)))


def matches(value: str, shell_pattern: str) -> bool:
    """Whether a whole text matches a shell pattern."""
    return re.fullmatch(translate(shell_pattern), value, re.DOTALL) is not None


def translate(shell_pattern: str) -> str:
    """A shell pattern as a regular expression."""
    out, at = [], 0
    while at < len(shell_pattern):
        character = shell_pattern[at]
        if character == "\\" and at + 1 < len(shell_pattern):
            out.append(re.escape(shell_pattern[at + 1]))
            at += 2
            continue
        if character == "[":
            match = re.compile(r"\[([!^]?)(\]?(?:\[:\w+:\]|[^\]])*)\]").match(shell_pattern, at)
            if match:
                out.append(f"[{'^' if match[1] else ''}{posix_classes(match[2])}]")
                at = match.end()
                continue
        out.append({"*": ".*", "?": "."}.get(character, re.escape(character)))
        at += 1
    return "".join(out)


def posix_classes(inside: str) -> str:
    """The inside of a bracket expression with `[:digit:]` and the like spelled out."""
    table = {"digit": "0-9", "alpha": "A-Za-z", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z", "blank": " \\t",
             "space": "\\s", "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9A-Fa-f", "print": " -~"}  # fmt: skip
    escaped = inside.replace("\\", "\\\\") if "\\" in inside and "\\]" not in inside else inside
    return re.sub(r"\[:(\w+):\]", lambda match: table.get(match[1], ""), escaped)


def _escape(value: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", value)


def _join(several: list[_Field]) -> _Field:
    joined: _Field = []
    for number, field in enumerate(several):
        joined += ([(" ", True, False)] if number else []) + field
    return joined


def _braces(word: Word) -> list[Word]:
    for number, part in enumerate(word):
        match = _BRACES.match(part.value) if isinstance(part, Text) and not part.quoted else None
        if not match:
            continue
        inside = match[2]
        if "," in inside:
            options = inside.split(",")
        else:
            first, last = (int(bound) for bound in inside.split(".."))
            step = 1 if last >= first else -1
            options = [str(value) for value in range(first, last + step, step)]
        found = []
        for option in options:
            middle = Text(match[1] + option + match[3], quoted=False)
            found.extend(_braces((*word[:number], middle, *word[number + 1 :])))
        return found
    return [word]


def _expand(shell: Shell, word: Word) -> list[_Field]:
    """Fields before splitting: more than one only for `"$@"`."""
    done: list[_Field] = [[]]
    for number, part in enumerate(word):
        if isinstance(part, Text):
            value = part.value
            if number == 0 and not part.quoted and value.startswith("~"):
                value = _tilde(shell, value)
            done[-1].append((value, part.quoted, False))
        elif isinstance(part, Variable):
            if part.name == "@" and not part.operator and part.quoted:
                for index, value in enumerate(shell.positional):
                    if index:
                        done.append([])
                    done[-1].append((value, True, False))
                if not shell.positional:
                    done[-1].append(("", False, False))
            else:
                done[-1] += _variable(shell, part)
        elif isinstance(part, Substitution):
            done[-1].append(_piece(shell.substitute(part.script), part))
        else:
            done[-1].append(_piece(str(_calculate(shell, part)), part))
    return done


def _calculate(shell: Shell, part: Arithmetic) -> int:
    return shell_test.calculate(text(shell, part.expression), shell.variables)


def _tilde(shell: Shell, value: str) -> str:
    name, slash, rest = value[1:].partition("/")
    if not name:
        return shell.get("HOME", "/") + slash + rest
    user = shell.process.machine.users.get(name)
    return f"{user.home}{slash}{rest}" if user else value


def _variable(shell: Shell, part: Variable) -> _Field:
    if part.operator in ("/", "//", ":", "^", "^^", ",", ",,") and shell.dash:
        raise UsageError("Bad substitution", 2)
    value = shell.parameter(part.name)
    operator = part.operator
    if operator == "length":
        return [_piece(str(len(value or "")), part)]
    if operator[:1] == ":" and len(operator) > 1:
        value = value or None
        operator = operator[1:]
    if operator == "-":
        return [_piece(value, part)] if value is not None else _default(shell, part)
    if operator == "+":
        return [_piece("", part)] if value is None else _default(shell, part)
    if operator == "=":
        if value is None:
            value = text(shell, part.argument)
            shell.assign(part.name, value)
        return [_piece(value, part)]
    if operator == "?":
        if value is None:
            raise UsageError(
                f"{part.name}: {text(shell, part.argument) or 'parameter null or not set'}", shell.unset_status()
            )
        return [_piece(value, part)]
    if value is None:
        if "u" in shell.options and part.name not in "@*":
            message = "parameter not set" if shell.dash else "unbound variable"
            raise UsageError(f"{part.name}: {message}", shell.unset_status())
        value = ""
    return [_piece(_modified(shell, value, operator, part.argument), part)]


def _default(shell: Shell, part: Variable) -> _Field:
    return [(value, quoted, not quoted) for value, quoted, _ in _join(_expand(shell, part.argument))]


def _piece(value: str, part: Variable | Substitution | Arithmetic) -> _Piece:
    return (value, part.quoted, not part.quoted)


def _modified(shell: Shell, value: str, operator: str, argument: Word) -> str:
    if not operator:
        return value
    if operator in ("#", "##", "%", "%%"):
        return _trimmed(value, pattern(shell, argument), operator)
    if operator in ("^^", ",,", "^", ","):
        change: Callable[[str], str] = str.upper if operator[0] == "^" else str.lower
        return change(value) if len(operator) == 2 else change(value[:1]) + value[1:]
    if operator == ":":
        start, _, length = text(shell, argument).partition(":")
        begin = shell_test.calculate(start, shell.variables)
        begin = max(len(value) + begin, 0) if begin < 0 else begin
        if not length:
            return value[begin:]
        count = shell_test.calculate(length, shell.variables)
        return value[begin : len(value) + count] if count < 0 else value[begin : begin + count]
    if operator in ("/", "//"):
        find, _, replacement = pattern(shell, argument).partition("/")
        return re.sub(translate(find), lambda _: replacement, value, count=1 if operator == "/" else 0)
    raise UnsupportedError(f"the expansion ${{…{operator}…}}")


def _trimmed(value: str, shell_pattern: str, operator: str) -> str:
    cuts = range(len(value) + 1)
    if operator in ("#", "##"):
        for cut in cuts if operator == "#" else reversed(cuts):
            if matches(value[:cut], shell_pattern):
                return value[cut:]
        return value
    for cut in reversed(cuts) if operator == "%" else cuts:
        if matches(value[cut:], shell_pattern):
            return value[:cut]
    return value


def _split(shell: Shell, word: Word) -> list[_Field]:
    separators = shell.get("IFS", " \t\n")
    blank = all(character in " \t\n" for character in separators)
    cut = re.compile(f"[{re.escape(separators)}]{'+' if blank else ''}") if separators else None
    found: list[_Field] = []
    for expanded in _expand(shell, word):
        current: _Field = []
        for value, quoted, split in expanded:
            pieces = cut.split(value) if split and cut else [value]
            for number, piece in enumerate(pieces):
                if number:
                    found += [current] if _kept(current) else []
                    current = []
                if piece or quoted:
                    current.append((piece, quoted, False))
        found += [current] if _kept(current) else []
    return found


def _kept(field: _Field) -> bool:
    return any(value or quoted for value, quoted, _ in field)


def _paths(shell: Shell, field: _Field) -> list[str]:
    plain = "".join(value for value, _, _ in field)
    if "f" in shell.options or not any(_MAGIC.search(value) for value, quoted, _ in field if not quoted):
        return [plain]
    escaped = "".join(re.sub(r"([*?\[])", r"[\1]", value) if quoted else value for value, quoted, _ in field)
    found = shell.process.machine.files.glob(posixpath.join(shell.process.cwd, escaped), shell.process.actor)
    if not plain.startswith("/"):
        base = shell.process.cwd.rstrip("/") + "/"
        found = [path.removeprefix(base) for path in found]
    return found or [plain]
