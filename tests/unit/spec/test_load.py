"""From text to a spec and back: every mistake with its field, value, reason and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crdbmesh.errors import ConfigError
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh, RegionSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> Mesh:
    return config.mesh(config.read_file(EXAMPLES / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("name", "regions", "machines"),
    [("three-regions", 3, 9), ("two-regions", 2, 2), ("five-regions", 5, 15), ("custom", 3, 11)],
)
def test_an_example_is_what_its_name_says(name: str, regions: int, machines: int) -> None:
    spec = example(name)
    assert len(spec.regions) == regions
    assert len(list(spec.all_machines())) == machines


def test_the_custom_example_shows_every_field() -> None:
    document = yaml.safe_load((EXAMPLES / "custom.yaml").read_text())
    assert set(document) == set(Mesh.model_fields)
    for section in ("network", "machines", "ssh", "cockroach"):
        model: Any = Mesh.model_fields[section].annotation
        assert set(document[section]) == set(model.model_fields)
    shown = {field for region in document["regions"] if isinstance(region, dict) for field in region}
    assert shown == set(RegionSpec.model_fields)


@pytest.mark.parametrize("name", ["three-regions", "two-regions", "five-regions", "custom"])
def test_an_example_survives_being_kept(name: str) -> None:
    spec = example(name)
    assert config.mesh(yaml.safe_load(config.dump(spec))) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- eastus\n", "does not hold a mapping"),
        ("regions: [eastus\n", "is not YAML"),
        ("1: 2\n", "does not hold a mapping"),
        ("!!python/object:os.system {}\n", "is not YAML"),
        ("a: &a [*a]\n", ""),
        ("regions: [eastus]\nregions: [westus]\n", "the key regions is given twice"),
        ("regions:\n- {name: eastus, name: westus}\n", "the key name is given twice"),
    ],
)
def test_a_file_that_is_no_spec_is_refused_with_its_path(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.mesh(config.read_file(path))
    if reason:
        (finding,) = caught.value.findings
        assert finding.value == str(path)
        assert reason in finding.reason


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            config.read_file(path)


def test_an_empty_file_is_an_empty_document(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert config.read_file(tmp_path / "empty.yaml") == {}


MISTAKES: dict[str, tuple[Any, str]] = {
    "name": ("Not A Name", "name"),
    "nonsense": (1, "nonsense"),
    "allow_from": (["nowhere"], "allow_from[0]"),
    "machines": ({"per_region": 0}, "machines.per_region"),
    "ssh": ({"port": 0}, "ssh.port"),
    "cockroach": ({"cpu": -1}, "cockroach.cpu"),
    "patience": (0, "patience"),
    "network": ({"base": "10.0.0.1/8"}, "network.base"),
}


@given(wrong=st.sets(st.sampled_from(sorted(MISTAKES)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_set_of_mistakes_is_reported_whole(wrong: set[str]) -> None:
    document = {"regions": ["eastus"], **{name: MISTAKES[name][0] for name in wrong}}
    with pytest.raises(ConfigError) as caught:
        config.mesh(document)
    assert {finding.field for finding in caught.value.findings} == {MISTAKES[name][1] for name in wrong}
    for finding in caught.value.findings:
        assert finding.value
        assert finding.reason
        assert finding.remedy


@given(value=st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
@settings(max_examples=80, deadline=None)
def test_an_override_over_anything_is_a_spec_or_a_clear_error(value: object) -> None:
    try:
        config.mesh({"regions": ["eastus"], "machines": value}, {"machines.per_region": 1})
    except ConfigError as error:
        assert error.findings
