"""The command line: options to values to one command; errors to exit codes. Nothing else knows exit codes.

Commands import what they need when they run: the Azure SDK takes a second, and `--help` should not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from crdbmesh import __version__, console
from crdbmesh import home as homes
from crdbmesh.errors import ConfigError, CrdbmeshError, Finding, PreflightError
from crdbmesh.topology import config
from crdbmesh.topology.mesh import Mesh

if TYPE_CHECKING:
    from crdbmesh.clients.cloud import Cloud
    from crdbmesh.engine.step import Result

DONE, FAILED, USAGE, PREFLIGHT, DEGRADED, INTERRUPTED = 0, 1, 2, 3, 10, 130

_EPILOG = (
    "Exit codes: 0 done · 1 a step failed or is blocked · 2 usage or config · 3 preflight · 10 degraded · "
    "130 interrupted."
)
_CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="crdbmesh",
    help="One secure CockroachDB over several Azure regions: k3s, Cilium Cluster Mesh, CockroachDB.",
    epilog=_EPILOG,
    no_args_is_help=True,
    context_settings=_CONTEXT,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Output = Literal["text", "json"]
Name = Annotated[str | None, typer.Option("--name", envvar="CRDBMESH_NAME", help="The mesh's name.")]
NameArgument = Annotated[str | None, typer.Argument(help="The mesh's name; not needed when one is known here.")]
Regions = Annotated[
    str | None, typer.Option("--regions", envvar="CRDBMESH_REGIONS", help="Azure regions, comma-separated.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", envvar="CRDBMESH_CONFIG", help="A YAML spec; see examples/.")
]
AllowFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-from",
        envvar="CRDBMESH_ALLOW_FROM",
        help="Who may connect: an address or range, repeatable. Your own address when left out; '*' means everyone.",
    ),
]
PerRegion = Annotated[
    int | None,
    typer.Option("--machines-per-region", envvar="CRDBMESH_MACHINES_PER_REGION", help="Machines per region [3]."),
]
Size = Annotated[
    str | None, typer.Option("--machine-size", envvar="CRDBMESH_MACHINE_SIZE", help="VM size [Standard_D4s_v5].")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="CRDBMESH_YES", help="Do not ask.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", envvar="CRDBMESH_OUTPUT", help="text or json.")]


def main() -> None:
    """Run the command line; ends the process."""
    # Typer's own errors (an unknown option, a missing value) exit with 2 as well.
    app()


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


@app.command(epilog=_EPILOG)
def up(
    regions: Regions = None,
    name: Name = None,
    config_file: ConfigFile = None,
    allow_from: AllowFrom = None,
    machines_per_region: PerRegion = None,
    machine_size: Size = None,
    yes: Yes = False,
    output: OutputOption = "text",
) -> None:
    """Make everything hold, and go on where an earlier run stopped."""
    from crdbmesh.access import Access
    from crdbmesh.commands import up as command
    from crdbmesh.steps import catalog

    with _mapped(output) as stop:
        cloud = _cloud()
        given = _given(regions, name, config_file, allow_from, machines_per_region, machine_size, cloud)
        mesh = command.with_caller(given, cloud)
        screen = console.make(stderr=True)
        console.show_intent(screen, mesh)
        _confirm(yes=yes, output=output, question="Create or update this mesh?")
        with Access.open(mesh, cloud, _home(mesh.name)) as access:
            steps = [step.name for step in catalog.steps(access)]
        with console.Progress(screen, steps, catalog.place, catalog.STAGES) as progress:
            ended = command.run_up(mesh, cloud, _home(mesh.name), notify=progress, stop=stop)
        console.show_results(screen, ended.results, seconds=ended.seconds, journal=str(ended.journal))
        if output == "json":
            _print_json(
                {
                    "command": "up",
                    "mesh": mesh.name,
                    "done": ended.done,
                    "changed": len([one for one in ended.results.values() if one.outcome.value == "changed"]),
                    "seconds": round(ended.seconds, 1),
                    "steps": [_step_document(result) for result in ended.results.values()],
                    "journal": str(ended.journal),
                }
            )
        elif ended.done:
            typer.echo(f"{mesh.name} is up in {', '.join(region.name for region in mesh.regions)}.")
        raise typer.Exit(INTERRUPTED if ended.stopped else DONE if ended.done else FAILED)


@app.command(epilog=_EPILOG)
def plan(
    regions: Regions = None,
    name: Name = None,
    config_file: ConfigFile = None,
    allow_from: AllowFrom = None,
    machines_per_region: PerRegion = None,
    machine_size: Size = None,
    output: OutputOption = "text",
) -> None:
    """Show what `up` would do, step by step, without a write to the cloud."""
    from crdbmesh.commands import plan as command
    from crdbmesh.commands.up import with_caller
    from crdbmesh.engine.step import Gap

    with _mapped(output):
        cloud = _cloud()
        given = _given(regions, name, config_file, allow_from, machines_per_region, machine_size, cloud)
        mesh = with_caller(given, cloud)
        found = command.run_plan(mesh, cloud, _home(mesh.name))
        if output == "json":
            steps = [
                {"step": step, "gap": what.summary} if isinstance(what, Gap) else _step_document(what)
                for step, what in found.found.items()
            ]
            _print_json({"command": "plan", "mesh": mesh.name, "gaps": len(found.gaps()), "steps": steps})
        else:
            console.show_plan(console.make(stderr=False), mesh, found.found)
        raise typer.Exit(FAILED if found.refused() else DONE)


@app.command(epilog=_EPILOG)
def status(mesh_name: NameArgument = None, name: Name = None, output: OutputOption = "text") -> None:
    """Say how every layer of every region is doing; exit 10 when anything is degraded."""
    from crdbmesh.commands import status as command

    with _mapped(output):
        known = _known(mesh_name or name)
        mesh = _kept(known)
        health = command.run_status(mesh, _cloud(), _home(known))
        if output == "json":
            _print_json(
                {
                    "command": "status",
                    "mesh": health.mesh,
                    "degraded": health.degraded,
                    "figures": health.figures(),
                    "cluster_ids": list(health.cluster_ids),
                    "regions": [
                        {
                            "region": region.region,
                            "layers": [
                                {
                                    "layer": layer.name,
                                    "level": layer.level.value,
                                    "good": layer.good,
                                    "wanted": layer.wanted,
                                    "cause": layer.cause,
                                }
                                for layer in region.layers
                            ],
                        }
                        for region in health.regions
                    ],
                }
            )
        else:
            console.show_status(console.make(stderr=False), health)
        raise typer.Exit(DEGRADED if health.degraded else DONE)


@app.command(epilog=_EPILOG)
def down(
    mesh_name: NameArgument = None,
    name: Name = None,
    yes: Yes = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once Azure has taken the order.")] = False,
    forget_kubeconfig: Annotated[
        bool, typer.Option("--forget-kubeconfig", help="Also take our contexts out of your kubeconfig.")
    ] = False,
    output: OutputOption = "text",
) -> None:
    """Delete everything that carries the mesh's tag, and nothing else."""
    from crdbmesh.commands import down as command
    from crdbmesh.commands import kubeconfig

    with _mapped(output) as stop:
        known = _known(mesh_name or name)
        cloud, home = _cloud(), _home(known)
        found = command.find(known, cloud)
        screen = console.make(stderr=True)
        screen.print(f"{known}: {found.count} things will be deleted", markup=False)
        for line in found.names():
            screen.print(f"  - {line}", markup=False)
        for line in found.kept:
            screen.print(f"  kept, for it does not carry the mesh's tag: {line}", markup=False)
        if found.count:
            _confirm_name(known, yes=yes, output=output)
        kept = _kept(known) if forget_kubeconfig and home.exists() else None
        shown = console.Progress(screen, [], lambda step: ("azure", step), ())
        with shown as progress:
            ended = command.run_down(known, cloud, home, notify=progress, wait=not no_wait, stop=stop)
        if kept is not None:
            kubeconfig.forget(kept, os.environ)
        console.show_results(screen, ended.results, seconds=ended.seconds, journal=None)
        if output == "json":
            _print_json(
                {
                    "command": "down",
                    "mesh": known,
                    "done": ended.done,
                    "finished": ended.finished,
                    "deleted": found.count,
                    "left": list(ended.left),
                    "kept": list(ended.kept),
                    "steps": [_step_document(result) for result in ended.results.values()],
                }
            )
        elif ended.done:
            typer.echo(
                f"{known} is gone." if ended.finished else f"{known} is being deleted; run down again to make sure."
            )
        for line in ended.left:
            screen.print(f"  still there: {line}", markup=False)
        raise typer.Exit(INTERRUPTED if ended.stopped else DONE if ended.done else FAILED)


