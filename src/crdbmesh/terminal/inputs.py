"""The inputs of a command besides its options: the environment, the local folders, and answers to questions."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from crdbmesh.errors import ABSENT, ConfigError
from crdbmesh.terminal.options import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crdbmesh.clients.cloud import Cloud
    from crdbmesh.commands.specs import Given
    from crdbmesh.local.folder import LocalFolder
    from crdbmesh.run.world import World
    from crdbmesh.spec.mesh import Mesh


def given(
    regions: list[str] | None,
    name: str | None,
    file: Path | None,
    allow_from: list[str] | None,
    machines_per_region: int | None,
    machine_size: str | None,
    profile: str | None,
) -> Given:
    """Return the values that say which mesh is meant, with the `crdbmesh.yaml` of the working folder if it has one.

    That file is a ConfigError if it is no spec, or of another mesh than the known ones while none is named; it is an
    UnsafeError if it could be somebody else's.
    """
    from crdbmesh.commands import specs
    from crdbmesh.terminal import console

    named, sources = tuple(regions or ()) or None, tuple(allow_from or ()) or None
    values = specs.Given(named, name, file, sources, machines_per_region, machine_size, profile)
    return specs.with_found(values, Path(), root(), lambda text: console.say(console.make(stderr=True), text))


def cloud(*, lookup: bool = True) -> Cloud:
    """Return the cloud that the environment names; raise ConfigError when a variable or the cloud file is wrong.

    Without `lookup`, nobody is asked for the caller's own address.
    """
    from crdbmesh.clients import environment

    found = environment.find_cloud(os.environ)
    return found if lookup else replace(found, address_urls=())


def root() -> Path:
    """Return the folder of all meshes' local folders."""
    from crdbmesh.local.folder import find_root

    return find_root(os.environ)


def folder(name: str) -> LocalFolder:
    """Return a mesh's local folder."""
    from crdbmesh.local.folder import LocalFolder

    return LocalFolder(root() / name)


def kept(name: str | None, *, lookup: bool = True) -> tuple[Mesh, Cloud, LocalFolder]:
    """Return the mesh of that name, or the only one, as the last `up` here kept it, its cloud and its local folder."""
    from crdbmesh.commands import specs

    mesh = specs.kept(specs.name_of(name, root()), root())
    return mesh, cloud(lookup=lookup), folder(mesh.name)


@contextlib.contextmanager
def opened(name: str | None) -> Iterator[World]:
    """Open the world of a mesh that is known here, or else found by its tags; no interrupt ends its waits."""
    from crdbmesh.commands import reconstruct
    from crdbmesh.run.world import World

    known = cloud()
    mesh, _ = reconstruct.known(name, known, root())
    with World.open(mesh, known, folder(mesh.name)) as world:
        yield world


def again(command: str, name: str) -> str:
    """Return the command line that runs a command on the same mesh again."""
    from crdbmesh.local.folder import list_meshes

    return f"crdbmesh {command}" if list_meshes(root()) == [name] else f"crdbmesh {command} {name}"


def next_commands(context: typer.Context, name: str) -> list[str]:
    """Return the command lines to try once a mesh is up, of the commands that there are."""
    from crdbmesh.local.folder import list_meshes

    there = getattr(context.find_root().command, "commands", {})
    option = "" if list_meshes(root()) == [name] else f" --name {name}"
    tried = {"sql": "", "console": "", "kubeconfig": " --merge", "verify": "", "status": ""}
    return [f"crdbmesh {command}{more}{option}" for command, more in tried.items() if command in there]


def must_ask(*, yes: bool, output: Output, remedy: str) -> bool:
    """Return True when the user has to confirm; raise ConfigError when there is no terminal to do so."""
    if yes:
        return False
    if output == "json":
        raise ConfigError.of("--yes", ABSENT, "cannot prompt with --output json", remedy)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError.of("--yes", ABSENT, "cannot prompt without a terminal", remedy)
    return True


def confirm_loss(name: str) -> None:
    """Ask again when databases would be lost for good; a database that does not answer in 10 s is not waited for."""
    from crdbmesh.commands import backup
    from crdbmesh.run.world import World

    stop = threading.Event()
    patience = threading.Timer(10.0, stop.set)
    patience.daemon = True
    patience.start()
    with contextlib.suppress(ConfigError), World.open(*kept(name, lookup=False), stop=stop) as world:
        if loss := backup.describe_loss(world):
            typer.confirm(f"{loss} Delete them for good?", abort=True, err=True)


def confirm_name(name: str) -> None:
    """Ask the user to type the mesh's name; raise ConfigError when it is another."""
    typed = typer.prompt(f"Type the mesh's name ({name}) to delete all of it", err=True)
    if typed != name:
        raise ConfigError.of("name", typed, f"is not {name}", "nothing was deleted; type the name exactly")
