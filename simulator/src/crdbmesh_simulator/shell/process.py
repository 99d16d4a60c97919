"""A running command: who it is, where it is, what it reads and writes, and how it waits.

A command is a function of its process. It returns its exit status, or a generator that yields how many simulated
seconds it wants to wait and returns the exit status. So the same command is driven without a thread by the tick of
whatever it belongs to (a boot, a service, a container), and by a thread that sleeps in between (an SSH session,
`kubectl exec`).
"""

from __future__ import annotations

import errno
import os
import posixpath
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.inodes import Inode

if TYPE_CHECKING:
    from crdbmesh_simulator.world import World

Run = Generator[float, None, int]
Command = Callable[["Process"], "Run | int"]

_MAX_DEPTH = 60


class Killed(Exception):  # noqa: N818 - not an error of the program
    """The machine went down, or the reader of the output went away: the process ends without a word."""


class Signalled(Exception):  # noqa: N818 - not an error of the program
    """The process was ended by a signal, such as `TERM`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Become(Exception):  # noqa: N818 - not an error of the program
    """The process turns into a program that serves for good."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        super().__init__(argv[0])
        self.argv = argv
        self.env = env


class UnsupportedError(Exception):
    """A command line that real Linux may understand and this world does not."""


class UsageError(Exception):
    """A command was used wrongly in the way its manual page says. Carries its exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class NotStartedError(Exception):
    """execve(2) or the search for the program failed; with the exit status that shells make of it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Source:
    """What a process reads; this one is known in whole."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def readline(self) -> bytes:
        """The next line with its end, or what is left; empty at the end."""
        line, newline, self._data = self._data.partition(b"\n")
        return line + newline

    def read(self) -> bytes:
        """Everything that is left."""
        lines = []
        while line := self.readline():
            lines.append(line)
        return b"".join(lines)

    def read_until(self, end: bytes) -> tuple[bytes, bool]:
        """Read up to a delimiter, which is not given back, or to the end; and whether the delimiter was there."""
        part, found, self._data = self._data.partition(end)
        return part, bool(found)


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

    def take(self) -> bytes:
        """What was written since the last call."""
        data, self.data = bytes(self.data), bytearray()
        return data


class Stream(Sink):
    """A connection of a process."""

    @abstractmethod
    def receive(self) -> Generator[float, None, bytes]:
        """Everything that comes until the other end closes."""


class Terminal(Source, Sink):
    """A terminal that somebody types at: lines as they are finished, echoed, by the rules of termios(3).

    `size`: columns and rows. `typed`: set whenever there is something to take.
    """

    INTERRUPT, END = b"\x03", b"\x04"

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__()
        self.size, self.typed = (80, 24), threading.Event()
        self._write, self._line, self._lines = write, bytearray(), deque[bytes]()

    def write(self, data: bytes) -> None:
        """Show what a program writes."""
        self._write(data.replace(b"\n", b"\r\n"))

    def feed(self, data: bytes) -> None:
        """Take in what was typed; b"" is the end of the connection."""
        for code in data or self.END:
            key = bytes([code])
            if key in b"\r\n":
                self._finish(self._line + b"\n", b"\n")
            elif key == self.INTERRUPT or (key == self.END and not self._line):
                self._finish(key, b"^C" if key == self.INTERRUPT else b"")
            elif key in b"\x08\x7f":
                self.write(b"\b \b" if self._line else b"")
                del self._line[-1:]
            elif code >= 0x20:
                self._line += key
                self.write(key)

    def take(self) -> bytes | None:
        """Return a line with its end, `INTERRUPT` or `END`; None when nothing of that has been typed yet."""
        self.typed.clear()
        return self._lines.popleft() if self._lines else None

    def _finish(self, line: bytes | bytearray, echo: bytes) -> None:
        self._line = bytearray()
        self.write(echo)
        self._lines.append(bytes(line))
        self.typed.set()


class Tree(Protocol):
    """The files that a process sees; operations fail with the OSError of the system call."""

    def find(self, path: str, who: Actor, *, follow: bool = True) -> Inode | None:
        """What is at `path`, or None."""

    def stat(self, path: str, who: Actor, *, follow: bool = True) -> Inode:
        """What is at `path`."""

    def read(self, path: str, who: Actor) -> bytes:
        """A file's content."""

    def names(self, path: str, who: Actor) -> list[str]:
        """The names in a directory, sorted."""

    def glob(self, pattern: str, who: Actor) -> list[str]:
        """Paths that match an absolute pattern, sorted."""

    def write(self, path: str, data: bytes | str, who: Actor, *, mode: int = 0o666, append: bool = False) -> object:
        """Write a whole file, or add to its end."""


