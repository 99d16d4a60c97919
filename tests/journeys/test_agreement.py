"""`status`, `plan` and `down` judge a resource alike: what one calls the mesh's own and wrong, the others do too."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.checks.catalog import require
from crdbmesh.commands import down, plan, status
from crdbmesh.engine import plan as engine_plan
from crdbmesh.engine import run
from crdbmesh.errors import PreflightError, RefusedError
from crdbmesh.local import birth
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog

VNET = "Microsoft.Network/virtualNetworks/crdbmesh-eastus"
GROUNDWORK = {"mesh/providers", "mesh/group", "eastus/network", "eastus/firewall"}


def lay_groundwork(world: Any, mesh: Mesh) -> None:
    with world.open(mesh) as run_world:
        steps = [step for step in catalog.steps(run_world) if step.name in GROUNDWORK]
        results = run.run(engine_plan.order(steps), workers=4, notify=lambda _event: None)
    assert all(result.outcome.good for result in results.values()), results


def strip_tags(world: Any, group: str) -> None:
    path = f"/resourceGroups/{group}/providers/{VNET}"
    code, body = world.doors.arm("PATCH", path, {"tags": {}})
    assert (code, body["tags"]) == (200, {})


def network_cause(world: Any, mesh: Mesh) -> str | None:
    (region,) = status.run_status(mesh, world.cloud(), world.home()).regions
    return region.layer("network").cause


def test_a_vnet_without_its_tags_is_a_gap_to_status_and_plan_and_the_meshs_own_to_down(world: Any) -> None:
    mesh = world.mesh(["eastus"])
    lay_groundwork(world, mesh)
    assert network_cause(world, mesh) is None
    strip_tags(world, "crdbmesh")

    cause = network_cause(world, mesh)
    assert cause is not None
    assert cause.startswith("VNet crdbmesh-eastus: tags.crdbmesh")
    assert plan.run_plan(mesh, world.cloud(), world.home()).gaps()["eastus/network"].summary == cause
    found = down.find("crdbmesh", world.cloud(), world.home())
    assert found.kept == ()
    assert VNET.rpartition("/")[2] in {resource["name"] for resource in found.groups["crdbmesh"]}

    ended = down.run_down("crdbmesh", world.cloud(), world.home(), notify=lambda _event: None)
    assert ended.done
    assert world.doors.arm("GET", "/resourceGroups/crdbmesh")[0] == 404


def test_in_a_shared_group_the_local_folders_record_decides_for_all_three_whatever_the_tags(world: Any) -> None:
    code, _ = world.doors.arm("PUT", "/resourceGroups/shared", {"location": "eastus"})
    assert code == 201
    mesh = world.mesh(["eastus"], group="shared")
    lay_groundwork(world, mesh)
    strip_tags(world, "shared")
    assert "tags.crdbmesh" in (network_cause(world, mesh) or "")
    assert "eastus/network" in plan.run_plan(mesh, world.cloud(), world.home()).gaps()
    ids = {one["name"] for one in down.find("crdbmesh", world.cloud(), world.home()).resources}
    assert VNET.rpartition("/")[2] in ids

    # Recorded by nobody, and with a forged tag, it is a stranger's.
    text = world.home().read("created")
    world.home().write("created", "".join(line for line in text.splitlines(True) if VNET not in line))
    birth.write(world.home(), birth.of(birth.Aim(cloud="c", arm_url="", subscription_id=""), birth.new_id()))
    code, _ = world.doors.arm("PATCH", f"/resourceGroups/shared/providers/{VNET}", {"tags": {"crdbmesh": "crdbmesh"}})
    assert code == 200
    reason = "is not this mesh's"
    assert reason in (network_cause(world, mesh) or "")
    with world.open(mesh) as run_world:
        step = next(step for step in catalog.steps(run_world) if step.name == "eastus/network")
        with pytest.raises(RefusedError, match=reason):
            step.check()
        with pytest.raises(PreflightError, match=reason):
            require(run_world, lambda _finding: None)
    found = down.find("crdbmesh", world.cloud(), world.home())
    assert VNET.rpartition("/")[2] not in {one["name"] for one in found.resources}
    assert [one.rpartition("/")[2] for one in found.kept] == ["crdbmesh-eastus"]
