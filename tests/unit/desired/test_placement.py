"""No region holds a majority of any range: by arithmetic, and by what the simulated allocator makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crdbmesh.desired import placement
from crdbmesh.errors import ConfigError
from crdbmesh.observe import placement as observed
from crdbmesh.observe.placement import Group, Survival
from crdbmesh.spec import load
from crdbmesh.spec.mesh import Mesh
from crdbmesh_simulator.workloads.cockroachdb import statements
from crdbmesh_simulator.workloads.cockroachdb.sql import Session, SqlError
from crdbmesh_simulator.workloads.cockroachdb.stores import Database

NAMES = ("eastus", "westus", "northeurope", "westeurope", "uksouth", "japaneast", "brazilsouth")
ASKED = observed._RANGES.format(observed._ANY)


def mesh(regions: int, **document: Any) -> Mesh:
    return load.mesh({"regions": list(NAMES[:regions]), "allow_from": ["127.0.0.1"], **document})


def cluster(mesh: Mesh, seed: int) -> tuple[Database, Session]:
    """A cluster of the simulator's with the mesh's nodes, and a session of root's."""
    database = Database(f"cluster-{seed}", "crdbmesh", "v26.2.1")
    for region in mesh.all_regions():
        for number in range(region.replicas):
            made = database.nodes[database.join(f"{region.name}-{number}")]
            made.locality, made.heartbeat_at = f"region={region.name},zone={region.name}-{number}", 1.0
    database.replicate(1.0)
    container = SimpleNamespace(world=SimpleNamespace(clock=SimpleNamespace(utc=None), random=None))
    node = SimpleNamespace(database=database, store=SimpleNamespace(node_id=1), container=container, build="v26.2.1")
    return database, Session(cast("Any", node), "root", variables={"allow_unsafe_internals": "true"})


def configure(mesh: Mesh, database: Database, session: Session) -> None:
    own = [target for target in database.zones if target.startswith("TABLE system.")]
    zones = placement.zones(mesh)
    for target, zone in {**zones, **dict.fromkeys(own, zones["DATABASE system"])}.items():
        statements.run(session, zone.statement(target))
    database.replicate(1.0)


def lost(mesh: Mesh, database: Database) -> set[tuple[str, str]]:
    """Which regions, killed, take the majority of which ranges."""
    return {
        (region.name, each.zone)
        for region in mesh.all_regions()
        for each in database.ranges
        if not each.has_quorum({node.id for node in database.nodes.values() if node.region != region.name})
    }


def seen(mesh: Mesh, session: Session) -> Survival:
    """What the product reads from the simulator."""
    found = statements.run(session, ASKED)
    rows = [
        {name: "NULL" if cell is None else str(cell) for name, cell in zip(found.columns, row, strict=True)}
        for row in found.rows
    ]
    return Survival(tuple(region.name for region in mesh.all_regions()), tuple(map(observed._group, rows)))


@pytest.mark.parametrize("regions", range(3, 8))
@pytest.mark.parametrize("pods", [1, 2, 3])
def test_the_arithmetic_leaves_no_room_for_a_majority(regions: int, pods: int) -> None:
    for factor in (3, 5, 7, 9):
        zone = placement.place(dict.fromkeys(NAMES[:regions], pods), factor)
        free = zone.replicas - sum(zone.pins.values())
        assert zone.replicas % 2 == 1
        assert zone.replicas == max(one for one in (3, 5, 7, 9) if one <= min(factor, regions * pods))
        assert max(zone.pins.values()) + free <= (zone.replicas - 1) // 2
        assert all(count <= pods for count in zone.pins.values())


def test_one_and_two_regions_are_spread_as_far_as_can_be() -> None:
    assert placement.place({"eastus": 3}, 5) == placement.Zone(5, {})
    assert placement.place({"eastus": 3, "westus": 3}, 3) == placement.Zone(3, {"eastus": 1, "westus": 1})
    # A region with less room than its share takes what it has, and the number goes down.
    assert placement.place({"eastus": 1, "westus": 1, "northeurope": 9}, 5).replicas == 3


