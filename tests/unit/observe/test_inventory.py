"""What belongs to a mesh, by tags and names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.clients.azure.session import Session
from crdbmesh.desired import azure
from crdbmesh.local import birth, contents
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import belongings, firewall
from crdbmesh.observe.belongings import Ownership
from crdbmesh.spec import load, names

MESH_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
REGION_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)


@given(mesh=MESH_NAMES, region=REGION_NAMES, number=st.integers(1, 50))
def test_every_part_of_a_machine_tells_which_machine_it_is_of(mesh: str, region: str, number: int) -> None:
    for name in (names.machine, names.nic, names.address, lambda a, b, c: names.disk(a, b, c, "os")):
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
    assert found is None or not found.node_ports


@pytest.mark.parametrize(
    ("source", "ports", "layout", "is_wider"),
    [
        ("VirtualNetwork", "*", 1, False),
        ("VirtualNetwork", "*", 2, True),
        ("AzureLoadBalancer", "*", 2, False),
        ("192.168.7.0/24", "22", 2, True),
        ("192.168.7.0/24", "30257", 2, False),
        ("198.51.100.0/24", "30257", 2, True),
        ("203.0.113.7", "6443", 2, False),
        ("203.0.113.7", "30257", 2, True),
    ],
)
def test_a_rule_of_others_is_wider_when_it_lets_more_reach_the_machines(
    source: str, ports: str, layout: int, *, is_wider: bool
) -> None:
    mesh = load.mesh({"regions": ["eastus"], "allow_from": ["203.0.113.7"], "layout": layout})
    of = {"access": "Allow", "direction": "Inbound", "protocol": "Tcp", "priority": 150}
    properties = {**of, "sourceAddressPrefix": source, "destinationPortRange": ports}
    found = firewall.find_wider(mesh, {"properties": {"securityRules": [{"name": "theirs", "properties": properties}]}})
    assert bool(found) is is_wider


def test_a_rule_of_ours_that_the_spec_has_closed_since_is_wider() -> None:
    document = {"regions": ["eastus"], "allow_from": ["203.0.113.7"], "network": {"node_ports": True}}
    mesh = load.mesh(document)
    nsg = azure.firewall(mesh, mesh.all_regions()[0])
    assert not firewall.find_wider(mesh, nsg)
    closed = load.mesh({**document, "network": {}})
    assert firewall.find_wider(closed, nsg).keys() == {"node-ports"}


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
    ("Microsoft.Compute/disks", names.disk("mine", "eastus", 1, "os")),
]


def ownership(folder: Path, *, own: bool, created: Sequence[str] = (), mesh_id: str | None = "0123") -> Ownership:
    """The ownership of the mesh `mine`, whose group `Mine` is its own or not, and what its folder has recorded."""
    local = LocalFolder(folder / "mine")
    if mesh_id is not None:
        where = Aim(cloud="AzureCloud", arm_url="https://management.azure.com", subscription_id="s")
        birth.write(local, birth.of(where, mesh_id))
    for one in created:
        local.append(contents.CREATED, one)
    judged = Ownership(cast("Session", None), local, "mine")
    judged._groups["mine"] = own
    return judged


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_name_and_type_suffice_in_a_group_of_the_meshs_own_and_nowhere_else(
    tmp_path: Path, kind: str, name: str
) -> None:
    own, shared = ownership(tmp_path, own=True), ownership(tmp_path, own=False)
    for tags in ({}, {"crdbmesh": "mine"}, {"crdbmesh": "another"}):
        assert own.owns(listed(kind, name, **tags))
        assert not shared.owns(listed(kind, name, **tags))
    assert not own.owns(listed(kind, "any", crdbmesh="mine"))
    recorded = ownership(tmp_path, own=False, created=[f"{GROUP}/{kind}/{name}".upper()])
    assert recorded.owns(listed(kind, name))


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
def test_what_has_no_name_and_type_of_ours_is_somebody_elses(tmp_path: Path, kind: str, name: str) -> None:
    assert not ownership(tmp_path, own=True).owns(listed(kind, name, crdbmesh="mine"))


def test_the_tag_stands_for_the_record_where_there_can_be_none(tmp_path: Path) -> None:
    kind, name = NAMED[0]
    lost = ownership(tmp_path, own=False, mesh_id=None)
    assert not lost.is_proven
    assert lost.owns(listed(kind, name, crdbmesh="mine"))
    assert not lost.owns(listed(kind, name))


GROUP_ID = "/subscriptions/s/resourceGroups/Mine"


@pytest.mark.parametrize(
    ("name", "tags", "created", "mesh_id", "own"),
    [
        ("mine", {"crdbmesh": "mine", "crdbmesh-id": "0123"}, (), "0123", True),
        ("mine", {"crdbmesh": "mine", "crdbmesh-id": "4567"}, (GROUP_ID,), "0123", False),
        ("mine", {"crdbmesh": "mine"}, (), "0123", False),
        ("mine", {}, (GROUP_ID,), "0123", True),
        ("other", {"crdbmesh": "mine", "crdbmesh-id": "0123"}, (), "0123", False),
        ("other", {"crdbmesh-id": "0123"}, (GROUP_ID,), "0123", True),
        ("mine", {"crdbmesh": "mine"}, (), None, True),
        ("other", {"crdbmesh": "mine"}, (), None, False),
        ("mine", {"crdbmesh": "another"}, (), None, False),
    ],
)
def test_a_group_is_the_meshs_own_by_record_or_by_name_and_id(
    tmp_path: Path, name: str, tags: dict[str, str], created: Sequence[str], mesh_id: str | None, *, own: bool
) -> None:
    judged = ownership(tmp_path, own=False, created=created, mesh_id=mesh_id)
    assert judged.is_own({"id": GROUP_ID, "name": name, "tags": tags}) is own
    assert not judged.is_own(None)


def test_a_disk_on_somebody_elses_machine_is_theirs(tmp_path: Path) -> None:
    vm = listed("Microsoft.Compute/virtualMachines", "mine-eastus-1")
    other = f"{GROUP}/Microsoft.Compute/virtualMachines/other"
    disks = {
        "our machine's": listed("Microsoft.Compute/disks", "mine-eastus-1-os", attached_to=str(vm["id"]).upper()),
        "left by a machine": listed("Microsoft.Compute/disks", "mine-eastus-2-os"),
        "a stranger's": listed("Microsoft.Compute/disks", "mine-eastus-3-os", attached_to=other),
        "of others, on our machine": listed("Microsoft.Compute/disks", "data", attached_to=str(vm["id"])),
    }
    ours = belongings._ours([vm, *disks.values()], ownership(tmp_path, own=True))
    found = {name for name, disk in disks.items() if disk["id"].lower() in ours}
    assert found == {"our machine's", "left by a machine"}


def test_an_extension_on_a_machine_of_ours_is_ours() -> None:
    vm = {"id": f"{GROUP}/Microsoft.Compute/virtualMachines/VM"}
    ours = {vm["id"].lower(): vm}
    assert belongings._is_part_of({"id": f"{vm['id'].upper()}/extensions/Policy"}, ours)
    assert not belongings._is_part_of({"id": f"{vm['id']}2"}, ours)
