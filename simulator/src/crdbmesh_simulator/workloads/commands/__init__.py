"""Commands that containers' images hold, by name."""

from __future__ import annotations

from crdbmesh_simulator.workloads.commands import basic, curl, dig, network, tar, text
from crdbmesh_simulator.workloads.process import Command


def find(name: str) -> Command | None:
    """The command of that name; None when this world has none."""
    from crdbmesh_simulator.workloads.cockroachdb.client import run
    from crdbmesh_simulator.workloads.shell import start

    shells: dict[str, Command] = {"sh": start, "bash": start, "ash": start}
    database: dict[str, Command] = {"cockroach": run}
    own = (basic.COMMANDS, text.COMMANDS, network.COMMANDS, curl.COMMANDS, dig.COMMANDS, tar.COMMANDS)
    for table in (shells, database, *own):
        if name in table:
            return table[name]
    return None
