"""The mesh's policies at work, from pods of others: who reaches the database, what a namespace allows by default."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.use.test_client_regions import opened

from crdbmesh.desired import policies
from crdbmesh.run.world import World

pytestmark = pytest.mark.timeout(240)

RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_LEVEL = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
PODS = "/api/v1/namespaces/app/pods"


def pod(name: str, image: str) -> dict[str, Any]:
    container = {"name": "main", "image": image, "command": ["sleep", "infinity"], "securityContext": RESTRICTED}
    spec = {"containers": [container], "securityContext": POD_LEVEL, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "app"}, "spec": spec}


@pytest.fixture(scope="module")
def world(mesh: Any) -> Iterator[World]:
    """The world, with a pod of somebody else in a namespace of westus that says nothing of itself."""
    with opened(mesh) as opened_world:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "app"}}
        assert mesh.doors.kube("westus", "POST", "/api/v1/namespaces", space)[0] == 201
        image = opened_world.mesh.versions.cockroachdb_image
        deadline = time.monotonic() + 30
        while mesh.doors.kube("westus", "POST", PODS, pod("shell", image))[0] != 201:
            assert time.monotonic() < deadline, "no service account"
            time.sleep(0.1)
        while mesh.doors.kube("westus", "GET", f"{PODS}/shell")[1]["status"].get("phase") != "Running":
            assert time.monotonic() < deadline, "it does not run"
            time.sleep(0.1)
        yield opened_world
        assert mesh.doors.kube("westus", "DELETE", "/api/v1/namespaces/app")[0] == 200


def reaches(world: World, space: str, name: str, address: str, port: int, container: str = "main") -> bool:
    script = f"timeout 3 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo reached || true"
    return "reached" in world.kube("westus").exec(space, name, ["bash", "-c", script], container=container).stdout


def address(world: World, region: str) -> str:
    return str(world.kube(region).list("v1", "Pod", region, labels="app=cockroachdb")[0]["status"]["podIP"])


def test_others_reach_the_database_only_from_a_namespace_that_is_labelled(mesh: Any, world: World) -> None:
    pods = [address(world, region) for region in ("westus", "eastus")]
    assert [reaches(world, "app", "shell", one, 26257) for one in pods] == [False, False]
    mark = {"metadata": {"labels": {policies.CLIENT_LABEL: "true"}}}
    assert mesh.doors.kube("westus", "PATCH", "/api/v1/namespaces/app", mark)[0] == 200
    assert [reaches(world, "app", "shell", one, 26257) for one in pods] == [True, True]


def test_nobody_reaches_azures_metadata_and_the_database_nothing_outside(world: World) -> None:
    assert not reaches(world, "app", "shell", "169.254.169.254", 80)
    assert not reaches(world, "app", "shell", "168.63.129.16", 80)
    assert reaches(world, "app", "shell", "1.1.1.1", 443)
    assert not reaches(world, "westus", "cockroachdb-0", "1.1.1.1", 443, container="db")
    assert not reaches(world, "westus", "cockroachdb-0", "10.2.1.4", 10250, container="db")
    assert reaches(world, "westus", "cockroachdb-0", address(world, "eastus"), 26257, container="db")


def test_a_pod_that_asks_for_more_is_refused_where_the_namespace_says_nothing(mesh: Any, world: World) -> None:
    loose = pod("loose", world.mesh.versions.cockroachdb_image)
    del loose["spec"]["securityContext"]
    status, answer = mesh.doors.kube("westus", "POST", PODS, loose)
    assert (status, 'violates PodSecurity "restricted:latest"' in json.dumps(answer).replace("\\", "")) == (403, True)
