"""Commands that containers' images hold, by name."""

from __future__ import annotations

from crdbmesh.simulator.programs.commands import basic, curl, dig, network, text
from crdbmesh.simulator.programs.process import Command


def find(name: str) -> Command | None:
    """The command of that name; None when this world has none."""
    from crdbmesh.simulator.programs import cockroach_cli, shell

    shells: dict[str, Command] = {"sh": shell.start, "bash": shell.start, "ash": shell.start}
    database: dict[str, Command] = {"cockroach": cockroach_cli.run, "cockroach.sh": cockroach_cli.entry_point}
    for table in (shells, database, basic.COMMANDS, text.COMMANDS, network.COMMANDS, curl.COMMANDS, dig.COMMANDS):
        if name in table:
            return table[name]
    return None
