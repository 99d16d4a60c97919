"""Command-line flags of the cockroach binary, parsed as cobra and pflag do.

From the v26.2 documentation of `cockroach start`, `init`, `node`, `sql`, `cert`, `version`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crdbmesh_simulator import tables

_FLAGS: dict[str, dict[str, list[str]]] = tables.read(__package__, "flags")
CLIENT, START = (
    {name: kind for kind, names in _FLAGS[command].items() for name in names} for command in ("client", "start")
)
"""Flags of every client command, and of `start`: what each takes by its name."""
_SHORT = {"e": "execute", "d": "database", "u": "user", "p": "port"}


class FlagError(Exception):
    """The command line is wrong; the text is cobra's."""


@dataclass(slots=True)
class Flags:
    """Parsed flags.

    `values`: by name; those that may be given several times keep all their values in `lists`. `words`: what is no flag.
    """

    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        """A flag's value."""
        return self.values.get(name, default)

    def on(self, name: str) -> bool:
        """Return whether a boolean flag is set."""
        return self.values.get(name, "false") == "true"


def parse(words: list[str], known: Mapping[str, str]) -> Flags:
    """Parse a command line. Raises FlagError: a flag is unknown or lacks its value."""
    found = Flags()
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            found.words += queue
            break
        if not word.startswith("-") or word == "-":
            found.words.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            if _SHORT.get(word[1]) not in known:
                raise FlagError(f"unknown shorthand flag: '{word[1:2]}' in {word}")
            name, equals, value = _SHORT[word[1]], word[2:], word[2:].removeprefix("=")
        _take(found, word, name, bool(equals), value, queue, known)
    return found


def _take(
    found: Flags, word: str, name: str, given: bool, value: str, queue: list[str], known: Mapping[str, str]
) -> None:
    if name not in known:
        raise FlagError(f"unknown flag: --{name}")
    kind = known[name]
    if not given:
        if kind == "bool":
            value = "true"
        elif kind != "optional":
            if not queue:
                raise FlagError(
                    f"flag needs an argument: {word if word.startswith('--') else repr(word[1:]) + ' in ' + word}"
                )
            value = queue.pop(0)
    if kind == "bool" and value not in ("true", "false", "1", "0", "t", "f"):
        raise FlagError(
            f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing "{value}": invalid syntax'
        )
    if kind == "many":
        found.lists.setdefault(name, []).append(value)
    found.values[name] = value


def client(words: list[str], extra: Mapping[str, str] | None = None) -> Flags:
    """Parse the flags of a client command with its own extra ones."""
    return parse(words, {**CLIENT, **(extra or {})})


def address(text: str, default_port: int, default_host: str = "") -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `:port` or `[v6]:port`. Raises FlagError: the port is no number."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not port.isdigit():
        raise FlagError(f"invalid port {port!r} in address {text!r}")
    return host or default_host, int(port) if port else default_port


def locality(text: str) -> list[tuple[str, str]]:
    """The tiers of a locality. Raises FlagError: a tier is not `key=value`, or a key comes twice."""
    tiers: list[tuple[str, str]] = []
    for tier in text.split(","):
        key, equals, value = tier.partition("=")
        if not equals or not key or not value:
            raise FlagError(
                f'invalid argument "{text}" for "--locality" flag: tier must be in the form "key=value" not "{tier}"'
            )
        if key in [known for known, _ in tiers]:
            raise FlagError(f'invalid argument "{text}" for "--locality" flag: duplicate tier "{key}" in locality')
        tiers.append((key, value))
    return tiers