@app.command(epilog=_EPILOG)
def kubeconfig(
    mesh_name: NameArgument = None,
    name: Name = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge into your kubeconfig file, with a backup.")] = False,
    switch: Annotated[
        str | None, typer.Option("--switch", help="With --merge: make this region's the current context.")
    ] = None,
    output: OutputOption = "text",
) -> None:
    """Print the contexts of the mesh's clusters, or merge them into your kubeconfig."""
    from crdbmesh.commands import kubeconfig as command

    with _mapped(output):
        if switch is not None and not merge:
            raise ConfigError([Finding("--switch", switch, "goes with --merge only", "add --merge")])
        known = _known(mesh_name or name)
        mesh, home = _kept(known), _home(known)
        if not merge:
            text = command.read(mesh, home)
            if output == "json":
                _print_json({"command": "kubeconfig", "mesh": known, "contexts": list(command.contexts(mesh))})
            else:
                typer.echo(text, nl=False)
            return
        merged = command.merge(mesh, home, os.environ, switch=switch)
        if output == "json":
            backup = str(merged.backup) if merged.backup else None
            _print_json(
                {"command": "kubeconfig", "path": str(merged.path), "contexts": list(merged.contexts), "backup": backup}
            )
            return
        typer.echo(f"{', '.join(merged.contexts)} are in {merged.path}")
        if merged.backup:
            typer.echo(f"the file as it was: {merged.backup}", err=True)


