"""Reads a Corefile into server blocks.

The grammar is Caddy's (coredns/caddy v1, `caddyfile`): server blocks with keys, directives with arguments and blocks in
braces that open at a line's end, `import` of files and patterns, quotes, comments, `{$ENV}`. Errors carry the file and
line and have Caddy's wording. Snippets are not part of this world.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DIRECTIVES = (
    "root", "metadata", "geoip", "cancel", "tls", "quic", "timeouts", "multisocket", "reload", "nsid", "bufsize",
    "bind", "debug", "trace", "ready", "health", "pprof", "prometheus", "errors", "log", "dnstap", "local", "dns64",
    "acl", "any", "chaos", "loadbalance", "tsig", "cache", "rewrite", "header", "dnssec", "autopath", "minimal",
    "template", "transfer", "hosts", "route53", "azure", "clouddns", "k8s_external", "kubernetes", "file", "auto",
    "secondary", "etcd", "loop", "forward", "grpc", "grpc_server", "https", "https3", "erratic", "whoami", "on", "sign",
    "view", "nomad", "startup", "shutdown",
)  # fmt: skip
"""The plugins compiled into CoreDNS 1.14, in the order in which they handle a query."""

_ENVIRONMENT = re.compile(r"\{\$(\w+)\}|\{%(\w+)%\}")
_MAX_IMPORTS = 100


class CorefileError(Exception):
    """CoreDNS refuses the configuration; the text is what it logs."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, and where it stands."""

    text: str
    file: str
    line: int


@dataclass(slots=True)
class Block:
    """A server block: its keys (zones with ports) and each directive's tokens, the directive's name first."""

    keys: list[str] = field(default_factory=list)
    directives: dict[str, list[Token]] = field(default_factory=dict)


def parse(path: str, files: Mapping[str, bytes], env: Mapping[str, str]) -> tuple[list[Block], list[str], str]:
    """Read the Corefile at `path`.

    Args:
        path: of the Corefile.
        files: what can be imported.
        env: for `{$NAME}`.

    Returns:
        The server blocks, warnings, and the whole text with imports put in (which is what `reload` compares).

    Raises:
        CorefileError: it is not valid.
    """
    if path not in files:
        raise CorefileError(f"open {path}: no such file or directory")
    reader = _Reader(lex(files[path].decode(errors="replace"), path), files, env)
    blocks = reader.read()
    text = "\x00".join(token.text for token in reader.tokens)
    return blocks, reader.warnings, text


def lex(text: str, file: str) -> list[Token]:
    """The words of a file: quoted ones may hold blanks, `#` at a word's start begins a comment."""
    tokens: list[Token] = []
    line, at = 1, 0
    while at < len(text):
        character = text[at]
        if character == "\n":
            line += 1
            at += 1
        elif character.isspace():
            at += 1
        elif character == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif character == '"':
            begun, word, at = line, [], at + 1
            while at < len(text) and text[at] != '"':
                if text[at] == "\\" and text[at + 1 : at + 2] == '"':
                    at += 1
                line += text[at] == "\n"
                word.append(text[at])
                at += 1
            at += 1
            tokens.append(Token("".join(word), file, begun))
        else:
            end = at
            while end < len(text) and not text[end].isspace():
                end += 1
            tokens.append(Token(text[at:end], file, line))
            at = end
    return tokens


