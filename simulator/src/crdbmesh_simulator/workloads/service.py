"""The base of this package's programs: the ports they listen on, and commands run beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, Program, Stdin

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.dialogue import Dialogue

P = TypeVar("P", bound=Program)

Port = tuple[str, int]
"""Protocol (`TCP`, `UDP`) and number."""


class Service(Program):
    """A program that listens on ports, in an image whose commands `exec` can run."""

    def listening(self) -> frozenset[Port]:
        """The ports on which the program answers now."""
        return frozenset()

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
        """Run a command of the container's image."""
        from crdbmesh_simulator.workloads.runner import run

        return run(self.container, argv, stdin)

    def say(self, line: str) -> None:
        """Write to the container's log."""
        self.log.append(line)


class Daemon(Service):
    """A program of which only its health checks are of interest.

    It answers on every port that its container declares, and on `more`.
    """

    more: frozenset[Port] = frozenset()

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        declared = container.spec.get("ports") or []
        ports = {(str(port.get("protocol", "TCP")), int(port["containerPort"])) for port in declared}
        self._ports = self.more | ports

    def tick(self) -> None:
        """Nothing to do."""

    def healthy(self) -> bool:
        """Whether its health checks succeed."""
        return True

    def listening(self) -> frozenset[Port]:
        """Its ports."""
        return self._ports

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:  # noqa: ARG002 - the interface
        """Its health, on each port."""
        if tls or ("TCP", port) not in self._ports:
            return None
        return (
            HttpAnswer(200, b"ok", "text/plain") if self.healthy() else HttpAnswer(500, b"not reachable", "text/plain")
        )


class Wrapper(Service):
    """A program that may have become another one, as a shell does by `exec`."""

    inner: Program | None = None

    def listening(self) -> frozenset[Port]:
        """The ports of what it has become."""
        return self.inner.listening() if isinstance(self.inner, Service) else frozenset()

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        """Answer as the program that it has become."""
        return None if self.inner is None else self.inner.http_get(port, path, tls=tls)

    def connect(self, port: int) -> Dialogue | None:
        """Connect to the program that it has become."""
        return None if self.inner is None else self.inner.connect(port)


def unwrap(program: Program, kind: type[P]) -> P | None:
    """The program itself, or what it has become, if it is of that kind."""
    if isinstance(program, Wrapper) and program.inner is not None:
        program = program.inner
    return program if isinstance(program, kind) else None


def listens(program: Program, port: int, protocol: str) -> bool:
    """Return whether a program answers on a port."""
    if program.exit_code is not None:
        return False
    if isinstance(program, Service):
        return (protocol, port) in program.listening()
    if protocol != "TCP":
        return False
    return any(program.http_get(port, "/", tls=tls) is not None for tls in (False, True))


def reload(container: Container) -> bool:
    """Have the database server of a container read its certificates anew; whether the container has one."""
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

    pods = container.cluster.runtime
    box = pods.sandboxes.get(str(container.pod["metadata"].get("uid"))) if pods else None
    program = box.programs.get(container.name) if box else None
    node = unwrap(program, CockroachNode) if program is not None else None
    if node is not None:
        node.reload()
    return node is not None
