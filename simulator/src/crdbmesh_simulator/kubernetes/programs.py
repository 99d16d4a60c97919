"""The program in a container, as the kubelet of the simulated world asks it.

A program sees what a real process would see (arguments, environment, mounted files, the network as physics allow)
and nothing else of the world. It is driven by `tick`, under `world.lock`, a few times per simulated second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self, SupportsIndex

from crdbmesh_simulator.shell.process import Terminal

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.workloads.dialogue import Dialogue
    from crdbmesh_simulator.world import World

Stdin = bytes | Terminal
"""The input of a command: known in whole, or typed at a terminal, which then shows its output as well."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The end of a command in a container."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer of a program's HTTP server."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(slots=True)
class Container:
    """A container as its program sees it.

    `pod`: the Pod object, live (its `status.podIP` is set before the program starts). `spec`: the container's entry in
    the pod's `spec.containers` (or `initContainers`). `argv`: `command` + `args`, with `$(VAR)` expanded; the image's
    own entry point is implied when empty. `env`: environment with `valueFrom` resolved. `files`: mounted files,
    absolute path -> content. Secret and ConfigMap volumes are refreshed when they change (after the kubelet's sync
    delay); `modes` holds their octal permission bits. `layer`: files written elsewhere; all processes of the container
    see them, and they go with it.
    """

    world: World
    cluster: Cluster
    node: Member
    pod: dict[str, Any]
    spec: dict[str, Any]
    argv: list[str]
    env: dict[str, str]
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    layer: dict[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def image(self) -> str:
        """The container's image reference."""
        return str(self.spec["image"])


class Program(ABC):
    """A running program. `exit_code` is None while it runs; the kubelet restarts or completes the container after."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.log = Log(container.world.clock.now)
        self.exit_code: int | None = None

    @abstractmethod
    def tick(self) -> None:
        """Let the program act; called under `world.lock`."""

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:  # noqa: ARG002
        """Answer a GET on the program's own port, or None when nothing listens there (or not with this scheme)."""
        return None

    def connect(self, port: int) -> Dialogue | None:
        """Take a TCP connection, or None when nothing listens there; one GET in plain HTTP unless a program differs."""
        from crdbmesh_simulator.workloads.dialogue import Http  # which knows programs

        if self.http_get(port, "/", tls=False) is None:
            return None
        return Http(lambda path: self.http_get(port, path, tls=False))

    @abstractmethod
    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
        """Run `argv` inside the container. An executable that the image lacks: exit code 127 and `world.not_known`.

        Called WITHOUT `world.lock` held; take it for each look at the world.
        """


class LogLine(NamedTuple):
    """A line.

    `number`: of the line, from 0 on; it stays when lines before it are forgotten. `time`: simulated seconds since the
    Unix epoch.
    """

    number: int
    time: float
    text: str


class Log(list[str]):
    """The lines of a program, which adds at the end and forgets at the start.

    `now`: what time it is, in simulated seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._times: list[float] = []
        self._forgotten = 0

    def append(self, line: str, /) -> None:
        """Add a line."""
        self.extend([line])

    def extend(self, lines: Iterable[str], /) -> None:
        """Add lines."""
        super().extend(lines)
        self._times += [self._now()] * (len(self) - len(self._times))

    def __iadd__(self, lines: Iterable[str], /) -> Self:  # type: ignore[override, misc]  # as list's own
        """Add lines."""
        self.extend(lines)
        return self

    def __delitem__(self, which: SupportsIndex | slice, /) -> None:
        """Forget lines at the start."""
        super().__delitem__(which)
        gone = len(self._times) - len(self)
        del self._times[:gone]
        self._forgotten += gone

    def lines(self) -> list[LogLine]:
        """Return the lines that are kept."""
        return [
            LogLine(self._forgotten + index, time, text)
            for index, (time, text) in enumerate(zip(self._times, self, strict=True))
        ]
