"""`up` that dies right after every single thing it does, and goes on from there."""

from __future__ import annotations

from typing import Any

from crdbmesh.engine.step import Event, Outcome
from crdbmesh.steps import catalog


class Killed(BaseException):
    """The process died."""


def test_up_that_dies_after_every_apply_still_converges_to_one_cluster(world: Any) -> None:
    mesh = world.mesh(["eastus", "westus"])
    applied: list[str] = []

    def die(event: Event) -> None:
        if event.kind == "applied":
            applied.append(event.step)
            raise Killed

    with world.open(mesh) as run_world:
        everything = len(catalog.steps(run_world))
    for _ in range(everything + 1):
        try:
            results = world.up(mesh, workers=1, notify=die)
        except Killed:
            continue
        break
    assert {result.outcome for result in results.values()} == {Outcome.HELD}
    assert len(applied) == len(set(applied)), "a step had to be applied twice"
    health = world.status(mesh)
    assert not health.degraded, health
    assert world.report()["unknown"] == []
