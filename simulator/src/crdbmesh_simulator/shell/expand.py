"""Expands the words of a shell script (POSIX.1 Shell Command Language, 2.6): parameters, splitting, patterns."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Generator
from typing import TYPE_CHECKING

from crdbmesh_simulator.shell.process import UnsupportedError, UsageError
from crdbmesh_simulator.shell.syntax import Substitution, Text, Variable, Word

if TYPE_CHECKING:
    from crdbmesh_simulator.shell.interpreter import Shell

_Piece = tuple[str, bool, bool]
"""Characters, whether they were quoted, and whether they are split at blanks."""
_Field = list[_Piece]
_MAGIC = re.compile(r"[*?\[]")
_BRACES = re.compile(r"\{[^{}]*(,|\.\.)[^{}]*\}")


def fields(shell: Shell, words: tuple[Word, ...]) -> Generator[float, None, list[str]]:
    """Words after all expansions, as a command's arguments."""
    found = []
    for word in words:
        for expanded in (yield from _expand(shell, word)):
            for field in _split(expanded):
                found.extend(_paths(shell, field))
    return found


def text(shell: Shell, word: Word) -> Generator[float, None, str]:
    """A word after expansion, without splitting or patterns."""
    several = yield from _expand(shell, word)
    return " ".join("".join(value for value, _, _ in field) for field in several)


def pattern(shell: Shell, word: Word) -> Generator[float, None, str]:
    """A word as a pattern of fnmatch: what was quoted stands for itself."""
    (field,) = yield from _expand(shell, word)
    return _pattern(field)


def _pattern(field: _Field) -> str:
    return "".join(re.sub(r"([*?\[])", r"[\1]", value) if quoted else value for value, quoted, _ in field)


def _expand(shell: Shell, word: Word) -> Generator[float, None, list[_Field]]:
    """Fields before splitting: more than one only for `"$@"`."""
    done: list[_Field] = [[]]
    for number, part in enumerate(word):
        if isinstance(part, Text):
            value = part.value
            if shell.bash and not part.quoted and _BRACES.search(value):
                raise UnsupportedError(f"the braces of {value}")
            if number == 0 and not part.quoted and (value == "~" or value.startswith("~/")):
                value = shell.variables.get("HOME", "/") + value[1:]
            done[-1].append((value, part.quoted, False))
        elif isinstance(part, Substitution):
            done[-1].append(((yield from shell.substitute(part.script)), part.quoted, not part.quoted))
        elif part.name == "@" and not part.operator and part.quoted:
            several: list[_Field] = [[(value, True, False)] for value in shell.positional]
            done[-1] += several[0] if several else []
            done += several[1:]
        else:
            value = yield from _variable(shell, part)
            done[-1].append((value, part.quoted, not part.quoted))
    return done


def _variable(shell: Shell, part: Variable) -> Generator[float, None, str]:
    value, operator = shell.parameter(part.name), part.operator
    if operator[:1] == ":":
        value, operator = value or None, operator[1:]
    if operator == "+":
        return "" if value is None else (yield from text(shell, part.argument))
    if operator in ("-", "=", "?") and value is None:
        value = yield from text(shell, part.argument)
        if operator == "?":
            raise UsageError(f"{part.name}: {value or 'parameter null or not set'}", 127 if shell.bash else 2)
        if operator == "=":
            shell.variables[part.name] = value
    if value is None:
        if "u" in shell.options and part.name not in "@*":
            status = (1 if "e" in shell.options else 127) if shell.bash else 2
            raise UsageError(f"{part.name}: {'unbound variable' if shell.bash else 'parameter not set'}", status)
        return ""
    if operator[:1] in ("#", "%"):
        return _trimmed(value, (yield from pattern(shell, part.argument)), operator)
    return value


def _trimmed(value: str, wanted: str, operator: str) -> str:
    cuts = range(len(value) + 1)
    if operator[0] == "#":
        for cut in cuts if operator == "#" else reversed(cuts):
            if fnmatch.fnmatchcase(value[:cut], wanted):
                return value[cut:]
        return value
    for cut in reversed(cuts) if operator == "%" else cuts:
        if fnmatch.fnmatchcase(value[cut:], wanted):
            return value[:cut]
    return value


def _split(expanded: _Field) -> list[_Field]:
    found: list[_Field] = []
    current: _Field = []
    for value, quoted, split in expanded:
        for number, piece in enumerate(re.split(r"[ \t\n]+", value) if split else [value]):
            if number:
                found.append(current)
                current = []
            if piece or quoted:
                current.append((piece, quoted, False))
    return [field for field in [*found, current] if field]


def _paths(shell: Shell, field: _Field) -> list[str]:
    plain = "".join(value for value, _, _ in field)
    if "f" in shell.options or not any(_MAGIC.search(value) for value, quoted, _ in field if not quoted):
        return [plain]
    process = shell.process
    found = process.files.glob(posixpath.join(process.cwd, _pattern(field)), process.actor)
    if not plain.startswith("/"):
        base = process.cwd.rstrip("/") + "/"
        found = [path.removeprefix(base) for path in found]
    return found or [plain]
