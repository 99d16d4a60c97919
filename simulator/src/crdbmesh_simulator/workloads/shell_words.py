"""Expands the words of a shell script in a container (POSIX.1 Shell Command Language, 2.6)."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Generator
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import shell_expand, shell_test
from crdbmesh_simulator.machines.process import UnsupportedError, UsageError
from crdbmesh_simulator.machines.shell_syntax import (
    Arithmetic,
    Condition,
    Substitution,
    Text,
    Variable,
    Word,
)

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.shell import Shell

_Piece = tuple[str, bool]
"""Characters, and whether they are protected from splitting and patterns."""


def text(shell: Shell, word: Word) -> Generator[float, None, str]:
    """A word after expansion, without splitting or patterns."""
    pieces = yield from _pieces(shell, word)
    return "".join(value for value, _ in pieces)


def pattern(shell: Shell, word: Word) -> Generator[float, None, str]:
    """A word as a pattern: what was quoted stands for itself."""
    pieces = yield from _pieces(shell, word)
    return "".join(re.sub(r"([*?\[\]\\])", r"\\\1", value) if quoted else value for value, quoted in pieces)


def fields(shell: Shell, words: tuple[Word, ...]) -> Generator[float, None, list[str]]:
    """Words after all expansions, as a command's arguments."""
    found: list[str] = []
    for word in words:
        if (
            len(word) == 1
            and isinstance(word[0], Variable)
            and word[0].name == "@"
            and not word[0].operator
            and word[0].quoted
        ):
            found.extend(shell.positional)
            continue
        for each in _braces(word):
            found.extend((yield from _split(shell, each)))
    return found


def _braces(word: Word) -> list[Word]:
    for number, part in enumerate(word):
        if not isinstance(part, Text) or part.quoted:
            continue
        match = re.match(r"^(.*?)\{([^{}]*(?:,[^{}]*)+|-?\d+\.\.-?\d+)\}(.*)$", part.value, re.DOTALL)
        if not match:
            continue
        if "," in match[2]:
            options = match[2].split(",")
        else:
            first, last = (int(bound) for bound in match[2].split(".."))
            step = 1 if last >= first else -1
            options = [str(value) for value in range(first, last + step, step)]
        found: list[Word] = []
        for option in options:
            middle = Text(match[1] + option + match[3], quoted=False)
            found.extend(_braces((*word[:number], middle, *word[number + 1 :])))
        return found
    return [word]


def _split(shell: Shell, word: Word) -> Generator[float, None, list[str]]:
    current: list[_Piece] = []
    found: list[list[_Piece]] = []
    present = False
    for part in word:
        for value, quoted in (yield from _part(shell, part)):
            literal = isinstance(part, Text)
            if quoted or literal:
                current.append((value, quoted))
                present = present or quoted or bool(value)
                continue
            chunks = re.split(r"[ \t\n]+", value)
            for index, chunk in enumerate(chunks):
                if index:
                    if present or any(text for text, _ in current):
                        found.append(current)
                    current, present = [], False
                if chunk:
                    current.append((chunk, False))
    if present or any(value for value, _ in current):
        found.append(current)
    return [path for pieces in found for path in _paths(shell, pieces)]


def _paths(shell: Shell, pieces: list[_Piece]) -> list[str]:
    plain = "".join(value for value, _ in pieces)
    if "f" in shell.options or not any(re.search(r"[*?\[]", value) for value, quoted in pieces if not quoted):
        return [plain]
    wanted = "".join(re.sub(r"([*?\[])", r"[\1]", value) if quoted else value for value, quoted in pieces)
    full = posixpath.join(shell.process.cwd, wanted)
    folder, name = posixpath.split(full)
    if re.search(r"[*?\[]", folder):
        raise UnsupportedError("a pattern in a folder's name")
    prefix = wanted[: len(wanted) - len(name)]
    names = [each for each in shell.process.files.entries(folder) if fnmatch.fnmatchcase(each, name)]
    return [prefix + each for each in names if not each.startswith(".")] or [plain]


def _pieces(shell: Shell, word: Word) -> Generator[float, None, list[_Piece]]:
    found: list[_Piece] = []
    for part in word:
        found += yield from _part(shell, part)
    return found


def _part(shell: Shell, part: Text | Variable | Substitution | Arithmetic) -> Generator[float, None, list[_Piece]]:
    if isinstance(part, Text):
        value = part.value
        if not part.quoted and (value == "~" or value.startswith("~/")):
            value = shell.variables.get("HOME", "/root") + value[1:]
        return [(value, part.quoted)]
    if isinstance(part, Substitution):
        return [((yield from shell.substitute(part.script)), part.quoted)]
    if isinstance(part, Arithmetic):
        expression = yield from text(shell, part.expression)
        return [(str(shell_test.calculate(expression, shell.variables)), part.quoted)]
    return [((yield from _variable(shell, part)), part.quoted)]


