"""The commands that reach into machines and pods: `ssh` and `logs`."""

import logging
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer

from crdbmesh.errors import ConfigError
from crdbmesh.terminal import complete, exits, inputs
from crdbmesh.terminal.options import Name, OutputOption

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red")


def ssh(
    machine: Annotated[
        str, typer.Argument(metavar="REGION/N", autocompletion=complete.machines, help="eastus/1, or its name.")
    ],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND]", help="Run this instead of a shell.")
    ] = None,
    name: Name = None,
) -> None:
    """Log in to a machine, or run a command on it; the command's exit status is this one's."""
    from crdbmesh.commands import aim
    from crdbmesh.commands import ssh as login
    from crdbmesh.run.world import World
    from crdbmesh.terminal import shell

    with exits.mapped("text") as signals, signals.leaving():
        line, program = " ".join(command or ()) or None, shutil.which("ssh")
        with World.open(*inputs.kept(name)) as world:
            aim.require(world.session, world.folder, world.mesh.name)
            chosen = login.find_machine(world.mesh, machine)
            if program is None:
                with shell.ends() as ends:
                    raise typer.Exit(world.host(chosen).attach(line, ends))
            arguments = login.arguments(world, chosen, line)
        logging.getLogger("crdbmesh.trace").debug("%s", shlex.join(["ssh", *arguments]))
        if hasattr(signal, "SIGPIPE"):
            # Python ignores it, and so would ssh and what it runs.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(program, ["ssh", *arguments])  # noqa: S606 - nothing is given to a shell here


def logs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REGION] [k3s|cilium|coredns|cockroachdb|cloud-init]",
            autocompletion=complete.logs,
            help="Regions and programs; without any, all.",
        ),
    ] = None,
    name: Name = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", envvar="CRDBMESH_FOLLOW", help="Go on until Ctrl-C.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", envvar="CRDBMESH_SINCE", help="10m, 2h, or 2026-11-27T18:00:00Z."),
    ] = None,
    tail: Annotated[
        int | None,
        typer.Option(
            "--tail", metavar="N", envvar="CRDBMESH_TAIL", min=0, help="Last lines of each log [100, or all --since]."
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="FILE", envvar="CRDBMESH_BUNDLE", help="Write a support archive, a .tar.gz, instead."
        ),
    ] = None,
    output: OutputOption = "text",
) -> None:
    """Show the journals of machines and the logs of pods, merged; or archive them with all else that helps support."""
    from rich.text import Text

    from crdbmesh.commands import aim as aims
    from crdbmesh.commands import bundle as archive
    from crdbmesh.commands import logs as command
    from crdbmesh.redaction import hide
    from crdbmesh.run.world import World
    from crdbmesh.terminal import console
    from crdbmesh.terminal.visible import visible

    with exits.mapped(output) as signals, signals.leaving():
        for option, value in (("--bundle", bundle), ("--output", output == "json")):
            if follow and value:
                raise ConfigError.of("--follow", "given", f"has no end, as {option} needs", "give one of both")
        screen, result = console.make(stderr=True, always=True), console.make(stderr=False)
        unread: list[str] = []

        def note(what: str, why: str) -> None:
            unread.append(hide(f"{what}: {why}"))
            screen.print(Text.assemble(("! ", "yellow"), unread[-1]))

        quiet = console.make(stderr=True)
        with World.open(*inputs.kept(name)) as world:
            mesh = world.mesh
            aim = aims.require(world.session, world.folder, mesh.name, lambda aim: console.show_aim(quiet, aim))
            if bundle:
                console.say(quiet, "Collecting journals, logs, objects and status …")
                window = command.read_window(since, tail, least=archive.TAIL)
                made = archive.make(world, aim, window, bundle, note)
                if output == "json":
                    exits.print_json(made)
                else:
                    typer.echo(f"{bundle}: {len(made['parts'])} parts, without secrets; {len(made['missing'])} missing")
                return
            window = command.read_window(since, tail)
            regions, programs = command.choose(mesh, words or ())
            command.learn_secrets(mesh, world.folder)
            if follow:
                lines = command.follow(world, regions, programs, window, note)
            else:
                lines = command.merge(command.find(world, regions, programs, note), window, note)
            if output == "json":
                shown = [{"at": line.at.isoformat(), "source": line.source, "text": line.text} for line in lines]
                exits.print_json({"command": "logs", "mesh": mesh.name, "lines": shown, "unread": unread})
                raise typer.Exit(exits.FAILED if unread and not shown else exits.DONE)
            colours: dict[str, str] = {}
            for line in lines:
                colour = colours.setdefault(line.source, _COLOURS[len(colours) % len(_COLOURS)])
                at, said = f"{line.at:%Y-%m-%dT%H:%M:%SZ} ", visible(hide(line.text))
                result.print(Text.assemble((at, "dim"), (line.source, colour), f"  {said}"), soft_wrap=True)
            raise typer.Exit(exits.FAILED if unread and not colours else exits.DONE)
