"""What a mesh costs by the table in the package."""

from __future__ import annotations

import pytest

from crdbmesh.commands import cost
from crdbmesh.spec import load


def test_the_mesh_of_the_readme_is_priced_by_its_parts() -> None:
    paid = cost.of_mesh(load.mesh({"regions": ["eastus", "westus", "northeurope"]}))
    document = paid.document()
    assert document["parts"]["machines"] == pytest.approx(3 * 0.384 * (1 + 1.17 + 1.1), abs=0.001)
    assert document["parts"]["addresses"] == 0.045
    assert document["month"] == round(paid.hour * 730)
    assert (document["unpriced"], document["traffic"]) == ([], "not included")
    assert document["source"] == "by crdbmesh's table of 2025; --prices asks Azure"


@pytest.mark.parametrize(
    ("what", "hour"),
    [
        ("Standard_D4s_v5", 0.192),
        ("standard_d8AS_v5", 0.344),
        ("Standard_E16s_v5", 1.008),
        ("P10 LRS", 19.71 / 730),
        ("P10 ZRS", 1.5 * 19.71 / 730),
        ("E6 LRS", 4.8 / 730),
        ("V2 75 4000 240", (75 * 0.081 + 1000 * 0.005 + 115 * 0.041) / 730),
        ("V2 32 3000 125", 32 * 0.081 / 730),
        ("Standard_E4-2s_v5", None),
        ("Standard_L8s_v3", None),
        ("", None),
    ],
)
def test_the_table_knows_these(what: str, hour: float | None) -> None:
    found = cost.find_in_table("eastus", what)
    assert found == (None if hour is None else pytest.approx(hour))


def test_what_the_table_does_not_know_is_said_and_not_guessed() -> None:
    mesh = load.mesh({"regions": [{"name": "eastus", "size": "Standard_L8s_v3"}, "westus"]})
    text = str(cost.of_mesh(mesh))
    assert text.startswith("at least 1.72 USD an hour")
    assert "Standard_L8s_v3 in eastus not included: no price is known" in text
    assert cost.find_in_table("atlantis", "P10 LRS") is None


@pytest.mark.parametrize(
    ("gib", "tier"), [(30, "P4"), (32, "P4"), (33, "P6"), (128, "P10"), (129, "P15"), (4095, "P50")]
)
def test_a_disk_is_charged_as_the_next_larger_tier(gib: int, tier: str) -> None:
    assert cost.tier(gib, "Premium_LRS") == f"{tier} LRS"


def test_a_vm_is_charged_by_its_own_size_and_disk() -> None:
    disk = {"diskSizeGB": 200, "managedDisk": {"storageAccountType": "StandardSSD_ZRS"}}
    properties = {"hardwareProfile": {"vmSize": "Standard_E4s_v5"}, "storageProfile": {"osDisk": disk}}
    body = {"location": "West US", "properties": properties}
    assert cost.billed(body) == cost.Billed("westus", "Standard_E4s_v5", "E15 ZRS")
    assert cost.billed({"location": "eastus"}) == cost.Billed("eastus", "", "P10 LRS")