class System(ABC):
    """What a process runs on: a host, or a container.

    `door`: under which name what is not understood is recorded. `place`: its name in the world's process lists.
    `files`: its file tree. `sh`: what `sh` is: `dash` or `bash`.
    """

    world: World
    door: str
    files: Tree
    sh: str

    @property
    @abstractmethod
    def place(self) -> str:
        """Its name in the world's process lists."""

    @property
    @abstractmethod
    def hostname(self) -> str:
        """What `hostname` says."""

    @abstractmethod
    def load(self, process: Process) -> Command:
        """The program that a process' first word names; the process' arguments are changed as for a script's `#!`.

        Raises NotStartedError: there is none, or it cannot be run.
        """

    @abstractmethod
    def where(self, process: Process, name: str) -> str | None:
        """The path of the program that a word names, as `command -v` says it."""

    @abstractmethod
    def lookup(self, name: str, *, options: str = "") -> Generator[float, None, tuple[list[str], str]]:
        """The IPv4 addresses of a host name, and its full name; none when it does not resolve.

        `options` are those of the resolver, from `RES_OPTIONS` (resolv.conf(5)).
        """

    def connect(self, target: str) -> Generator[float, None, Stream | str]:
        """Open bash's `/dev/tcp/host/port`, or say why not."""
        raise UnsupportedError(target)

    def now(self) -> float:
        """The time of its clock, in seconds since the Unix epoch."""
        return self.world.clock.now()

    def signal(self, pid: str, name: str) -> None:
        """Send a signal to a process other than the shell itself."""
        raise UnsupportedError(f"kill -{name} {pid}")

    def not_known(self, what: str) -> None:
        """Record a request that this world does not understand."""
        self.world.not_known(self.door, what[:200])


class FileSink(Sink):
    """Writes into a file, which is emptied first unless `append`."""

    def __init__(self, process: Process, path: str, *, append: bool) -> None:
        self._files, self._who, self._path = process.files, process.actor, path
        self._files.write(path, b"", self._who, append=append)

    def write(self, data: bytes) -> None:
        """Append."""
        self._files.write(self._path, data, self._who, append=True)


@dataclass(slots=True)
class Process:
    """A running command.

    `main`: it is a container's first process, so that it may turn into a serving program. `depth`: how many processes
    up the first one is.
    """

    system: System
    argv: list[str]
    env: dict[str, str]
    cwd: str
    actor: Actor
    stdin: Source = field(default_factory=Source)
    stdout: Sink = field(default_factory=Sink)
    stderr: Sink = field(default_factory=Sink)
    main: bool = False
    depth: int = 0

    @property
    def world(self) -> World:
        """The world."""
        return self.system.world

    @property
    def files(self) -> Tree:
        """The files that it sees."""
        return self.system.files

    @property
    def name(self) -> str:
        """The command's own name."""
        return posixpath.basename(self.argv[0])

    def say(self, text: str | bytes) -> None:
        """Write to standard output."""
        self.stdout.write(encode(text))

    def complain(self, text: str | bytes) -> None:
        """Write to standard error."""
        self.stderr.write(encode(text))

    def path(self, path: str) -> str:
        """An absolute form of `path`."""
        return posixpath.normpath(posixpath.join(self.cwd, path))

    def find(self, path: str, *, follow: bool = True) -> Inode | None:
        """What is at `path`."""
        return self.files.find(self.path(path), self.actor, follow=follow)

    def read_file(self, path: str) -> bytes:
        """A file's content, or standard input for `-` and /dev/stdin."""
        if path in ("-", "/dev/stdin"):
            return self.stdin.read()
        return self.files.read(self.path(path), self.actor)

    def open_sink(self, path: str, *, append: bool = False) -> Sink:
        """Open a file to write it, or one of the streams that /dev names."""
        streams = {"/dev/stdout": self.stdout, "/dev/stderr": self.stderr, "/dev/null": Sink()}
        return streams.get(path) or FileSink(self, self.path(path), append=append)

    def child(self, argv: list[str], **changes: object) -> Process:
        """A process started by this one: it shares what it is not told otherwise."""
        given = {"argv": argv, "env": dict(self.env), "main": False, "depth": self.depth + 1, **changes}
        return replace(self, **given)  # type: ignore[arg-type]


def execute(process: Process, label: str = "") -> Run:
    """Run what the argument vector names to its end; failing to start it is told after `label`."""
    name = process.argv[0]
    if process.depth > _MAX_DEPTH:
        process.complain(f"{label}fork: retry: Resource temporarily unavailable\n")
        return 254
    try:
        command = process.system.load(process)
    except NotStartedError as error:
        process.complain(f"{label}{error}\n")
        return error.status
    process.world.ran(process.system.place, process.argv)
    try:
        result = command(process)
        return result if isinstance(result, int) else (yield from result)
    except UsageError as error:
        process.complain(f"{name}: {error}\n")
        return error.status
    except UnsupportedError as error:
        process.complain(f"{name}: this simulated system does not understand: {error}\n")
        process.system.not_known(f"{name}: {error}")
        return 2
    except OSError as error:
        process.complain(f"{name}: {error.filename}: {os_error(error)}\n")
        return 1


def encode(text: str | bytes) -> bytes:
    """As a process writes it."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def decode(data: bytes) -> str:
    """As a process reads it; undecodable bytes survive a round trip."""
    return data.decode("utf-8", "surrogateescape")


def os_error(error: OSError) -> str:
    """The message of an error as perror(3) words it."""
    return os.strerror(error.errno or errno.EIO)
