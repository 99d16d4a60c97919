"""The command line: usage, exit codes, precedence, streams. What needs a world is in the journeys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crdbmesh import __version__
from crdbmesh.cli import app
from crdbmesh.home import SPEC, Home


def crdbmesh(*arguments: str, home: Path, **environment: str) -> Result:
    return CliRunner().invoke(
        app, list(arguments), env={"CRDBMESH_HOME": str(home), "CRDBMESH_CLOUD": "", **environment}
    )


def keep(home: Path, name: str) -> None:
    Home(home / name).write(SPEC, f"name: {name}\nregions: [eastus]\n")


def test_help_loads_no_sdk_and_is_quick() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from crdbmesh.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "print([name for name in ('azure', 'kubernetes', 'paramiko', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_version_is_the_packages(tmp_path: Path) -> None:
    assert crdbmesh("--version", home=tmp_path).stdout == f"crdbmesh {__version__}\n"


def test_no_arguments_shows_help_with_the_exit_codes(tmp_path: Path) -> None:
    shown = crdbmesh(home=tmp_path)
    assert "10 degraded" in shown.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--regions", "East US"],
        ["up", "--regions", ""],
        ["plan"],
        ["up", "--config", "/nonexistent.yaml"],
        ["status"],
        ["status", "nobody"],
        ["down", "No Such Name", "--yes"],
        ["kubeconfig"],
        ["kubeconfig", "--switch", "eastus"],
        ["demo", "--regions", "eastus,eastus"],
        ["demo", "--machines-per-region", "0"],
        ["up", "--frobnicate"],
        ["frobnicate"],
    ],
)
def test_bad_input_exits_with_2_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    shown = crdbmesh(*arguments, home=tmp_path, AZURE_SUBSCRIPTION_ID="s")
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    assert shown.stdout == "" or "Usage" in shown.stdout


def test_errors_are_json_when_json_is_asked_for(tmp_path: Path) -> None:
    shown = crdbmesh("status", "nobody", "--output", "json", home=tmp_path)
    document = json.loads(shown.stdout)
    assert document["schema"] == 1
    assert document["error"]["code"] == "config"
    assert document["error"]["findings"][0]["field"] == "name"


def test_several_known_meshes_must_be_told_apart(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    keep(tmp_path, "two")
    shown = crdbmesh("kubeconfig", home=tmp_path)
    assert shown.exit_code == 2
    assert "one, two" in shown.output


def test_the_only_known_mesh_needs_no_name(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    shown = crdbmesh("kubeconfig", home=tmp_path)
    assert shown.exit_code == 2
    assert "has no kubeconfig yet" in shown.output


KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: crdb-k3s-eastus, cluster: {server: "https://203.0.113.1:6443"}}]
users: [{name: crdb-k3s-eastus, user: {token: t}}]
contexts: [{name: crdb-k3s-eastus, context: {cluster: crdb-k3s-eastus, user: crdb-k3s-eastus}}]
current-context: crdb-k3s-eastus
"""


def test_kubeconfig_prints_yaml_on_stdout_alone(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    Home(tmp_path / "one").write("kubeconfigs/eastus.yaml", KUBECONFIG)
    shown = crdbmesh("kubeconfig", home=tmp_path)
    assert shown.exit_code == 0
    assert "crdb-k3s-eastus" in shown.stdout
    assert shown.stderr == ""


def test_merge_keeps_the_users_own_context_and_a_backup(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    Home(tmp_path / "one").write("kubeconfigs/eastus.yaml", KUBECONFIG)
    own = tmp_path / "config"
    own.write_text(KUBECONFIG.replace("crdb-k3s-eastus", "mine"))
    merged = crdbmesh("kubeconfig", "--merge", home=tmp_path, KUBECONFIG=str(own))
    assert merged.exit_code == 0, merged.output
    assert "current-context: mine" in own.read_text()
    assert "crdb-k3s-eastus" in own.read_text()
    assert len(list(tmp_path.glob("config*"))) >= 2
    switched = crdbmesh("kubeconfig", "--merge", "--switch", "eastus", home=tmp_path, KUBECONFIG=str(own))
    assert switched.exit_code == 0
    assert "current-context: crdb-k3s-eastus" in own.read_text()
