"""The command line: options to values to one command.

Results go to stdout, everything else to stderr. Commands import what they need when they run: the Azure SDK takes a
second, and `--help` should not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from crdbmesh import __version__
from crdbmesh.errors import ConfigError, Finding
from crdbmesh.local.folder import LocalFolder, find_root, list_meshes
from crdbmesh.terminal import console, exits
from crdbmesh.terminal.options import (
    AllowFrom,
    ConfigFile,
    MachineSize,
    MachinesPerRegion,
    Name,
    NameArgument,
    NewName,
    Output,
    OutputOption,
    Regions,
    Yes,
)

if TYPE_CHECKING:
    from rich.console import Console

    from crdbmesh.clients.cloud import Cloud
    from crdbmesh.commands.demo import SimulatedWorld
    from crdbmesh.commands.up import Watch

_HELP = """One secure CockroachDB over several Azure regions: k3s, Cilium Cluster Mesh, CockroachDB.

\b
  crdbmesh demo                                    see it work, simulated
  crdbmesh up --regions eastus,westus,northeurope  make it, or go on making it
  crdbmesh status                                  how each layer is doing
  crdbmesh down                                    delete all of it

Flags win over CRDBMESH_* variables, those over the file given with --config, the file over defaults.
"""


app = typer.Typer(
    name="crdbmesh",
    help=_HELP,
    epilog=exits.EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, this process's own when none is given; ends the process."""
    try:
        code = app(arguments, standalone_mode=False)
    except typer.Abort:
        # Ctrl-C or the end of the input where a question was asked.
        typer.echo("", err=True)
        sys.exit(exits.INTERRUPTED)
    except Exception as error:
        # Typer does not export the class of its usage errors; they are the ones that can show themselves.
        show: Callable[[], None] | None = getattr(error, "show", None)
        if show is None:
            raise
        show()
        told: Callable[[], str] = getattr(error, "format_message", error.__str__)
        exits.print_usage_error(told(), sys.argv[1:] if arguments is None else arguments)
        sys.exit(exits.USAGE)
    sys.exit(code if isinstance(code, int) else exits.DONE)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"crdbmesh {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_option: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One secure CockroachDB over several Azure regions."""


@app.command(epilog=exits.EPILOG, short_help="Make everything hold; go on where an earlier run stopped.")
def up(
    regions: Regions = None,
    name: NewName = None,
    config_file: ConfigFile = None,
    allow_from: AllowFrom = None,
    machines_per_region: MachinesPerRegion = None,
    machine_size: MachineSize = None,
    yes: Yes = False,
    output: OutputOption = "text",
) -> None:
    """Make everything hold, and go on where an earlier run stopped.

    Without --regions and --config it takes the spec that the last `up` kept.
    """
    from crdbmesh.commands import specs
    from crdbmesh.commands import up as command

    with exits.mapped(output) as signals:
        given = specs.Given(regions, name, config_file, _several(allow_from), machines_per_region, machine_size)
        cloud = _cloud()
        mesh = specs.choose(given, cloud, _root_folder())
        asks = _asks(yes=yes, output=output, remedy="pass --yes to go ahead")
        mesh = command.with_caller(mesh, cloud)
        screen = console.make(stderr=True)
        console.show_intent(screen, mesh)
        if asks and not typer.confirm("Create or update this mesh?", err=True):
            raise typer.Exit(exits.FAILED)
        console.say(screen, "Checking subscription, regions, sizes and quota …")
        with signals.finishing("Then `crdbmesh up` goes on from there.") as stop:
            ended = command.run_up(mesh, cloud, _folder(mesh.name), watch=_watch(screen), warn=_warn(screen), stop=stop)
        console.show_results(
            screen, ended.results, seconds=ended.seconds, journal=str(ended.journal), again=_again("up", mesh.name)
        )
        if ended.held is not None:
            console.show_error(screen, ended.held)
        if output == "json":
            exits.print_json(ended.document())
        elif ended.done:
            typer.echo(f"{mesh.name} is up in {', '.join(region.name for region in mesh.regions)}.")
        interrupted = ended.stopped and ended.held is None
        raise typer.Exit(exits.INTERRUPTED if interrupted else exits.DONE if ended.done else exits.FAILED)