@app.command(epilog=_EPILOG)
def demo(
    regions: Regions = None,
    machines_per_region: PerRegion = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the simulated world running after `up`.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the simulated world's chance.")] = 0,
    output: OutputOption = "text",
) -> None:
    """Show all of it in a simulated world: up, status, up again, down. No account, no cost."""
    from crdbmesh.commands import demo as command
    from crdbmesh.topology import names

    with _mapped(output) as stop:
        chosen = _listed(regions) if regions is not None else list(command.REGIONS)
        machines = machines_per_region if machines_per_region is not None else 3
        config.mesh({"regions": chosen, "machines": {"per_region": machines}})
        screen = console.make(stderr=True)

        def tell(text: str) -> None:
            screen.print(text, markup=False, style="bold" if not text.startswith(" ") else None)

        show = console.Progress(screen, [], lambda step: (step, names.TAG), ())
        if keep:
            command.keep(chosen, machines, seed=seed, tell=tell, notify=show, stop=stop, root=homes.root(os.environ))
            return
        result = command.run_demo(chosen, machines, seed=seed, tell=tell, notify=show, stop=stop)
        document = result.document()
        if output == "json":
            typer.echo(json.dumps(document))
        else:
            _show_demo(document, result.seconds)
        clean = not (result.changed_again or result.writes_again or result.left or result.unknown)
        raise typer.Exit(DONE if clean else FAILED)


def _show_demo(document: dict[str, Any], seconds: float) -> None:
    lines = {
        "regions": "regions",
        "machines": "machines running",
        "peerings_connected": "VNet peerings connected",
        "nodes_ready": "Kubernetes nodes ready",
        "clustermesh_links_ready": "clustermesh links ready",
        "zones_resolved": "zones resolved from another cluster",
        "cockroach_nodes_live": "CockroachDB nodes live",
        "cluster_ids": "CockroachDB cluster",
    }
    for key, text in lines.items():
        typer.echo(f"{document[key]:>4}  {text}")
    again = document["second_up"]
    typer.echo(f"{again['writes']:>4}  writes in the second up")
    typer.echo(f"{document['left_after_down']:>4}  resources left after down")
    typer.echo(f"All of this was simulated, on this machine, in {seconds:.0f} s.")


def _given(
    regions: str | None,
    name: str | None,
    config_file: Path | None,
    allow_from: list[str] | None,
    machines_per_region: int | None,
    machine_size: str | None,
    cloud: Cloud,
) -> Mesh:
    """The spec: from flags and file; from the local folder when neither says which regions."""
    overrides = {
        "name": name,
        "regions": _listed(regions) if regions is not None else None,
        "allow_from": [part for given in allow_from for part in _listed(given)] if allow_from else None,
        "machines.per_region": machines_per_region,
        "machines.size": machine_size,
    }
    if config_file is not None:
        document = config.read_file(config_file)
    elif regions is None and (known := _kept_document(name)) is not None:
        document = known
    else:
        document = {}
    if cloud.ssh_port != 22 and "ssh" not in document:
        overrides["ssh.port"] = cloud.ssh_port
    return config.mesh(document, overrides)


