"""The commands that lead into the database: their options and output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crdbmesh.errors import ConfigError, KubeError
from crdbmesh.terminal import complete, exits, inputs
from crdbmesh.terminal.options import Name, OutputOption

if TYPE_CHECKING:
    from crdbmesh.clients.waiting import Say
    from crdbmesh.run.world import World
    from crdbmesh.terminal.options import Output

Region = Annotated[
    str | None,
    typer.Argument(
        metavar="REGION", autocompletion=complete.regions, help="The region to ask; the first that answers by default."
    ),
]
User = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="NAME",
        envvar="CRDBMESH_SQL_USER",
        help="The SQL user [crdbmesh, a member of admin]; created if need be, any other without privileges.",
    ),
]
_FORWARDED = "Leads to {} from this computer only, until Ctrl-C."


def sql(
    region: Region = None,
    name: Name = None,
    execute: Annotated[
        list[str] | None,
        typer.Option("--execute", "-e", metavar="STATEMENT", help="Run a statement instead of a shell; repeatable."),
    ] = None,
    user: User = None,
    output: OutputOption = "text",
) -> None:
    """Open the SQL shell in a pod of the mesh, or run statements; nothing but crdbmesh is needed on this computer.

    What is piped in is run. You are the SQL user crdbmesh, by a certificate of the mesh's CA in the local folder, and
    root only by `--user root`. No argument list in the mesh shows a statement; of those that change schemas, users or
    settings, CockroachDB keeps a log.
    """
    from crdbmesh.clients import database as client
    from crdbmesh.commands import database as command
    from crdbmesh.terminal import shell

    with opened(name, output) as (world, say):
        if output == "json" and not execute:
            raise ConfigError.of("--output", "json", "works with -e only", "give statements with -e")
        way = command.find_way(world, region, command.user_name(user), say)
        form = "table" if sys.stdout.isatty() else "tsv"
        if not execute:
            with shell.ends() as ends:
                raise typer.Exit(way.attach(ends, form=None if ends.size else form))
        answer = way.execute(execute, form="json" if output == "json" else form)
        if output == "json":
            if answer.status:
                raise KubeError(f"SQL failed: {client.cause(answer)}")
            of = {"mesh": world.mesh.name, "region": way.region, "user": way.user}
            exits.print_json({"command": "sql", **of, "results": client.read_results(answer.stdout)})
            return
        shell.write(sys.stdout, answer.stdout)
        shell.write(sys.stderr, answer.stderr)
        raise typer.Exit(exits.FAILED if answer.status else exits.DONE)


def url(
    region: Region = None,
    name: Name = None,
    user: User = None,
    forward: Annotated[
        bool, typer.Option("--forward", help="Open a port of this computer that leads to the database, until Ctrl-C.")
    ] = False,
    output: OutputOption = "text",
) -> None:
    """Print a connection string for psql and any PostgreSQL driver, with certificates in the mesh's local folder."""
    from crdbmesh.commands import database as command

    with opened(name, output) as (world, say), contextlib.ExitStack() as stack:
        way = command.find_way(world, region, command.user_name(user), say)
        host, port, where, serve = command.inside_host(way.region), command.SQL_PORT, way.region, None
        if forward:
            host, port, where, serve = stack.enter_context(_forwarding(world, region, port, say))
        shown = command.url(world, way.user, host=host, port=port)
        if output == "json":
            of = {"mesh": world.mesh.name, "region": where, "user": way.user, "host": host, "port": port}
            exits.print_json({"command": "url", **of, "forwarded": forward, "url": shown})
        else:
            typer.echo(shown)
        sys.stdout.flush()
        if serve is None:
            say(f"Only pods of {where} can reach this host. From here: --forward, or `crdbmesh sql`.")
        else:
            say(_FORWARDED.format(where))
            serve()


def console(
    region: Region = None,
    name: Name = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", envvar="CRDBMESH_BROWSER", help="Open it in your browser.")
    ] = True,
) -> None:
    """Open the DB Console through a port of this computer, until Ctrl-C."""
    from crdbmesh.commands import database as command

    with opened(name, "text") as (world, say), contextlib.ExitStack() as stack:
        host, port, where, serve = stack.enter_context(_forwarding(world, region, command.CONSOLE_PORT, say))
        typer.echo(f"https://{host}:{port}")
        sys.stdout.flush()
        say(_FORWARDED.format(where))
        password = f"ALTER USER {command.DEFAULT_USER} WITH PASSWORD 'a long one'"
        say(f"Log in as a SQL user with a password, which you give it in `crdbmesh sql`: {password};")
        say(f"Your browser warns of the certificate, which is of the mesh's own CA: {command.ca_file(world)}")
        graphical = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(os.environ)
        if browser and sys.stdout.isatty() and graphical:
            import webbrowser

            webbrowser.open(f"https://{host}:{port}")
        serve()


@contextlib.contextmanager
def opened(name: str | None, output: Output) -> Iterator[tuple[World, Say]]:
    """Open the world of a mesh that is known here, with what shows remarks."""
    from rich.text import Text

    from crdbmesh.commands import aim
    from crdbmesh.run.world import World
    from crdbmesh.terminal import console as screens

    with exits.mapped(output):
        mesh, cloud, folder = inputs.kept(name, lookup=False)
        aim.compare(cloud, folder, mesh.name)
        screen = screens.make(stderr=True)
        with World.open(mesh, cloud, folder) as world:
            yield world, lambda text: screen.print(Text(text, style="dim"), soft_wrap=True)


@contextlib.contextmanager
def _forwarding(
    world: World, region: str | None, port: int, say: Say
) -> Iterator[tuple[str, int, str, Callable[[], None]]]:
    """Yield host and port of this computer, the region they lead to, and what serves until Ctrl-C, a good end."""
    from crdbmesh.clients.kube import forward
    from crdbmesh.commands import database as command

    _, where, _ = command.find_ready(world, region)
    with forward.listen(port) as listener, contextlib.suppress(KeyboardInterrupt):
        serve = partial(forward.serve, listener, partial(command.carry, world, region, port), say)
        yield "localhost", listener.getsockname()[1], where, serve
