"""Client pods in two regions: what an older mesh keeps, and SQL when the first region is lost."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.clients import database, environment
from crdbmesh.errors import KubeError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe.database import through_client
from crdbmesh.run.world import World
from crdbmesh.spec import load

pytestmark = pytest.mark.timeout(240)


def test_a_mesh_of_the_previous_release_plans_no_change_and_is_told_of_the_second_client_pod(mesh: Any) -> None:
    plan = mesh.runs["plan"].document
    assert (plan["gaps"], plan["refused"]) == (0, 0)
    assert [(one["field"], one["has"], one["newest"]) for one in plan["migrations"]] == [
        ("cockroach.clients", "1", "2")
    ]


def test_a_second_client_pod_is_added_beside_what_runs(mesh: Any) -> None:
    steps = {one["step"]: one["outcome"] for one in mesh.runs["again"].document["steps"]}
    assert [step for step, outcome in steps.items() if outcome == "changed"] == ["westus/certificates", "westus/client"]
    assert mesh.run("plan", "--output", "json").document["migrations"] == []


def opened(mesh: Any) -> World:
    spec = load.mesh(load.read_kept(mesh.home / "mesh.yaml"))
    cloud = environment.find_cloud({"CRDBMESH_CLOUD": mesh.coordinates["cloud_file"]})
    return World.open(spec, cloud, LocalFolder(mesh.home))


def test_query_returns_the_rows_of_the_last_statement_and_an_error_has_its_sqlstate(mesh: Any) -> None:
    with opened(mesh) as world:
        kube = world.kube("eastus")
        made = [
            "CREATE DATABASE q",
            "CREATE TABLE q.t (id INT PRIMARY KEY, s STRING)",
            "UPSERT INTO q.t VALUES (1, 'a;b')",
        ]
        assert database.query(kube, "eastus", *made) == []
        read = "SELECT id, s, NULL AS n FROM q.t -- a remark"
        host = "cockroachdb-0.cockroachdb.northeurope.svc.cluster.local:26257"
        assert database.query(kube, "eastus", read, host=host) == [{"id": "1", "s": "a;b", "n": "NULL"}]
        assert database.query(kube, "eastus", "SELECT * FROM q.t WHERE id = 7", "DROP DATABASE q CASCADE") == []
        with pytest.raises(KubeError, match=r"relation \"t\" does not exist; SQLSTATE: 42P01"):
            database.query(kube, "eastus", "SELECT * FROM t")


def test_without_the_first_region_the_second_regions_client_pod_answers(mesh: Any) -> None:
    group = "/resourceGroups/crdbmesh/providers/Microsoft.Network/networkSecurityGroups/crdbmesh-eastus-nsg"
    rules = mesh.doors.arm("GET", group)[1]["properties"]["securityRules"]
    (api,) = [one for one in rules if one["properties"]["destinationPortRange"] == "6443"]
    assert mesh.doors.delete(f"{group}/securityRules/{api['name']}")[0] in {200, 202, 204}
    try:
        with opened(mesh) as world:
            assert through_client(world, lambda kube, region: region) == "westus"
            assert world.client_region == "westus"
    finally:
        mesh.doors.put(f"{group}/securityRules/{api['name']}", {"properties": api["properties"]})
