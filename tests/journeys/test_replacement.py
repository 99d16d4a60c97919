"""A machine is lost, and `up` puts another in its place: in the same cluster; in the same database it does not yet."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.journeys.conftest import failures, silent

from crdbmesh.engine import plan, run
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
def test_a_lost_first_machine_is_replaced_in_its_cluster_and_the_database_goes_on_without_it(world: Any) -> None:
    before = replace_first_machine(world)
    status, nodes = world.kube("eastus", "GET", "/api/v1/nodes")
    assert status == 200
    assert len(nodes["items"]) == 3
    assert all(
        any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        for node in nodes["items"]
    )

    def complaints() -> list[str]:
        _, events = world.kube("eastus", "GET", "/api/v1/namespaces/eastus/events")
        return [event["message"] for event in events["items"] if event["reason"] == "FailedMount"]

    assert any(message.endswith("does not exist") for message in wait("FailedMount", complaints))
    assert len(unready(world)) == 1
    after = world.status(world.mesh(["eastus"], machines=3))
    assert after.cluster_ids == before.cluster_ids


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.xfail(
    strict=True,
    reason="the pod's volume is of type local: its folder went with the disk, and nobody makes a new one",
)
def test_the_database_pod_of_a_replaced_machine_starts_on_an_empty_store(world: Any) -> None:
    replace_first_machine(world)
    wait("every database pod to be ready", lambda: not unready(world))
