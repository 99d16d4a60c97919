"""Everything foreseeable, before the first write and all at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.access import Access
from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import preflight
from crdbmesh.commands.plan import run_plan
from crdbmesh.errors import Finding, PreflightError
from crdbmesh.home import Home
from crdbmesh.topology import config


def findings(azure: Any, folder: Path, **document: Any) -> list[Finding]:
    spec = config.mesh({"regions": ["eastus"], "allow_from": ["203.0.113.1"], "name": "pre", **document})
    with Access.open(spec, azure.cloud, Home(folder / "pre")) as access:
        return preflight.find(access)


def test_nothing_stands_in_the_way_of_a_sound_spec(azure: Any, tmp_path: Path) -> None:
    assert findings(azure, tmp_path, regions=["eastus", "westus", "northeurope"]) == []


def test_a_misspelt_region_is_one_finding_with_the_name_that_was_meant(azure: Any, tmp_path: Path) -> None:
    found = findings(azure, tmp_path, regions=["eastus", "northeurpoe"])
    assert [(one.field, one.value) for one in found] == [("regions[1]", "northeurpoe")]
    assert found[0].remedy == "did you mean northeurope"


def test_a_misspelt_size_names_the_size_that_was_meant(azure: Any, tmp_path: Path) -> None:
    (found,) = findings(azure, tmp_path, machines={"size": "Standard_D4_v5s"})
    assert found.field == "machines.size"
    assert "did you mean Standard_D" in found.remedy


def test_too_few_vcpus_are_noticed_before_the_first_machine(azure: Any, tmp_path: Path) -> None:
    found = findings(azure, tmp_path, machines={"per_region": 50})
    assert found
    assert {one.field for one in found} == {"machines"}
    assert "they need 200 vCPUs" in found[0].reason


def test_a_zone_that_the_region_lacks_is_a_finding(azure: Any, tmp_path: Path) -> None:
    (found,) = findings(azure, tmp_path, regions=[{"name": "westus", "zones": ["2"]}])
    assert found.value == "2 in westus"


@pytest.mark.parametrize(
    ("tags", "whose"),
    [({}, "is not crdbmesh's"), ({"crdbmesh": "someone"}, "belongs to the mesh someone")],
)
def test_a_group_of_our_name_that_is_not_ours_stops_everything(
    azure: Any, tmp_path: Path, tags: dict[str, str], whose: str
) -> None:
    name = f"taken{len(tags)}"
    azure.put_group(name, **tags)
    (found,) = findings(azure, tmp_path, name=name)
    assert whose in found.reason
    assert findings(azure, tmp_path, name="other", group=name) == []


def test_a_token_that_azure_refuses_is_one_finding(azure: Any, tmp_path: Path) -> None:
    stranger = dataclasses.replace(azure.cloud, credential=clouds.GivenToken("not-the-token"))
    spec = config.mesh({"regions": ["eastus"], "name": "pre"})
    with Access.open(spec, stranger, Home(tmp_path / "pre")) as access:
        found = preflight.find(access)
    assert {one.field for one in found} == {"credential"}
    assert "not-the-token" not in str(found)


def test_all_findings_come_at_once_and_plan_stops_at_them(azure: Any, tmp_path: Path) -> None:
    before = azure.world.writes()
    spec = config.mesh(
        {
            "name": "pre",
            "regions": ["eastus", "westuss"],
            "allow_from": ["203.0.113.1"],
            "machines": {"size": "Standard_Nope"},
        }
    )
    with pytest.raises(PreflightError) as caught:
        run_plan(spec, azure.cloud, Home(tmp_path / "pre"))
    assert {one.field for one in caught.value.findings} == {"regions[1]", "machines.size"}
    assert azure.world.writes() == before
