"""Names: unambiguous, and legal where they are used."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.spec import load as config
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh

MESH_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,22}[a-z0-9])?", fullmatch=True)
REGION_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,31}", fullmatch=True)


@given(mesh=MESH_NAMES, region=REGION_NAMES, remote=REGION_NAMES, number=st.integers(1, 50))
def test_every_name_is_one_that_azure_takes(mesh: str, region: str, remote: str, number: int) -> None:
    given = [
        (names.network(mesh, region), 64),
        (names.firewall(mesh, region), 80),
        (names.peering(mesh, region, remote), 96),
        (names.machine(mesh, region, number), 64),
        (names.nic(mesh, region, number), 80),
        (names.address(mesh, region, number), 80),
        (names.disk(mesh, region, number, "data"), 80),
        # A Linux host name; Azure allows 64 characters and no dot at its end.
        (names.node(region, number), 63),
    ]
    for name, longest in given:
        assert len(name) <= longest, name
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


@given(region=REGION_NAMES, ordinal=st.integers(0, 9))
def test_every_dns_name_has_labels_that_dns_takes(region: str, ordinal: int) -> None:
    assert all(len(label) <= 63 for label in names.cockroach_pod(region, ordinal).split("."))
    assert names.cockroach_pod(region, ordinal).endswith(f".{names.zone(region)}")


@given(one=st.integers(1, 255), other=st.integers(1, 255))
def test_dns_ports_differ_by_cluster_and_are_node_ports(one: int, other: int) -> None:
    assert (names.dns_port(one) == names.dns_port(other)) is (one == other)
    assert 30000 <= names.dns_port(one) <= 32767
    assert names.dns_port(one) != names.CLUSTERMESH_PORT


def test_no_two_things_of_a_mesh_share_a_name() -> None:
    mesh: Mesh = config.mesh({"regions": ["eastus", "eastus2", "westus"], "machines": {"per_region": 12}})
    made = [
        name
        for region in mesh.all_regions()
        for name in (
            names.network(mesh.name, region.name),
            names.firewall(mesh.name, region.name),
            *(names.peering(mesh.name, region.name, other.name) for other in mesh.others(region)),
            *(
                name(mesh.name, region.name, machine.number)
                for machine in region.machines
                for name in (names.machine, names.nic, names.address, lambda a, b, c: names.disk(a, b, c, "os"))
            ),
        )
    ]
    assert len(made) == len(set(made))
