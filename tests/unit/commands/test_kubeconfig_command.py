"""Contexts of the clusters, printed or merged, all regions or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from crdbmesh.commands import kubeconfig
from crdbmesh.errors import ConfigError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import load as config

MESH = config.mesh({"regions": ["eastus", "westus"]})


def given(region: str, address: str) -> str:
    name = f"crdb-k3s-{region}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": f"https://{address}:6443"}}],
            "users": [{"name": name, "user": {"token": region}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> LocalFolder:
    made = LocalFolder(tmp_path / "home")
    made.write("kubeconfigs/eastus.yaml", given("eastus", "203.0.113.1"))
    made.write("kubeconfigs/westus.yaml", given("westus", "203.0.113.2"))
    return made


def test_what_is_printed_has_a_context_per_region_and_the_first_is_current(home: LocalFolder) -> None:
    printed = yaml.safe_load(kubeconfig.read(MESH, home))
    assert [entry["name"] for entry in printed["contexts"]] == ["crdb-k3s-eastus", "crdb-k3s-westus"]
    assert printed["current-context"] == "crdb-k3s-eastus"


def test_every_region_without_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        kubeconfig.read(MESH, LocalFolder(tmp_path))
    assert [finding.value for finding in caught.value.findings] == ["eastus", "westus"]


def test_merging_twice_changes_nothing_the_second_time(home: LocalFolder, tmp_path: Path) -> None:
    own = tmp_path / "config"
    first = kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch=None)
    assert first.document()["contexts"] == ["crdb-k3s-eastus", "crdb-k3s-westus"]
    before = own.stat().st_mtime_ns
    assert kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch=None).backup is None
    assert own.stat().st_mtime_ns == before


def test_only_a_region_of_the_mesh_can_be_switched_to(home: LocalFolder, tmp_path: Path) -> None:
    own = tmp_path / "config"
    with pytest.raises(ConfigError, match="choose from eastus, westus"):
        kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch="northeurope")
    assert not own.exists()
    kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch="westus")
    assert yaml.safe_load(own.read_text())["current-context"] == "crdb-k3s-westus"


def test_forgetting_takes_ours_and_leaves_the_rest(home: LocalFolder, tmp_path: Path) -> None:
    own = tmp_path / "config"
    own.write_text(given("eastus", "203.0.113.1").replace("crdb-k3s-eastus", "mine"))
    kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch=None)
    kubeconfig.forget(["eastus", "westus", "never"], {"KUBECONFIG": str(own)})
    assert [entry["name"] for entry in yaml.safe_load(own.read_text())["contexts"]] == ["mine"]
