"""A container as the system that its processes run on: its image's commands, its files, its network."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.shell.process import Command, NotStartedError, Process, Sink, Source, System, UnsupportedError
from crdbmesh_simulator.userland.table import COMMANDS
from crdbmesh_simulator.workloads import dns, images, paths
from crdbmesh_simulator.workloads.files import Files
from crdbmesh_simulator.workloads.service import reload

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container

_CONNECT_S = 127.0


class Box(System):
    """A container. Raises LookupError: no registry has its image."""

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

    def lookup(self, name: str) -> Generator[float, None, tuple[list[str], str]]:
        """What /etc/hosts and the pod's name server say."""
        text = self.files.read("/etc/hosts").decode() if self.files.is_file("/etc/hosts") else ""
        for words in (line.split("#")[0].split() for line in text.splitlines()):
            if name in words[1:] and ":" not in words[0]:
                return [words[0]], words[1]
        answer = dns.resolve(self.world, self.container, name)
        yield answer.elapsed_s
        return (list(answer.addresses), answer.records[-1].name.rstrip(".")) if answer.found else ([], "")

    def connect(self, target: str) -> Generator[float, None, str | None]:
        """Open bash's `/dev/tcp/host/port` through the pod's network."""
        _, _, protocol, host, port = target.split("/", 4)
        addresses, _ = yield from self.lookup(host)
        if not addresses:
            return f"{host}: Name or service not known"
        with self.world.lock:
            reason = paths.connect(self.world, self.container, addresses[0], int(port), protocol.upper())
        if reason is None:
            return None
        if reason.startswith(paths.REFUSED):
            return f"{target}: Connection refused"
        yield _CONNECT_S
        return f"{target}: Connection timed out"

    def signal(self, pid: str, name: str) -> None:
        """Send the first process a hangup, by which CockroachDB reads its certificates anew."""
        if pid != "1" or name != "HUP" or not reload(self.container):
            raise UnsupportedError(f"kill -{name} {pid}")

    def process(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
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
        who = Actor(self.files.user, self.files.group)
        return Process(self, list(argv), env, cwd, who, Source(stdin), stdout or Sink(), stderr or Sink(), main)


def box_of(process: Process) -> Box:
    """The container that a process runs in."""
    assert isinstance(process.system, Box)
    return process.system
