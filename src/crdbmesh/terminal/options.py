"""The options that several commands have; each has a `CRDBMESH_*` variable.

None stands for "not said": a default here would win over the spec file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Output = Literal["text", "json"]
NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The mesh's name; not needed when one is known here.")
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", envvar="CRDBMESH_NAME", help="The same, as an option.")
]
NewName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", envvar="CRDBMESH_NAME", help="The mesh's name [crdbmesh].")
]
Regions = Annotated[
    str | None,
    typer.Option("--regions", metavar="A,B,C", envvar="CRDBMESH_REGIONS", help="Azure regions, comma-separated."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", envvar="CRDBMESH_CONFIG", help="A YAML spec; see examples/."),
]
AllowFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-from",
        metavar="CIDR",
        envvar="CRDBMESH_ALLOW_FROM",
        help="Who may connect: an address or range, repeatable. Your own address when left out; '*' means everyone.",
    ),
]
MachinesPerRegion = Annotated[
    int | None,
    typer.Option(
        "--machines-per-region", metavar="N", envvar="CRDBMESH_MACHINES_PER_REGION", help="Machines per region [3]."
    ),
]
MachineSize = Annotated[
    str | None,
    typer.Option("--machine-size", metavar="SIZE", envvar="CRDBMESH_MACHINE_SIZE", help="VM size [Standard_D4s_v5]."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="CRDBMESH_YES", help="Do not ask.")]
OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", envvar="CRDBMESH_OUTPUT", help="json: one object on stdout, and no questions."),
]
