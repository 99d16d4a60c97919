"""Runs commands in containers: beside a program, as `kubectl exec` does, or as the container's program itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, Stdin
from crdbmesh_simulator.shell.process import Become, Buffer, Run, Signalled, Terminal, execute
from crdbmesh_simulator.workloads.box import Box
from crdbmesh_simulator.workloads.service import Wrapper

_MISSING = 127
_SLICE_S = 10.0
_LONGEST_S = 4 * 3600.0
_TYPING_S = 0.5


def run(container: Container, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
    """Run `argv` to its end, waiting in simulated time. Without `world.lock` held.

    What is typed at a terminal is waited for in real time, and what it shows is written there as it comes.

    Waiting ends when the container's pod does, or after four hours, which is when a kubelet closes an idle stream.
    """
    world, box, out, err = container.world, Box(container), Buffer(), Buffer()
    terminal = stdin if isinstance(stdin, Terminal) else None
    process = box.process(argv, stdin=stdin, stdout=terminal or out, stderr=terminal or err)
    if not argv or box.image.find(argv[0], process.cwd) is None:
        name = argv[0] if argv else ""
        box.not_known(f"{container.image}: {' '.join(argv)}")
        stat = (
            f"stat {name}: no such file or directory"
            if "/" in name
            else f'"{name}": executable file not found in $PATH'
        )
        text = f"OCI runtime exec failed: exec failed: unable to start container process: exec: {stat}: unknown"
        return ExecResult(stderr=text.encode(), exit_code=_MISSING)
    work = execute(process)
    box.time = world.clock.now()
    deadline = box.time + _LONGEST_S

    def ended(status: int) -> ExecResult:
        work.close()
        return ExecResult(out.take(), err.take(), status)

    while True:
        try:
            with world.lock:
                wait_s = next(work)
                box.time += wait_s
        except StopIteration as end:
            return ended(int(end.value))
        except Signalled:
            return ended(137)
        except Become as change:
            box.not_known(f"{container.image}: {' '.join(change.argv)} beside the container's own program")
            err.write(b"a second server is not part of this world\n")
            return ended(1)
        if terminal is not None and not wait_s:
            terminal.typed.wait(_TYPING_S)
        until = min(world.clock.now() + wait_s, deadline)
        if _gone(container):
            return ended(137)
        while world.clock.now() < until:
            world.clock.sleep(min(until - world.clock.now(), _SLICE_S))
            if _gone(container):
                return ended(137)
        if until >= deadline or math.isinf(wait_s):
            return ended(137)


def _gone(container: Container) -> bool:
    """Return whether the container's pod has ended meanwhile."""
    with container.world.lock:
        pods = container.cluster.runtime
        uid = str(container.pod["metadata"].get("uid"))
        powered = container.world.machines.get(container.node.machine.key) is container.node.machine
        return pods is not None and (uid not in pods.sandboxes or not powered)


_STEPS_A_TICK = 200


class ShellProgram(Wrapper):
    """Runs `argv`, or what the image says when it is empty."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        box = Box(container)
        self._out, self._err, image = Buffer(), Buffer(), box.image
        given = [str(word) for word in container.argv]
        argv = given if container.spec.get("command") else [*image.entrypoint, *(given or image.command)]
        self._process = box.process(argv, stdout=self._out, stderr=self._err, main=True)
        self._missing = not argv or image.find(argv[0], self._process.cwd) is None
        self._work: Run | None = None
        self._wake = 0.0

    def tick(self) -> None:
        """Go on with the command until it waits, or with what it has become."""
        if self.exit_code is not None:
            return
        if self.inner is not None:
            self.inner.tick()
            self.exit_code = self.inner.exit_code
            return
        now = self.container.world.clock.now()
        if now < self._wake:
            return
        if self._missing:
            self._fail_to_start()
            return
        if self._work is None:
            self._work = execute(self._process)
        self._advance(now)
        self._flush()

    def _advance(self, now: float) -> None:
        assert self._work is not None
        try:
            for _ in range(_STEPS_A_TICK):
                self._wake = max(self._wake, now - 60.0) + next(self._work) if self._wake else now + next(self._work)
                if self._wake > now:
                    return
        except StopIteration as end:
            self._flush(rest=True)
            self.exit_code = int(end.value)
        except Signalled:
            self._flush(rest=True)
            self.exit_code = 143
        except Become as change:
            self._flush(rest=True)
            self._become(change)

    def _become(self, change: Become) -> None:
        from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode

        container = dataclasses.replace(self.container, argv=change.argv, env=change.env)
        container.files, container.modes = self.container.files, self.container.modes
        self.inner = CockroachNode(container)
        self.inner.log = self.log
        self.inner.tick()
        self.exit_code = self.inner.exit_code

    def _fail_to_start(self) -> None:
        argv = self._process.argv
        name = argv[0] if argv else ""
        self.container.world.not_known("exec", f"{self.container.image}: {' '.join(argv)}")
        self.say(f'exec: "{name}": executable file not found in $PATH: unknown')
        self.exit_code = 128

    def _flush(self, *, rest: bool = False) -> None:
        for stream in (self._out, self._err):
            text = stream.take()
            cut = len(text) if rest else text.rfind(b"\n") + 1
            self.log += text[:cut].decode(errors="replace").splitlines()
            stream.write(text[cut:])
        del self.log[:-5000]
