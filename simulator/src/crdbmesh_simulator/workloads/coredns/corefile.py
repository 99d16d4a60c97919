"""Reads a Corefile into server blocks.

The grammar is Caddy's (coredns/caddy v1, `caddyfile`): server blocks with keys, directives with arguments and blocks in
braces that open at a line's end, `import` of files and patterns, quotes, comments, `{$ENV}`. Errors carry the file and
line and have Caddy's wording. Snippets are not part of this world.
"""

from __future__ import annotations

import collections
import fnmatch
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from crdbmesh_simulator import tables

DIRECTIVES: list[str] = tables.read_yaml(__package__, "plugins-1.14")["directives"]
"""The plugins compiled into CoreDNS 1.14, in the order in which they handle a query."""

_WORD = re.compile(r'(\n)|#[^\n]*|"((?:\\"|[^"])*)"?|(\S+)')
_ENVIRONMENT = re.compile(r"\{\$(\w+)\}|\{%(\w+)%\}")
_MAX_IMPORTS = 100


class CorefileError(Exception):
    """CoreDNS refuses the configuration; the text is what it logs."""


@dataclass(frozen=True, slots=True)
class Row:
    """The words of a line, and where it stands."""

    words: tuple[str, ...]
    file: str
    line: int

    @property
    def name(self) -> str:
        """Its first word."""
        return self.words[0]

    def argument(self) -> str:
        """Its second word. Raises CorefileError: there is none."""
        return self.words[1]

    def error(self, message: str, kind: str = "Error during parsing") -> CorefileError:
        """An error in this line."""
        return CorefileError(f"{self.file}:{self.line} - {kind}: {message}")

    def count_error(self) -> CorefileError:
        """Too many or too few words."""
        return self.error(f"Wrong argument count or unexpected line ending after '{self.words[-1]}'")


@dataclass(frozen=True, slots=True)
class Directive:
    """A plugin's line, with its name first, and the lines of its block."""

    head: Row
    rows: tuple[Row, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after the name."""
        return self.head.words[1:]


@dataclass(slots=True)
class Block:
    """A server block: its keys (zones with ports) and its directives by name."""

    keys: list[str] = field(default_factory=list)
    directives: dict[str, list[Directive]] = field(default_factory=dict)


def parse(path: str, files: Mapping[str, bytes], env: Mapping[str, str]) -> tuple[list[Block], list[str], str]:
    """Read the Corefile at `path`; `files` can be imported, and `env` is for `{$NAME}`.

    Returns the server blocks, warnings, and the whole text with imports put in (which is what `reload` compares).
    Raises CorefileError: it is not valid.
    """
    reader = _Reader(files, env)
    rows = collections.deque(reader.read(path))
    text = "\x00".join(word for row in rows for word in row.words)
    blocks = []
    while rows:
        blocks.append(_block(rows))
    return blocks, reader.warnings, text


def _block(rows: collections.deque[Row]) -> Block:
    row = rows.popleft()
    words = list(row.words)
    while words[-1].endswith(","):
        if not rows:
            raise row.error("Unexpected EOF")
        words += rows.popleft().words
    braced = words[-1] == "{"
    block = Block([word.rstrip(",") for word in (words[:-1] if braced else words)])
    while rows:
        row = rows.popleft()
        if row.words == ("}",):
            return block
        directive = _directive(row, rows)
        block.directives.setdefault(row.name, []).append(directive)
    return block


def _directive(head: Row, rows: collections.deque[Row]) -> Directive:
    if head.name not in DIRECTIVES:
        raise head.error(f"Unknown directive '{head.name}'")
    opens = head.words[-1] == "{"
    words = head.words[:-1] if opens else head.words
    inner: list[Row] = []
    depth = int(opens)
    while depth:
        if not rows:
            raise head.error("Unexpected EOF")
        inner.append(rows.popleft())
        depth += (inner[-1].words[-1] == "{") - (inner[-1].words == ("}",))
    return Directive(replace(head, words=words), tuple(inner[:-1]))


def _rows(text: str, file: str) -> Iterator[Row]:
    """The lines of a file that have words: quoted ones may hold blanks, `#` at a word's start begins a comment."""
    words: list[str] = []
    line = begun = 1
    for found in _WORD.finditer(f"{text}\n"):
        if found[1]:
            if words:
                yield Row(tuple(words), file, begun)
            words, line = [], line + 1
            begun = line
        elif found[2] is not None:
            words.append(found[2].replace('\\"', '"'))
            line += found[2].count("\n")
        elif found[3]:
            words.append(found[3])


class _Reader:
    """Reads files and what they import."""

    def __init__(self, files: Mapping[str, bytes], env: Mapping[str, str]) -> None:
        self.warnings: list[str] = []
        self._files = files
        self._env = env
        self._imports = 0

    def read(self, path: str) -> Iterator[Row]:
        for row in _rows(self._files[path].decode(errors="replace"), path):
            expanded = replace(row, words=tuple(_ENVIRONMENT.sub(self._value, word) for word in row.words))
            if row.name != "import":
                yield expanded
                continue
            for imported in self._find(expanded):
                yield from self.read(imported)

    def _value(self, found: re.Match[str]) -> str:
        return self._env.get(found[1] or found[2], "")

    def _find(self, row: Row) -> list[str]:
        """The files that a line imports."""
        self._imports += 1
        pattern = row.argument()
        folder, name = posixpath.split(posixpath.join(posixpath.dirname(row.file), pattern))
        matching = sorted(
            path
            for path in self._files
            if posixpath.dirname(path) == folder and fnmatch.fnmatchcase(posixpath.basename(path), name)
        )
        if not matching:
            self.warnings.append(f"No files matching import glob pattern: {pattern}")
        return matching
