"""The commands that look at a mesh and write nothing: their options and output."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crdbmesh.errors import ConfigError
from crdbmesh.terminal import exits, inputs
from crdbmesh.terminal.options import Name, NameArgument, NoAddressLookup, OutputOption, Prices

if TYPE_CHECKING:
    from crdbmesh.local.birth import Aim


def status(
    mesh_name: NameArgument = None,
    name: Name = None,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            metavar="[SECONDS]",
            min=1,
            envvar="CRDBMESH_WATCH",
            help="Read and draw it again after so many seconds [5], until Ctrl-C.",
        ),
    ] = None,
    no_address_lookup: NoAddressLookup = False,
    prices: Prices = False,
    output: OutputOption = "text",
) -> None:
    """Show the health of every layer in every region; exit code 10 when anything is degraded."""
    from crdbmesh.commands import cost, reconstruct
    from crdbmesh.commands import status as command
    from crdbmesh.terminal import console

    with exits.mapped(output) as signals, signals.leaving():
        if watch is not None and (output == "json" or not sys.stdout.isatty()):
            raise ConfigError.of("--watch", f"{watch:g}", "redraws a terminal, and stdout is none", "leave it out")
        cloud = inputs.cloud(lookup=not no_address_lookup)
        mesh, reconstructed = reconstruct.known(mesh_name or name, cloud, inputs.root())
        folder, screen = inputs.folder(mesh.name), console.make(stderr=True)

        aimed: list[Aim] = []

        def told(aim: Aim) -> None:
            aimed.append(aim)
            console.show_aim(screen, aim)
            if reconstructed:
                console.say(screen, f"{folder.path} holds no spec of {mesh.name}; this one is reconstructed from tags.")

        paid, shown = cost.of_mesh(mesh, cloud if prices else None), console.make(stderr=False)
        health = command.run_status(mesh, cloud, folder, told=told)
        while watch is not None:
            shown.clear()
            console.show_status(shown, health, paid)
            console.say(shown, f"{datetime.now().astimezone():%H:%M:%S}, again every {watch:g} s; Ctrl-C ends it")
            time.sleep(watch)
            health = command.run_status(mesh, cloud, folder)
        if output == "json":
            document = command.document(health, aimed[0], reconstructed=reconstructed)
            exits.print_json({**document, "cost": paid.document()})
        else:
            console.show_status(shown, health, paid)
        raise typer.Exit(exits.DEGRADED if health.degraded else exits.DONE)


def list_(prices: Prices = False, output: OutputOption = "text") -> None:
    """List the meshes of the subscription, by their tags and names, with age and cost."""
    from crdbmesh.commands import listing
    from crdbmesh.terminal import console

    with exits.mapped(output) as signals, signals.leaving():
        aim, listed, elsewhere = listing.run_list(inputs.cloud(), inputs.root(), prices=prices)
        if output == "json":
            meshes = [one.document() for one in listed]
            exits.print_json({"command": "list", **aim.document(), "meshes": meshes, "known_only_here": elsewhere})
        else:
            console.show_aim(console.make(stderr=True), aim)
            console.show_list(console.make(stderr=False), listed, elsewhere)


def verify(mesh_name: NameArgument = None, name: Name = None, output: OutputOption = "text") -> None:
    """Prove the mesh from inside: connections, DNS, latencies, links, clocks, certificates, nodes, ranges, rows.

    Exit code 10 when anything falls short; each failure is shown with its likely cause. It writes rows to a database of
    its own, crdbmesh_verify_*, which it drops in the end.
    """
    from crdbmesh.commands import verify as command
    from crdbmesh.terminal import console, proof_view

    with exits.mapped(output) as signals, signals.finishing("Its database is dropped first.") as stop:
        with inputs.opened(mesh_name or name) as world:
            told = partial(console.show_aim, console.make(stderr=True))
            proof = command.run_verify(world, stop=stop, told=told)
        if output == "json":
            exits.print_json(proof.document())
        else:
            proof_view.show_proof(console.make(stderr=False), proof)
        raise typer.Exit(exits.DEGRADED if proof.failures else exits.DONE)


def report(
    mesh_name: NameArgument = None,
    name: Name = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", envvar="CRDBMESH_REPORT_FILE", help="The file [NAME.html]."),
    ] = None,
    output: OutputOption = "text",
) -> None:
    """Write one HTML file that shows the mesh: map, health, versions, certificates and its last `up`.

    The file needs no network and holds no secret. It replaces an earlier report only.
    """
    from crdbmesh.commands import reconstruct, report_page
    from crdbmesh.commands import report as command
    from crdbmesh.terminal import console

    with exits.mapped(output) as signals, signals.leaving():
        cloud = inputs.cloud()
        mesh, _ = reconstruct.known(mesh_name or name, cloud, inputs.root())
        screen = console.make(stderr=True)
        told = partial(console.show_aim, screen)
        gathered = command.run_report(mesh, cloud, inputs.folder(mesh.name), told=told)
        path = report_page.write(gathered, file or Path(f"{mesh.name}.html"))
        if output == "json":
            exits.print_json({"command": "report", "mesh": mesh.name, **gathered.aim.document(), "file": str(path)})
        else:
            typer.echo(f"The report is in {path}")
        raise typer.Exit(exits.DEGRADED if gathered.health.degraded else exits.DONE)
