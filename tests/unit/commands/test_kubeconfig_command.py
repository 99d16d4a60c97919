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
            "users": [{"name": name, "user": {"client-key-data": region}}],
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


def contexts_in(file: Path) -> list[str]:
    return [entry["name"] for entry in yaml.safe_load(file.read_text())["contexts"]]


def test_two_meshes_in_one_region_have_a_context_each(home: LocalFolder, tmp_path: Path) -> None:
    own = tmp_path / "config"
    kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch=None)
    other, folder = config.mesh({"name": "other", "regions": ["eastus"]}), LocalFolder(tmp_path / "other")
    folder.write("kubeconfigs/eastus.yaml", given("eastus", "203.0.113.7"))
    for _ in range(2):
        merged = kubeconfig.merge(other, folder, {"KUBECONFIG": str(own)}, switch="eastus")
        assert (merged.contexts, merged.kept) == (("crdb-k3s-eastus-other",), ("crdb-k3s-eastus",))
    assert contexts_in(own) == ["crdb-k3s-eastus", "crdb-k3s-westus", "crdb-k3s-eastus-other"]
    assert "https://203.0.113.1:6443" in own.read_text()
    assert yaml.safe_load(own.read_text())["current-context"] == "crdb-k3s-eastus-other"
    assert kubeconfig.forget(folder, {"KUBECONFIG": str(own)}) == ("crdb-k3s-eastus-other",)
    assert contexts_in(own) == ["crdb-k3s-eastus", "crdb-k3s-westus"]


def test_who_asks_for_it_replaces_a_context_that_points_elsewhere(home: LocalFolder, tmp_path: Path) -> None:
    own = tmp_path / "config"
    own.write_text(given("eastus", "203.0.113.9"))
    merged = kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch=None, replace=True)
    assert merged.contexts == ("crdb-k3s-eastus", "crdb-k3s-westus")
    assert "203.0.113.9" not in own.read_text()


def test_forgetting_takes_ours_and_leaves_the_rest(home: LocalFolder, tmp_path: Path) -> None:
    own = tmp_path / "config"
    own.write_text(given("eastus", "203.0.113.9").replace("crdb-k3s-eastus", "mine"))
    assert kubeconfig.forget(home, {"KUBECONFIG": str(own)}) == ()
    kubeconfig.merge(MESH, home, {"KUBECONFIG": str(own)}, switch=None)
    assert kubeconfig.forget(home, {"KUBECONFIG": str(own)}) == ("crdb-k3s-eastus", "crdb-k3s-westus")
    assert contexts_in(own) == ["mine"]
    assert kubeconfig.forget(home, {"KUBECONFIG": str(tmp_path / "absent")}) == ()
