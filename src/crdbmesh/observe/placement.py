"""Judges where the replicas of every range are, as the database tells, and what is survived because of it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from crdbmesh.clients import database as client
from crdbmesh.clients.database import Row
from crdbmesh.desired import placement
from crdbmesh.desired.placement import SURVIVING, SYSTEM, Zone
from crdbmesh.observe import database
from crdbmesh.run.world import World

_RANGES = (
    "SELECT replicas, voting_replicas, replica_localities, count(DISTINCT range_id) AS ranges, "
    "min(start_key) AS start, min(database_name) AS name FROM [SHOW CLUSTER RANGES WITH TABLES] "
    "WHERE database_name IS NULL OR {} GROUP BY replicas, voting_replicas, replica_localities"
)
_ANY = "database_name NOT IN (SELECT database_name FROM [SHOW DATABASES] WHERE survival_goal = 'zone')"
"""Whoever asks for the survival of a zone only has the majority in one region on purpose."""
_OWN = "database_name = 'system'"


@dataclass(frozen=True, slots=True)
class Group:
    """Ranges whose replicas are on the same nodes: how many, an example, and the votes by region."""

    ranges: int
    example: str
    votes: Mapping[str, int]

    def spare(self, regions: int) -> int:
        """Return how many machines more may be lost with so many regions; below 0 the regions may not be."""
        most = sorted(self.votes.values(), reverse=True)[:regions]
        return (sum(self.votes.values()) - 1) // 2 - sum(most)

    def loses(self, region: str) -> bool:
        """Return whether it has no majority without a region."""
        count = sum(self.votes.values())
        return 2 * (count - self.votes.get(region, 0)) <= count


@dataclass(frozen=True, slots=True)
class Survival:
    """The survival of a mesh, by where its ranges are.

    Attributes:
        has: the number of regions that there are; `total` is that of the ranges.
        crowded: by region, the ranges that have no majority without it; `lost` is their number.
        regions: the number of regions, any, that it may lose; `more` is that of the machines besides.
        machines: the number of machines, anywhere, that it may lose.
        whole: whether all nodes are live.
    """

    has: int
    total: int
    lost: int
    crowded: Mapping[str, tuple[Group, ...]]
    regions: int
    more: int
    machines: int
    whole: bool = True

    @classmethod
    def of(cls, groups: Iterable[Group], regions: Iterable[str], *, whole: bool = True) -> Self:
        """Sum up the ranges of a mesh with these regions."""
        groups, regions = tuple(groups), tuple(regions)
        crowded = {region: tuple(one for one in groups if one.loses(region)) for region in regions}
        spare = [min((one.spare(count) for one in groups), default=0) for count in range(len(regions) + 1)]
        survived = max((count for count, left in enumerate(spare) if left >= 0), default=0)
        return cls(
            len(regions),
            sum(one.ranges for one in groups),
            sum(one.ranges for one in groups if any(map(one.loses, regions))),
            {region: found for region, found in crowded.items() if found},
            survived,
            spare[survived],
            spare[0],
            whole,
        )

    @property
    def at_risk(self) -> bool:
        """Return whether a region that could be survived would not be."""
        return self.has >= SURVIVING and bool(self.crowded)

    def __str__(self) -> str:
        """Return it as a sentence for people."""
        begin = "It survives" if self.whole else "With all of its nodes up, it survives"
        machines = f"any {_counted(self.machines, 'machine')}" if self.machines > 0 else "no machine"
        regions = f"any {_counted(self.regions, 'region')}"
        if self.has < SURVIVING:
            return f"{begin} the loss of {machines}, and of no region: that takes {SURVIVING} regions."
        if self.crowded:
            return f"{begin} the loss of {machines}, but not of {'; nor of '.join(self.causes())}."
        if self.more > 0:
            return f"{begin} the loss of {regions} and {_counted(self.more, 'machine')} more, or of {machines}."
        return f"{begin} the loss of {regions}, or of {machines}; not of {regions.removeprefix('any ')} and a machine."

    def causes(self) -> Iterator[str]:
        """Say of each region that cannot be lost which ranges have their majority there."""
        for region, groups in self.crowded.items():
            count = sum(one.ranges for one in groups)
            have, example = "has its" if count == 1 else "have their", groups[0].example
            yield f"{region}: {count} of {self.total} ranges {have} majority there, such as {example}"


def read(world: World, *, own: bool = False) -> Survival:
    """Read where the ranges are: all but those of databases that survive a zone only, or CockroachDB's own.

    A KubeError or WaitError says that no database answers.
    """
    statement = _RANGES.format(_OWN if own else _ANY)
    rows = database.through_client(world, lambda kube, region: client.query(kube, region, statement))
    nodes = database.read_nodes(world)
    regions = [region.name for region in world.mesh.all_regions()]
    return Survival.of(map(_group, rows), regions, whole=all(node.live for node in nodes))


def find_drift(world: World) -> dict[str, tuple[str, Zone]]:
    """Find the targets whose zone configuration differs from ours, what is different, and ours.

    A table of the system database with a zone configuration of its own does not inherit the database's constraints.
    """
    rows = database.through_client(world, lambda kube, at: client.query(kube, at, "SHOW ALL ZONE CONFIGURATIONS"))
    found = {row["target"]: _zone(row["raw_config_sql"]) for row in rows}
    wanted = placement.zones(world.mesh)
    own = {target: wanted[SYSTEM[0]] for target in found if target.startswith("TABLE system.")}
    default = found.get("RANGE default", (None, {}))
    drift = {}
    for target, zone in {**wanted, **own}.items():
        replicas, pins = found.get(target, default)
        differs = [] if replicas in (zone.replicas, None) else [f"{replicas} replicas, not {zone.replicas}"]
        differs += [] if pins == zone.pins else [f"{_told(pins)}, not {_told(zone.pins)}"]
        if differs:
            drift[target] = f"{target} has {' and '.join(differs)}", zone
    return drift


def _zone(sql: str) -> tuple[int | None, dict[str, int]]:
    """Return the number of replicas, None when it is inherited, and the pins of a zone configuration."""
    replicas = re.search(r"\bnum_replicas = (\d+)", sql)
    constraints = re.search(r"(?<!voter_)constraints = '([^']*)'", sql)
    pins = re.findall(r"([+-][\w=.-]+)[\"']?:\s*(\d+)", constraints[1]) if constraints else []
    other = {constraints[1]: 0} if constraints and not pins and constraints[1] != "[]" else {}
    return int(replicas[1]) if replicas else None, other | {
        name.removeprefix("+region="): int(count) for name, count in pins
    }


def _group(row: Row) -> Group:
    stores, localities = _array(row["replicas"]), _array(row["replica_localities"])
    votes: dict[str, int] = {}
    for store, locality in zip(stores, localities, strict=True):
        if store in _array(row["voting_replicas"]):
            region = re.search(r"(?:^|,)region=([^,]+)", locality)
            votes[region[1] if region else ""] = votes.get(region[1] if region else "", 0) + 1
    of = "" if row["name"] == "NULL" else f" of database {row['name']}"
    return Group(int(row["ranges"]), f"{row['start']}{of}", votes)


def _array(text: str) -> list[str]:
    """Return the elements of an array as PostgreSQL prints it."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^{},"]+)', text)]


def _told(pins: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {region}" if count else region for region, count in pins.items()) or "no constraints"


def _counted(count: int, noun: str) -> str:
    words = {1: "one", 2: "two", 3: "three", 4: "four"}
    return f"{words.get(count, count)} {noun}{'' if count == 1 else 's'}"