@app.command(epilog=exits.EPILOG, short_help="Show what `up` would do, without a write.")
def plan(
    regions: Regions = None,
    name: NewName = None,
    config_file: ConfigFile = None,
    allow_from: AllowFrom = None,
    machines_per_region: MachinesPerRegion = None,
    machine_size: MachineSize = None,
    output: OutputOption = "text",
) -> None:
    """Show what `up` would do, step by step, without a write to the cloud."""
    from crdbmesh.commands import plan as command
    from crdbmesh.commands import specs, up
    from crdbmesh.steps import catalog

    with exits.mapped(output) as signals, signals.leaving():
        given = specs.Given(regions, name, config_file, _several(allow_from), machines_per_region, machine_size)
        cloud = _cloud()
        mesh = up.with_caller(specs.choose(given, cloud, _root_folder()), cloud)
        screen = console.make(stderr=True)
        console.show_intent(screen, mesh)
        console.say(screen, "Looking at what is there …")
        found = command.run_plan(mesh, cloud, _folder(mesh.name), warn=_warn(screen))
        if output == "json":
            exits.print_json(found.document())
        else:
            console.show_plan(console.make(stderr=False), mesh, found.found, catalog.place)
        raise typer.Exit(exits.FAILED if found.refused() else exits.DONE)


@app.command(epilog=exits.EPILOG, short_help="Look at everything that could stand in the way of `up`.")
def doctor(
    regions: Regions = None,
    name: NewName = None,
    config_file: ConfigFile = None,
    allow_from: AllowFrom = None,
    machines_per_region: MachinesPerRegion = None,
    machine_size: MachineSize = None,
    output: OutputOption = "text",
) -> None:
    """Look at everything that could stand in the way of `up`, without a write; exit 3 when something does.

    When nothing says which regions, it looks at your login, subscription and local folder.
    """
    from crdbmesh.commands import doctor as command
    from crdbmesh.commands import specs
    from crdbmesh.terminal import doctor_view as console_doctor

    with exits.mapped(output) as signals, signals.leaving():
        given = specs.Given(regions, name, config_file, _several(allow_from), machines_per_region, machine_size)
        cloud = _cloud()
        mesh = command.find_mesh(given, cloud, _root_folder())
        known = mesh.name if mesh else name or command.NAME
        found = command.run_doctor(mesh, cloud, _folder(known))
        if output == "json":
            exits.print_json(found.document())
        else:
            screen = console.make(stderr=False)
            console_doctor.show_verdicts(screen, known, found.verdicts, whole=mesh is not None)
        raise typer.Exit(exits.DONE if found.ok else exits.PREFLIGHT)


@app.command(epilog=exits.EPILOG, short_help="Say how every layer of every region is doing.")
def status(mesh_name: NameArgument = None, name: Name = None, output: OutputOption = "text") -> None:
    """Say how every layer of every region is doing; exit 10 when anything is degraded."""
    from crdbmesh.commands import reconstruct
    from crdbmesh.commands import status as command

    with exits.mapped(output) as signals, signals.leaving():
        cloud = _cloud()
        mesh, reconstructed = reconstruct.known(mesh_name or name, cloud, _root_folder())
        folder = _folder(mesh.name)
        if reconstructed:
            told = f"No spec of {mesh.name} is in {folder.path}; this one is reconstructed from its tags in Azure."
            console.say(console.make(stderr=True), told)
        health = command.run_status(mesh, cloud, folder)
        if output == "json":
            exits.print_json(command.document(health, reconstructed=reconstructed))
        else:
            console.show_status(console.make(stderr=False), health)
        raise typer.Exit(exits.DEGRADED if health.degraded else exits.DONE)


