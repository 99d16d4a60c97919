"""Judges where the replicas of every range are, as the database tells, and what is survived because of it."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

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
"""A database that asks to survive a zone only has its majority in one region on purpose."""
_OWN = "database_name = 'system'"


@dataclass(frozen=True, slots=True)
class Group:
    """Ranges whose replicas are on the same nodes: how many, an example, and the votes by region."""

    ranges: int
    example: str
    votes: Mapping[str, int]

    def left(self, *lost: int) -> int:
        """Return how many votes more than these may be lost; below 0 there is no majority without them."""
        return (sum(self.votes.values()) - 1) // 2 - sum(lost)

    def needs(self, region: str) -> bool:
        """Return whether it has no majority without a region."""
        return self.left(self.votes.get(region, 0)) < 0


@dataclass(frozen=True, slots=True)
class Survival:
    """The losses that are survived, by where the ranges of a mesh are; `whole` if all nodes are live."""

    regions: tuple[str, ...]
    groups: tuple[Group, ...]
    whole: bool = True

    def count(self, regions: Collection[str] = ()) -> int:
        """Return the number of ranges; with regions, of those that have no majority without one of them."""
        return sum(one.ranges for one in self.groups if not regions or any(map(one.needs, regions)))

    @property
    def at_risk(self) -> bool:
        """Return whether a region that could be survived would not be."""
        return len(self.regions) >= SURVIVING and bool(self.causes())

    def causes(self) -> dict[str, str]:
        """Say of each region that cannot be lost which ranges have their majority there."""
        found = {region: [one for one in self.groups if one.needs(region)] for region in self.regions}
        said = "{}: {} of {} ranges have their majority there, such as {}"
        return {
            region: said.format(region, self.count([region]), self.count(), crowded[0].example)
            for region, crowded in found.items()
            if crowded
        }

    def __str__(self) -> str:
        """Return it as a sentence for people."""
        votes = [(one, sorted(one.votes.values(), reverse=True)) for one in self.groups]
        counts = range(len(self.regions) + 1)
        left = [min((one.left(*most[:count]) for one, most in votes), default=-1) for count in counts]
        most = max((count for count in counts if left[count] >= 0), default=0)
        begin = "It survives the loss of" if self.whole else "With all of its nodes up, it survives the loss of"
        machines, regions = (
            f"any {_counted(left[0], 'machine')}" if left[0] > 0 else "no machine",
            _counted(most, "region"),
        )
        if len(self.regions) < SURVIVING:
            return f"{begin} {machines}, and of no region: that takes {SURVIVING} regions."
        if causes := self.causes():
            return f"{begin} {machines}, but not of {'; nor of '.join(causes.values())}."
        if left[most] > 0:
            return f"{begin} any {regions} and {_counted(left[most], 'machine')} more, or of {machines}."
        return f"{begin} any {regions}, or of {machines}; not of {regions} and a machine."


def read(world: World, *, own: bool = False) -> Survival:
    """Read where the ranges are: all but those of databases that survive a zone only, or CockroachDB's own.

    A KubeError or WaitError says that no database answers.
    """
    statement = _RANGES.format(_OWN if own else _ANY)
    rows = database.through_client(world, lambda kube, region: client.query(kube, region, statement))
    nodes, regions = database.read_nodes(world), [region.name for region in world.mesh.all_regions()]
    return Survival(tuple(regions), tuple(map(_group, rows)), all(node.live for node in nodes))


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
    pins = re.findall(r"\+region=([\w-]+)[\"']?:\s*(\d+)", constraints[1]) if constraints else []
    other = {constraints[1]: 0} if constraints and not pins and constraints[1] != "[]" else {}
    return int(replicas[1]) if replicas else None, {**other, **{region: int(count) for region, count in pins}}


def _group(row: Row) -> Group:
    localities = zip(_array(row["replicas"]), _array(row["replica_localities"]), strict=True)
    voters = _array(row["voting_replicas"])
    regions = [re.search(r"(?:^|,)region=([^,]+)", locality) for store, locality in localities if store in voters]
    of = "" if row["name"] == "NULL" else f" of database {row['name']}"
    return Group(int(row["ranges"]), f"{row['start']}{of}", Counter(found[1] if found else "" for found in regions))


def _array(text: str) -> list[str]:
    """Return the elements of an array as PostgreSQL prints it."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^{},"]+)', text)]


def _told(pins: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {region}" if count else region for region, count in pins.items()) or "no constraints"


def _counted(count: int, noun: str) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"