def _variable(shell: Shell, part: Variable) -> Generator[float, None, str]:
    value = shell.parameter(part.name)
    operator = part.operator
    if operator == "length":
        return str(len(value or ""))
    if operator[:1] == ":" and len(operator) > 1:
        value = value or None
        operator = operator[1:]
    if operator in ("-", "=", "?", "+"):
        if (value is None) == (operator == "+"):
            return value or "" if operator != "+" else ""
        if operator == "?":
            message = yield from text(shell, part.argument)
            raise UsageError(f"{part.name}: {message or 'parameter null or not set'}", 127)
        default = yield from text(shell, part.argument)
        if operator == "=":
            shell.variables[part.name] = default
        return default
    if value is None:
        if "u" in shell.options and part.name not in "@*":
            raise UsageError(f"{part.name}: unbound variable", 127)
        value = ""
    return (yield from _modified(shell, value, operator, part.argument))


def _modified(shell: Shell, value: str, operator: str, argument: Word) -> Generator[float, None, str]:
    if not operator:
        return value
    if operator in ("#", "##", "%", "%%"):
        wanted = yield from pattern(shell, argument)
        cuts = list(range(len(value) + 1))
        if operator[0] == "#":
            order = cuts if operator == "#" else cuts[::-1]
            return next((value[cut:] for cut in order if shell_expand.matches(value[:cut], wanted)), value)
        order = cuts[::-1] if operator == "%" else cuts
        return next((value[:cut] for cut in order if shell_expand.matches(value[cut:], wanted)), value)
    if operator in ("^^", ",,"):
        return value.upper() if operator == "^^" else value.lower()
    if operator == ":":
        bounds = yield from text(shell, argument)
        start, _, length = bounds.partition(":")
        begin = shell_test.calculate(start, shell.variables)
        begin = max(len(value) + begin, 0) if begin < 0 else begin
        return value[begin:] if not length else value[begin : begin + shell_test.calculate(length, shell.variables)]
    if operator in ("/", "//"):
        wanted = yield from pattern(shell, argument)
        find, _, replacement = wanted.partition("/")
        return re.sub(shell_expand.translate(find), lambda _: replacement, value, count=1 if operator == "/" else 0)
    raise UnsupportedError(f"the expansion ${{…{operator}…}}")


def condition(shell: Shell, command: Condition) -> Generator[float, None, bool]:
    """`[[ … ]]`."""
    items: list[str] = []
    raw: list[str] = []
    for item in command.items:
        if isinstance(item, str):
            items.append(item)
            raw.append(item)
        else:
            items.append((yield from text(shell, item)))
            raw.append((yield from pattern(shell, item)))
    return _either(shell, items, raw)


def _either(shell: Shell, items: list[str], raw: list[str]) -> bool:
    for operator, combine in (("||", any), ("&&", all)):
        if operator in items:
            cut = [index for index, item in enumerate(items) if item == operator]
            bounds = list(zip([0, *(index + 1 for index in cut)], [*cut, len(items)], strict=True))
            return combine(_either(shell, items[low:high], raw[low:high]) for low, high in bounds)
    if items[:1] == ["!"]:
        return not _either(shell, items[1:], raw[1:])
    if len(items) == 3 and items[1] in ("==", "=", "!="):
        return shell_expand.matches(items[0], raw[2]) == (items[1] != "!=")
    if len(items) == 3 and items[1] == "=~":
        return re.search(items[2], items[0]) is not None
    return test(shell, items)


def test(shell: Shell, words: list[str]) -> bool:
    """The arguments of `test`."""
    if words[:1] == ["!"]:
        return not test(shell, words[1:])
    for operator, combine in (("-o", any), ("-a", all)):
        if operator in words and len(words) > 3:
            index = words.index(operator)
            return combine((test(shell, words[:index]), test(shell, words[index + 1 :])))
    if len(words) <= 1:
        return bool(words and words[0])
    if len(words) == 2:
        return _unary(shell, *words)
    if len(words) == 3:
        return _binary(*words)
    raise UsageError("too many arguments", 2)


def _unary(shell: Shell, operator: str, operand: str) -> bool:
    files, path = shell.process.files, shell.process.path(operand)
    if operator == "-n":
        return bool(operand)
    if operator == "-z":
        return not operand
    if operator in ("-e", "-a"):
        return files.is_file(path) or files.is_dir(path)
    if operator == "-f":
        return files.is_file(path)
    if operator == "-d":
        return files.is_dir(path)
    if operator == "-s":
        return files.is_file(path) and bool(files.read(path))
    if operator == "-r":
        return files.is_dir(path) or (files.is_file(path) and files.readable(path))
    if operator == "-x":
        return shell.process.image.find(path) is not None or files.is_dir(path)
    if operator in ("-L", "-h", "-t", "-p", "-S"):
        return False
    raise UnsupportedError(f"test {operator}")


def _binary(left: str, operator: str, right: str) -> bool:
    if operator in ("=", "=="):
        return left == right
    if operator == "!=":
        return left != right
    if operator in ("<", ">"):
        return left < right if operator == "<" else left > right
    try:
        a, b = int(left), int(right)
    except ValueError as error:
        raise UsageError(f"{left}: integer expression expected", 2) from error
    table = {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}
    if operator not in table:
        raise UnsupportedError(f"test {operator}")
    return table[operator]