def _kept_document(name: str | None) -> dict[str, Any] | None:
    known = homes.list_meshes(homes.root(os.environ))
    if name is None:
        if len(known) != 1:
            return None
        name = known[0]
    return config.read_file(_home(name).folder / homes.SPEC) if name in known else None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _home(name: str) -> homes.Home:
    return homes.Home(homes.root(os.environ) / name)


def _known(name: str | None) -> str:
    """The mesh meant: the one named, or the only one known here."""
    if name is not None:
        return config.mesh({"name": name, "regions": ["eastus"]}).name
    known = homes.list_meshes(homes.root(os.environ))
    if len(known) == 1:
        return known[0]
    reason = f"several are known here: {', '.join(known)}" if known else "none is known here"
    raise ConfigError([Finding("name", "(absent)", reason, "give the mesh's name")])


def _kept(name: str) -> Mesh:
    document = _kept_document(name)
    if document is None:
        where = homes.root(os.environ) / name
        raise ConfigError(
            [Finding("name", name, f"no such mesh in {where}", "give the name of one that is known here")]
        )
    return config.mesh(document)


def _cloud() -> Cloud:
    from crdbmesh.clients import cloud as clouds

    return clouds.from_environment(os.environ)


def _confirm(*, yes: bool, output: Output, question: str) -> None:
    if yes:
        return
    if output == "json" or not console.is_terminal():
        raise ConfigError([Finding("--yes", "(absent)", "there is nobody to ask", "pass --yes to go ahead")])
    if not typer.confirm(question, err=True):
        raise typer.Exit(FAILED)


def _confirm_name(name: str, *, yes: bool, output: Output) -> None:
    if yes:
        return
    if output == "json" or not console.is_terminal():
        raise ConfigError([Finding("--yes", "(absent)", "there is nobody to ask", "pass --yes to delete it all")])
    typed = typer.prompt(f"Type the mesh's name ({name}) to delete all of it", err=True)
    if typed != name:
        raise ConfigError([Finding("name", typed, f"is not {name}", "nothing was deleted; type the name exactly")])


def _step_document(result: Result) -> dict[str, Any]:
    return {
        "step": result.step,
        "outcome": result.outcome.value,
        "detail": result.detail,
        "hint": result.hint,
        "culprit": result.culprit,
        "seconds": round(result.seconds, 1),
    }


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps({"schema": 1, **document}))


@contextmanager
def _mapped(output: Output) -> Iterator[threading.Event]:
    """Run a command's body: errors become exit codes, the first Ctrl-C becomes a set event, the second ends at once."""
    stop = threading.Event()
    restore = _on_interrupt(stop)
    try:
        yield stop
    except CrdbmeshError as error:
        code = USAGE if isinstance(error, ConfigError) else PREFLIGHT if isinstance(error, PreflightError) else FAILED
        _fail(error, output, INTERRUPTED if stop.is_set() else code)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        _fail(CrdbmeshError(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")), output, FAILED)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("CRDBMESH_DEBUG"):
            raise
        _fail(_bug(error), output, FAILED)
    finally:
        restore()


def _fail(error: CrdbmeshError, output: Output, code: int) -> NoReturn:
    console.show_error(console.make(stderr=True), error)
    if output == "json":
        findings = [
            {"field": one.field, "value": one.value, "reason": one.reason, "remedy": one.remedy}
            for one in getattr(error, "findings", [])
        ]
        kind = type(error).__name__.removesuffix("Error").lower() or "error"
        _print_json({"error": {"code": kind, "message": str(error), "hint": error.hint, "findings": findings}})
    raise typer.Exit(code)


def _bug(error: Exception) -> CrdbmeshError:
    descriptor, path = tempfile.mkstemp(prefix="crdbmesh-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    return CrdbmeshError(
        f"unexpected {type(error).__name__}", hint=f"this is a bug in crdbmesh; its traceback is in {path}"
    )


def _on_interrupt(stop: threading.Event) -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def interrupted(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        stop.set()
        sys.stderr.write("\nFinishing what is running; nothing new is started. Again to stop at once.\n")

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore
