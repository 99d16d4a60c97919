"""Programs that look names up: which, whereis, getent (which(1), getent(1))."""

from __future__ import annotations

from crdbmesh_simulator.machines import names
from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.filesystem import Actor
from crdbmesh_simulator.machines.process import Process, UnsupportedError, decode, search


@program("which")
def _which(process: Process, argv: list[str]) -> int:
    missing = 0
    for name in parse(argv[1:], "a").operands:
        found = search(process, name)
        missing += found is None
        process.out(f"{found}\n" if found else "")
    return int(bool(missing))


@program("getent")
def _getent(process: Process, argv: list[str]) -> int:
    operands = parse(argv[1:], "s:").operands
    database, keys = (operands[0] if operands else ""), operands[1:]
    if database in ("passwd", "group"):
        lines = decode(process.machine.files.read(f"/etc/{database}", Actor())).splitlines()
        hits = [line for line in lines if not keys or line.split(":")[0] in keys or line.split(":")[2] in keys]
        process.out("".join(f"{line}\n" for line in hits))
        return 0 if hits else 2
    if database not in ("hosts", "ahosts", "ahostsv4"):
        raise UnsupportedError(" ".join(argv))
    status = 0
    for key in keys:
        addresses = names.resolve(process.machine, key)
        if not addresses:
            status = 2
            continue
        for address in addresses:
            shown = f"{address:15s} STREAM {key}" if database.startswith("ahosts") else f"{address:15s} {key}"
            process.out(f"{shown}\n")
    return status
