"""Runs a command in a running container, as `kubectl exec` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.programs import ExecResult
from crdbmesh_simulator.workloads import images
from crdbmesh_simulator.workloads.files import Files
from crdbmesh_simulator.workloads.process import MISSING, Become, Process, execute

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container

_SLICE_REAL_S = 0.25
_LONGEST_S = 4 * 3600.0


def new_process(container: Container, argv: Sequence[str], *, stdin: bytes = b"", main: bool = False) -> Process:
    """A process of the container's image in its working folder."""
    image = images.find(container.image)
    if image is None:
        raise LookupError(f"{container.image}: not found")
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **image.env,
        "HOME": "/root",
        **container.env,
    }
    cwd = str(container.spec.get("workingDir") or image.cwd)
    return Process(container, image, list(argv), env, Files(container), stdin=stdin, cwd=cwd, main=main)


def run(container: Container, argv: Sequence[str], stdin: bytes = b"") -> ExecResult:
    """Run `argv` to its end, waiting in simulated time. Without `world.lock` held.

    Waiting ends when the container's pod does, or after four hours, which is when a kubelet closes an idle stream.
    """
    world = container.world
    process = new_process(container, argv, stdin=stdin)
    if not argv or process.image.find(argv[0], process.cwd) is None:
        name = argv[0] if argv else ""
        world.not_known("exec", f"{container.image}: {' '.join(argv)}")
        what = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        stat = f"stat {name}: {what}" if "/" in name else f'"{name}": {what}'
        text = f"OCI runtime exec failed: exec failed: unable to start container process: exec: {stat}: unknown"
        return ExecResult(stderr=text.encode(), exit_code=MISSING)
    work = execute(process)
    deadline = world.clock.now() + _LONGEST_S
    while True:
        try:
            with world.lock:
                wait_s = next(work)
        except StopIteration as end:
            return ExecResult(bytes(process.out), bytes(process.err), int(end.value))
        except Become as change:
            world.not_known("exec", f"{container.image}: {' '.join(change.argv)} beside the container's own program")
            return ExecResult(
                bytes(process.out), bytes(process.err) + b"a second server is not part of this world\n", 1
            )
        until = min(world.clock.now() + wait_s, deadline)
        while world.clock.now() < until:
            world.clock.sleep(min(until - world.clock.now(), world.clock.scale * _SLICE_REAL_S))
            if _gone(container):
                return ExecResult(bytes(process.out), bytes(process.err), 137)
        if until >= deadline or math.isinf(wait_s):
            work.close()
            return ExecResult(bytes(process.out), bytes(process.err), 137)


def _gone(container: Container) -> bool:
    """Whether the container's pod has ended meanwhile."""
    from crdbmesh_simulator.kubernetes.api.pods import runtime

    with container.world.lock:
        pods = runtime(container.cluster)
        uid = str(container.pod["metadata"].get("uid"))
        powered = container.world.machines.get(container.node.machine.key) is container.node.machine
        return pods is not None and (uid not in pods.sandboxes or not powered)
