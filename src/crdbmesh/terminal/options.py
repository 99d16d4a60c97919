"""The options that several commands share; each has a `CRDBMESH_*` variable.

None means that an option is not given: a default here would override the spec file.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from crdbmesh.terminal import complete

Output = Literal["text", "json"]
NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", autocompletion=complete.meshes, help="The mesh's name; optional when only one is known here."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        envvar="CRDBMESH_NAME",
        autocompletion=complete.meshes,
        help="The mesh's name; optional when only one is known here.",
    ),
]
NewNameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", autocompletion=complete.meshes, help="The mesh's name: the one known here, or crdbmesh."
    ),
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--regions",
        metavar="A,B,C",
        envvar="CRDBMESH_REGIONS",
        autocompletion=complete.locations,
        help="Azure regions, comma-separated; repeatable.",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", envvar="CRDBMESH_CONFIG", help="A YAML spec; see examples/.")
]
AllowFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-from",
        metavar="CIDR",
        envvar="CRDBMESH_ALLOW_FROM",
        help="Source that may connect: address or range, repeatable [own, your own address]; '*' means everyone.",
    ),
]
NoAddressLookup = Annotated[
    bool,
    typer.Option(
        "--no-address-lookup",
        envvar="CRDBMESH_NO_ADDRESS_LOOKUP",
        help="Ask no service on the internet for your own address; name it with --allow-from.",
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
    typer.Option("--machine-size", metavar="SIZE", envvar="CRDBMESH_MACHINE_SIZE", help="VM size [Standard_D8s_v5]."),
]
Profile = Annotated[
    Literal["production", "demo"] | None,
    typer.Option(
        "--profile", envvar="CRDBMESH_PROFILE", help="The defaults of a new mesh: production, or small and cheap."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="CRDBMESH_YES", help="Do not ask.")]
YesDown = Annotated[bool, typer.Option("--yes", "-y", envvar="CRDBMESH_DOWN_YES", help="Do not ask.")]
Rules = Annotated[
    bool | None,
    typer.Option(
        "--keep-rules/--prune-rules",
        envvar="CRDBMESH_KEEP_RULES",
        help="Keep, or remove, other people's firewall rules that let in more than the spec.",
    ),
]
BreakLease = Annotated[
    str | None,
    typer.Option(
        "--break-lease",
        metavar="ID",
        envvar="CRDBMESH_BREAK_LEASE",
        help="Take the lease with this id from the run that has it; a refused run names both.",
    ),
]
AllowOutage = Annotated[
    bool,
    typer.Option(
        "--allow-outage",
        envvar="CRDBMESH_ALLOW_OUTAGE",
        help="Let a rollout go on although the database cannot bear it and stops serving.",
    ),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", envvar="CRDBMESH_NO_WAIT", help="Return once Azure has accepted the deletions.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", envvar="CRDBMESH_DRY_RUN", help="Show what would be done; write and delete nothing."),
]
ForgetKubeconfig = Annotated[
    bool,
    typer.Option(
        "--forget-kubeconfig",
        envvar="CRDBMESH_FORGET_KUBECONFIG",
        help="Also remove the mesh's contexts from your kubeconfig.",
    ),
]
Purge = Annotated[
    bool,
    typer.Option(
        "--purge",
        envvar="CRDBMESH_DOWN_PURGE",
        help="Erase its local folder at once, and those of it that were moved aside, instead of after 30 days.",
    ),
]
Prices = Annotated[
    bool,
    typer.Option(
        "--prices", envvar="CRDBMESH_PRICES", help="Ask Azure's public price list, rather than crdbmesh's own table."
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", envvar="CRDBMESH_OUTPUT", help="json: one object on stdout, and no questions."),
]
