"""A machine is lost, and `up` puts another in its place: in the same cluster, in the same database."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.engine.step import Outcome


@pytest.mark.long
def test_a_lost_first_machine_is_replaced_in_its_cluster_and_its_database(world: Any) -> None:
    mesh = world.mesh(["eastus"], machines=3)
    assert not [r for r in world.up(mesh).values() if r.outcome is Outcome.FAILED]
    before = world.status(mesh)
    world.resource("DELETE", "Microsoft.Compute/virtualMachines/crdbmesh-eastus-1")
    assert world.status(mesh).degraded

    results = world.up(mesh)
    bad = {name: r.detail for name, r in results.items() if not r.outcome.good}
    assert not bad
    after = world.status(mesh)
    assert not after.degraded, [layer for region in after.regions for layer in region.layers if layer.cause]
    assert after.cluster_ids == before.cluster_ids
    status, nodes = world.kube("eastus", "GET", "/api/v1/nodes")
    assert status == 200
    assert len(nodes["items"]) == 3
