"""A command that runs in a container, and how commands wait.

A command is a generator: it yields how many simulated seconds it wants to wait and returns its exit status. So the same
command can be driven by a container's clockwork, without a thread, and by `exec`, which sleeps in between.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads.files import Files

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.workloads.images import Image
    from crdbmesh_simulator.world import World

Run = Generator[float, None, int]
Command = Callable[["Process"], "Run | int"]

MISSING = 127


class Become(Exception):  # noqa: N818 - not an error of the program
    """The process turns into a program that serves for good."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        super().__init__(argv[0])
        self.argv = argv
        self.env = env


@dataclass
class Process:
    """A running command.

    Attributes:
        main: it is the container's first process, so that it may turn into a serving program.
        files: the container's file tree.
    """

    container: Container
    image: Image
    argv: list[str]
    env: dict[str, str]
    files: Files
    stdin: bytes = b""
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    cwd: str = "/"
    main: bool = False

    @property
    def world(self) -> World:
        """The world."""
        return self.container.world

    @property
    def name(self) -> str:
        """The command's own name."""
        return posixpath.basename(self.argv[0])

    def say(self, text: str) -> None:
        """Write to standard output."""
        self.out += text.encode()

    def complain(self, text: str) -> None:
        """Write to standard error."""
        self.err += text.encode()

    def path(self, path: str) -> str:
        """An absolute form of a path."""
        return posixpath.normpath(posixpath.join(self.cwd, path))

    def child(self, argv: list[str], **changes: object) -> Process:
        """A process started by this one: it shares the streams unless told otherwise."""
        values: dict[str, object] = {
            "container": self.container,
            "image": self.image,
            "argv": argv,
            "env": dict(self.env),
            "files": self.files,
            "stdin": self.stdin,
            "out": self.out,
            "err": self.err,
            "cwd": self.cwd,
            "main": False,
        }
        return Process(**{**values, **changes})  # type: ignore[arg-type]


def execute(process: Process) -> Run:
    """Run what the argument vector names; 127 when the image has no such executable."""
    from crdbmesh_simulator.workloads import commands

    name = process.image.find(process.argv[0], process.cwd)
    metadata = process.container.pod["metadata"]
    place = f"{process.container.node.node_name}/{metadata.get('namespace')}/{metadata.get('name')}"
    process.world.ran(place, process.argv)
    command = commands.find(name) if name is not None else None
    if command is None:
        process.world.not_known("exec", f"{process.container.image}: {' '.join(process.argv)}")
        if "/" in process.argv[0]:
            process.complain(f"{process.argv[0]}: No such file or directory\n")
        else:
            process.complain(f"{process.argv[0]}: command not found\n")
        return MISSING
    result = command(process)
    if isinstance(result, int):
        return result
    return (yield from result)


def whole(result: Run | int) -> Run:
    """A command's result as a generator."""
    if isinstance(result, int):
        return result
    return (yield from result)