@app.command(epilog=exits.EPILOG, short_help="Delete everything that carries the mesh's tag.")
def down(
    mesh_name: NameArgument = None,
    name: Name = None,
    yes: Yes = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", envvar="CRDBMESH_NO_WAIT", help="Return once Azure has taken the order.")
    ] = False,
    forget_kubeconfig: Annotated[
        bool,
        typer.Option(
            "--forget-kubeconfig",
            envvar="CRDBMESH_FORGET_KUBECONFIG",
            help="Also take our contexts out of your kubeconfig.",
        ),
    ] = False,
    output: OutputOption = "text",
) -> None:
    """Delete everything that carries the mesh's tag, and nothing else; then look again, and forget the mesh."""
    from crdbmesh.commands import down as command
    from crdbmesh.commands import specs

    with exits.mapped(output) as signals:
        known = specs.name_of(mesh_name or name, _root_folder())
        cloud, screen = _cloud(), console.make(stderr=True)
        with signals.leaving():
            found = command.find(known, cloud)
        console.show_belongings(screen, known, found.count, found.names(), found.kept)
        if found.count:
            _confirm_name(known, asks=_asks(yes=yes, output=output, remedy="pass --yes to delete it all"))
        with (
            signals.finishing("Then `crdbmesh down` goes on from there.") as stop,
            console.Progress(screen, [], lambda step: ("", step), ()) as progress,
        ):
            ended = command.run_down(
                known,
                cloud,
                _folder(known),
                notify=progress,
                wait=not no_wait,
                forget_in=os.environ if forget_kubeconfig else None,
                stop=stop,
            )
        again = _again("down", known)
        if ended.results:
            console.show_results(screen, ended.results, seconds=ended.seconds, journal=None, again=again)
        for line in ended.left:
            console.say(screen, f"  still there: {line}")
        if output == "json":
            exits.print_json(ended.document())
        elif ended.done and ended.finished:
            typer.echo(f"{known} is gone.")
        elif ended.done:
            typer.echo(f"{known} is being deleted. Run `{again}` again to finish: it looks whether anything is left.")
        raise typer.Exit(exits.INTERRUPTED if ended.stopped else exits.DONE if ended.done else exits.FAILED)


@app.command(epilog=exits.EPILOG, short_help="Print the clusters' contexts, or merge them.")
def kubeconfig(
    mesh_name: NameArgument = None,
    name: Name = None,
    merge: Annotated[
        bool,
        typer.Option("--merge", envvar="CRDBMESH_MERGE", help="Merge into your kubeconfig file, with a backup."),
    ] = False,
    switch: Annotated[
        str | None,
        typer.Option(
            "--switch",
            metavar="REGION",
            envvar="CRDBMESH_SWITCH",
            help="With --merge: make this region's the current context.",
        ),
    ] = None,
    output: OutputOption = "text",
) -> None:
    """Print a kubeconfig with a context per region, or merge these contexts into your own."""
    from crdbmesh.commands import kubeconfig as command
    from crdbmesh.commands import specs

    with exits.mapped(output):
        if switch is not None and not merge:
            raise ConfigError([Finding("--switch", switch, "goes with --merge only", "add --merge")])
        known = specs.name_of(mesh_name or name, _root_folder())
        mesh, folder = specs.kept(known, _root_folder()), _folder(known)
        if not merge:
            text = command.read(mesh, folder)
            if output == "json":
                # The contexts' names alone: the file holds client keys.
                exits.print_json({"command": "kubeconfig", "mesh": known, "contexts": list(command.contexts(mesh))})
            else:
                typer.echo(text, nl=False)
            return
        merged = command.merge(mesh, folder, os.environ, switch=switch)
        if output == "json":
            exits.print_json(merged.document())
            return
        typer.echo(f"{', '.join(merged.contexts)} are in {merged.path}")
        if merged.backup:
            typer.echo(f"The file as it was: {merged.backup}", err=True)


