"""`crdbmesh doctor`, and the checks at the head of `up` and `plan`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from crdbmesh.checks import catalog
from crdbmesh.commands import doctor
from crdbmesh.commands.plan import run_plan
from crdbmesh.errors import Finding, PreflightError
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.spec import load as config
from crdbmesh.terminal import app as cli

CHECKS = [catalog.CREDENTIAL.name, *(check.name for check in catalog.CHECKS), "rules", "runs"]


def crdbmesh(azure: Any, home: Path, *arguments: str, **environment: str) -> Result:
    fixed = {"CRDBMESH_HOME": str(home), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    return CliRunner().invoke(cli.app, list(arguments), env={**fixed, **environment})


def test_a_sound_spec_is_zero_and_a_line_for_each_check(azure: Any, tmp_path: Path) -> None:
    before = azure.world.writes()
    home = tmp_path / "home"
    shown = crdbmesh(azure, home, "doctor", "--name", "doc", "--regions", "eastus,westus")
    assert shown.exit_code == 0, shown.output
    lines = [line for line in shown.stdout.splitlines() if not line.startswith(" ")]
    assert len(lines) == len(CHECKS) + 1
    assert {line.split()[1] for line in lines[:-1]} <= {"ok", "warning"}
    assert azure.world.writes() == before
    assert not home.exists()


def test_what_stands_in_the_way_is_three_with_cause_and_remedy(azure: Any, tmp_path: Path) -> None:
    shown = crdbmesh(azure, tmp_path, "doctor", "--regions", "eastus,northeurpoe", "--allow-from", "*")
    assert shown.exit_code == 3
    text = shown.stdout
    assert "✗ regions[1] = northeurpoe" in text
    assert "is not a region of this subscription" in text
    assert "did you mean northeurope" in text
    assert "! allow_from = *" in text
    assert "1 problem would make `up` fail for crdbmesh" in text


def test_json_is_one_object_with_every_check(azure: Any, tmp_path: Path) -> None:
    arguments = ("doctor", "--regions", "eastus", "--machine-size", "Standard_D4ps_v5", "--output", "json")
    shown = crdbmesh(azure, tmp_path, *arguments)
    document = json.loads(shown.stdout)
    assert shown.exit_code == 3
    assert (document["schema"], document["command"], document["mesh"]) == (1, "doctor", "crdbmesh")
    assert document["ok"] is False
    assert [check["check"] for check in document["checks"]] == CHECKS
    (sizes,) = [check for check in document["checks"] if check["check"] == "sizes"]
    assert sizes["level"] == "refused"
    assert set(sizes["findings"][0]) == {"level", "field", "value", "reason", "remedy"}


def test_with_nothing_said_it_looks_at_what_needs_no_spec(azure: Any, tmp_path: Path) -> None:
    shown = crdbmesh(azure, tmp_path, "doctor")
    assert shown.exit_code == 0
    assert "– skipped Regions" in shown.stdout
    assert "crdbmesh doctor --regions eastus,westus,northeurope" in shown.stdout
    document = json.loads(crdbmesh(azure, tmp_path, "doctor", "-o", "json").stdout)
    assert (document["mesh"], document["regions"], document["ok"]) == (None, [], True)


def test_it_takes_the_kept_spec(azure: Any, tmp_path: Path) -> None:
    LocalFolder(tmp_path / "kept").write(SPEC, "name: kept\nregions: [eastuss]\nallow_from: [203.0.113.1]\n")
    shown = crdbmesh(azure, tmp_path, "doctor")
    assert shown.exit_code == 3
    assert "regions[0] = eastuss" in shown.stdout
    assert "--allow-from 127.0.0.1" in shown.stdout


def test_a_mistake_in_what_is_said_is_still_two(azure: Any, tmp_path: Path) -> None:
    assert crdbmesh(azure, tmp_path, "doctor", "--regions", "East US").exit_code == 2
    empty = tmp_path / "spec.yaml"
    empty.write_text("name: x\n")
    assert crdbmesh(azure, tmp_path, "doctor", "--config", str(empty)).exit_code == 2


def test_without_a_login_it_is_three_and_says_so_once(azure: Any, tmp_path: Path) -> None:
    document = json.loads(azure.world.cloud_file.read_text())
    del document["subscription_id"]
    file = tmp_path / "cloud.json"
    file.write_text(json.dumps({**document, "token": "not-the-token"}))
    shown = crdbmesh(azure, tmp_path, "doctor", "--regions", "eastus", CRDBMESH_CLOUD=str(file))
    assert shown.exit_code == 3
    assert shown.stdout.count("✗ credential = ") == 1
    assert "not-the-token" not in shown.output
    assert "✓ ok      Local folder" in shown.stdout


def test_up_and_plan_show_warnings_on_stderr_and_stop_at_what_is_refused(azure: Any, tmp_path: Path) -> None:
    arguments = ("--regions", "eastuss", "--allow-from", "*", "--name", "pre")
    before = azure.world.writes()
    for command in (["up", "--yes"], ["plan"]):
        shown = crdbmesh(azure, tmp_path / "home", *command, *arguments)
        assert shown.exit_code == 3
        assert "! allow_from = *" in shown.stderr
        assert "regions[0] = eastuss" in shown.stderr
        assert shown.stdout == ""
    assert azure.world.writes() == before


def test_all_findings_come_at_once_and_plan_stops_at_them(azure: Any, tmp_path: Path) -> None:
    before = azure.world.writes()
    spec = config.mesh(
        {
            "name": "pre",
            "regions": ["eastus", "westuss"],
            "allow_from": ["*"],
            "machines": {"size": "Standard_Nope"},
        }
    )
    warned: list[Finding] = []
    with pytest.raises(PreflightError) as caught:
        run_plan(spec, azure.cloud, LocalFolder(tmp_path / "pre"), warn=warned.append)
    assert {one.field for one in caught.value.findings} == {"regions[1]", "machines.size"}
    assert "allow_from" in {one.field for one in warned}
    assert azure.world.writes() == before


def test_the_document_of_a_result_can_be_printed(azure: Any, tmp_path: Path) -> None:
    result = doctor.run_doctor(None, azure.cloud, LocalFolder(tmp_path / "none"))
    document = result.document()
    assert json.loads(json.dumps(document)) == document
    assert document["skipped"] == sum(check.needs_spec for check in catalog.CHECKS)


@pytest.mark.parametrize("command", [["up", "--yes"], ["plan"], ["doctor"]], ids=lambda command: command[0])
def test_who_is_not_let_in_is_stopped_at_once_with_the_remedy(azure: Any, tmp_path: Path, command: list[str]) -> None:
    arguments = ("--regions", "eastus", "--allow-from", "203.0.113.1", "--name", "pre")
    before = azure.world.writes()
    shown = crdbmesh(azure, tmp_path, *command, *arguments)
    assert shown.exit_code == 3
    assert "add --allow-from 127.0.0.1, or `own`" in " ".join(shown.output.split())
    assert azure.world.writes() == before
    shown = crdbmesh(azure, tmp_path, *command, *arguments, "--no-address-lookup", "--machine-size", "Standard_Nope")
    assert "allow_from" not in shown.output.replace("203.0.113.1/32", "")


def test_nobody_is_asked_for_the_address_when_that_is_said(azure: Any, tmp_path: Path) -> None:
    shown = crdbmesh(azure, tmp_path, "up", "--yes", "--regions", "eastus", "--no-address-lookup")
    assert shown.exit_code == 1
    assert "no service may be asked for it" in shown.stderr
    assert "--allow-from" in shown.stderr
