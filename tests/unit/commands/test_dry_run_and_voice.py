"""What every command line may say: how much it prints, what it would do, and which spec in the folder it uses."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.terminal import app as cli


def crdbmesh(azure: Any, folder: Path, *arguments: str, **environment: str) -> Result:
    folders = {"CRDBMESH_HOME": str(folder / "home"), "HOME": str(folder)}
    environment = {**folders, "CRDBMESH_CLOUD": str(azure.world.cloud_file), **environment}
    with contextlib.chdir(folder):
        return CliRunner().invoke(cli.app, list(arguments), env=environment)


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_verbose_prints_each_request_and_no_token_on_stderr(azure: Any, tmp_path: Path, *, before: bool) -> None:
    arguments = ["-v", "doctor"] if before else ["doctor", "--verbose"]
    done = crdbmesh(azure, tmp_path, *arguments, "--output", "json")
    subscription = azure.world.coordinates["subscription_id"]
    asked = [line for line in done.stderr.splitlines() if line.startswith("GET https://")]
    assert any(f"/subscriptions/{subscription}?api-version=" in line for line in asked)
    assert azure.world.coordinates["token"] not in done.stderr
    assert json.loads(done.stdout)["command"] == "doctor"
    assert "GET " not in crdbmesh(azure, tmp_path, "doctor", "--output", "json").stderr


def test_quiet_leaves_results_and_errors(azure: Any, tmp_path: Path) -> None:
    options = ["--regions", "eastus", "--machines-per-region", "1"]
    loud = crdbmesh(azure, tmp_path, "plan", *options)
    quiet = crdbmesh(azure, tmp_path, "-q", "plan", *options)
    assert ("Reading the current state" in loud.stderr, quiet.stderr) == (True, "")
    assert (quiet.stdout, quiet.exit_code) == (loud.stdout, 0)
    failed = crdbmesh(azure, tmp_path, "status", "--quiet", "nobody")
    assert (failed.exit_code, "nobody" in failed.stderr) == (2, True)


def test_no_color_wins_over_force_color(azure: Any, tmp_path: Path) -> None:
    coloured = crdbmesh(azure, tmp_path, "doctor", FORCE_COLOR="1")
    assert "\x1b[32m" in coloured.stdout
    for plain in (
        crdbmesh(azure, tmp_path, "--no-color", "doctor", FORCE_COLOR="1"),
        crdbmesh(azure, tmp_path, "doctor", "--no-color", FORCE_COLOR="1"),
    ):
        assert "\x1b[32m" not in plain.stdout


def test_up_as_a_dry_run_is_plan(azure: Any, tmp_path: Path) -> None:
    options = ["dry", "--regions", "eastus", "--machines-per-region", "1", "--output", "json"]
    writes = azure.world.writes()
    planned, dry = crdbmesh(azure, tmp_path, "plan", *options), crdbmesh(azure, tmp_path, "up", *options, "--dry-run")
    assert (dry.exit_code, dry.stdout) == (planned.exit_code, planned.stdout)
    assert json.loads(dry.stdout)["mesh"] == "dry"
    assert (azure.world.writes(), (tmp_path / "home").exists()) == (writes, False)


def test_down_as_a_dry_run_lists_what_it_would_delete_and_asks_and_deletes_nothing(azure: Any, tmp_path: Path) -> None:
    azure.put_group("dryrun", crdbmesh="dryrun")
    vnet = azure.put_vnet("dryrun", "dryrun-eastus", "10.1.0.0/16", crdbmesh="dryrun")
    LocalFolder(tmp_path / "home" / "dryrun").write(SPEC, "name: dryrun\nregions: [eastus]\n")
    LocalFolder(tmp_path / "home" / "dryrun").write("created", f"{vnet}\n")
    done = crdbmesh(azure, tmp_path, "down", "--dry-run", "--output", "json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["dry_run"], answer["delete"]) == (True, ["resource group dryrun with 1 virtualNetworks"])
    shown = crdbmesh(azure, tmp_path, "down", "dryrun", "--dry-run")
    assert (shown.exit_code, "resource group dryrun" in shown.stdout) == (0, True)
    assert azure.exists(vnet)
    assert (tmp_path / "home" / "dryrun" / SPEC).exists()
    azure.delete_group("dryrun")


@pytest.mark.parametrize("command", ["plan", "doctor"])
def test_a_name_is_an_argument_or_an_option(azure: Any, tmp_path: Path, command: str) -> None:
    options = ["--regions", "eastus", "--machines-per-region", "1", "--output", "json"]
    answers = [
        json.loads(crdbmesh(azure, tmp_path, command, *name, *options).stdout) for name in (["a1"], ["--name", "a1"])
    ]
    assert [answer["mesh"] for answer in answers] == ["a1", "a1"]


def test_a_spec_in_the_working_folder_is_found_and_said(azure: Any, tmp_path: Path) -> None:
    (tmp_path / "crdbmesh.yaml").write_text("name: here\nregions: [westus]\nmachines: {per_region: 1}\n")
    done = crdbmesh(azure, tmp_path, "plan", "--output", "json")
    assert json.loads(done.stdout)["mesh"] == "here"
    assert "Using crdbmesh.yaml" in done.stderr


def test_config_show_prints_a_spec_that_config_takes_with_where_each_field_comes_from(
    azure: Any, tmp_path: Path
) -> None:
    (tmp_path / "crdbmesh.yaml").write_text("name: here\nregions: [westus]\n")
    shown = crdbmesh(azure, tmp_path, "config", "show", "--origin", "--machines-per-region", "2", "-v")
    assert (shown.exit_code, shown.stderr) == (0, "Using crdbmesh.yaml\n"), "and no request"
    lines = [line.split("  # ") for line in shown.stdout.splitlines() if "#" in line]
    said = {value.strip(): how for value, how in lines}
    assert (said["name: here"], said["per_region: 2"]) == ("crdbmesh.yaml:1", "--machines-per-region")
    assert (said["disk_gib: 128"], said["- name: westus"]) == ("default at birth", "crdbmesh.yaml:2")
    (tmp_path / "again.yaml").write_text(shown.stdout)
    options = ["--config", "again.yaml", "--output", "json"]
    answer = json.loads(crdbmesh(azure, tmp_path, "config", "show", *options).stdout)
    assert (answer["spec"]["machines"]["per_region"], "origins" in answer) == (2, False)
