"""Which pods of a region are live nodes of the one cluster, with the right locality."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.clients.database import Node
from crdbmesh.observe import database
from crdbmesh.spec import load
from crdbmesh.spec.mesh import Region


@pytest.fixture
def region() -> Region:
    spec = {"regions": ["eastus", "westus"], "allow_from": ["127.0.0.1"], "machines": {"per_region": 2}}
    return load.mesh(spec).region("westus")


def node(ordinal: int, locality: dict[str, str], *, live: bool = True) -> Node:
    address = database.address_of("westus", ordinal)
    return Node(number=ordinal + 1, address=address, locality=locality, live=live, available=live)


def test_a_pod_counts_that_is_live_with_its_region_and_a_zone(region: Region) -> None:
    right = {"region": "westus", "zone": "westus-1"}
    good = [node(ordinal, right) for ordinal in range(region.replicas)]
    assert database.not_live(region, good) == {}
    assert database.not_live(region, good[1:]) == {"cockroachdb-0": "is not a live node of the cluster"}
    dead = node(0, right, live=False)
    assert database.not_live(region, [dead, *good[1:]]) == {"cockroachdb-0": "is not a live node of the cluster"}
    for locality in ({"region": "eastus", "zone": "eastus-1"}, {"region": "westus"}):
        found = database.not_live(region, [node(0, locality), *good[1:]])
        assert found == {"cockroachdb-0": f"has the locality {locality}, not region=westus and a zone"}


def test_a_pod_that_is_absent_or_does_not_run_is_named(region: Region) -> None:
    def pod(name: str, state: dict[str, Any], phase: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}

    first = pod("cockroachdb-0", {"running": {}}, "Running")
    second = pod("cockroachdb-1", {"waiting": {"reason": "ErrImagePull", "message": "not found"}}, "Pending")
    assert database.not_running(region, [first]) == "westus: pod cockroachdb-1: absent"
    assert database.not_running(region, [first, second]) == "westus: pod cockroachdb-1: ErrImagePull not found"
