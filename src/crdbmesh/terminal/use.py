"""The commands with which people use a mesh: their options and output."""

import os
from typing import Annotated

import typer

from crdbmesh.errors import ConfigError
from crdbmesh.terminal import complete, exits, inputs
from crdbmesh.terminal.options import Name, NameArgument, OutputOption


def kubeconfig(
    mesh_name: NameArgument = None,
    name: Name = None,
    merge: Annotated[
        bool, typer.Option("--merge", envvar="CRDBMESH_MERGE", help="Merge into your kubeconfig file, with a backup.")
    ] = False,
    switch: Annotated[
        str | None,
        typer.Option(
            "--switch",
            metavar="REGION",
            envvar="CRDBMESH_SWITCH",
            autocompletion=complete.regions,
            help="With --merge: make this region's the current context.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            envvar="CRDBMESH_REPLACE",
            help="With --merge: replace contexts of the same name that point at other clusters.",
        ),
    ] = False,
    output: OutputOption = "text",
) -> None:
    """Print a kubeconfig with a context per region, or merge these contexts into your own."""
    from crdbmesh.commands import aim
    from crdbmesh.commands import kubeconfig as command
    from crdbmesh.terminal import console

    with exits.mapped(output):
        for option, value in (("--switch", switch), ("--replace", replace)):
            if value and not merge:
                raise ConfigError.of(option, str(value), "works with --merge only", "add --merge")
        mesh, cloud, folder = inputs.kept(mesh_name or name)
        aim.compare(cloud, folder, mesh.name)
        if not merge:
            text = command.read(mesh, folder)
            if output == "json":
                # Only the names of the contexts: the file holds client keys.
                exits.print_json({"command": "kubeconfig", "mesh": mesh.name, "contexts": list(command.contexts(mesh))})
            else:
                typer.echo(text, nl=False)
            return
        merged = command.merge(mesh, folder, os.environ, switch=switch, replace=replace)
        if output == "json":
            exits.print_json(merged.document())
            return
        typer.echo(f"{', '.join(merged.contexts)} are in {merged.path}")
        screen = console.make(stderr=True)
        for name in merged.kept:
            console.say(screen, f"{name} points at another cluster and stays; --replace replaces it.")
        if merged.backup:
            console.say(screen, f"Backup of the old file: {merged.backup}")
