"""A world that misbehaves: what passes is absorbed, what does not stops only what depends on it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import forks

from crdbmesh.commands import up
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Outcome
from crdbmesh.steps import catalog

Command = Callable[..., tuple[int, dict[str, Any], str]]
UP = ("up", "--regions", "eastus,westus", "--machines-per-region", "1", "--allow-from", "127.0.0.1", "--yes")


@pytest.fixture
def command(world: Any, tmp_path: Path) -> Command:
    """Run a command line against the world: exit code, JSON, and what it said."""
    environment = {
        **os.environ,
        "CRDBMESH_CLOUD": world.coordinates["cloud_file"],
        "CRDBMESH_HOME": str(tmp_path / "home"),
    }

    def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        line = [sys.executable, "-m", "crdbmesh", *arguments, "--output", "json"]
        ended = forks.run(line, env=environment, timeout=110)
        return ended.returncode, json.loads(ended.stdout), ended.stderr

    return run


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["outcome"] for step in document["steps"]}


@pytest.mark.long
def test_what_passes_is_absorbed_by_one_up_and_one_down(world: Any, command: Command) -> None:
    world.misbehave("transient")
    code, document, shown = command(*UP)
    assert code == 0, shown
    assert set(outcomes(document).values()) <= {"held", "changed"}
    happened = world.report()["faults"]
    assert {name.partition(".")[0] for name, count in happened.items() if count} >= {"arm", "kube"}, happened
    code, document, shown = command("down", "crdbmesh", "--yes")
    assert code == 0, shown
    assert world.report()["resources"] == 0
    assert world.report()["unknown"] == []


def test_what_azure_takes_back_in_a_minute_does_not_end_the_first_up(world: Any) -> None:
    moods = {f"arm.{mood}" for mood in ("group_unseen", "compute_conflict", "operation_preempted")}
    moods.add("arm.os_provisioning_timed_out")
    world.misbehave(dict.fromkeys(moods, 1.0))
    with world.open(world.mesh(["eastus"])) as run_world:
        steps = catalog.steps(run_world)
        until = next(at for at, step in enumerate(steps) if step.name == "eastus/node1/machine")
        results = run.run(
            plan.order(steps[: until + 1]),
            workers=8,
            notify=lambda _event: None,
            retry_delays_s=up.RETRY_DELAYS_S,
            recheck_delays_s=up.RECHECK_DELAYS_S,
            pause=run_world.clock.wait,
        )
    # Machines in zones need no availability set.
    held = [name for name, result in results.items() if result.outcome is not Outcome.CHANGED]
    assert held == ["eastus/availability"], results
    assert moods <= {name for name, count in world.report()["faults"].items() if count}


@pytest.mark.long
def test_a_region_without_room_stops_alone_says_what_to_do_and_is_made_good_later(world: Any, command: Command) -> None:
    world.misbehave({"arm.allocation_failed@westus": 1.0})
    code, document, _ = command(*UP)
    assert code == 1
    found = outcomes(document)
    assert found["westus/node1/machine"] == "failed"
    assert found["westus/node1/k3s"] == found["mesh/init"] == "blocked"
    assert {found["eastus/nodes"], found["eastus/dns"], found["eastus-westus/peerings"]} <= {"held", "changed"}
    steps = {step["step"]: step for step in document["steps"]}
    assert "AllocationFailed" in steps["westus/node1/machine"]["detail"]
    assert "another size or region" in steps["westus/node1/machine"]["error"]["remedy"]
    assert steps["westus/cilium"]["culprit"] == "westus/node1/machine"
    world.misbehave({})
    code, document, shown = command(*UP)
    assert code == 0, shown
    assert outcomes(document)["westus/node1/machine"] == "changed"
    assert outcomes(document)["eastus/node1/machine"] == "held"
