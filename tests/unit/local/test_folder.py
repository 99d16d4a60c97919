"""The local folder: private, whole or not at all."""

from __future__ import annotations

import datetime as dt
import json
import stat
from pathlib import Path

import pytest

from crdbmesh.errors import ConfigError, UnsafeError
from crdbmesh.local.folder import SPEC, LocalFolder, list_meshes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_private(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    folder.write("ca/cilium.pem", "secret")
    assert mode(folder.path) == mode(folder.path / "ca") == 0o700
    assert mode(folder.path / "ca/cilium.pem") == 0o600


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    assert folder.find_or_make("token", lambda: "first") == "first"
    assert folder.find_or_make("token", lambda: "second") == "first"


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    folder.write("login.key", "secret")
    (folder.path / "login.key").chmod(0o644)
    with pytest.raises(UnsafeError, match="chmod 600") as caught:
        folder.read("login.key")
    assert "secret" not in str(caught.value)


def test_absent_is_none_and_removing_twice_is_done(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    assert folder.read("nothing") is None
    folder.write("x", "y")
    folder.remove()
    folder.remove()
    assert not folder.path.exists()


def test_only_folders_with_a_spec_are_meshes(tmp_path: Path) -> None:
    LocalFolder(tmp_path / "one").write(SPEC, "regions: [eastus]\n")
    LocalFolder(tmp_path / "two").write("other", "")
    assert list_meshes(tmp_path) == ["one"]
    assert list_meshes(tmp_path / "absent") == []


def test_a_journal_is_private_json_lines_written_at_once(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    with folder.journal("up", dt.datetime(2026, 1, 2, tzinfo=dt.UTC)) as journal:
        journal.record(step="a", kind="ended")
        lines = journal.path.read_text().splitlines()
    assert json.loads(lines[0])["step"] == "a"
    assert mode(journal.path) == 0o600
    journal.record(step="late")
    assert len(journal.path.read_text().splitlines()) == 1


def test_a_folder_that_a_failed_run_left_empty_is_removed(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    with pytest.raises(ConfigError), folder.locked("up"):
        raise ConfigError([])
    assert not folder.path.exists()
