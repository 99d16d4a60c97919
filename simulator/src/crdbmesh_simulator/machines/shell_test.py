"""`test`, `[[ … ]]` and shell arithmetic (POSIX test(1), the bash manual's conditional and arithmetic expressions)."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping

from crdbmesh_simulator.machines.filesystem import EXECUTE, READ, WRITE
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError

_TOKEN = re.compile(
    r"\s*(?:(0[xX][0-9a-fA-F]+|\d+)|([A-Za-z_]\w*)|(\*\*|<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|/=|%=|\+\+|--|[-+*/%()<>=!~&|^?:,]))"
)
_LEVELS = (("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"),
           ("*", "/", "%"))  # fmt: skip


def unary(process: Process, operator: str, operand: str) -> bool:
    """`-f path`, `-n text` and the like."""
    if operator in ("-n", "-z"):
        return bool(operand) == (operator == "-n")
    if operator == "-t":
        return False
    if operator in ("-L", "-h"):
        link = process.find(operand, follow=False)
        return link is not None and link.is_link
    inode = process.find(operand)
    if inode is None:
        return False
    kinds: dict[str, Callable[[], bool]] = {
        "-e": lambda: True,
        "-a": lambda: True,
        "-f": lambda: inode.is_file,
        "-d": lambda: inode.is_dir,
        "-s": lambda: inode.size > 0,
        "-r": lambda: process.actor.may(inode, READ),
        "-w": lambda: process.actor.may(inode, WRITE),
        "-x": lambda: process.actor.may(inode, EXECUTE),
        "-b": lambda: False,
        "-c": lambda: inode.mode >> 12 == 2,
        "-p": lambda: False,
        "-S": lambda: False,
        "-O": lambda: inode.uid == process.actor.uid,
    }
    if operator not in kinds:
        raise UnsupportedError(f"test {operator}")
    return kinds[operator]()


def binary(process: Process, left: str, operator: str, right: str) -> bool:
    """`a = b`, `1 -lt 2` and the like."""
    if operator in ("=", "=="):
        return left == right
    if operator == "!=":
        return left != right
    if operator in ("<", ">"):
        return left < right if operator == "<" else left > right
    numeric: dict[str, Callable[[int, int], bool]] = {
        "-eq": lambda a, b: a == b,
        "-ne": lambda a, b: a != b,
        "-lt": lambda a, b: a < b,
        "-le": lambda a, b: a <= b,
        "-gt": lambda a, b: a > b,
        "-ge": lambda a, b: a >= b,
    }
    if operator in numeric:
        return numeric[operator](_integer(left), _integer(right))
    if operator in ("-nt", "-ot", "-ef"):
        first, second = process.find(left), process.find(right)
        if operator == "-ef":
            return first is not None and first is second
        older, newer = (second, first) if operator == "-nt" else (first, second)
        return newer is not None and (older is None or newer.mtime > older.mtime)
    raise UnsupportedError(f"test {operator}")


def test(process: Process, words: list[str]) -> bool:
    """Evaluate the arguments of `test` or `[`."""
    position = 0

    def either() -> bool:
        nonlocal position
        value = both()
        while position < len(words) and words[position] == "-o":
            position += 1
            value = both() or value
        return value

    def both() -> bool:
        nonlocal position
        value = single()
        while position < len(words) and words[position] == "-a":
            position += 1
            value = single() and value
        return value

    def single() -> bool:
        nonlocal position
        rest = words[position:]
        if not rest:
            raise UsageError("argument expected", 2)
        if len(rest) >= 3 and _is_binary(rest[1]):
            position += 3
            return binary(process, rest[0], rest[1], rest[2])
        if rest[0] == "!" and len(rest) > 1:
            position += 1
            return not single()
        if rest[0] == "(" and len(rest) > 1:
            position += 1
            value = either()
            if position >= len(words) or words[position] != ")":
                raise UsageError("`)' expected", 2)
            position += 1
            return value
        if len(rest) >= 2 and re.fullmatch(r"-[a-zA-Z]", rest[0]) and rest[0] not in ("-a", "-o"):
            position += 2
            return unary(process, rest[0], rest[1])
        position += 1
        return bool(rest[0])

    if not words:
        return False
    value = either()
    if position != len(words):
        raise UsageError("too many arguments", 2)
    return value


def calculate(text: str, variables: MutableMapping[str, str]) -> int:
    """Evaluate an arithmetic expression; assignments change `variables`."""
    return _Arithmetic(text, variables).value()


def _is_binary(word: str) -> bool:
    return word in ("=", "==", "!=", "<", ">") or bool(re.fullmatch(r"-(eq|ne|lt|le|gt|ge|nt|ot|ef)", word))


def _integer(text: str) -> int:
    try:
        return int(text.strip() or "x")
    except ValueError:
        raise UsageError(f"{text}: integer expression expected", 2) from None


class _Arithmetic:
    def __init__(self, text: str, variables: MutableMapping[str, str]) -> None:
        self._variables = variables
        self._words: list[str] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if not match:
                raise UsageError(f"{text}: syntax error: operand expected", 1)
            self._words.append(match[0].strip())
            at = match.end()

    def value(self) -> int:
        if not self._words:
            return 0
        value = self._assignment()
        if self._words:
            raise UsageError(f'syntax error in expression (error word is "{" ".join(self._words)}")', 1)
        return value

    def _assignment(self) -> int:
        if len(self._words) > 1 and re.fullmatch(r"[A-Za-z_]\w*", self._words[0]):
            name, operator = self._words[:2]
            if operator in ("=", "+=", "-=", "*=", "/=", "%="):
                del self._words[:2]
                right = self._assignment()
                value = right if operator == "=" else _apply(operator[0], self._number(name), right)
                self._variables[name] = str(value)
                return value
        condition = self._level(0)
        if not self._take("?"):
            return condition
        yes = self._assignment()
        if not self._take(":"):
            raise UsageError("`:' expected for conditional expression", 1)
        no = self._assignment()
        return yes if condition else no

    def _level(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._power()
        left = self._level(level + 1)
        while self._words and self._words[0] in _LEVELS[level]:
            operator = self._words.pop(0)
            left = _apply(operator, left, self._level(level + 1))
        return left

    def _power(self) -> int:
        base = self._unary()
        if not self._take("**"):
            return base
        return int(base ** max(self._power(), 0))

    def _unary(self) -> int:
        if not self._words:
            raise UsageError("syntax error: operand expected", 1)
        word = self._words.pop(0)
        if word in ("-", "+", "!", "~"):
            value = self._unary()
            return {"-": -value, "+": value, "!": int(not value), "~": ~value}[word]
        if word in ("++", "--"):
            name = self._words.pop(0)
            self._variables[name] = str(self._number(name) + (1 if word == "++" else -1))
            return self._number(name)
        if word == "(":
            value = self._assignment()
            if not self._take(")"):
                raise UsageError("missing `)'", 1)
            return value
        if word[0].isdigit():
            return _literal(word)
        if not re.fullmatch(r"[A-Za-z_]\w*", word):
            raise UsageError(f'syntax error: operand expected (error word is "{word}")', 1)
        value = self._number(word)
        if self._words and self._words[0] in ("++", "--"):
            self._variables[word] = str(value + (1 if self._words.pop(0) == "++" else -1))
        return value

    def _take(self, word: str) -> bool:
        if self._words and self._words[0] == word:
            self._words.pop(0)
            return True
        return False

    def _number(self, name: str) -> int:
        text = self._variables.get(name, "").strip()
        return calculate(text, self._variables) if text else 0


def _literal(word: str) -> int:
    if word.lower().startswith("0x"):
        return int(word, 16)
    return int(word, 8) if word.startswith("0") and len(word) > 1 else int(word)


def _apply(operator: str, left: int, right: int) -> int:
    if operator in ("/", "%"):
        if right == 0:
            raise UsageError("division by 0", 1)
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return quotient if operator == "/" else left - quotient * right
    table: dict[str, Callable[[int, int], int]] = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "<<": lambda a, b: a << b,
        ">>": lambda a, b: a >> b, "<": lambda a, b: int(a < b), ">": lambda a, b: int(a > b),
        "<=": lambda a, b: int(a <= b), ">=": lambda a, b: int(a >= b), "==": lambda a, b: int(a == b),
        "!=": lambda a, b: int(a != b), "&&": lambda a, b: int(bool(a and b)), "||": lambda a, b: int(bool(a or b)),
        "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
    }  # fmt: skip
    return table[operator](left, right)
