"""Known values are looked for in everything that a run writes or shows anywhere, on this side and on the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(240)
UNAME = "('uname', ['uname', '-p'])"
"""What Python itself runs to find out about the processor."""


def test_every_kind_of_secret_is_among_the_values_that_are_looked_for(mesh: Any) -> None:
    kinds = ["ARM token", "login.key", "host-keys/", "tokens/", "ca/cilium", "ca/cockroach", "client-key"]
    kinds += ["client.root.key", "node.key", "custom data"]
    names = list(mesh.ground.planted())
    assert [kind for kind in kinds if not any(kind in name for name in names)] == []


def test_the_witness_sees_what_is_written_opened_to_others_and_run(mesh: Any, tmp_path: Path) -> None:
    script = "import os, subprocess; open('homes/a', 'w').close(); os.chmod('homes/a', 0o600); subprocess.run(['true'])"
    (tmp_path / "homes").mkdir()
    environ = mesh.ground.environ(tmp_path / "log", WITNESS_FOLDER=str(tmp_path / "homes"))
    subprocess.run([sys.executable, "-c", script], env=environ, cwd=tmp_path, check=True, umask=0o022)
    acts = [tuple(json.loads(line)) for line in (tmp_path / "log").read_text().splitlines()]
    path = str(tmp_path / "homes" / "a")
    assert acts == [("written", path), ("exposed", f"{path} 644"), ("run", "('true', ['true'])")]


def test_up_shows_no_secret_in_its_output_journals_arguments_or_environment(mesh: Any) -> None:
    everywhere = mesh.ground.around(mesh.up)
    assert any("journals" in where for where in everywhere)
    assert any("crdbmesh\0up" in text for text in mesh.up.processes)
    assert mesh.ground.leaks(everywhere) == []


def test_up_starts_no_program_and_writes_nowhere_but_into_its_folder(mesh: Any) -> None:
    assert set(mesh.up.did("run")) <= {UNAME}
    homes = str(mesh.ground.homes)
    strangers = [path for path in mesh.up.did("written") if not path.startswith(homes) and not path.startswith("/dev/")]
    assert strangers == []
    assert [path for folder in mesh.ground.surroundings() for path in folder.rglob("*")] == []


def test_nothing_in_the_folder_was_open_to_others_for_a_moment_under_any_umask(mesh: Any) -> None:
    assert mesh.up.did("exposed") == []
    made = set(mesh.up.did("written") + mesh.up.did("folder"))
    assert {str(mesh.ground.home / name) for name in ("kubeconfigs", "tokens", "ca", "host-keys")} <= made
    for path in [mesh.ground.homes, mesh.ground.home, *mesh.ground.home.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_command_on_a_mesh_that_is_up_shows_no_secret(mesh: Any) -> None:
    for run in mesh.ground.run_all([["plan", "-o", "json"], ["status"], ["doctor", "-o", "json"]]):
        assert run.code == 0, run.stderr
        assert mesh.ground.leaks(mesh.ground.around(run)) == []
        assert set(run.did("run")) <= {UNAME}


def test_the_process_lists_of_machines_and_containers_show_no_secret(mesh: Any) -> None:
    # Other claims are checked by looking for secrets on the machines: with this command.
    commands = [one for one in mesh.ground.commands() if "grep -rlF" not in " ".join(one["argv"])]
    places = {one["place"] for one in commands}
    assert {"eastus-1", "westus-1"} <= places
    assert any("cockroachdb-client" in place for place in places)
    texts = {f"{one['place']}: {one['argv'][:2]}": "\0".join(one["argv"]) for one in commands}
    assert len(texts) > 20
    assert mesh.ground.leaks(texts) == []


def test_azure_never_shows_custom_data_nor_anything_else_that_is_secret(mesh: Any) -> None:
    answers = {}
    for kind in (
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Network/networkInterfaces",
        "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/publicIPAddresses",
        "Microsoft.Network/virtualNetworks",
    ):
        found = mesh.ground.arm(f"/providers/{kind}")["value"]
        assert found, kind
        answers[kind] = json.dumps(found)
        if kind.endswith("virtualMachines"):
            for one in found:
                path = one["id"].partition(f"{mesh.ground.coordinates['subscription_id']}")[2]
                answers[path] = json.dumps(mesh.ground.arm(f"{path}?$expand=instanceView"))
    answers["resources"] = json.dumps(mesh.ground.arm("/resources?$expand=createdTime"))
    answers["group"] = json.dumps(mesh.ground.arm("/resourceGroups/crdbmesh"))
    assert '"customData"' not in "".join(answers.values())
    assert mesh.ground.leaks(answers) == []


def test_of_all_kubernetes_objects_only_secrets_hold_secrets(mesh: Any) -> None:
    texts: dict[str, str] = {}
    for region in ("eastus", "westus"):
        for found in mesh.ground.kube_objects(region):
            metadata = found["metadata"]
            name = f"{region}: {found['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
            # A Secret's own data is what it is for; what else it says counts.
            shown = {key: value for key, value in found.items() if found["kind"] != "Secret" or key != "data"}
            texts[name] = json.dumps(shown)
    assert {name.split()[1] for name in texts} >= {"Secret", "ConfigMap", "Pod", "StatefulSet", "HelmChart"}
    assert mesh.ground.leaks(texts) == []


def test_a_token_that_azure_refuses_is_not_repeated_to_anyone(mesh: Any, tmp_path: Path) -> None:
    token = f"wrong-token-{os.urandom(24).hex()}"
    document = json.loads(mesh.ground.cloud_file.read_text()) | {"token": token}
    cloud_file = tmp_path / "wrong.json"
    cloud_file.write_text(json.dumps(document))
    commands = [["up", "-y", "-o", "json"], ["down", "-y", "-o", "json"]]
    for run in mesh.ground.run_all(commands, {"CRDBMESH_CLOUD": str(cloud_file)}):
        assert run.code in (1, 3), run.stdout
        assert run.document()
        around = mesh.ground.around(run)
        assert mesh.ground.leaks(around, {"wrong token": token, **mesh.ground.secrets()}) == []
