"""Reads the words of a shell script: quoting, parameters, substitutions, here-documents."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import NoReturn

from crdbmesh_simulator.machines.process import UnsupportedError
from crdbmesh_simulator.machines.shell_syntax import (
    Arithmetic,
    IncompleteError,
    Part,
    Redirect,
    Script,
    ShellSyntaxError,
    Substitution,
    Text,
    Variable,
    Word,
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z_]\w*|[0-9]+|[@*#?$!-]")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_OPERATOR = re.compile(r":?[-=?+]|##?|%%?|//?|:|\^\^?|,,?")
_ENDS = " \t\n;&|<>()"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}


class WordReader(ABC):
    """A position in a script, and what reads words from there."""

    def __init__(self, text: str, *, first_line: int = 1, dash: bool = False) -> None:
        self.text = text
        self.dash = dash
        self.at = 0
        self.pending: list[tuple[Redirect, bool]] = []
        self._first_line = first_line

    @property
    def line(self) -> int:
        """The line of the position."""
        return self._first_line + self.text.count("\n", 0, self.at)

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.text)

    def peek(self) -> str:
        """The next character, or empty."""
        return self.text[self.at : self.at + 1]

    def fail(self, message: str) -> NoReturn:
        """Refuse the script."""
        raise ShellSyntaxError(message, self.line)

    def incomplete(self) -> NoReturn:
        """The script ends too early."""
        raise IncompleteError("syntax error: unexpected end of file", self.line)

    def skip_blanks(self) -> None:
        """Go over blanks, continued lines and a comment."""
        while True:
            character = self.peek()
            if character in (" ", "\t", "\r"):
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif character == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    @abstractmethod
    def read_script(self, *stops: str) -> Script:
        """Commands up to one of `stops`; the parser's."""

    def read_word(self, *, may_be_empty: bool = False, ends: str = _ENDS) -> Word:
        """One word, as it is written."""
        start = self.at
        parts: list[Part] = []
        plain: list[str] = []

        def flush() -> None:
            if plain:
                parts.append(Text("".join(plain), quoted=False))
                plain.clear()

        while not self.at_end():
            character = self.peek()
            if character in ends:
                break
            if character not in "\\'\"$`":
                plain.append(character)
                self.at += 1
                continue
            if self.text.startswith("\\\n", self.at):
                self.at += 2
                continue
            flush()
            parts.extend(self._special(character))
        flush()
        if self.at == start and not may_be_empty:
            if self.at_end():
                self.incomplete()
            self.fail(f"syntax error near unexpected token `{'newline' if self.peek() == chr(10) else self.peek()}'")
        return tuple(parts)

    def read_arithmetic(self) -> Word:
        """The inside of `((…))`, whose opening is behind us."""
        start, depth = self.at, 2
        while depth:
            if self.at_end():
                self.incomplete()
            depth += {"(": 1, ")": -1}.get(self.peek(), 0)
            self.at += 1
        if self.text[self.at - 2 : self.at] != "))":
            raise UnsupportedError("a subshell in a command substitution written as `((`")
        inside = self._same(self.text[start : self.at - 2])
        return tuple(inside.read_double("", here=True))

    def read_here_document(self, delimiter: Word, *, quoted: bool, tabs: bool) -> Word:
        """The body of a here-document, which starts at the position."""
        end = "".join(part.value for part in delimiter if isinstance(part, Text))
        lines = []
        while True:
            if self.at_end():
                self.incomplete()
            newline = self.text.find("\n", self.at)
            stop = len(self.text) if newline < 0 else newline
            line = self.text[self.at : stop]
            self.at = min(stop + 1, len(self.text))
            line = line.lstrip("\t") if tabs else line
            if line == end:
                break
            if newline < 0:
                self.incomplete()
            lines.append(line + "\n")
        body = "".join(lines)
        if quoted:
            return (Text(body, quoted=True),)
        return tuple(self._same(body).read_double("", here=True))

    def read_double(self, end: str, *, here: bool = False) -> list[Part]:
        """What is between double quotes (or a here-document's body), up to and with `end`."""
        parts: list[Part] = [] if here else [Text("", quoted=True)]
        plain: list[str] = []
        while True:
            if self.at_end():
                if end:
                    self.incomplete()
                break
            character = self.peek()
            if end and character == end:
                self.at += 1
                break
            if character == "\\":
                follows = self.text[self.at + 1 : self.at + 2]
                if follows == "\n":
                    self.at += 2
                    continue
                special = follows in "$`\\" or (follows == '"' and not here) or (end == "}" and follows == "}")
                plain.append(follows if special and follows else "\\" + follows)
                self.at += 2
                continue
            if character in "$`":
                if plain:
                    parts.append(Text("".join(plain), quoted=True))
                    plain.clear()
                parts.extend(self._expansion(quoted=True))
                continue
            plain.append(character)
            self.at += 1
        if plain:
            parts.append(Text("".join(plain), quoted=True))
        return parts

    def _special(self, character: str) -> list[Part]:
        if character == "\\":
            value = self.text[self.at + 1 : self.at + 2]
            if not value:
                self.incomplete()
            self.at += 2
            return [Text(value, quoted=True)]
        if character == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                self.incomplete()
            value = self.text[self.at + 1 : end]
            self.at = end + 1
            return [Text(value, quoted=True)]
        if character == '"':
            self.at += 1
            return self.read_double('"')
        return self._expansion(quoted=False)

    def _expansion(self, *, quoted: bool) -> list[Part]:
        if self.peek() == "`":
            return [self._backticks(quoted=quoted)]
        self.at += 1
        character = self.peek()
        if self.text.startswith("((", self.at):
            self.at += 2
            return [Arithmetic(self.read_arithmetic(), quoted)]
        if character == "(":
            self.at += 1
            script = self.read_script(")")
            self.at += 1
            return [Substitution(script, quoted)]
        if character == "{":
            self.at += 1
            return [self._braces(quoted=quoted)]
        if character == "'" and not quoted and not self.dash:
            return [self._ansi()]
        if character == '"' and not quoted:
            self.at += 1
            return self.read_double('"')
        match = _PLAIN_NAME.match(self.text, self.at)
        if not match:
            return [Text("$", quoted)]
        self.at = match.end()
        return [Variable(match[0], "", (), quoted)]

    def _braces(self, *, quoted: bool) -> Variable:
        if self.peek() == "#" and self.text[self.at + 1 : self.at + 2] != "}":
            match = _NAME.match(self.text, self.at + 1)
            if match and self.text.startswith("}", match.end()):
                self.at = match.end() + 1
                return Variable(match[0], "length", (), quoted)
        match = _NAME.match(self.text, self.at)
        if not match:
            raise UnsupportedError(f"the expansion ${{{self.text[self.at : self.at + 20]}")
        self.at = match.end()
        if self.peek() == "}":
            self.at += 1
            return Variable(match[0], "", (), quoted)
        operator = _OPERATOR.match(self.text, self.at)
        if not operator:
            raise UnsupportedError(f"the expansion ${{{match[0]}{self.text[self.at : self.at + 20]}")
        self.at = operator.end()
        if quoted and operator[0] in (":-", "-", ":=", "=", ":?", "?", ":+", "+"):
            argument = tuple(self._quoted_argument())
        else:
            argument = self.read_word(may_be_empty=True, ends="}")
            if self.at_end():
                self.incomplete()
            self.at += 1
        return Variable(match[0], operator[0], argument, quoted)

    def _quoted_argument(self) -> list[Part]:
        parts: list[Part] = []
        while True:
            if self.at_end():
                self.incomplete()
            if self.peek() == "}":
                self.at += 1
                return parts
            if self.peek() == '"':
                self.at += 1
                parts.extend(self.read_double('"'))
                continue
            if self.peek() in "$`":
                parts.extend(self._expansion(quoted=True))
                continue
            if self.peek() == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", "\\", '"', "}"):
                self.at += 1
            parts.append(Text(self.peek(), quoted=True))
            self.at += 1

    def _backticks(self, *, quoted: bool) -> Substitution:
        self.at += 1
        inside = []
        while True:
            if self.at_end():
                self.incomplete()
            character = self.peek()
            follows = self.text[self.at + 1 : self.at + 2]
            if character == "`":
                self.at += 1
                break
            if character == "\\" and follows and (follows in "$`\\" or (quoted and follows == '"')):
                inside.append(follows)
                self.at += 2
                continue
            inside.append(character)
            self.at += 1
        return Substitution(self._same("".join(inside)).read_script(), quoted)

    def _ansi(self) -> Text:
        self.at += 1
        value: list[str] = []
        while True:
            if self.at_end():
                self.incomplete()
            character = self.peek()
            self.at += 1
            if character == "'":
                return Text("".join(value), quoted=True)
            if character != "\\":
                value.append(character)
                continue
            number = re.compile(r"x([0-9a-fA-F]{1,2})|([0-7]{1,3})").match(self.text, self.at)
            if number:
                self.at = number.end()
                value.append(chr(int(number[1], 16) if number[1] else int(number[2], 8)))
                continue
            value.append(_ESCAPES.get(self.peek(), self.peek() if self.peek() in "\\'\"?" else "\\" + self.peek()))
            self.at += 1

    def _same(self, text: str) -> WordReader:
        return type(self)(text, first_line=self.line, dash=self.dash)


def is_quoted(word: Word) -> bool:
    """Whether any part of a word was quoted."""
    return any(part.quoted for part in word)
