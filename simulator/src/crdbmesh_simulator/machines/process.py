"""A running command: who it is, where it is, what it reads and writes, and how it waits.

`run` starts what an argument vector names, as execve(2) and a PATH search would: the file has to be there, be
executable and be a program of this world, or a script whose interpreter is.
"""

from __future__ import annotations

import errno
import os
import posixpath
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.machines.filesystem import EXECUTE, READ, Actor, Inode

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games:/usr/local/games:/snap/bin"
_SLICE_S = 0.05
_MAX_DEPTH = 60


class Killed(Exception):  # noqa: N818 - not an error of the program
    """The machine went down, or the reader of the output went away: the process ends without a word."""


class Signalled(Exception):  # noqa: N818 - not an error of the program
    """The process was ended by a signal."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Expired(Exception):  # noqa: N818 - not an error of the program
    """The deadline that timeout(1) had set passed."""

    def __init__(self, token: object) -> None:
        super().__init__("deadline passed")
        self.token = token


class UnsupportedError(Exception):
    """A command line that real Linux may understand and this world does not."""


class UsageError(Exception):
    """A command was used wrongly in the way its manual page says. Carries its exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Source(ABC):
    """What a process reads."""

    @abstractmethod
    def readline(self) -> bytes:
        """The next line with its end, or what is left; empty at the end."""

    def read(self) -> bytes:
        """Everything that is left."""
        lines = []
        while line := self.readline():
            lines.append(line)
        return b"".join(lines)


class Bytes(Source):
    """A source that is known in whole."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self._at = 0

    def readline(self) -> bytes:
        """The next line."""
        end = self._data.find(b"\n", self._at)
        end = len(self._data) if end < 0 else end + 1
        line = self._data[self._at : end]
        self._at = end
        return line

    def read(self) -> bytes:
        """The rest."""
        rest = self._data[self._at :]
        self._at = len(self._data)
        return rest


class Sink:
    """What a process writes to; this one keeps nothing, like /dev/null."""

    def write(self, data: bytes) -> None:
        """Write."""


class Buffer(Sink):
    """Keeps what was written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Keep."""
        self.data += data


class FileSink(Sink):
    """Writes into an open file."""

    def __init__(self, machine: MachineOS, inode: Inode) -> None:
        self._machine = machine
        self._inode = inode

    def write(self, data: bytes) -> None:
        """Append."""
        self._machine.files.put(self._inode, data)


@dataclass(slots=True)
class Process:
    """A running command.

    Attributes:
        stop: set when the machine goes down: every wait ends.
        deadlines: set by timeout(1): simulated time and the token of the one who waits.
    """

    machine: MachineOS
    actor: Actor
    env: dict[str, str]
    cwd: str
    stdin: Source
    stdout: Sink
    stderr: Sink
    stop: threading.Event
    deadlines: tuple[tuple[float, object], ...] = ()
    depth: int = 0
    name: str = ""
    fds: dict[int, Source | Sink] = field(default_factory=dict)

    def out(self, text: str | bytes) -> None:
        """Write to standard output."""
        self.stdout.write(encode(text))

    def err(self, text: str | bytes) -> None:
        """Write to standard error."""
        self.stderr.write(encode(text))

    def path(self, path: str) -> str:
        """An absolute form of `path`."""
        return posixpath.join(self.cwd, path)

    def read_file(self, path: str) -> bytes:
        """A file's content, or standard input for `-` and /dev/stdin."""
        if path in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            return self.stdin.read()
        return self.machine.files.read(self.path(path), self.actor)

    def open_sink(self, path: str, *, append: bool = False) -> Sink:
        """Open a file to write it, or one of the streams that /dev names."""
        standard = {"/dev/stdout": self.stdout, "/dev/fd/1": self.stdout, "/dev/stderr": self.stderr,
                    "/dev/fd/2": self.stderr, "/dev/null": Sink()}.get(path)  # fmt: skip
        if standard is not None:
            return standard
        inode = self.machine.files.open_write(self.path(path), self.actor, truncate=not append)
        return FileSink(self.machine, inode) if inode.is_file else Sink()

    def find(self, path: str, *, follow: bool = True) -> Inode | None:
        """What is at `path`."""
        return self.machine.files.find(self.path(path), self.actor, follow=follow)

    def act(self, what: str) -> None:
        """Note a change of the host that is not of a file."""
        self.actor.ledger.act(what)

    def sleep(self, seconds: float) -> None:
        """Wait simulated seconds.

        Raises:
            Killed: the machine went down meanwhile.
            Expired: a deadline of timeout(1) came first.
        """
        clock = self.machine.world.clock
        until = clock.now() + seconds
        while True:
            now = clock.now()
            for deadline, token in self.deadlines:
                if now >= deadline:
                    raise Expired(token)
            if self.stop.is_set():
                raise Killed
            if now >= until:
                return
            nearest = min([until, *(deadline for deadline, _ in self.deadlines)])
            self.stop.wait(min(clock.real_s(nearest - now), _SLICE_S) or 0.0005)

    def child(self, **changes: object) -> Process:
        """A process like this one, with some things different."""
        env = dict(self.env)
        return replace(self, **{"env": env, "depth": self.depth + 1, **changes})  # type: ignore[arg-type]

    def run(self, argv: list[str], **changes: object) -> int:
        """Run another command and return its exit status."""
        return run(self.child(**changes), argv)


