"""A mesh that serves goes on: it grows beside what runs, and what restarts is restarted one at a time, or refused."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import pytest
from tests import forks
from tests.journeys.conftest import changed, failures

from crdbmesh.commands.plan import run_plan
from crdbmesh.local.folder import SPEC
from crdbmesh.spec import load as config
from crdbmesh.spec.versions import NEWEST

PODS = "/api/v1/namespaces/{0}/pods?labelSelector=app%3Dcockroachdb"
COREDNS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"
STATEFULSET = "/apis/apps/v1/namespaces/{0}/statefulsets/cockroachdb"
REGIONS = ["eastus", "westus", "northeurope"]
OLD: dict[str, Any] = {
    **NEWEST.model_dump(mode="json"),
    "k3s": {
        "version": "v1.36.2+k3s1",
        "sha256": {"x86_64": "65a55ec56c24eab44383086166ec620a491952b7e23941a49ddca6e8a4c4b4de"},
    },
    "cockroachdb": "v26.2.4",
}
IMAGE = "docker.io/cockroachdb/cockroach:v26.2.9"


def command(world: Any, verb: str, /, **document: Any) -> tuple[int, dict[str, Any]]:
    """Run a command with a spec file, as its user does, and return its exit code and its JSON."""
    file = world.folder / "mesh.yaml"
    file.write_text(json.dumps(document))
    environment = {
        **os.environ,
        "CRDBMESH_CLOUD": world.coordinates["cloud_file"],
        "CRDBMESH_HOME": str(world.home().path.parent),
    }
    yes = ["--yes"] if verb == "up" else []
    arguments = [verb, "--config", str(file), "--output", "json", *yes]
    ended = forks.run([sys.executable, "-m", "crdbmesh", *arguments], env=environment, timeout=240)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def refused(world: Any, **document: Any) -> list[dict[str, str]]:
    """The findings for which `up` refuses a spec, and `plan` too, before any write."""
    writes = world.writes()
    code, answer = command(world, "up", **document)
    assert code == 3, answer
    assert command(world, "plan", **document) == (code, answer)
    assert world.writes() == writes
    findings: list[dict[str, str]] = answer["error"]["findings"]
    return findings


def pods(world: Any, region: str, path: str) -> set[tuple[str, int]]:
    """The pods by uid and number of restarts: neither changes while a pod is left alone."""
    _, found = world.kube(region, "GET", path.format(region))
    return {
        (pod["metadata"]["uid"], sum(one["restartCount"] for one in pod["status"]["containerStatuses"]))
        for pod in found["items"]
    }


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_serving_mesh_changes_one_machine_and_one_pod_at_a_time(world: Any) -> None:
    older, larger = world.mesh(REGIONS, versions=OLD), [{"name": one, "size": "Standard_D8as_v5"} for one in REGIONS]
    wanted = world.mesh(larger, cockroach={"memory_gib": 6})
    assert not failures(world.up(older))
    planned = run_plan(wanted, world.cloud(), world.home())
    assert planned.restarts() == ["eastus-1", "westus-1", "northeurope-1"]
    assert 10 * 60 < planned.restarts_s() < 60 * 60

    stop = threading.Event()
    most: list[tuple[str, ...]] = [()]

    def sample() -> None:
        while not stop.wait(0.2):
            down = tuple(region for region in REGIONS if not serves(world, region))
            most[0] = max(most[0], down, key=len)

    watching = threading.Thread(target=sample)
    watching.start()
    try:
        results = world.up(wanted)
    finally:
        stop.set()
        watching.join()
    assert not failures(results)
    assert len(most[0]) == 1, most
    kinds = [f"{region}/{step}" for step in ("node1/machine", "node1/k3s", "cockroachdb") for region in REGIONS]
    assert set(changed(results)) == {*kinds, "eastus/client", "westus/client"}
    for region in REGIONS:
        _, node = world.kube(region, "GET", f"/api/v1/nodes/{region}-1")
        assert node["status"]["nodeInfo"]["kubeletVersion"] == NEWEST.k3s.version
        assert "unschedulable" not in node["spec"]
    again = world.up(wanted)
    assert (failures(again), changed(again)) == ({}, [])


def serves(world: Any, region: str) -> bool:
    """Whether a region's database pod is ready, as its API tells; one that does not answer is down with its machine."""
    try:
        status, found = world.kube(region, "GET", PODS.format(region))
    except OSError:
        return False
    if status != 200:
        return False
    conditions = [one for pod in found["items"] for one in pod["status"].get("conditions", [])]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.mark.long
def test_a_serving_mesh_grows_beside_what_runs_and_refuses_what_would_disturb_it(world: Any) -> None:
    spec = json.loads(world.mesh(["eastus", "westus"]).model_dump_json(exclude_none=True, exclude={"versions"}))
    code, answer = command(world, "up", **spec)
    assert code == 0, answer

    (size,) = refused(world, **{**spec, "machines": {**spec["machines"], "size": "Standard_D8as_v5"}})
    assert (size["field"], "--allow-outage" in size["remedy"]) == ("cockroach", True)
    assert "2 nodes, and does not serve while crdbmesh-eastus-1 is resized; crdbmesh-westus-1 is res" in size["reason"]
    (memory,) = refused(world, **{**spec, "cockroach": {**spec["cockroach"], "memory_gib": 4}})
    assert "the database pods of eastus are replaced" in memory["reason"]
    version, outage = refused(world, **spec, versions={"cockroachdb": "v26.3.0"})
    assert (version["field"], outage["field"]) == ("versions.cockroachdb", "cockroach")
    assert "eastus, westus runs v26.2.5" in version["reason"]

    # A third region, and CoreDNS's and the database's pods are the same as before.
    before = {region: (pods(world, region, PODS), pods(world, region, COREDNS)) for region in ("eastus", "westus")}
    code, answer = command(world, "up", **{**spec, "regions": ["eastus", "westus", "northeurope"]})
    assert code == 0, answer
    assert before == {region: (pods(world, region, PODS), pods(world, region, COREDNS)) for region in before}

    # Who has upgraded the database by hand does not get it downgraded; who says so in the spec may go on.
    for region in ("eastus", "westus", "northeurope"):
        _, found = world.kube(region, "GET", STATEFULSET.format(region))
        containers = [{**one, "image": IMAGE} for one in found["spec"]["template"]["spec"]["containers"]]
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        status, answer = world.kube(region, "PATCH", STATEFULSET.format(region), patch)
        assert status == 200, answer
    kept = config.read_file(world.home().path / SPEC)
    (version,) = refused(world, **kept)
    assert "eastus, westus, northeurope runs v26.2.9" in version["reason"]
    assert "put v26.2.9 into the spec" in version["remedy"]