@app.command(epilog=exits.EPILOG, short_help="See all of it in a simulated world; no account, no cost.")
def demo(
    regions: Regions = None,
    machines_per_region: MachinesPerRegion = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", envvar="CRDBMESH_DEMO_KEEP", help="Serve the simulated world after `up`, until Ctrl-C."),
    ] = False,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", envvar="CRDBMESH_DEMO_NAME", help="With --keep: the mesh's name.")
    ] = "demo",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", envvar="CRDBMESH_DEMO_SEED", help="Of the simulated world's chance.")
    ] = 0,
    output: OutputOption = "text",
) -> None:
    """Show up, status, up again and down in a simulated world on this machine. No account, no cost."""
    from crdbmesh.commands import demo as command
    from crdbmesh.commands import specs

    with exits.mapped(output) as signals, signals.finishing("The simulated world goes with it.") as stop:
        chosen = specs.listed(regions) if regions is not None else list(command.REGIONS)
        machines = machines_per_region if machines_per_region is not None else 3
        mesh_name = command.spec(chosen, machines, name=name).name
        screen = console.make(stderr=True)

        def tell(text: str) -> None:
            (console.say if text.startswith(" ") else console.announce)(screen, text)

        def ready(world: SimulatedWorld) -> None:
            if output == "json":
                variables = {"CRDBMESH_CLOUD": str(world.cloud_file)}
                exits.print_json({"command": "demo", "simulated": True, "mesh": mesh_name, "environment": variables})
            else:
                tell(
                    "The simulated world keeps running until Ctrl-C. In another terminal, all commands work on it with"
                )
                typer.echo(f"export CRDBMESH_CLOUD={world.cloud_file}")
                console.say(screen, f"then for example: crdbmesh status {mesh_name}")
            sys.stdout.flush()

        watch = _watch(screen)
        if keep:
            command.keep(
                chosen,
                machines,
                name=mesh_name,
                seed=seed,
                tell=tell,
                watch=watch,
                ready=ready,
                stop=stop,
                root=_root_folder(),
            )
            return
        result = command.run_demo(
            chosen,
            machines,
            seed=seed,
            tell=tell,
            watch=watch,
            show=lambda health: console.show_status(screen, health),
            stop=stop,
        )
        if output == "json":
            typer.echo(json.dumps(result.document()))
        else:
            console.show_figures(console.make(stderr=False), result.title(), result.lines(), result.seconds)
        raise typer.Exit(exits.DONE if result.clean else exits.FAILED)


def _several(values: list[str] | None) -> tuple[str, ...] | None:
    return tuple(values) if values else None


def _cloud() -> Cloud:
    from crdbmesh.clients import cloud as clouds

    return clouds.from_environment(os.environ)


def _root_folder() -> Path:
    return find_root(os.environ)


def _folder(name: str) -> LocalFolder:
    return LocalFolder(_root_folder() / name)


def _watch(screen: Console) -> Watch:
    from crdbmesh.steps import catalog

    return lambda steps: console.Progress(screen, steps, catalog.place, catalog.STAGES)


def _warn(screen: Console) -> Callable[[Finding], None]:
    from crdbmesh.terminal import doctor_view as console_doctor

    return lambda finding: console_doctor.show_warning(screen, finding)


def _again(command: str, name: str) -> str:
    """How to run the same command on the same mesh again."""
    known = list_meshes(_root_folder())
    option = "--name " if command == "up" else ""
    return f"crdbmesh {command}" if known == [name] else f"crdbmesh {command} {option}{name}"


def _asks(*, yes: bool, output: Output, remedy: str) -> bool:
    """Whether to ask before going on.

    Raises:
        ConfigError: it should be asked, and there is nobody to ask.
    """
    if yes:
        return False
    if output == "json" or not console.is_terminal():
        raise ConfigError([Finding("--yes", "(absent)", "there is nobody to ask", remedy)])
    return True


def _confirm_name(name: str, *, asks: bool) -> None:
    if not asks:
        return
    typed = typer.prompt(f"Type the mesh's name ({name}) to delete all of it", err=True)
    if typed != name:
        raise ConfigError([Finding("name", typed, f"is not {name}", "nothing was deleted; type the name exactly")])
