"""The resource group and its locks, the local folder and its keys, the clock."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.checks.base import Level
from crdbmesh.local import pki
from crdbmesh.local.folder import SPEC
from crdbmesh.spec import load as config

ROOT = os.getuid() == 0


@pytest.mark.parametrize(
    ("tags", "whose"),
    [({}, "is not crdbmesh's"), ({"crdbmesh": "someone"}, "belongs to the mesh someone")],
)
def test_a_group_of_our_name_that_is_not_ours_stops_everything(azure: Any, tags: dict[str, str], whose: str) -> None:
    azure.put_group("pre", **tags)
    (found,) = azure.refused()
    assert found.field == "name"
    assert whose in found.reason
    assert azure.refused(name="other", group="pre") == []


def test_a_group_that_is_being_deleted_must_be_gone_first(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.subscription.groups["pre"].state = "Deleting"
    (found,) = azure.refused()
    assert (found.field, found.remedy) == ("name", "wait until it is gone")
    (found,) = azure.refused(name="other", group="pre")
    assert (found.field, found.value) == ("group", "pre")


@pytest.mark.parametrize("scope", ["/resourceGroups/pre", ""], ids=["group", "subscription"])
def test_a_read_only_lock_is_refused_and_one_against_deletion_is_a_warning(azure: Any, scope: str) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.lock("CanNotDelete", scope)
    verdict = azure.verdicts()["locks"]
    assert verdict.level is Level.WARNING
    assert "forbids deletions" in verdict.warnings[0].reason
    azure.lock("ReadOnly", scope)
    (found,) = azure.verdicts()["locks"].refused
    assert "read-only" in found.reason
    assert "/providers/Microsoft.Authorization/locks/l" in found.remedy


def test_locks_of_other_groups_are_nobodys_business(azure: Any) -> None:
    azure.put_group("pre-2")
    azure.lock("ReadOnly", "/resourceGroups/pre-2")
    assert azure.verdicts()["locks"].level is Level.OK


def test_a_lock_on_something_in_the_group_counts(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.put_address("pre-eastus-1-ip")
    azure.lock("CanNotDelete", "/resourceGroups/pre/providers/Microsoft.Network/publicIPAddresses/pre-eastus-1-ip")
    (found,) = azure.verdicts()["locks"].warnings
    assert "pre-eastus-1-ip, in the resource group pre" in found.reason


def test_a_folder_that_is_a_file_is_refused(azure: Any) -> None:
    azure.home.folder.parent.write_text("in the way")
    (found,) = azure.refused()
    assert (found.field, found.value) == ("folder", str(azure.home.folder.parent))
    assert "CRDBMESH_HOME" in found.remedy


@pytest.mark.skipif(ROOT, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(azure: Any) -> None:
    azure.home.folder.mkdir(parents=True)
    azure.home.folder.chmod(0o500)
    assert [one.reason for one in azure.refused()] == ["you cannot write there"]


def test_files_that_others_can_read_are_named(azure: Any) -> None:
    azure.home.write("tokens/eastus", "t")
    azure.home.write("ca/cilium.pem", "c")
    assert azure.verdicts()["folder"].level is Level.OK
    for name in ("tokens/eastus", "ca/cilium.pem"):
        (azure.home.folder / name).chmod(0o640)
    (found,) = azure.verdicts()["folder"].refused
    assert "ca/cilium.pem, tokens/eastus" in found.reason
    assert f"chmod -R go= {azure.home.folder}" in found.remedy


def test_a_folder_that_others_may_look_into_is_a_warning(azure: Any) -> None:
    azure.home.write("tokens/eastus", "t")
    azure.home.folder.chmod(0o755)
    (found,) = azure.verdicts()["folder"].warnings
    assert "mode 755" in found.reason


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_files_of_another_user_are_refused(azure: Any) -> None:
    azure.home.write("tokens/eastus", "t")
    os.chown(azure.home.folder / "tokens/eastus", 12345, 12345)
    (found,) = azure.verdicts()["folder"].refused
    assert "tokens/eastus belong to another user" in found.reason


def test_a_kept_spec_that_is_broken_is_a_warning(azure: Any) -> None:
    azure.home.write(SPEC, config.dump(config.mesh({"name": "pre", "regions": ["eastus"]})))
    assert azure.verdicts()["folder"].level is Level.OK
    azure.home.write(SPEC, "regions: 7\n")
    (found,) = azure.verdicts()["folder"].warnings
    assert found.value == str(azure.home.folder / SPEC)


def test_the_login_key_is_the_one_that_the_machines_let_in(azure: Any) -> None:
    key = pki.make_login_key("pre")
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", key.public)
    azure.home.write("login.key", key.private)
    assert azure.verdicts()["keys"].found == "a login key is here, and 1 machine lets it in"
    azure.home.write("login.key", pki.make_login_key("pre").private)
    (found,) = azure.verdicts()["keys"].refused
    assert found.reason == "pre-eastus-1 let in another key than this one"


def test_a_login_key_that_is_lost_while_machines_are_there_is_refused(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", pki.make_login_key("pre").public)
    found = azure.refused()
    assert any(one.field == "folder" and "login key" in one.reason for one in found)


def test_a_login_key_that_is_none_is_refused_and_not_shown(azure: Any) -> None:
    azure.home.write("login.key", pki.make_login_key("pre").private.replace("AAAA", "!!!!"))
    verdict = azure.verdicts()["keys"]
    assert [finding.value for finding in verdict.refused] == [str(azure.home.folder / "login.key")]
    assert "PRIVATE" not in str(verdict)


def test_a_login_key_that_cannot_be_read_is_refused(azure: Any) -> None:
    (azure.home.folder / "login.key").mkdir(parents=True, mode=0o700)
    azure.home.folder.chmod(0o700)
    (found,) = azure.refused()
    assert found.value == str(azure.home.folder / "login.key")
    assert found.reason.startswith("cannot be read")


def test_a_login_key_that_others_can_read_is_one_finding(azure: Any) -> None:
    azure.home.write("login.key", pki.make_login_key("pre").private)
    (azure.home.folder / "login.key").chmod(0o644)
    (found,) = azure.refused()
    assert "others can read login.key" in found.reason


def test_without_machines_no_key_is_needed(azure: Any) -> None:
    assert azure.verdicts()["keys"].found == "none yet"


@pytest.mark.parametrize(
    ("ahead_s", "level"), [(0.0, Level.OK), (200.0, Level.OK), (400.0, Level.WARNING), (-4000.0, Level.WARNING)]
)
def test_a_clock_that_is_minutes_off_is_a_warning(azure: Any, ahead_s: float, level: Level) -> None:
    azure.subscription.clock_ahead_s = ahead_s
    verdict = azure.verdicts()["clock"]
    assert verdict.level is level
    if level is Level.WARNING:
        assert ("behind" if ahead_s > 0 else "ahead of") in verdict.warnings[0].value


def test_looking_leaves_no_trace(azure: Any) -> None:
    azure.verdicts()
    assert not azure.home.folder.parent.exists()
    azure.home.write("tokens/eastus", "t")
    before = _snapshot(azure.home.folder)
    azure.verdicts()
    assert _snapshot(azure.home.folder) == before
    shutil.rmtree(azure.home.folder)


def _snapshot(folder: Path) -> list[tuple[str, int, int]]:
    return [(str(one), one.lstat().st_mode, one.lstat().st_mtime_ns) for one in sorted(folder.rglob("*"))]