@pytest.mark.parametrize("regions", [3, 4, 6])
def test_over_fifty_seeds_no_region_takes_a_majority_with_it(regions: int) -> None:
    made, crowded = mesh(regions), 0
    for seed in range(50):
        database, session = cluster(made, seed)
        before = lost(made, database)
        crowded += bool(before)
        assert {region for region, _ in before} == set(seen(made, session).causes())
        configure(made, database, session)
        assert lost(made, database) == set()
        after = seen(made, session)
        assert (after.causes(), after.count(), after.at_risk) == ({}, len(database.ranges), False)
    assert crowded > 10, "the allocator as it is must be able to crowd replicas"


def test_what_somebody_weakens_is_seen_with_the_ranges_that_it_concerns() -> None:
    made = mesh(3)
    database, session = cluster(made, 1)
    configure(made, database, session)
    statements.run(session, """ALTER RANGE meta CONFIGURE ZONE USING constraints = '{"+region=eastus": 3}'""")
    statements.run(session, "ALTER TABLE defaultdb.t CONFIGURE ZONE USING num_replicas = 5")
    database.replicate(1.0)
    survival = seen(made, session)
    assert survival.at_risk
    assert survival.causes() == {"eastus": "eastus: 1 of 31 ranges have their majority there, such as /Min"}
    configure(made, database, session)
    assert not seen(made, session).at_risk
    # What is not ours stays.
    assert database.zones["TABLE defaultdb.t"].replicas == 5
    with pytest.raises(SqlError, match="matches no existing nodes"):
        statements.run(session, """ALTER RANGE meta CONFIGURE ZONE USING constraints = '{"+region=mars": 1}'""")


def test_survival_is_told_in_plain_words() -> None:
    def told(regions: int, *votes: dict[str, int], whole: bool = True) -> str:
        groups = tuple(Group(4, "/Table/104", each) for each in votes)
        return str(Survival(NAMES[:regions], groups, whole))

    each = dict.fromkeys(NAMES[:3], 1)
    told_each = "It survives the loss of any one region, or of any one machine; not of one region and a machine."
    assert told(3, each) == told_each
    assert told(5, dict.fromkeys(NAMES[:5], 1)).endswith(
        "any 2 regions, or of any 2 machines; not of 2 regions and a machine."
    )
    assert told(4, {**dict.fromkeys(NAMES[:4], 1), "more": 3}).endswith(
        "one region, or of any 3 machines; not of one region and a machine."
    )
    assert told(4, dict.fromkeys(NAMES[:7], 1)).endswith(
        "any 3 regions, or of any 3 machines; not of 3 regions and a machine."
    )
    assert told(3, {"eastus": 3, "westus": 3, "northeurope": 3}).endswith(
        "any one region and one machine more, or of any 4 machines."
    )
    assert told(3, each, whole=False).startswith("With all of its nodes up, it survives")
    assert told(2, {"eastus": 2, "westus": 1}).endswith("any one machine, and of no region: that takes 3 regions.")
    assert "not of eastus: 4 of 8 ranges have their majority there" in told(3, each, {"eastus": 2, "westus": 1})


def test_a_factor_that_has_no_room_is_refused() -> None:
    for document in ({"machines": {"per_region": 1}}, {"cockroach": {"replicas": 1}}):
        merged = {**document, "cockroach": {**document.get("cockroach", {}), "replication_factor": 5}}
        with pytest.raises(ConfigError, match=r"replication_factor.*room for 3"):
            mesh(3, **merged)
    assert placement.zones(mesh(3, cockroach={"replication_factor": 5}))["RANGE default"].replicas == 5
    assert not placement.is_placed(mesh(3, layout=1))
    assert placement.is_placed(mesh(3, layout=1, cockroach={"replication_factor": 3}))
