"""Runs a command in a running container, as `kubectl exec` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.programs import ExecResult
from crdbmesh_simulator.shell.process import Become, Buffer, Signalled, execute
from crdbmesh_simulator.workloads.box import Box

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container

_MISSING = 127
_SLICE_S = 10.0
_LONGEST_S = 4 * 3600.0


def run(container: Container, argv: Sequence[str], stdin: bytes = b"") -> ExecResult:
    """Run `argv` to its end, waiting in simulated time. Without `world.lock` held.

    Waiting ends when the container's pod does, or after four hours, which is when a kubelet closes an idle stream.
    """
    world, box, out, err = container.world, Box(container), Buffer(), Buffer()
    process = box.process(argv, stdin=stdin, stdout=out, stderr=err)
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
    deadline = world.clock.now() + _LONGEST_S

    def ended(status: int) -> ExecResult:
        work.close()
        return ExecResult(out.take(), err.take(), status)

    while True:
        try:
            with world.lock:
                wait_s = next(work)
        except StopIteration as end:
            return ended(int(end.value))
        except Signalled:
            return ended(137)
        except Become as change:
            box.not_known(f"{container.image}: {' '.join(change.argv)} beside the container's own program")
            err.write(b"a second server is not part of this world\n")
            return ended(1)
        until = min(world.clock.now() + wait_s, deadline)
        while world.clock.now() < until:
            world.clock.sleep(min(until - world.clock.now(), _SLICE_S))
            if _gone(container):
                return ended(137)
        if until >= deadline or math.isinf(wait_s):
            return ended(137)


def _gone(container: Container) -> bool:
    """Return whether the container's pod has ended meanwhile."""
    from crdbmesh_simulator.kubernetes.api.pods import runtime

    with container.world.lock:
        pods = runtime(container.cluster)
        uid = str(container.pod["metadata"].get("uid"))
        powered = container.world.machines.get(container.node.machine.key) is container.node.machine
        return pods is not None and (uid not in pods.sandboxes or not powered)
