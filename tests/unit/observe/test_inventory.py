"""What belongs to a mesh, by tags and names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.observe import belongings, firewall
from crdbmesh.spec import names

MESH_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
REGION_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)


@given(mesh=MESH_NAMES, region=REGION_NAMES, number=st.integers(1, 50))
def test_every_part_of_a_machine_tells_which_machine_it_is_of(mesh: str, region: str, number: int) -> None:
    for name in (names.machine, names.nic, names.address, names.os_disk):
        assert belongings.place_of({"name": name(mesh, region, number)}, mesh) == (region, number)
    for other in (names.network(mesh, region), names.firewall(mesh, region), names.lease(mesh)):
        assert belongings.place_of({"name": other}, mesh) is None


@pytest.mark.parametrize(
    "name", ["crdbmesh-backup", "crdbmesh-east-us-1", "xcrdbmesh-eastus-1", "crdbmesh-eastus-0", ""]
)
def test_what_only_looks_like_a_machine_is_none(name: str) -> None:
    assert belongings.place_of({"name": name}, "crdbmesh") is None


def test_a_machine_of_a_mesh_with_a_longer_name_is_not_taken_for_ones_own() -> None:
    assert belongings.place_of({"name": "crdbmesh-two-eastus-1"}, "crdbmesh") is None


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
    found = firewall.ssh_rule({"properties": {"securityRules": [{"name": "ssh", "properties": properties}]}})
    assert (found and (found.port, found.sources)) == rule


GROUP = "/subscriptions/s/resourceGroups/Mine/providers"


def listed(kind: str, name: str, *, attached_to: str = "", **tags: str) -> dict[str, Any]:
    body = {"id": f"{GROUP}/{kind}/{name}", "type": kind, "name": name, "tags": tags}
    return {**body, "managedBy": attached_to} if attached_to else body


NAMED = [
    ("Microsoft.Network/virtualNetworks", names.network("mine", "eastus")),
    ("Microsoft.Network/networkSecurityGroups", names.firewall("mine", "eastus")),
    ("Microsoft.Network/networkSecurityGroups", names.lease("mine")),
    ("Microsoft.Network/publicIPAddresses", names.address("mine", "eastus", 1)),
    ("Microsoft.Network/networkInterfaces", names.nic("mine", "eastus", 1)),
    ("Microsoft.Compute/virtualMachines", names.machine("mine", "eastus", 1)),
    ("Microsoft.Compute/disks", names.os_disk("mine", "eastus", 1)),
]


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_what_lost_its_tags_belongs_to_the_mesh_in_a_group_of_its_own_only(kind: str, name: str) -> None:
    assert belongings.belongs(listed(kind, name), "mine", ["mine"])
    assert not belongings.belongs(listed(kind, name), "mine", [])
    assert not belongings.belongs(listed(kind, name, crdbmesh="another"), "mine", ["mine"])
    assert belongings.belongs(listed(kind, "any", crdbmesh="mine"), "mine", [])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Microsoft.Network/virtualNetworks", "mine-eastus-1"),
        ("Microsoft.Network/publicIPAddresses", "mine-eastus"),
        ("Microsoft.Compute/disks", "mine-backup"),
        ("Microsoft.Storage/storageAccounts", "mine-eastus"),
        ("Microsoft.Compute/virtualMachines", "yours-mine-eastus-1"),
    ],
)
def test_what_has_no_name_of_ours_and_no_tag_is_somebody_elses(kind: str, name: str) -> None:
    assert not belongings.belongs(listed(kind, name), "mine", ["mine"])


def test_an_untagged_disk_is_whose_its_machine_is() -> None:
    vm = listed("Microsoft.Compute/virtualMachines", "mine-eastus-1", crdbmesh="mine")
    other = f"{GROUP}/Microsoft.Compute/virtualMachines/other"
    disks = {
        "attached": listed("Microsoft.Compute/disks", "x", attached_to=str(vm["id"]).upper()),
        "left by a machine": listed("Microsoft.Compute/disks", "mine-eastus-2-os"),
        "a stranger's": listed("Microsoft.Compute/disks", "mine-eastus-3-os", attached_to=other),
        "tagged": listed("Microsoft.Compute/disks", "y", attached_to=other, crdbmesh="mine"),
    }
    ours = belongings._ours([vm, *disks.values()], "mine", "mine")
    found = {name for name, disk in disks.items() if disk["id"].lower() in ours}
    assert found == {"attached", "left by a machine", "tagged"}


def test_an_extension_on_a_machine_of_ours_is_ours() -> None:
    vm = {"id": f"{GROUP}/Microsoft.Compute/virtualMachines/VM"}
    ours = {vm["id"].lower(): vm}
    assert belongings._is_part_of({"id": f"{vm['id'].upper()}/extensions/Policy"}, ours)
    assert not belongings._is_part_of({"id": f"{vm['id']}2"}, ours)
