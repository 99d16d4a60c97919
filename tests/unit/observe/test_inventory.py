"""What belongs to a mesh, by tags and names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.observe import inventory
from crdbmesh.spec import names

MESH_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
REGION_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)


@given(mesh=MESH_NAMES, region=REGION_NAMES, number=st.integers(1, 50))
def test_every_part_of_a_machine_tells_which_machine_it_is_of(mesh: str, region: str, number: int) -> None:
    for name in (names.machine, names.nic, names.address, names.os_disk):
        assert inventory.place_of({"name": name(mesh, region, number)}, mesh) == (region, number)
    for other in (names.network(mesh, region), names.firewall(mesh, region), names.lease(mesh)):
        assert inventory.place_of({"name": other}, mesh) is None


@pytest.mark.parametrize(
    "name", ["crdbmesh-backup", "crdbmesh-east-us-1", "xcrdbmesh-eastus-1", "crdbmesh-eastus-0", ""]
)
def test_what_only_looks_like_a_machine_is_none(name: str) -> None:
    assert inventory.place_of({"name": name}, "crdbmesh") is None


def test_a_machine_of_a_mesh_with_a_longer_name_is_not_taken_for_ones_own() -> None:
    assert inventory.place_of({"name": "crdbmesh-two-eastus-1"}, "crdbmesh") is None


@pytest.mark.parametrize(
    ("properties", "rule"),
    [
        ({"destinationPortRange": "22", "sourceAddressPrefix": "203.0.113.7/32"}, (22, ("203.0.113.7/32",))),
        ({"destinationPortRanges": ["2222"], "sourceAddressPrefixes": ["a", "b"]}, (2222, ("a", "b"))),
        ({"destinationPortRange": "*"}, None),
        ({}, None),
    ],
)
def test_the_firewalls_rule_says_port_and_sources(properties: dict[str, Any], rule: Any) -> None:
    found = inventory.ssh_rule({"properties": {"securityRules": [{"name": "ssh", "properties": properties}]}})
    assert (found and (found.port, found.sources)) == rule
