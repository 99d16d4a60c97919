"""The syntax tree of a shell script: POSIX.1 Shell Command Language, as far as scripts here use it."""

from __future__ import annotations

from dataclasses import dataclass


class ShellSyntaxError(Exception):
    """A script that no shell understands. `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class IncompleteError(ShellSyntaxError):
    """The script ends in the middle of something; more input may complete it."""


@dataclass(frozen=True, slots=True)
class Text:
    """Characters."""

    value: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name` or `${name<operator><argument>}`; operator `length` stands for `${#name}`."""

    name: str
    operator: str
    argument: Word
    quoted: bool


@dataclass(frozen=True, slots=True)
class Substitution:
    """`$(…)`."""

    script: Script
    quoted: bool


Part = Text | Variable | Substitution
Word = tuple[Part, ...]


@dataclass(slots=True)
class Redirect:
    """`[fd]<operator>word`. A here-document's word is its body."""

    fd: int | None
    operator: str
    word: Word


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments and words."""

    assignments: tuple[tuple[str, bool, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class If:
    """`if … then … elif … else … fi`."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script | None
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class While:
    """`while` or `until`."""

    condition: Script
    body: Script
    until: bool
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class For:
    """`for name in words`; `words` is None when it goes over the positional parameters."""

    name: str
    words: tuple[Word, ...] | None
    body: Script
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """`case word in …`."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], Script], ...]
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """`{ …; }`, or `( … )` when `subshell`."""

    body: Script
    subshell: bool
    redirects: tuple[Redirect, ...] = ()


Command = Simple | If | While | For | Case | Group


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by `|`."""

    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class AndOr:
    """Pipelines joined by `&&` and `||`; the first one's operator is empty."""

    items: tuple[tuple[str, Pipeline], ...]


Script = tuple[AndOr, ...]
