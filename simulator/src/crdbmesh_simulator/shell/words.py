"""Reads the words of a shell script: quoting, parameters, command substitutions, here-documents."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import NoReturn

from crdbmesh_simulator.shell import syntax
from crdbmesh_simulator.shell.process import UnsupportedError

_NAME = re.compile(r"[A-Za-z_]\w*|[0-9]+|[@*#?$!-]")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_OPERATOR = re.compile(r":?[-=?+]|##?|%%?")
_ENDS = " \t\n;&|<>()"


class WordReader(ABC):
    """A position in a script, and what reads words from there."""

    def __init__(self, text: str, *, first_line: int = 1) -> None:
        self.text = text
        self.at = 0
        self.pending: list[tuple[syntax.Redirect, bool]] = []
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

    def fail(self, token: str) -> NoReturn:
        """Refuse the script because of what is at the position."""
        shown = "newline" if token in ("\n", "") else token
        raise syntax.ShellSyntaxError(f"syntax error near unexpected token `{shown}'", self.line)

    def incomplete(self) -> NoReturn:
        """The script ends too early."""
        raise syntax.IncompleteError("syntax error: unexpected end of file", self.line)

    def skip_blanks(self) -> None:
        """Go over blanks, continued lines and a comment."""
        while True:
            character = self.peek()
            if character in (" ", "\t"):
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif character == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    @abstractmethod
    def read_script(self, *stops: str) -> syntax.Script:
        """Commands up to one of `stops`; the parser's."""

    def read_word(self, *, may_be_empty: bool = False, ends: str = _ENDS) -> syntax.Word:
        """One word, as it is written."""
        start = self.at
        parts: list[syntax.Part] = []
        plain = ""
        while not self.at_end() and self.peek() not in ends:
            character = self.peek()
            if character not in "\\'\"$`":
                plain += character
                self.at += 1
                continue
            if self.text.startswith("\\\n", self.at):
                self.at += 2
                continue
            if plain:
                parts.append(syntax.Text(plain, quoted=False))
                plain = ""
            parts.extend(self._special(character))
        if plain:
            parts.append(syntax.Text(plain, quoted=False))
        if self.at == start and not may_be_empty:
            if self.at_end():
                self.incomplete()
            self.fail(self.peek())
        return tuple(parts)

    def read_here_document(self, delimiter: syntax.Word, *, quoted: bool) -> syntax.Word:
        """The body of a here-document, which starts at the position."""
        end = "".join(part.value for part in delimiter if isinstance(part, syntax.Text))
        body = ""
        while True:
            newline = self.text.find("\n", self.at)
            stop = len(self.text) if newline < 0 else newline
            line = self.text[self.at : stop]
            self.at = min(stop + 1, len(self.text))
            if line == end:
                break
            if newline < 0:
                self.incomplete()
            body += line + "\n"
        if quoted:
            return (syntax.Text(body, quoted=True),)
        return tuple(type(self)(body, first_line=self.line).read_double(""))

    def read_double(self, end: str) -> list[syntax.Part]:
        """What is between double quotes, up to and with `end`; a here-document's body, to its end."""
        parts: list[syntax.Part] = []
        plain = ""
        while self.at_end() is False or end:
            if self.at_end():
                self.incomplete()
            character = self.peek()
            if end and character == end:
                self.at += 1
                break
            if character == "\\":
                follows = self.text[self.at + 1 : self.at + 2]
                if follows != "\n":
                    plain += follows if follows in ("$", "`", "\\", end or "\\") else "\\" + follows
                self.at += 2
            elif character in "$`":
                parts.append(syntax.Text(plain, quoted=True))
                plain = ""
                parts.extend(self._expansion(quoted=True))
            else:
                plain += character
                self.at += 1
        return [*parts, syntax.Text(plain, quoted=True)]

    def _special(self, character: str) -> list[syntax.Part]:
        if character == "\\":
            value = self.text[self.at + 1 : self.at + 2]
            if not value:
                self.incomplete()
            self.at += 2
            return [syntax.Text(value, quoted=True)]
        if character == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                self.incomplete()
            value = self.text[self.at + 1 : end]
            self.at = end + 1
            return [syntax.Text(value, quoted=True)]
        if character == '"':
            self.at += 1
            return self.read_double('"')
        return self._expansion(quoted=False)

    def _expansion(self, *, quoted: bool) -> list[syntax.Part]:
        if self.peek() == "`" or self.text.startswith(("$((", "$'"), self.at):
            raise UnsupportedError(f"the expansion {self.text[self.at : self.at + 20]!r}")
        self.at += 1
        if self.peek() == "(":
            self.at += 1
            script = self.read_script(")")
            self.at += 1
            return [syntax.Substitution(script, quoted)]
        if self.peek() == "{":
            self.at += 1
            return [self._braces(quoted=quoted)]
        match = _PLAIN_NAME.match(self.text, self.at)
        if not match:
            return [syntax.Text("$", quoted)]
        self.at = match.end()
        return [syntax.Variable(match[0], "", (), quoted)]

    def _braces(self, *, quoted: bool) -> syntax.Variable:
        match = _NAME.match(self.text, self.at)
        if not match or (match[0] == "#" and not self.text.startswith("#}", self.at)):
            raise UnsupportedError(f"the expansion ${{{self.text[self.at : self.at + 20]}")
        self.at = match.end()
        if self.peek() == "}":
            self.at += 1
            return syntax.Variable(match[0], "", (), quoted)
        operator = _OPERATOR.match(self.text, self.at)
        if not operator:
            raise UnsupportedError(f"the expansion ${{{match[0]}{self.text[self.at : self.at + 20]}")
        self.at = operator.end()
        if quoted and operator[0][-1] in "-=?+":
            return syntax.Variable(match[0], operator[0], tuple(self.read_double("}")), quoted)
        argument = self.read_word(may_be_empty=True, ends="}")
        if self.at_end():
            self.incomplete()
        self.at += 1
        return syntax.Variable(match[0], operator[0], argument, quoted)


def is_quoted(word: syntax.Word) -> bool:
    """Whether any part of a word was quoted."""
    return any(part.quoted for part in word)
