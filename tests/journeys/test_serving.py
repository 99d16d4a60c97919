"""A mesh that serves is not disturbed: it grows beside what runs, and what would replace or restart that is refused."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from tests import forks

from crdbmesh.local.folder import SPEC
from crdbmesh.spec import load as config

PODS = "/api/v1/namespaces/{0}/pods?labelSelector=app%3Dcockroachdb"
COREDNS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"
STATEFULSET = "/apis/apps/v1/namespaces/{0}/statefulsets/cockroachdb"
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
def test_a_serving_mesh_grows_beside_what_runs_and_refuses_what_would_disturb_it(world: Any) -> None:
    spec = json.loads(world.mesh(["eastus", "westus"]).model_dump_json(exclude_none=True, exclude={"versions"}))
    code, answer = command(world, "up", **spec)
    assert code == 0, answer

    (size,) = refused(world, **{**spec, "machines": {**spec["machines"], "size": "Standard_D8s_v5"}})
    assert size["field"] == "machines.size"
    assert "crdbmesh-eastus-1, crdbmesh-westus-1: Standard_D4s_v5 now" in size["reason"]
    (memory,) = refused(world, **{**spec, "cockroach": {**spec["cockroach"], "memory_gib": 4}})
    assert (memory["field"], "eastus, westus" in memory["reason"]) == ("cockroach", True)
    (version,) = refused(world, **spec, versions={"cockroachdb": "v26.3.0"})
    assert version["field"] == "versions.cockroachdb"
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
