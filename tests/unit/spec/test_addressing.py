"""The address plan: readable, disjoint, inside its base."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.spec import addressing

TEN = IPv4Network("10.0.0.0/8")

bases = st.builds(
    lambda number, prefix: IPv4Network((number, prefix), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)


def test_the_numbers_of_the_default_base_can_be_read() -> None:
    third = addressing.derive(TEN, 2)
    assert third.named() == {
        "vnet": IPv4Network("10.3.0.0/16"),
        "pods": IPv4Network("10.103.0.0/16"),
        "services": IPv4Network("10.203.0.0/16"),
    }
    assert third.subnet == IPv4Network("10.3.1.0/24")
    assert addressing.machine_address(third.subnet, 1) == IPv4Address("10.3.1.4")
    assert addressing.cluster_dns(third.services) == IPv4Address("10.203.0.10")


@pytest.mark.parametrize(
    ("base", "regions"),
    [
        ("10.0.0.0/8", 55),
        ("0.0.0.0/7", 99),
        ("172.16.0.0/12", 5),
        ("10.0.0.0/14", 1),
        ("192.168.0.0/16", 0),
        ("10.0.0.0/24", 0),
    ],
)
def test_a_base_has_room_for_as_many_regions_as_it_says(base: str, regions: int) -> None:
    network = IPv4Network(base)
    assert addressing.capacity(network) == regions
    if regions:
        addressing.derive(network, regions - 1)
    with pytest.raises(ValueError, match=f"has room for {regions} regions"):
        addressing.derive(network, regions)


@given(base=bases.filter(lambda base: base.prefixlen >= 8), index=st.integers(0, 300))
def test_whatever_the_base_a_region_gets_disjoint_ranges_inside_it_or_a_reason(base: IPv4Network, index: int) -> None:
    if index >= addressing.capacity(base):
        with pytest.raises(ValueError, match="has room for"):
            addressing.derive(base, index)
        return
    ranges = addressing.derive(base, index)
    assert all(block.subnet_of(base) for block in ranges.named().values())
    assert not any(one.overlaps(other) for one, other in combinations(ranges.named().values(), 2))
    assert ranges.subnet.subnet_of(ranges.vnet)


@given(one=st.integers(0, 54), other=st.integers(0, 54))
def test_two_regions_never_meet(one: int, other: int) -> None:
    first, second = addressing.derive(TEN, one), addressing.derive(TEN, other)
    meets = any(a.overlaps(b) for a in first.named().values() for b in second.named().values())
    assert meets is (one == other)


@given(vnet=bases.filter(lambda base: 8 <= base.prefixlen <= 29))
def test_every_vnet_has_a_default_subnet_inside_it(vnet: IPv4Network) -> None:
    assert addressing.default_subnet(vnet).subnet_of(vnet)


@given(vnet=bases.filter(lambda base: 8 <= base.prefixlen <= 29), number=st.integers(1, 3))
def test_a_machines_address_is_none_that_azure_keeps(vnet: IPv4Network, number: int) -> None:
    subnet = addressing.default_subnet(vnet)
    address = addressing.machine_address(subnet, number)
    kept = {subnet.network_address + offset for offset in range(4)} | {subnet.broadcast_address}
    assert address in subnet
    assert address not in kept
