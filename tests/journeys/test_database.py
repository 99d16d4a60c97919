"""What `up` sets by SQL: a license, a database over all regions, the coordinates of the DB Console's map."""

from __future__ import annotations

import base64
import datetime as dt
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import changed, failures

from crdbmesh.clients import database
from crdbmesh.clients.database import Row
from crdbmesh.observe import database as observed
from crdbmesh.spec.mesh import Mesh

# A protobuf whose field 2, valid_until_unix_sec, is the year 2100; and one that ends in 2049.
KEY = "crl-0-" + base64.b64encode(b"\x10\x80\xae\x99\xa4\x0f").decode().rstrip("=")
SOONER = "crl-0-" + base64.b64encode(b"\x10\x80\xaa\x81\xab\t").decode().rstrip("=")


def ask(world: Any, mesh: Mesh, *statements: str) -> Sequence[Row]:
    with world.open(mesh) as run_world:
        return observed.through_client(run_world, lambda kube, region: database.query(kube, region, *statements))


def test_up_sets_the_license_and_makes_the_database_once(world: Any, tmp_path: Path) -> None:
    key = tmp_path / "license"
    plain = world.mesh(["eastus"])
    assert not failures(world.up(plain))
    unlicensed = world.status(plain).license
    assert unlicensed.ends is None
    assert unlicensed.throttled_from is not None
    (place,) = ask(world, plain, "SET allow_unsafe_internals = true", "SELECT * FROM system.locations")
    assert (place["localityValue"], float(place["latitude"])) == ("eastus", 37.3719)

    mesh = world.mesh(["eastus"], database={"name": "app", "survive": "zone"}, license_file=str(key))
    results = world.up(mesh)
    assert "license_file" in failures(results)["mesh/license"]
    os.mkfifo(key)
    assert "no regular file" in failures(world.up(mesh))["mesh/license"]
    key.unlink()
    key.write_text("secret but no key")
    assert "no license key" in failures(world.up(mesh))["mesh/license"]
    key.write_text(f"{KEY}\n")
    results = world.up(mesh)
    assert (failures(results), changed(results)) == ({}, ["mesh/license"])
    assert abs(world.status(mesh).license.ends - dt.datetime(2100, 1, 1, tzinfo=dt.UTC)) < dt.timedelta(days=1)
    (row,) = [row for row in ask(world, mesh, "SHOW DATABASES") if row["database_name"] == "app"]
    assert (row["primary_region"], row["survival_goal"]) == ("eastus", "zone")
    key.write_text(SOONER)
    refusal = failures(world.up(mesh))["mesh/license"]
    assert re.search("ends on 2049-.*; the one that is set ends on (2099-12-31|2100-01-01) and stays", refusal)
    assert ask(world, mesh, "SHOW CLUSTER SETTING enterprise.license")[0]["enterprise.license"] == KEY
    key.unlink()
    ask(world, mesh, "CREATE DATABASE theirs")
    mesh = world.mesh(["eastus"], database={"name": "theirs", "survive": "zone"}, license_file=str(key))
    results = world.up(mesh)
    assert (failures(results), changed(results)) == ({}, ["mesh/database"])
    (row,) = [row for row in ask(world, mesh, "SHOW DATABASES") if row["database_name"] == "theirs"]
    assert (row["primary_region"], row["survival_goal"]) == ("eastus", "zone")
    again = world.up(mesh)
    assert (failures(again), changed(again)) == ({}, [])


@pytest.mark.long
def test_a_database_grows_with_the_mesh_and_keeps_what_others_set(world: Any) -> None:
    def mesh(*regions: str, **fields: str) -> Mesh:
        made: Mesh = world.mesh(list(regions), database={"name": "app", **fields})
        return made

    def read() -> tuple[str, str, str]:
        rows = ask(world, mesh("eastus", survive="zone"), "SHOW DATABASES")
        (row,) = [row for row in rows if row["database_name"] == "app"]
        return row["primary_region"], row["regions"], row["survival_goal"]

    two = mesh("eastus", "westus", survive="zone")
    assert not failures(world.up(two))
    assert read() == ("eastus", "{eastus,westus}", "zone")
    ask(world, two, 'ALTER DATABASE "app" SET PRIMARY REGION "westus"')
    assert changed(world.up(two)) == []
    three = mesh("eastus", "westus", "northeurope")
    results = world.up(three)
    assert not failures(results)
    assert "mesh/database" in changed(results)
    assert read() == ("westus", "{eastus,northeurope,westus}", "region")
    assert changed(world.up(mesh("eastus", "westus", "northeurope", primary="northeurope"))) == ["mesh/database"]
    assert read()[0] == "northeurope"
