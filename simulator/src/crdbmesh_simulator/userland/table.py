"""Every command by name."""

from __future__ import annotations

from crdbmesh_simulator.shell.process import Command
from crdbmesh_simulator.userland import block, files, hardened, network, packages, programs, services, text

COMMANDS: dict[str, Command] = {
    **block.COMMANDS,
    **files.COMMANDS,
    **hardened.COMMANDS,
    **network.COMMANDS,
    **packages.COMMANDS,
    **programs.COMMANDS,
    **services.COMMANDS,
    **text.COMMANDS,
}
