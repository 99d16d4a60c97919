"""The main processes of services: daemons of the image, and any other commands."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.shell.process import Buffer, Process, Run, Signalled, decode, execute

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS


class Task(ABC):
    """The main process of a service.

    `ready`: it told systemd that it serves (Type=notify). `exit_code`: None while it runs. `pid`: process id.
    """

    ready = False
    exit_code: int | None = None
    pid = 0

    @abstractmethod
    def tick(self, now: float) -> None:
        """Let it act; called under the world's lock."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""


class Daemon(Task):
    """A daemon of the image: it runs, and nothing of it can be seen but that."""

    ready = True

    def tick(self, now: float) -> None:
        """Nothing."""

    def stop(self) -> None:
        """End."""
        self.exit_code = 0


class CommandTask(Task):
    """Any other commands, one after the other.

    `machine`: where. `commands`: argument vectors, each with whether its failure is ignored. `env`: their environment.
    `actor`: who runs them. `unit`: whose journal their output goes to.
    """

    def __init__(
        self, machine: MachineOS, commands: list[tuple[list[str], bool]], env: dict[str, str], actor: Actor, unit: str
    ) -> None:
        self._machine = machine
        self._unit = unit
        self._env = env
        self._actor = actor
        self._output = Buffer()
        self._name = posixpath.basename(commands[-1][0][0])
        self._work = self._run(commands)
        self._wake = 0.0

    def tick(self, now: float) -> None:
        """Go on until it waits; its output goes to the journal."""
        while self.exit_code is None and self._wake <= now:
            try:
                self._wake = now + next(self._work)
            except StopIteration as end:
                self.exit_code = int(end.value)
        for line in decode(self._output.take()).splitlines():
            self._machine.systemd.log(self._unit, self._name, line, self.pid)

    def stop(self) -> None:
        """End it."""
        self._work.close()

    def _run(self, commands: list[tuple[list[str], bool]]) -> Run:
        for argv, ignored in commands:
            process = Process(
                self._machine, argv, dict(self._env), "/", self._actor, stdout=self._output, stderr=self._output
            )
            try:
                code = yield from execute(process)
            except Signalled:
                code = 143
            if code and not ignored:
                return code
        return 0


class Ended(Task):
    """A program that could not be started. `code`: exit status by which systemd says why."""

    def __init__(self, code: int) -> None:
        self.exit_code = code

    def tick(self, now: float) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""
