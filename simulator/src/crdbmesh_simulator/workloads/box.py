"""A container as the system that its processes run on: its image's commands, its files, its network."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.shell.process import (
    Command,
    NotStartedError,
    Process,
    Sink,
    Source,
    Stream,
    System,
    UnsupportedError,
)
from crdbmesh_simulator.userland.table import COMMANDS
from crdbmesh_simulator.workloads import datapath, dns, images, paths
from crdbmesh_simulator.workloads.dialogue import Http
from crdbmesh_simulator.workloads.files import Files
from crdbmesh_simulator.workloads.service import reload

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container

_CONNECT_S = 127.0
_LOST_S = 900.0
"""So long the kernel sends again what is lost (tcp(7), `tcp_retries2`)."""


class Box(System):
    """A container. Raises LookupError: no registry has its image.

    `time`: what its clock shows to a command that runs; None: the world's.
    """

    door = "exec"
    files: Files

    def __init__(self, container: Container) -> None:
        image = images.find(container.image)
        if image is None:
            raise LookupError(f"{container.image}: not found")
        self.container = container
        self.image = image
        self.world = container.world
        self.files = Files(container)
        self.sh = image.sh
        self.time: float | None = None

    @property
    def place(self) -> str:
        """Its node, namespace and pod."""
        metadata = self.container.pod["metadata"]
        return f"{self.container.node.node_name}/{metadata.get('namespace')}/{metadata.get('name')}"

    @property
    def hostname(self) -> str:
        """The pod's host name."""
        own = self.files.read("/etc/hostname").decode().strip() if self.files.is_file("/etc/hostname") else ""
        return own or self.container.env.get("HOSTNAME") or str(self.container.pod["metadata"]["name"])

    def load(self, process: Process) -> Command:
        """The command of the image that a word names."""
        from crdbmesh_simulator.workloads.cockroachdb import client  # which runs in such a container

        name = self.image.find(process.argv[0], process.cwd)
        own: dict[str, Command] = {"cockroach": client.run}
        command = {**COMMANDS, **own}.get(name or "")
        if command is None:
            self.not_known(f"{self.container.image}: {' '.join(process.argv)}")
            reason = "No such file or directory" if "/" in process.argv[0] else "command not found"
            raise NotStartedError(f"{process.argv[0]}: {reason}", 127)
        return command

    def where(self, process: Process, name: str) -> str | None:  # noqa: ARG002 - an image's search path is fixed
        """The path of a command of the image."""
        return self.image.where(name)

    def lookup(self, name: str, *, options: str = "") -> Generator[float, None, tuple[list[str], str]]:
        """What /etc/hosts and the pod's name server say."""
        text = self.files.read("/etc/hosts").decode() if self.files.is_file("/etc/hosts") else ""
        for words in (line.split("#")[0].split() for line in text.splitlines()):
            if name in words[1:] and ":" not in words[0]:
                return [words[0]], words[1]
        answer = dns.resolve(self.world, self.container, name, options)
        yield answer.elapsed_s
        return (list(answer.addresses), answer.records[-1].name.rstrip(".")) if answer.found else ([], "")

    def now(self) -> float:
        """The time of its clock; exact within a command that `runner.run` runs."""
        return self.time if self.time is not None else self.world.clock.now()

    def connect(self, target: str) -> Generator[float, None, Stream | str]:
        """Open bash's `/dev/tcp/host/port` through the pod's network."""
        _, _, protocol, host, port = target.split("/", 4)
        addresses, _ = yield from self.lookup(host)
        if not addresses:
            return f"{host}: Name or service not known"
        with self.world.lock:
            reached = paths.reach(self.world, self.container, addresses[0], int(port), protocol.upper())
        if isinstance(reached, str):
            if reached.startswith(paths.REFUSED):
                return f"{target}: Connection refused"
            yield _CONNECT_S
            return f"{target}: Connection timed out"
        yield paths.round_trip_s(self.world, self.container, reached)
        return Connection(self, reached)

    def signal(self, pid: str, name: str) -> None:
        """Send the first process a hangup, by which CockroachDB reads its certificates anew."""
        if pid != "1" or name != "HUP" or not reload(self.container):
            raise UnsupportedError(f"kill -{name} {pid}")

    def process(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Source = b"",
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        main: bool = False,
    ) -> Process:
        """A process in the image's working folder and environment."""
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **self.image.env,
            "HOME": "/root",
            **self.container.env,
        }
        cwd = str(self.container.spec.get("workingDir") or self.image.cwd)
        given = stdin if isinstance(stdin, Source) else Source(stdin)
        who = Actor(self.files.user, self.files.group)
        return Process(self, list(argv), env, cwd, who, given, stdout or Sink(), stderr or Sink(), main)


class Connection(Stream):
    """A connection to a program, which takes one request in plain HTTP/1.0 and closes after its answer."""

    def __init__(self, box: Box, reached: paths.Reached) -> None:
        self._box, self._reached, self._request = box, reached, b""

    def write(self, data: bytes) -> None:
        """Send."""
        self._request += data

    def receive(self) -> Generator[float, None, bytes]:
        """Everything that comes until the program closes; packets that do not fit are lost, so that nothing comes."""
        reached, request = self._reached, self._request
        with self._box.world.lock:
            answer = b""
            if (program := reached.program) is not None:
                answer = Http(lambda path: program.http_get(reached.port, path, tls=False)).receive(request)
            large = paths.carries_large(self._box.world, self._box.container, reached)
            round_trip_s = paths.round_trip_s(self._box.world, self._box.container, reached)
        if not large and max(len(request), len(answer)) > datapath.LINK_MTU - datapath.TUNNEL_COST:
            yield _LOST_S
            return b""
        yield round_trip_s
        return answer


def box_of(process: Process) -> Box:
    """The container that a process runs in."""
    assert isinstance(process.system, Box)
    return process.system
