"""Completion in a shell, by the protocol that Typer's scripts speak: words in, one candidate a line out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.terminal import app as cli


@pytest.fixture
def home(tmp_path: Path) -> Path:
    LocalFolder(tmp_path / "prod").write(SPEC, "name: prod\nregions: [eastus, westus]\nmachines: {per_region: 2}\n")
    LocalFolder(tmp_path / "test").write(SPEC, "name: test\nregions: [uksouth]\nmachines: {per_region: 1}\n")
    LocalFolder(tmp_path / "torn").write(SPEC, "regions: [")
    return tmp_path


def complete(home: Path, words: str) -> list[str]:
    """The candidates for the last word; no cloud is named, so whoever asked Azure would fail."""
    variables = {
        "_CRDBMESH_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "CRDBMESH_HOME": str(home),
        "CRDBMESH_CLOUD": "/nonexistent",
    }
    done = CliRunner().invoke(cli.app, [], env=variables, prog_name="crdbmesh")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        ("crdbmesh status ", ["prod", "test", "torn"]),
        ("crdbmesh down te", ["test"]),
        ("crdbmesh up --name p", ["prod"]),
        ("crdbmesh kubeconfig --switch ", ["eastus", "uksouth", "westus"]),
        ("crdbmesh kubeco", ["kubeconfig"]),
        ("crdbmesh config s", ["show"]),
        ("crdbmesh ssh --name prod ", ["eastus/1", "eastus/2", "westus/1", "westus/2"]),
        ("crdbmesh ssh uk", ["uksouth/1"]),
        ("crdbmesh logs --name prod westus c", ["cloud-init", "cilium", "coredns", "cockroachdb"]),
    ],
)
def test_names_of_this_computer_are_completed(home: Path, words: str, candidates: list[str]) -> None:
    assert complete(home, words) == candidates


def test_azures_regions_are_completed_in_a_list(home: Path) -> None:
    assert "northeurope" in complete(home, "crdbmesh up --regions north")
    assert complete(home, "crdbmesh up --regions eastus,northe") == ["eastus,northeurope"]
    assert "eastus,eastus" not in complete(home, "crdbmesh up --regions eastus,eastus")


def test_without_a_mesh_there_is_nothing_to_complete(tmp_path: Path) -> None:
    assert complete(tmp_path / "none", "crdbmesh status ") == []
