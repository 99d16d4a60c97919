"""What a command is aimed at: said first, and refused where the mesh is elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from crdbmesh.local import birth, contents
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.terminal import app as cli

COMMANDS = {
    "up": ["--yes", "--allow-from", "127.0.0.1"],
    "plan": ["--allow-from", "127.0.0.1"],
    "status": ["aimed"],
    "doctor": [],
    "kubeconfig": ["aimed"],
    "down": ["aimed", "--yes", "--purge"],
}


def crdbmesh(azure: Any, home: Path, *arguments: str, **environment: str) -> Result:
    fixed = {"CRDBMESH_HOME": str(home), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    return CliRunner().invoke(cli.app, list(arguments), env={**fixed, **environment})


def here(azure: Any) -> Aim:
    subscription = azure.world.coordinates["subscription_id"]
    return Aim(cloud="simulated", arm_url=azure.cloud.arm_url, subscription_id=subscription, tenant_id="")


def keep(home: Path, aim: Aim) -> LocalFolder:
    folder = LocalFolder(home / "aimed")
    folder.write(SPEC, "name: aimed\nregions: [eastus]\n")
    folder.write(contents.LOGIN_KEY, "a key")
    folder.write("kubeconfigs/eastus.yaml", "")
    birth.write(folder, birth.of(aim, "an id"))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"subscription_id": "another", "subscription_name": "Prod"}, "az account set --subscription another"),
        ({"arm_url": "https://management.azure.com", "cloud": "AzureCloud"}, "CRDBMESH_CLOUD"),
    ],
    ids=["subscription", "cloud"],
)
def test_every_command_refuses_another_place_before_a_question_or_a_write(
    azure: Any, tmp_path: Path, command: str, change: dict[str, str], remedy: str
) -> None:
    folder, writes = keep(tmp_path, here(azure).model_copy(update=change)), azure.world.writes()
    shown = crdbmesh(azure, tmp_path, command, *COMMANDS[command])
    assert shown.exit_code == 3, shown.output
    text = " ".join(shown.output.split())
    assert remedy in text
    assert next(iter(change.values())) in text
    assert (here(azure).subscription_id if "subscription_id" in change else azure.cloud.arm_url) in text
    assert azure.world.writes() == writes
    assert folder.read(contents.LOGIN_KEY) == "a key"


def test_a_refusal_is_json_of_its_own_kind(azure: Any, tmp_path: Path) -> None:
    keep(tmp_path, here(azure).model_copy(update={"subscription_id": "another"}))
    document = json.loads(crdbmesh(azure, tmp_path, "status", "-o", "json").stdout)
    assert document["schema"] == 1
    assert document["error"]["code"] == "elsewhere"


@pytest.mark.parametrize("command", ["plan", "status", "down"])
def test_the_subscription_is_said_before_anything_else(azure: Any, tmp_path: Path, command: str) -> None:
    keep(tmp_path, here(azure)).delete(contents.LOGIN_KEY)
    arguments = ["aimed", "--yes"] if command == "down" else COMMANDS[command]
    shown = crdbmesh(azure, tmp_path, command, *arguments, "-o", "json")
    subscription = here(azure).subscription_id
    assert shown.stderr.splitlines()[0] == f"Subscription Simulated subscription ({subscription}) of simulated"
    document = json.loads(shown.stdout)
    assert document["schema"] == 1
    assert document["cloud"] == "simulated"
    assert document["subscription"] == {"id": subscription, "name": "Simulated subscription"}
    assert document["tenant"]


def test_the_variable_for_up_does_not_answer_down(azure: Any, tmp_path: Path) -> None:
    azure.put_group("answered", crdbmesh="answered")
    shown = crdbmesh(azure, tmp_path, "down", "answered", CRDBMESH_YES="1")
    assert shown.exit_code == 2
    assert "cannot prompt" in shown.output
    assert azure.group_exists("answered")
    assert crdbmesh(azure, tmp_path, "down", "answered", CRDBMESH_DOWN_YES="1").exit_code == 0


def test_down_says_that_it_found_nothing_and_keeps_the_keys(azure: Any, tmp_path: Path) -> None:
    folder = keep(tmp_path, here(azure))
    shown = crdbmesh(azure, tmp_path, "down", "aimed", "--yes")
    assert shown.exit_code == 0
    assert f"Nothing of aimed was found, so its local folder with its keys stays: {folder.path}" in shown.output
    assert "is gone" not in shown.output
    assert folder.read(contents.LOGIN_KEY) == "a key"


def test_down_without_a_folder_does_not_say_that_a_mesh_is_gone_that_it_did_not_find(
    azure: Any, tmp_path: Path
) -> None:
    shown = crdbmesh(azure, tmp_path, "down", "nowhere", "--yes")
    assert (shown.exit_code, shown.stdout) == (0, "Nothing of nowhere was found.\n")


def test_no_mesh_can_be_called_as_the_folder_of_removed_ones(azure: Any, tmp_path: Path) -> None:
    for command in (["up", "--name", "removed", "--regions", "eastus", "--yes"], ["down", "removed", "--yes"]):
        shown = crdbmesh(azure, tmp_path, *command)
        assert shown.exit_code == 2
        assert "is the folder of removed meshes" in shown.output
