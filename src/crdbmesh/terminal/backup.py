"""The commands of backups: their options and output."""

from typing import Annotated, Any

import typer

from crdbmesh.terminal import database, exits, groups, inputs
from crdbmesh.terminal.options import Name, OutputOption, Yes

_HELP = """\b
crdbmesh backup now
crdbmesh backup list --output json

Back the whole database up, beyond what its schedule does, and list its backups.
"""

backup = typer.Typer(cls=groups.Group, help=_HELP)
From = Annotated[str | None, typer.Argument(metavar="FROM", help="As `backup list` names it [the newest with data].")]


def now(name: Name = None, output: OutputOption = "text") -> None:
    """Make a full backup of all databases, users and settings, and wait for it."""
    from crdbmesh.commands import backup as command

    with database.opened(name, output) as (world, say):
        _show(output, command.run_now(world, say), "Backed up; the last backup ended at {ended}.")


def list_(name: Name = None, output: OutputOption = "text") -> None:
    """List the full backups, the newest first."""
    from crdbmesh.commands import backup as command

    with database.opened(name, output) as (world, _):
        found = command.run_list(world)
        _show(output, found, "\n".join([*found["backups"], "The last backup ended at {ended}."]))


def restore(source: From = None, name: Name = None, yes: Yes = False, output: OutputOption = "text") -> None:
    """Bring a backup of the whole database into a mesh without databases, as after a `down` and an `up`."""
    from crdbmesh.commands import backup as command

    with database.opened(name, output) as (world, say):
        if inputs.must_ask(yes=yes, output=output, remedy="pass --yes to skip the question"):
            typer.confirm(f"Restore {source or 'the newest backup'} into {world.mesh.name}?", abort=True, err=True)
        _show(output, command.run_restore(world, source, say), "Restored {from}: {databases}.")


def _show(output: str, found: dict[str, Any], sentence: str) -> None:
    if output == "json":
        exits.print_json(found)
    else:
        typer.echo(sentence.format_map(found))
