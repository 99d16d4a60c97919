"""The programs of the Ubuntu image, and k3s: what runs when a file that is one of them is executed."""

from __future__ import annotations

from crdbmesh_simulator.machines.commands import (  # noqa: F401 - each adds its commands to the table
    accounts,
    copying,
    filters,
    lookup,
    network,
    packages,
    sed,
    services,
    shells,
    system,
    text,
    transfer,
    trees,
)  # fmt: skip
from crdbmesh_simulator.machines.commands.table import TABLE
from crdbmesh_simulator.machines.internet import Program
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError, os_error

__all__ = ["TABLE", "run"]


def run(process: Process, program: Program, argv: list[str]) -> int:
    """Run a program to its end and return its exit status."""
    from crdbmesh_simulator.machines import k3s_cli

    try:
        if program.name == "k3s":
            return k3s_cli.run(process, program, argv)
        return TABLE[program.name].run(process, argv)
    except UsageError as error:
        process.err(f"{argv[0]}: {error}\n")
        return error.status
    except UnsupportedError as error:
        process.err(f"{argv[0]}: this simulated machine does not understand: {error}\n")
        process.machine.world.not_known("ssh", f"{argv[0]}: {error}")
        return 2
    except OSError as error:
        process.err(f"{argv[0]}: {error.filename}: {os_error(error)}\n")
        return 1
