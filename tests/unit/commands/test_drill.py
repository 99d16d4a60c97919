"""What a drill writes to a region's security group."""

from __future__ import annotations

from typing import Any

from crdbmesh.commands.drill import with_cut
from crdbmesh.observe import firewall
from crdbmesh.spec import load


def test_a_cut_that_is_tried_again_is_made_once() -> None:
    mesh = load.mesh({"name": "crdbmesh", "regions": ["eastus", "westus", "northeurope"]})
    region = mesh.region("westus")
    nsg: dict[str, Any] = {"tags": {"theirs": "1"}, "properties": {"securityRules": []}}
    once = with_cut(mesh, region, "firewall", nsg)
    assert len(once["properties"]["securityRules"]) == 2
    assert with_cut(mesh, region, "firewall", once) == once
    assert firewall.without_cut(once) == nsg
