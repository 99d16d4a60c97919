"""A machine is lost, and `up` puts another in its place: in the same cluster, and the same database by its disk."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.journeys.conftest import failures, silent

from crdbmesh.engine import plan, run
from crdbmesh.observe import database
from crdbmesh.steps import catalog

CLUSTER = {"network", "machines", "k3s", "cilium"}
PODS = "/api/v1/namespaces/eastus/pods"


def replace_first_machine(world: Any) -> Any:
    """Bring a mesh up, lose its first machine and disk, and mend the cluster; return the health from before."""
    mesh = world.mesh(["eastus"], machines=3)
    assert not failures(world.up(mesh))
    before = world.status(mesh)
    world.resource("DELETE", "Microsoft.Compute/virtualMachines/crdbmesh-eastus-1")
    assert world.status(mesh).degraded
    with world.open(mesh) as run_world:
        steps = [step for step in catalog.steps(run_world) if catalog.place(step.name)[1] in CLUSTER]
        assert not failures(run.run(plan.order(steps), workers=32, notify=silent))
    return before


def wait(what: str, probe: Any, timeout_s: float = 40.0) -> Any:
    """Wait for a probe's first answer that is true, in real seconds: hours of the world's."""
    ends = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < ends, f"waited {timeout_s} s for {what}"
        time.sleep(0.5)
    return found


def unready(world: Any) -> list[str]:
    """The database pods that are not ready."""
    _, pods = world.kube("eastus", "GET", f"{PODS}?labelSelector=app%3Dcockroachdb")
    return [
        pod["metadata"]["name"]
        for pod in pods["items"]
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_lost_first_machine_is_replaced_in_its_cluster_and_its_database_pod_goes_on_with_the_kept_disk(
    world: Any,
) -> None:
    before = replace_first_machine(world)
    status, nodes = world.kube("eastus", "GET", "/api/v1/nodes")
    assert status == 200
    assert len(nodes["items"]) == 3
    assert all(
        any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        for node in nodes["items"]
    )
    wait("every database pod to be ready", lambda: not unready(world))
    after = world.status(world.mesh(["eastus"], machines=3))
    assert after.cluster_ids == before.cluster_ids
    assert after.figures()["cockroach_nodes_live"] == 3
    _, claims = world.kube("eastus", "GET", "/api/v1/namespaces/eastus/persistentvolumeclaims")
    assert {claim["spec"]["storageClassName"] for claim in claims["items"]} == {"crdbmesh-data", "crdbmesh-wal"}
    with world.open(world.mesh(["eastus"], machines=3)) as run_world:
        # A node that begins with an empty store gets another number.
        assert sorted(node.number for node in database.read_nodes(run_world)) == [1, 2, 3]
