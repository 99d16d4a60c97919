"""A mesh that is backed up: what is made for it, and that its rows outlive it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from tests.journeys.conftest import changed, failures

from crdbmesh.clients import database
from crdbmesh.clients.database import Row
from crdbmesh.commands import backup, down
from crdbmesh.errors import PreflightError
from crdbmesh.observe import backups
from crdbmesh.observe import database as observed
from crdbmesh.spec.mesh import Mesh

pytestmark = pytest.mark.timeout(240)


def silent(*_: Any) -> None:
    """Tell nobody."""


def ask(world: Any, mesh: Mesh, *statements: str) -> Sequence[Row]:
    with world.open(mesh) as run_world:
        return observed.through_client(run_world, lambda kube, region: database.query(kube, region, *statements))


def test_a_row_outlives_its_mesh(world: Any) -> None:
    mesh = world.mesh(["eastus"], backup={}, database={"name": "app", "survive": "zone"})
    results = world.up(mesh)
    assert not failures(results)
    before = world.writes()
    again = world.up(mesh)
    assert (failures(again), changed(again), world.writes()) == ({}, [], before)
    (note,) = (one for one in world.status(mesh).notes if one.about == "backup")
    assert (note.about, note.is_bad, note.text) == ("backup", False, "The last backup is 0 min old.")

    accounts = world.doors.arm("GET", "/providers/Microsoft.Storage/storageAccounts")[1]["value"]
    assert len(accounts) == 1
    safe = {"allowSharedKeyAccess": False, "allowBlobPublicAccess": False, "minimumTlsVersion": "TLS1_2"}
    assert safe.items() <= accounts[0]["properties"].items()

    ask(world, mesh, "CREATE TABLE app.t (id INT PRIMARY KEY, mark STRING)", "INSERT INTO app.t VALUES (1, 'kept')")
    with world.open(mesh) as run_world:
        assert backup.run_now(run_world, silent)["stale"] is False
        listed = backup.run_list(run_world)
        assert len(listed["backups"]) == 2
        with pytest.raises(PreflightError, match="databases = app: in the mesh already"):
            backup.run_restore(run_world, None, silent)
        assert backup.describe_loss(run_world) is None
    assert down.run_down("crdbmesh", world.cloud(), world.home(), notify=silent).done
    assert world.doors.arm("GET", "/providers/Microsoft.Storage/storageAccounts")[1]["value"] == accounts

    assert not failures(world.up(mesh))
    assert ask(world, mesh, "SHOW TABLES FROM app") == []
    with world.open(mesh) as run_world:
        restored = backup.run_restore(run_world, None, silent)
    assert (restored["databases"], restored["from"]) == (["app"], listed["backups"][0])
    assert ask(world, mesh, "SELECT mark FROM app.t") == [{"mark": "kept"}]
    again = world.up(mesh)
    assert (failures(again), changed(again)) == ({}, [])
    assert world.report()["unknown"] == []


def test_what_backups_need_is_put_right_and_what_stands_in_the_way_is_named(world: Any) -> None:
    plain = world.mesh(["eastus"])
    assert not failures(world.up(plain))
    assert ("backup", backups.NONE, False) in world.status(plain).notes
    mesh = world.mesh(["eastus"], backup={"incremental": "@daily"})
    refused = {"error": {"code": "AuthorizationFailed", "message": "The client does not have authorization."}}
    world.doors.answer({"method": "PUT", "path": "roleAssignments", "status": 403, "body": refused, "times": 1})
    results = world.up(mesh)
    assert [*failures(results)] == ["mesh/storage", "mesh/backup"]
    assert "az role assignment create --role 'Storage Blob Data Contributor'" in results["mesh/storage"].hint
    results = world.up(mesh)
    assert (failures(results), changed(results)) == ({}, ["mesh/storage", "mesh/backup"])
    policy = "/apis/cilium.io/v2/namespaces/eastus/ciliumnetworkpolicies/cockroachdb"
    assert world.kube("eastus", "GET", policy)[0] == 200
    # The identities that others gave a machine stay.
    vm = "Microsoft.Compute/virtualMachines/crdbmesh-eastus-1"
    other = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/theirs"
    identity = {"identity": {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {other: {}}}}
    found = world.resource("GET", vm)[1]
    body = {**{key: found[key] for key in ("location", "tags", "properties")}, **identity}
    world.doors.put(f"/resourceGroups/crdbmesh/providers/{vm}", body)
    for owner in ("other", "crdbmesh"):
        tags = {"location": "eastus", "tags": {"crdbmesh-backup": owner}}
        world.doors.arm("PUT", "/resourceGroups/crdbmesh-backup", tags)
        if owner == "other":
            assert "not of this mesh's backups" in failures(world.up(mesh))["mesh/identity"]
    results = world.up(mesh)
    assert (failures(results), changed(results)) == ({}, ["eastus/node1/machine"])
    kept = world.resource("GET", vm)[1]["identity"]
    assert (kept["type"], len(kept["userAssignedIdentities"])) == ("SystemAssigned, UserAssigned", 2)


def test_a_backup_is_stale_after_two_intervals() -> None:
    now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
    assert str(backups.LastBackup(now - 3 * hour, hour)) == "The last backup is 3 h old, which is too old."
    assert str(backups.LastBackup(now - 50 * hour, 30 * hour)) == "The last backup is 2 days old."
    assert backups.LastBackup(None, hour).is_stale
    assert str(backups.LastBackup(None, hour, "no answer")) == "The last backup cannot be read: no answer."
