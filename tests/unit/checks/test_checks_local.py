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
    [
        ({}, "it carries no mesh's tag"),
        ({"crdbmesh": "someone"}, "its tag is the mesh someone's"),
        ({"crdbmesh": "pre"}, "does not record that it is this mesh's"),
    ],
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
    azure.folder.path.parent.write_text("in the way")
    (found,) = azure.refused()
    assert (found.field, found.value) == ("folder", str(azure.folder.path.parent))
    assert "CRDBMESH_HOME" in found.remedy


@pytest.mark.skipif(ROOT, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(azure: Any) -> None:
    azure.folder.path.mkdir(parents=True)
    azure.folder.path.chmod(0o500)
    assert [one.reason for one in azure.refused()] == ["you cannot write there"]


def test_files_that_others_can_read_are_named(azure: Any) -> None:
    azure.folder.write("tokens/eastus", "t")
    azure.folder.write("ca/cilium.pem", "c")
    assert azure.verdicts()["folder"].level is Level.OK
    for name in ("tokens/eastus", "ca/cilium.pem"):
        (azure.folder.path / name).chmod(0o640)
    (found,) = azure.verdicts()["folder"].refused
    assert "ca/cilium.pem, tokens/eastus" in found.reason
    assert f"chmod -R go= {azure.folder.path}" in found.remedy


def test_a_folder_that_others_may_look_into_is_a_warning(azure: Any) -> None:
    azure.folder.write("tokens/eastus", "t")
    azure.folder.path.chmod(0o755)
    (found,) = azure.verdicts()["folder"].warnings
    assert "mode 755" in found.reason


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_files_of_another_user_are_refused(azure: Any) -> None:
    azure.folder.write("tokens/eastus", "t")
    os.chown(azure.folder.path / "tokens/eastus", 12345, 12345)
    (found,) = azure.verdicts()["folder"].refused
    assert "tokens/eastus belong to another user" in found.reason


def test_a_kept_spec_that_is_broken_is_a_warning(azure: Any) -> None:
    azure.folder.write(SPEC, config.dump(config.mesh({"name": "pre", "regions": ["eastus"]})))
    assert azure.verdicts()["folder"].level is Level.OK
    azure.folder.write(SPEC, "regions: 7\n")
    (found,) = azure.verdicts()["folder"].warnings
    assert found.value == str(azure.folder.path / SPEC)


def test_the_login_key_is_the_one_that_the_machines_let_in(azure: Any) -> None:
    key = pki.make_login_key("pre")
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", key.public)
    azure.folder.write("login.key", key.private)
    assert azure.verdicts()["keys"].found == "a login key is here, and 1 machine accepts it"
    azure.folder.write("login.key", pki.make_login_key("pre").private)
    (found,) = azure.verdicts()["keys"].refused
    assert found.reason == "pre-eastus-1 accepts a different key"


def test_a_login_key_that_is_lost_while_machines_are_there_is_refused(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", pki.make_login_key("pre").public)
    found = azure.refused()
    assert any(one.field == "folder" and "login key" in one.reason for one in found)


def test_a_login_key_that_is_none_is_refused_and_not_shown(azure: Any) -> None:
    azure.folder.write("login.key", pki.make_login_key("pre").private.replace("AAAA", "!!!!"))
    verdict = azure.verdicts()["keys"]
    assert [finding.value for finding in verdict.refused] == [str(azure.folder.path / "login.key")]
    assert "PRIVATE" not in str(verdict)


def test_a_login_key_that_cannot_be_read_is_refused(azure: Any) -> None:
    (azure.folder.path / "login.key").mkdir(parents=True, mode=0o700)
    azure.folder.path.chmod(0o700)
    (found,) = azure.refused()
    assert found.value == str(azure.folder.path / "login.key")
    assert found.reason == "is not a regular file"


def test_a_login_key_that_others_can_read_is_one_finding(azure: Any) -> None:
    azure.folder.write("login.key", pki.make_login_key("pre").private)
    (azure.folder.path / "login.key").chmod(0o644)
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
    assert not azure.folder.path.parent.exists()
    azure.folder.write("tokens/eastus", "t")
    before = _snapshot(azure.folder.path)
    azure.verdicts()
    assert _snapshot(azure.folder.path) == before
    shutil.rmtree(azure.folder.path)


def _snapshot(folder: Path) -> list[tuple[str, int, int]]:
    return [(str(one), one.lstat().st_mode, one.lstat().st_mtime_ns) for one in sorted(folder.rglob("*"))]


def test_a_license_file_is_read_before_anything_is_made(azure: Any, tmp_path: Path) -> None:
    assert azure.verdicts()["license"].found == "none in the spec"
    key = tmp_path / "license"
    for content, reason in (
        (None, "No such file"),
        ("secret but no key", "holds no license key"),
        (b"\xff", "not text"),
    ):
        if content is not None:
            key.write_bytes(content if isinstance(content, bytes) else content.encode())
        (found,) = azure.refused(license_file=str(key))
        assert (found.field, found.value) == ("license_file", str(key))
        assert reason in found.reason
        assert found.remedy
        assert "secret" not in str(found)
    key.write_text("crl-0-ABCDabcd0123\n")
    assert azure.verdicts(license_file=str(key))["license"].level is Level.OK
