"""A CockroachDB cluster as its stores remember it: identity, nodes, liveness, and what SQL keeps.

It lives on the stores of its nodes: who holds a store of it belongs to it, whatever else runs. Liveness as in
`pkg/kv/kvserver/liveness` and `pkg/base/config.go`: a node heartbeats every 3 s, for which it needs a majority, is live
while its last heartbeat is younger than 6 s, and dead after `server.time_until_store_dead` (5 min).
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads.cockroachdb import ranges, zones
from crdbmesh_simulator.workloads.cockroachdb.ranges import REPLICAS, Range
from crdbmesh_simulator.workloads.cockroachdb.sql import Catalog
from crdbmesh_simulator.workloads.cockroachdb.zones import Zone

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.workloads.cockroachdb.backups import Schedule
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode
    from crdbmesh_simulator.world import World

BEAT_S = 3.0
LIVE_S = 6.0
DEAD_S = 300.0
_STORE = "cockroach"


@dataclass(slots=True)
class NodeRecord:
    """The cluster's record of one node.

    Attributes:
        process: the process that ran with its store last.
        replaced: its replicas have been made anew on other nodes.
    """

    id: int
    address: str
    sql_address: str
    locality: str
    build: str
    started_at: float
    updated_at: float
    heartbeat_at: float
    membership: str = "active"
    draining: bool = False
    replaced: bool = False
    process: CockroachNode | None = None

    @property
    def region(self) -> str:
        """The region of its locality, or empty."""
        return dict(tier.partition("=")[::2] for tier in self.locality.split(",")).get("region", "")

    @property
    def beats(self) -> bool:
        """Whether its process runs and reaches a majority at this moment."""
        return self.process is not None and self.process.can_heartbeat()

    def live(self, now: float) -> bool:
        """Return whether its liveness record has not expired; a node that can heartbeat now has done so in time."""
        if self.beats:
            self.heartbeat_at = self.updated_at = max(now - now % BEAT_S, self.heartbeat_at)
        return now - self.heartbeat_at < LIVE_S


@dataclass
class Database:
    """The replicated state of one cluster."""

    cluster_id: str
    name: str
    version: str
    nodes: dict[int, NodeRecord] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    zones: dict[str, Zone] = field(default_factory=zones.first)
    schedules: list[Schedule] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=ranges.every)
    _placed: tuple[list[tuple[int, str]], dict[str, Zone]] = field(default=([], {}))
    catalog: Catalog = field(init=False)

    def __post_init__(self) -> None:
        self.catalog = Catalog(self.cluster_id)

    def join(self, address: str) -> int:
        """A number for a new node."""
        number = max(self.nodes, default=0) + 1
        self.nodes[number] = NodeRecord(number, address, address, "", "", 0.0, 0.0, 0.0)
        return number

    def voters(self) -> list[NodeRecord]:
        """The nodes among which the system's ranges are spread."""
        return [node for node in self.nodes.values() if node.membership != "decommissioned" and not node.replaced]

    def replicate(self, now: float) -> None:
        """Make the replicas of dead nodes anew on live ones, if there are enough; to be called by a quorate node."""
        live = sum(now - node.heartbeat_at < LIVE_S for node in self.nodes.values())
        for node in self.nodes.values():
            dead = now - node.heartbeat_at > DEAD_S
            node.replaced = dead and (node.replaced or live >= REPLICAS)
        wanted = [(node.id, node.region) for node in self.voters()], dict(self.zones)
        if wanted != self._placed:
            self._placed = wanted
            self.spread()

    def spread(self) -> None:
        """Spread replicas and leases over the nodes."""
        for each in self.ranges:
            zone = zones.effective(self.zones, each.zone)
            each.place(self.voters(), zone, Random(f"{self.cluster_id}/{each.number}"))  # noqa: S311 - no secret

    def live(self, now: float) -> set[int]:
        """The numbers of the nodes that are live."""
        return {node.id for node in self.nodes.values() if node.live(now)}

    def move_leases(self, now: float) -> list[Range]:
        """Give the leases of nodes that are no longer live to others; return the ranges that have no quorum for it."""
        live = self.live(now)
        for each in self.ranges:
            if each.holder not in live and each.has_quorum(live):
                each.holder = next(number for number in each.replicas if number in live)
        return [each for each in self.ranges if each.holder not in live]

    def majority(self, count: int) -> bool:
        """Return whether so many nodes are more than half."""
        return 2 * count > len(self.voters())


@dataclass
class Store:
    """A node's store: empty until the node has joined or initialised a cluster."""

    database: Database | None = None
    node_id: int = 0


def find_store(container: Container, identity: tuple[str, ...] | None) -> Store:
    """The store on a volume; a store on no volume is new with each container."""
    if identity is None:
        return Store()
    store = container.node.machine.kept(identity).setdefault(_STORE, Store())
    assert isinstance(store, Store)
    return store


def new_database(world: World, *, name: str, version: str) -> Database:
    """A new cluster, with an id that no other has."""
    number = uuid.UUID(int=world.random.getrandbits(128), version=4)
    return Database(str(number), name, version)


def timestamp(when: float) -> str:
    """A time as `cockroach node status` shows it."""
    moment = dt.datetime.fromtimestamp(when, tz=dt.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f") + " +0000 UTC"
