"""`crdbmesh demo`: its options, and what it prints."""

from __future__ import annotations

import functools
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from crdbmesh.terminal import exits, inputs
from crdbmesh.terminal.options import MachinesPerRegion, Output, OutputOption, Regions

if TYPE_CHECKING:
    from rich.console import Console

    from crdbmesh.commands.demo import SimulatedAzure
    from crdbmesh.commands.drill import DrillResult
    from crdbmesh.commands.verify import Proof
    from crdbmesh.observe.health import Health

_FOLDER = ".demo"
"""Below the folder of all meshes; no mesh can be called so."""
_REGIONS = "eastus,westus,northeurope"


def demo(
    regions: Regions = None,
    machines_per_region: MachinesPerRegion = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", envvar="CRDBMESH_DEMO_KEEP", help="Serve the simulated Azure after `up`, until Ctrl-C."),
    ] = False,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", envvar="CRDBMESH_DEMO_NAME", help="With --keep: the mesh's name.")
    ] = "demo",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", envvar="CRDBMESH_DEMO_SEED", help="Random seed of the simulator.")
    ] = 0,
    output: OutputOption = "text",
) -> None:
    """Run up, status, up again and down in a simulated Azure on this machine. No account, no cost."""
    from crdbmesh.commands import demo as command
    from crdbmesh.terminal import console

    with exits.mapped(output) as signals, signals.finishing("The simulated Azure ends with it.") as stop:
        screen = console.make(stderr=True)
        console.announce(screen, "Starting a simulated Azure on this machine; nothing leaves it, nothing is charged.")
        with command.serve(seed=seed, folder=inputs.root() / _FOLDER) as azure:
            # These imports take a second, in which the simulator starts.
            from crdbmesh.commands import down, specs, status, up  # noqa: F401 - the demo's
            from crdbmesh.terminal import progress

            chosen = specs.listed(*(regions or [_REGIONS]))
            mesh = command.spec(chosen, 3 if machines_per_region is None else machines_per_region, name=name)
            tell, watch = functools.partial(_tell, screen), progress.watch(screen)
            if keep:
                ready = functools.partial(_show_ready, screen, mesh.name, azure, output)
                command.keep(mesh, azure, tell=tell, watch=watch, ready=ready, stop=stop)
                return
            show = functools.partial(_show, screen)
            result = command.run_demo(mesh, azure, tell=tell, watch=watch, show=show, stop=stop)
        if output == "json":
            exits.print_json(result.document())
        else:
            console.show_figures(console.make(stderr=False), result.title(), result.lines(), result.seconds)
        raise typer.Exit(exits.DONE if result.clean else exits.FAILED)


def _tell(screen: Console, text: str) -> None:
    from crdbmesh.terminal import console

    (console.say if text.startswith(" ") else console.announce)(screen, text)


def _show(screen: Console, what: Health | Proof | DrillResult) -> None:
    from crdbmesh.observe.health import Health
    from crdbmesh.terminal import console, proof_view

    if isinstance(what, Health):
        console.show_status(screen, what)
    else:
        proof_view.show(screen, what)


def _show_ready(screen: Console, mesh: str, azure: SimulatedAzure, output: Output) -> None:
    from crdbmesh.terminal import console

    variables = {"CRDBMESH_CLOUD": str(azure.cloud_file), "CRDBMESH_HOME": str(azure.home)}
    if output == "json":
        exits.print_json({"command": "demo", "simulated": True, "mesh": mesh, "environment": variables})
    else:
        console.announce(screen, "The simulated Azure runs until Ctrl-C. To use it in another terminal:")
        typer.echo(f"export {' '.join(f'{name}={shlex.quote(value)}' for name, value in variables.items())}")
        console.say(screen, f"Then, for example: crdbmesh status {mesh}")
    sys.stdout.flush()
