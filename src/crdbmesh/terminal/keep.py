"""The commands that keep a mesh well: their options and output."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import typer

from crdbmesh.terminal import complete, exits, groups, inputs
from crdbmesh.terminal.options import AllowOutage, BreakLease, Name, NameArgument, OutputOption, Yes

_HELP = """\b
crdbmesh drill region-down westus
crdbmesh drill heal  # after a drill that was killed

Cut a region off on purpose, and see how the database goes on.
"""

drill = typer.Typer(cls=groups.Group, help=_HELP)


def region_down(
    region: Annotated[
        str, typer.Argument(metavar="REGION", autocompletion=complete.regions, help="The region to cut off.")
    ],
    name: Name = None,
    by: Annotated[
        Literal["stop", "firewall"],
        typer.Option(
            "--by",
            envvar="CRDBMESH_DRILL_BY",
            help="stop: cut its machines' power [stop]. firewall: deny what goes between it and the other regions; "
            "in Azure, what is connected already may go on.",
        ),
    ] = "stop",
    break_lease: BreakLease = None,
    yes: Yes = False,
    output: OutputOption = "text",
) -> None:
    """Cut one region off, probe SQL in the others, and heal it; report how long SQL failed, and the recovery took.

    It is refused where the database could not go on without the region.
    """
    from crdbmesh.commands import drill as command
    from crdbmesh.commands import specs
    from crdbmesh.terminal import console, doctor_view, proof_view

    with exits.mapped(output, refused="The drill does not begin; nothing was changed:") as signals:
        asks = inputs.must_ask(yes=yes, output=output, remedy="pass --yes to skip the question")

        def ask() -> None:
            with signals.asking():
                if asks and not typer.confirm(f"Cut {region} off, by {by}, for a minute or so?", err=True):
                    raise typer.Exit(exits.FAILED)

        first = "It heals the region first; if you end it, run `crdbmesh drill heal`."
        screen = console.make(stderr=True)
        with inputs.opened(name) as world, signals.finishing(first) as stop:
            result = command.run_drill(
                world,
                specs.find_region(world.mesh, region),
                by=by,
                stop=stop,
                told=partial(console.show_aim, screen),
                ask=ask,
                say=partial(console.say, screen),
                breaks=break_lease,
                warn=doctor_view.warn(screen),
            )
        if output == "json":
            exits.print_json(result.document())
        else:
            proof_view.show_drill(console.make(stderr=False), result)
        raise typer.Exit(exits.INTERRUPTED if result.stopped else exits.DONE if result.cut else exits.FAILED)


def maintain(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="[REGION[/N]]", autocompletion=complete.places, help="A region, or a machine [all of the mesh]."
        ),
    ] = None,
    name: Name = None,
    reboot: Annotated[
        bool, typer.Option("--reboot", envvar="CRDBMESH_REBOOT", help="Reboot also where no patch asks for it.")
    ] = False,
    allow_outage: AllowOutage = False,
    break_lease: BreakLease = None,
    output: OutputOption = "text",
) -> None:
    """Patch the machines and reboot them where that is due, one at a time, while the database serves.

    Each machine is drained before it reboots, and the next one waits until the mesh is whole again. It asks nothing, so
    that it can be a scheduled job; k3s renews its certificates as it starts.
    """
    from crdbmesh.commands import maintain as command
    from crdbmesh.terminal import console, doctor_view, progress, results

    with exits.mapped(output) as signals:
        mesh, cloud, folder = inputs.kept(name)
        machines, screen = command.choose(mesh, where), console.make(stderr=True)

        def watch(steps: Sequence[str]) -> progress.Progress:
            return progress.Progress(screen, steps, lambda step: (step.partition("/")[0], "patches"), ("patches",))

        with signals.finishing("`crdbmesh maintain` will resume from there.") as stop:
            ended = command.run_maintain(
                mesh,
                cloud,
                folder,
                machines,
                watch=watch,
                reboots=reboot,
                allow_outage=allow_outage,
                told=partial(console.show_aim, screen),
                stop=stop,
                breaks=break_lease,
                warn=doctor_view.warn(screen),
            )
        again, journal = f"crdbmesh maintain --name {mesh.name}", str(ended.journal)
        results.show_results(screen, ended.results, seconds=ended.seconds, journal=journal, again=again)
        if output == "json":
            exits.print_json(ended.document())
        elif ended.done:
            typer.echo(f"{len(machines)} machines of {mesh.name} have the patches of today.")
        interrupted = ended.stopped and ended.held is None
        raise typer.Exit(exits.INTERRUPTED if interrupted else exits.DONE if ended.done else exits.FAILED)


def heal(
    mesh_name: NameArgument = None, name: Name = None, break_lease: BreakLease = None, output: OutputOption = "text"
) -> None:
    """Heal a region that a drill has left cut off, because it was killed say; `up` does so too.

    It knows by the region's security group what is left; machines that are stopped without that, `up` starts.
    """
    from crdbmesh.commands import drill as command
    from crdbmesh.terminal import console, doctor_view

    screen = console.make(stderr=True)
    told, say, warn = partial(console.show_aim, screen), partial(console.say, screen), doctor_view.warn(screen)
    with exits.mapped(output), inputs.opened(mesh_name or name) as world:
        found = command.run_heal(world, told=told, say=say, breaks=break_lease, warn=warn)
        if output == "json":
            exits.print_json(found)
        else:
            typer.echo(f"Healed: {', '.join(found['healed'])}." if found["healed"] else "No drill has left anything.")
