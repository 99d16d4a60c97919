"""Drills: figures, healing however a drill ends, refusals."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests import forks
from tests.use.conftest import Mesh
from tests.use.test_verify import databases, sql

pytestmark = pytest.mark.timeout(300)

NSG = "/resourceGroups/crdbmesh/providers/Microsoft.Network/networkSecurityGroups/crdbmesh-westus-nsg"
VM = "/resourceGroups/crdbmesh/providers/Microsoft.Compute/virtualMachines/crdbmesh-westus-1"


def traces(mesh: Mesh) -> set[str]:
    """What a drill has left on the region's security group."""
    _, nsg = mesh.doors.arm("GET", NSG)
    rules = {one["name"] for one in nsg["properties"]["securityRules"] if one["name"].startswith("crdbmesh-drill")}
    return rules | {f"tag {nsg['tags'][key]}" for key in nsg["tags"] if key == "crdbmesh-drill"}


def power(mesh: Mesh) -> str:
    _, vm = mesh.doors.arm("GET", f"{VM}?$expand=instanceView")
    return str(vm["properties"]["instanceView"]["statuses"][-1]["code"])


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def begun(mesh: Mesh, by: str) -> Iterator[subprocess.Popen[str]]:
    """A drill that has cut the region off; it is killed at the end."""
    with forks.Popen(
        mesh.command("drill", "region-down", "westus", "--yes", "--by", by, "--output", "json"),
        env=mesh.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(lambda: bool(traces(mesh)) and (by == "firewall" or "running" not in power(mesh)))
            yield process
        finally:
            process.kill()


@pytest.fixture
def whole(mesh: Mesh) -> Iterator[Mesh]:
    """The mesh, of which nothing is cut off afterwards, and whose database is whole again."""
    yield mesh
    assert traces(mesh) == set()
    assert "running" in power(mesh)
    until(lambda: mesh.run("status", "--output", "json").code == 0)


def test_a_region_is_cut_off_by_firewall_and_comes_back(whole: Mesh) -> None:
    run = whole.run("drill", "region-down", "westus", "--yes", "--by", "firewall", "--output", "json")
    assert run.code == 0, run.stderr
    drill = run.document
    assert (drill["region"], drill["by"], drill["cut"]) == ("westus", "firewall", True)
    assert 2 < drill["error_window_s"] < 30
    assert 0 < drill["recovered_s"] < 300
    assert {one["region"] for one in drill["probes"]} == {"eastus", "northeurope"}
    assert whole.run("plan", "--output", "json").document["gaps"] == 0
    assert "crdbmesh_verify" not in databases(whole)


@pytest.mark.long
def test_a_region_is_cut_off_by_its_machines_power_and_comes_back(whole: Mesh) -> None:
    run = whole.run("drill", "region-down", "westus", "--yes", "--output", "json")
    assert run.code == 0, run.stderr
    assert (run.document["by"], run.document["cut"]) == ("stop", True)
    assert 2 < run.document["error_window_s"] < 30
    assert whole.run("plan", "--output", "json").document["gaps"] == 0


@pytest.mark.parametrize("by", ["firewall", pytest.param("stop", marks=pytest.mark.long)])
def test_an_interrupted_drill_heals(whole: Mesh, by: str) -> None:
    with begun(whole, by) as process:
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert json.loads(output)["interrupted"] is True


@pytest.mark.long
@pytest.mark.parametrize("by", ["firewall", "stop"])
def test_heal_heals_what_a_killed_drill_has_left(whole: Mesh, by: str) -> None:
    with begun(whole, by):
        pass
    assert f"tag {by}" in traces(whole)
    status = whole.run("status", "--output", "json")
    assert status.code == 10
    assert f"a drill has the region cut off (by {by})" in status.stdout
    run = whole.run("drill", "region-down", "northeurope", "--yes", "--output", "json")
    assert run.code == 3
    assert run.document["error"]["findings"][0]["remedy"] == "run `crdbmesh drill heal`"
    run = whole.run("drill", "heal", "--output", "json")
    assert (run.code, run.document["healed"]) == (0, ["westus"]), run.stderr
    assert whole.run("drill", "heal", "--output", "json").document["healed"] == []


@pytest.mark.long
@pytest.mark.parametrize("by", ["firewall", "stop"])
def test_up_heals_what_a_killed_drill_has_left_and_nothing_of_one_that_runs(whole: Mesh, by: str) -> None:
    with begun(whole, by) as process:
        run = whole.run("up", "--yes", "--output", "json")
        assert run.code == 3
        assert run.document["error"]["code"] == "held"
        assert f"tag {by}" in traces(whole) or process.wait(60) == 0
    with contextlib.nullcontext() if traces(whole) else begun(whole, by):
        pass
    run = whole.run("up", "--yes", "--output", "json")
    assert run.code == 0, run.stderr
    assert whole.run("plan", "--output", "json").document["gaps"] == 0


def refused(mesh: Mesh, region: str) -> list[dict[str, Any]]:
    run = mesh.run("drill", "region-down", region, "--yes", "--output", "json")
    assert run.code == 3, run.stderr
    assert traces(mesh) == set()
    findings: list[dict[str, Any]] = run.document["error"]["findings"]
    return findings


def test_a_drill_is_refused_where_rows_would_be_out_of_reach(mesh: Mesh) -> None:
    create = 'CREATE DATABASE zonal PRIMARY REGION "eastus" REGIONS "westus", "northeurope"'
    sql(mesh, create)
    try:
        assert [(one["field"], one["value"], one["remedy"]) for one in refused(mesh, "westus")] == [
            ("database", "zonal", "ALTER DATABASE zonal SURVIVE REGION FAILURE")
        ]
    finally:
        sql(mesh, "DROP DATABASE zonal CASCADE")
    assert mesh.run("drill", "region-down", "centralus", "--yes").code == 2
    assert mesh.run("drill", "region-down", "westus").code == 2


@pytest.mark.long
def test_a_drill_is_refused_when_a_node_is_dead_already(whole: Mesh) -> None:
    assert whole.doors.arm("POST", f"{VM}/powerOff")[0] == 202
    until(lambda: "running" not in power(whole))
    try:
        found = refused(whole, "northeurope")
        assert ("node", "westus/cockroachdb-0") in {(one["field"], one["value"]) for one in found}
        assert {one["field"] for one in found} == {"node", "ranges"}
    finally:
        assert whole.run("up", "--yes", "--output", "json").code == 0


def test_a_drill_is_refused_with_two_regions(mesh: Mesh) -> None:
    pair = mesh.folder / "homes" / "pair"
    pair.mkdir(mode=0o700)
    (pair / "mesh.yaml").write_text(json.dumps({"name": "pair", "regions": ["eastus", "westus"]}))
    try:
        run = mesh.run("drill", "region-down", "eastus", "--name", "pair", "--yes", "--output", "json")
    finally:
        shutil.rmtree(pair)
    assert run.code == 3, run.stderr
    assert [(one["field"], one["value"]) for one in run.document["error"]["findings"]] == [("regions", "2")]
