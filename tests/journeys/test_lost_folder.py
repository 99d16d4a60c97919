"""The local folder is lost, wholly or in part: `up` says what and refuses, `status` and `down` work from tags alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crdbmesh.commands import reconstruct
from crdbmesh.engine.step import Outcome
from crdbmesh.local.folder import SPEC
from crdbmesh.observe import belongings
from crdbmesh.observe.inventory import find
from crdbmesh.spec import load as config
from crdbmesh.terminal import app as cli

AZURE_LAYERS = ("network", "peerings", "machines")


def crdbmesh(world: Any, *arguments: str) -> Any:
    environment = {"CRDBMESH_HOME": str(world.home().path.parent), "CRDBMESH_CLOUD": world.coordinates["cloud_file"]}
    return CliRunner().invoke(cli.app, list(arguments), env=environment)


def flat(text: str) -> str:
    return " ".join(text.split())


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def up_again(world: Any, *arguments: str) -> Any:
    regions = ["--regions", "eastus,westus", "--machines-per-region", "1", "--allow-from", "127.0.0.1"]
    return crdbmesh(world, *arguments, *regions)


@pytest.mark.long
def test_with_the_folder_lost_up_refuses_status_reads_the_tags_and_down_removes_all(world: Any) -> None:
    mesh = world.mesh(["eastus", "westus"], network={"gateway_transit": True})
    assert all(result.outcome.good for result in world.up(mesh).values())
    folder = world.home().path
    world.home().write(SPEC, config.dump(mesh))
    writes = world.writes()

    # In part: exactly these files are named, by preflight and by whoever goes on without it; none is made anew.
    lost = ("login.key", "tokens/westus", "host-keys/eastus-1.key")
    kept = {name: (folder / name).read_text() for name in lost}
    for name in lost:
        (folder / name).unlink()
    shown = up_again(world, "plan", "--output", "json")
    assert shown.exit_code == 3, shown.output
    (finding,) = [one for one in json.loads(shown.stdout)["error"]["findings"] if "files are missing" in one["reason"]]
    assert "missing: login.key, tokens/westus, host-keys/eastus-1.key." in finding["reason"]
    assert "restore exactly these files" in finding["remedy"]
    results = world.up(mesh)
    assert "login.key, tokens/westus, host-keys/eastus-1.key" in results["eastus/node1/machine"].detail
    assert not [name for name in lost if (folder / name).exists()]
    assert world.writes() == writes
    for name, text in kept.items():
        world.home().write(name, text)

    # A kubeconfig is no secret that is lost: it is fetched again.
    (folder / "kubeconfigs" / "westus.yaml").unlink()
    assert all(result.outcome.good for result in world.up(mesh).values())

    # Only the spec: what it should be comes from the tags, and everything can be read.
    (folder / SPEC).unlink()
    shown = crdbmesh(world, "status", "crdbmesh", "--output", "json")
    document = json.loads(shown.stdout)
    assert shown.exit_code == 0, shown.output
    assert document["reconstructed"] is True
    assert document["figures"]["cockroach_nodes_live"] == 2

    # All of it.
    shutil.rmtree(folder)
    writes = world.writes()
    shown = up_again(world, "up", "--yes")
    assert shown.exit_code == 3
    said = flat(shown.stderr)
    for what in (
        "login key", "Cilium CA", "CockroachDB CA", "k3s token (eastus, westus)", "host key (eastus-1, westus-1)",
        "the kubeconfigs", "the spec", "nobody can log in", "database node can be added", "runs on",
        "restore the folder from a backup", "crdbmesh status crdbmesh", "crdbmesh down crdbmesh", "SQL",
    ):  # fmt: skip
        assert what in said, what
    assert world.writes() == writes
    assert not folder.exists(), files(folder)
    assert world.up(mesh)["eastus/node1/machine"].outcome is Outcome.FAILED
    assert not folder.exists() or not files(folder), "a half of a folder was made"

    shown = crdbmesh(world, "status", "crdbmesh")
    assert shown.exit_code == 10, shown.output
    assert shown.stderr.count("reconstructed") == 1
    assert "no kubeconfig in" in flat(shown.stdout)
    document = json.loads(crdbmesh(world, "status", "crdbmesh", "--output", "json").stdout)
    for region in document["regions"]:
        levels = {layer["layer"]: (layer["level"], layer["good"], layer["wanted"]) for layer in region["layers"]}
        assert {levels[name][0] for name in AZURE_LAYERS} == {"ok"}, levels
        assert {levels[name][0] for name in levels if name not in AZURE_LAYERS} == {"unknown"}
        assert levels["machines"][1:] == (1, 1)
    assert [region["region"] for region in document["regions"]] == ["eastus", "westus"]

    # Without a name: which there are. Of a name that is none: the same. What needs the folder says so.
    shown = crdbmesh(world, "status")
    assert shown.exit_code == 2
    assert "crdbmesh (eastus, westus)" in flat(shown.stderr)
    shown = crdbmesh(world, "status", "nobody")
    assert shown.exit_code == 2
    assert "no region of it is in the subscription" in flat(shown.stderr)
    assert "crdbmesh (eastus, westus)" in flat(shown.stderr)
    shown = crdbmesh(world, "kubeconfig", "crdbmesh")
    assert shown.exit_code == 2
    assert f"restore its local folder {folder} from a backup" in flat(shown.stderr)

    # A machine that is gone, and a VNet that is.
    world.resource("DELETE", "Microsoft.Compute/virtualMachines/crdbmesh-westus-1")
    document = json.loads(crdbmesh(world, "status", "crdbmesh", "--output", "json").stdout)
    machines = next(layer for layer in document["regions"][1]["layers"] if layer["layer"] == "machines")
    assert (machines["level"], machines["cause"]) == ("absent", "westus-1 is absent")

    shown = crdbmesh(world, "down", "crdbmesh", "--yes")
    assert shown.exit_code == 0, shown.output
    assert world.report()["resources"] == 0
    assert world.report()["unknown"] == []


def test_what_is_reconstructed_is_the_shape_of_the_mesh(world: Any) -> None:
    spec = {
        "regions": [
            {
                "name": "westus",
                "machines": 2,
                "vnet": "10.201.0.0/16",
                "pods": "10.60.0.0/16",
                "services": "10.61.0.0/16",
            },
            {"name": "eastus", "vnet": "10.101.0.0/20", "subnet": "10.101.8.0/24", "size": "Standard_D8s_v5"},
        ],
        "allow_from": ["127.0.0.1", "203.0.113.0/24"],
        "machines": {"per_region": 1},
        "network": {"base": "172.16.0.0/12"},
        "ssh": {"port": world.cloud().ssh_port},
        "group": "crdbmesh-others",
    }
    mesh = config.mesh(spec)
    with world.open(mesh) as run_world:
        from crdbmesh.engine import plan, run
        from crdbmesh.steps import catalog

        wanted = {"network", "firewall", "address", "nic", "machine", "providers", "group", "peerings"}
        wanted |= {"availability", "data-disk", "wal-disk"}
        steps = [step for step in catalog.steps(run_world) if step.name.rpartition("/")[2] in wanted]
        results = run.run(plan.order(steps), workers=16, notify=lambda _event: None)
        assert all(result.outcome.good for result in results.values()), results
        # Nobody has taken the lease here; the first region is then the one with the lowest addresses.
        made = reconstruct.reconstruct(run_world.session, find(run_world.session, belongings.of(run_world)))
    assert made.group_name == "crdbmesh-others"
    assert made.allow_from == mesh.allow_from
    assert made.ssh.port == mesh.ssh.port
    assert [region.name for region in made.all_regions()] == ["eastus", "westus"]
    for region in made.all_regions():
        original = mesh.region(region.name)
        assert region.ranges.vnet == original.ranges.vnet
        assert region.ranges.subnet == original.ranges.subnet
        assert region.machines == tuple(original.machines)


@pytest.mark.long
def test_a_new_first_machine_joins_its_cluster_though_the_kubeconfig_is_lost(world: Any) -> None:
    mesh = world.mesh(["eastus"], machines=3)
    assert all(result.outcome.good for result in world.up(mesh).values())
    before = world.kube("eastus", "GET", "/api/v1/namespaces/kube-system")[1]["metadata"]["uid"]
    world.resource("DELETE", "Microsoft.Compute/virtualMachines/crdbmesh-eastus-1")
    world.home().delete("kubeconfigs/eastus.yaml")
    results = world.up(mesh)
    assert {name: result.detail for name, result in results.items() if not result.outcome.good} == {}
    assert world.kube("eastus", "GET", "/api/v1/namespaces/kube-system")[1]["metadata"]["uid"] == before