def encode(text: str | bytes) -> bytes:
    """As a process writes it."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def decode(data: bytes) -> str:
    """As a process reads it; undecodable bytes survive a round trip."""
    return data.decode("utf-8", "surrogateescape")


def search(process: Process, name: str, path: str | None = None) -> str | None:
    """Where a command is: PATH is searched unless `name` has a slash."""
    if "/" in name:
        inode = process.find(name)
        return process.path(name) if inode and inode.is_file else None
    for folder in (path if path is not None else process.env.get("PATH", PATH)).split(":"):
        candidate = posixpath.join(process.path(folder or "."), name)
        inode = process.machine.files.find(candidate, process.actor)
        if inode and inode.is_file and process.actor.may(inode, EXECUTE):
            return candidate
    return None


def run(process: Process, argv: list[str], *, label: str = "bash: line 1: ") -> int:
    """Run a command to its end, in this process, and return its exit status."""
    from crdbmesh_simulator.machines import commands

    if process.depth > _MAX_DEPTH:
        process.err(f"{label}fork: retry: Resource temporarily unavailable\n")
        return 254
    name = argv[0]
    where = search(process, name)
    if where is None:
        return _absent(process, argv, label)
    inode = process.machine.files.find(where, process.actor)
    assert inode is not None
    if not process.actor.may(inode, EXECUTE):
        process.err(f"{label}{name}: Permission denied\n")
        return 126
    content = bytes(inode.content)
    if content.startswith(b"#!"):
        if not process.actor.may(inode, READ):
            process.err(f"{label}{name}: Permission denied\n")
            return 126
        interpreter = decode(content[2:].split(b"\n", 1)[0]).split(None, 1)
        return run(process, [*interpreter, where, *argv[1:]], label=label)
    program = internet.program(content)
    if program is None and content.startswith(b"\x7fELF"):
        process.err(f"{label}{name}: Segmentation fault (core dumped)\n")
        return 139
    if program is None:
        if not content or b"\0" in content[:80]:
            process.err(f"{label}{name}: cannot execute binary file: Exec format error\n" if content else b"")
            return 126 if content else 0
        return run(process, ["sh", where, *argv[1:]], label=label)
    if program.arch and program.arch != process.machine.arch:
        process.err(f"{label}{name}: cannot execute binary file: Exec format error\n")
        return 126
    process.name = posixpath.basename(name)
    process.machine.world.ran(process.machine.hostname, argv)
    return commands.run(process, program, [process.name, *argv[1:]])


def os_error(error: OSError) -> str:
    """The message of an error as perror(3) words it."""
    return os.strerror(error.errno or errno.EIO)


def _absent(process: Process, argv: list[str], label: str) -> int:
    name = argv[0]
    if "/" in name:
        inode = process.find(name)
        reason = "Is a directory" if inode and inode.is_dir else "No such file or directory"
        process.err(f"{label}{name}: {reason}\n")
        return 126 if inode else 127
    dash = label.startswith("sh: ")
    process.err(f"{label}{name}: not found\n" if dash else f"{label}{name}: command not found\n")
    process.machine.world.not_known("ssh", " ".join(argv)[:200])
    return 127


def with_umask(actor: Actor, umask: int) -> Actor:
    """The same actor with another umask."""
    return replace(actor, umask=umask)
