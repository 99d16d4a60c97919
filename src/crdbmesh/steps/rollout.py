"""Rollouts: what disturbs a machine or a database pod that serves, one at a time over the mesh, behind the health gate.

A gate that does not open ends the rollout, and everything that was not begun stays as it is. A node is cordoned by a
field manager of its own, so that the next run knows what a run that died has left, and leaves what others cordoned.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Object, cockroach, kube_object
from crdbmesh.errors import RefusedError, WaitError
from crdbmesh.observe import database, gate, rollouts, serving
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Machine, Region

MANAGER = "crdbmesh-rollout"
GATE_DEADLINE_S = 1800.0
READY_DEADLINE_S = 900.0
_TWICE_S = 22.0
"""The time after which the gate is looked at again before it is believed: a node that has just come back counts as
whole for a moment (cockroachdb/cockroach-operator#527)."""
_LOOK_S = 4.0
AGAIN = "mend that, then run `up` again"
"""The remedy for what is left because the rollout ended before it."""


@contextlib.contextmanager
def one(world: World, where: Machine | Region, what: str, say: Say) -> Iterator[None]:
    """Let one thing of the mesh be disturbed: when the gate is open, and until it is open again.

    Of all that waits for its turn, the first region goes first, and in it the first machine. There is no gate where no
    database serves yet, or the operator allows an outage. It is a RefusedError when the gate does not open in time, and
    for everything that would come afterwards.
    """
    region, number = (where.region, where.number) if isinstance(where, Machine) else (where.name, 0)
    order = next(at for at, one in enumerate(world.mesh.regions) if one.name == region)
    with world.turn("rollout", (order, number)):
        if world.rollout_ended:
            raise RefusedError(f"{what} stays as it is: {world.rollout_ended}", hint=AGAIN)
        gated = not world.allows_outage and serving.is_initialised(world)
        if gated:
            for one_region in world.mesh.all_regions():
                mend(world, one_region, say)
            _pass(world, f"the mesh to be whole before {what}", say)
        yield
        if gated:
            _pass(world, f"the mesh to be whole after {what}", say)


@contextlib.contextmanager
def drained(world: World, machine: Machine, say: Say) -> Iterator[None]:
    """Take a machine out of service: its node is cordoned and its database pod ends well; afterwards all comes back."""
    region = world.mesh.region(machine.region)
    kube = world.kube(region.name, manager=MANAGER)
    say(f"draining {machine.node}")
    kube.apply(_node(machine.node, cordoned=True), force=True)
    for pod in kube.list("v1", "Pod", region.name, labels=database.PODS):
        if pod["spec"].get("nodeName") == machine.node:
            deadline_s = world.deadline(cockroach.GRACE_SECONDS + 60)
            kube.delete("v1", "Pod", pod["metadata"]["name"], region.name, wait=True, deadline_s=deadline_s, say=say)
    yield
    deadline_s = world.deadline(READY_DEADLINE_S)

    def until(node: Object | None) -> str | None:
        return None if node is not None and rollouts.is_ready(node) else "not ready"

    kube.wait("v1", "Node", machine.node, None, until, awaited=f"node {machine.node}", deadline_s=deadline_s, say=say)
    kube.apply(_node(machine.node, cordoned=False), force=True)


def mend(world: World, region: Region, say: Say) -> None:
    """Uncordon the nodes of a region that a rollout which broke off has left cordoned."""
    kube = world.kube(region.name, manager=MANAGER)
    for name in list_cordoned(kube.list("v1", "Node")):
        say(f"uncordoning {name}, which a rollout that broke off has left")
        kube.apply(_node(name, cordoned=False), force=True)


def list_cordoned(nodes: Iterable[Object]) -> list[str]:
    """List the nodes that a rollout has cordoned."""
    return [
        str(node["metadata"]["name"])
        for node in nodes
        for entry in node["metadata"].get("managedFields") or []
        if entry.get("manager") == MANAGER and "f:unschedulable" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]


def _node(name: str, *, cordoned: bool) -> Object:
    spec: dict[str, Any] = {"spec": {"unschedulable": True}} if cordoned else {}
    return kube_object("v1", "Node", name, None, labels={}, **spec)


def _pass(world: World, awaited: str, say: Say) -> None:
    """Wait until the gate is open, and still is a while later."""
    opened: float | None = None

    def probe() -> tuple[bool | None, str]:
        nonlocal opened
        why = gate.closed(world)
        now = world.clock.now()
        opened = None if why else now if opened is None else opened
        return (True, "") if opened is not None and now - opened >= _TWICE_S else (None, why or "whole; looking again")

    deadline_s = world.deadline(GATE_DEADLINE_S)
    try:
        world.session.wait_until(probe, _LOOK_S, awaited=awaited, deadline_s=deadline_s, say=say)
    except WaitError as error:
        world.rollout_ended = f"the rollout ended, since it {error}"
        raise RefusedError(f"{error}; the rest of the rollout is left as it is", hint=_CLOSED) from None


_CLOSED = "mend what was last seen, then run `up` again; `crdbmesh status` shows all that is not whole"