class _Reader:
    def __init__(self, tokens: list[Token], files: Mapping[str, bytes], env: Mapping[str, str]) -> None:
        self.tokens = tokens
        self.warnings: list[str] = []
        self._files = files
        self._env = env
        self._cursor = -1
        self._imports = 0

    def read(self) -> list[Block]:
        blocks: list[Block] = []
        while self._next():
            block = self._block()
            if block is not None and block.keys:
                blocks.append(block)
        return blocks

    def _block(self) -> Block | None:
        block = Block()
        if not self._keys(block):
            return None if not block.keys else block
        braced = self._text == "{"
        if not braced:
            self._cursor -= 1
        self._directives(block)
        if braced and self._text != "}":
            raise self._syntax("}")
        return block

    def _keys(self, block: Block) -> bool:
        """Read keys up to the opening brace; False when the file ends here."""
        another = False
        while True:
            text = self._expanded(self._text)
            if text == "import" and self._starts_line():
                self._import()
                if self._cursor >= len(self.tokens):
                    return False
                continue
            if text == "{":
                if another:
                    raise self._error(f"Expected another address but had '{text}' - check for extra comma")
                return True
            if text:
                another = text.endswith(",")
                block.keys.append(text.rstrip(","))
            if not self._next():
                if another:
                    raise self._error("Unexpected EOF")
                return False
            if not another and self._starts_line():
                return True

    def _directives(self, block: Block) -> None:
        while self._next():
            if self._text == "}":
                return
            if self._text == "import":
                self._import()
                self._cursor -= 1
                continue
            self._directive(block)

    def _directive(self, block: Block) -> None:
        name = self._expanded(self._text)
        if name not in DIRECTIVES:
            raise self._error(f"Unknown directive '{name}'")
        kept = block.directives.setdefault(name, [])
        kept.append(self.tokens[self._cursor])
        nesting = 0
        while self._next():
            text = self._text
            if text == "{":
                nesting += 1
            elif self._starts_line() and nesting == 0:
                self._cursor -= 1
                break
            elif text == "}":
                if nesting == 0:
                    raise self._error("Unexpected '}' because no matching opening brace")
                nesting -= 1
            elif text == "import" and self._starts_line():
                self._import()
                self._cursor -= 1
                continue
            token = self.tokens[self._cursor]
            kept.append(Token(self._expanded(token.text), token.file, token.line))
        if nesting > 0:
            raise self._error("Unexpected EOF")

    def _import(self) -> None:
        """Put the imported tokens in the place of `import <pattern>`; the cursor is then on the first of them."""
        self._imports += 1
        if self._imports > _MAX_IMPORTS:
            raise self._error("maximum import cycles reached")
        start = self._cursor
        if start + 1 >= len(self.tokens) or self.tokens[start + 1].line != self.tokens[start].line:
            raise self._error("Wrong argument count or unexpected line ending after 'import'")
        pattern = self._expanded(self.tokens[start + 1].text)
        end = start + 2
        if end < len(self.tokens) and self._same_line(end):
            self._cursor = end
            raise self._error("Import takes only one argument (glob pattern or file)")
        self.tokens[start:end] = self._imported(pattern, self.tokens[start])
        self._cursor = start

    def _imported(self, pattern: str, at: Token) -> list[Token]:
        full = pattern if pattern.startswith("/") else posixpath.join(posixpath.dirname(at.file), pattern)
        folder, name = posixpath.split(full)
        matching = sorted(
            path
            for path in self._files
            if posixpath.dirname(path) == folder and fnmatch.fnmatchcase(posixpath.basename(path), name)
        )
        if not matching:
            if not set("*?[]") & set(name):
                raise self._error(f"File to import not found: {pattern}")
            self.warnings.append(f"No files matching import glob pattern: {pattern}")
        return [token for path in matching for token in lex(self._files[path].decode(errors="replace"), path)]

    @property
    def _text(self) -> str:
        return self.tokens[self._cursor].text if 0 <= self._cursor < len(self.tokens) else ""

    def _next(self) -> bool:
        if self._cursor >= len(self.tokens) - 1:
            return False
        self._cursor += 1
        return True

    def _starts_line(self) -> bool:
        if self._cursor < 1:
            return True
        return not self._same_line(self._cursor)

    def _same_line(self, index: int) -> bool:
        before, here = self.tokens[index - 1], self.tokens[index]
        return before.file == here.file and before.line + before.text.count("\n") >= here.line

    def _expanded(self, text: str) -> str:
        return _ENVIRONMENT.sub(lambda found: self._env.get(found[1] or found[2], ""), text)

    def _where(self) -> Token:
        index = min(max(self._cursor, 0), len(self.tokens) - 1)
        return self.tokens[index] if self.tokens else Token("", "Corefile", 0)

    def _error(self, message: str) -> CorefileError:
        at = self._where()
        return CorefileError(f"{at.file}:{at.line} - Error during parsing: {message}")

    def _syntax(self, expected: str) -> CorefileError:
        at = self._where()
        text = f"Unexpected token '{at.text}', expecting '{expected}'"
        return CorefileError(f"{at.file}:{at.line} - Syntax error: {text}")


class Dispenser:
    """Walks a directive's tokens, as plugins read them: by arguments on a line and by blocks."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._cursor = -1
        self._nesting = 0

    @property
    def text(self) -> str:
        """The current word."""
        return self._tokens[self._cursor].text if 0 <= self._cursor < len(self._tokens) else ""

    def next(self) -> bool:
        """Go to the next word."""
        if self._cursor < len(self._tokens) - 1:
            self._cursor += 1
            return True
        return False

    def next_arg(self) -> bool:
        """Go to the next word if it is on the same line."""
        if self._cursor < 0:
            return self.next()
        if self._cursor >= len(self._tokens) - 1:
            return False
        here, following = self._tokens[self._cursor], self._tokens[self._cursor + 1]
        if here.file == following.file and here.line + here.text.count("\n") == following.line:
            self._cursor += 1
            return True
        return False

    def rest(self) -> list[str]:
        """The words up to the line's end or an opening brace."""
        found: list[str] = []
        while self.next_arg():
            if self.text == "{":
                self._cursor -= 1
                break
            found.append(self.text)
        return found

    def next_block(self) -> bool:
        """Enter a block, or go to its next line; False when there is none or it has ended."""
        if self._nesting > 0:
            self.next()
            if self.text == "}":
                self._nesting -= 1
                return False
            return True
        if not self.next_arg():
            return False
        if self.text != "{":
            self._cursor -= 1
            return False
        self.next()
        if self.text == "}":
            return False
        self._nesting += 1
        return True

    def argument(self) -> str:
        """The one further word on this line. Raises CorefileError: there is none."""
        if not self.next_arg():
            raise self.count_error()
        return self.text

    def count_error(self) -> CorefileError:
        """Too many or too few words."""
        if self.text == "{":
            return self.error("Unexpected token '{', expecting argument")
        return self.error(f"Wrong argument count or unexpected line ending after '{self.text}'")

    def error(self, message: str) -> CorefileError:
        """An error at the current word."""
        at = self._tokens[max(min(self._cursor, len(self._tokens) - 1), 0)]
        return CorefileError(f"{at.file}:{at.line} - Error during parsing: {message}")
