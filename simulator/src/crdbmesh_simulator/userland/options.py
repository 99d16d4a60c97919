"""How the options of commands are read."""

from __future__ import annotations

import getopt
from collections.abc import Mapping

from crdbmesh_simulator.shell.process import UnsupportedError


class Options:
    """Parsed options: each under its short letter, or its long name when it has no letter."""

    def __init__(self, found: list[tuple[str, str]], operands: list[str]) -> None:
        self.found = found
        self.operands = operands

    def __contains__(self, name: str) -> bool:
        return any(name == key for key, _ in self.found)

    def get(self, name: str, default: str = "") -> str:
        """The last value given."""
        return next((value for key, value in reversed(self.found) if key == name), default)

    def all(self, name: str) -> list[str]:
        """All values given, in order."""
        return [value for key, value in self.found if key == name]


def parse(
    arguments: list[str], short: str = "", long: Mapping[str, str] | None = None, *, mixed: bool = True
) -> Options:
    """Read options as getopt_long(3) does.

    `arguments`: without the command's name. `short`: letters, each with `:` when it takes a value. `long`: long name
    (with `=` when it takes a value) -> the letter it stands for, or its own name. `mixed`: options may come after
    operands. Raises UnsupportedError: an option that this world does not know.
    """
    names = dict(long or {})
    reader = getopt.gnu_getopt if mixed else getopt.getopt
    try:
        pairs, operands = reader(arguments, short, list(names))
    except getopt.GetoptError as error:
        raise UnsupportedError(f"{error} (in: {' '.join(arguments)[:160]})") from None
    found = []
    for key, value in pairs:
        if key.startswith("--"):
            name = key[2:]
            found.append((names.get(name, names.get(name + "=", name)), value))
        else:
            found.append((key[1:], value))
    return Options(found, operands)
