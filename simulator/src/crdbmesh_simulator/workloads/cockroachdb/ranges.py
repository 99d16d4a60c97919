"""The ranges of a CockroachDB cluster: where their replicas are, who holds their leases, which have lost their quorum.

After `pkg/kv/kvserver/allocator` (constraints first, then replicas as far apart as localities tell; with five replicas
it may still put most of them into two regions, cockroachdb/cockroach#168148) and `pkg/base/config.go` (a lease that its
holder does not renew is over 6 s after the last heartbeat, one of which comes every 3 s). All data is in a fixed number
of ranges, and every table is taken to be spread over all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads.cockroachdb import zones
from crdbmesh_simulator.workloads.cockroachdb.zones import Zone

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.stores import NodeRecord

COUNT = 24
REPLICAS = 3
SYSTEM = {
    "RANGE meta": "/Min",
    "RANGE liveness": "/System/NodeLiveness",
    "RANGE system": "/System/NodeLivenessMax",
    "RANGE timeseries": '/System/"tsd"',
    "DATABASE system": "/Table/3",
    "TABLE system.public.replication_constraint_stats": "/Table/25",
    "TABLE system.public.replication_stats": "/Table/27",
}
"""Where the ranges begin that are not data's, by what configures them."""
_CROWDING = 0.3
"""How often the allocator crowds replicas that nothing keeps apart."""


@dataclass(slots=True)
class Range:
    """A range: the nodes that have a replica of it, and the one that has its lease."""

    number: int
    zone: str = zones.DEFAULT
    wanted: int = REPLICAS
    replicas: list[int] = field(default_factory=list)
    holder: int = 0

    @property
    def start(self) -> str:
        """Return its first key, as it is printed."""
        return SYSTEM.get(self.zone) or f"/Table/{104 + self.number}"

    def place(self, nodes: Sequence[NodeRecord], zone: Zone, chance: Random) -> None:
        """Put replicas on so many of the nodes as are wanted, on those that have one already if they may stay."""
        self.wanted, order = _needed(zone.replicas or REPLICAS, len(nodes)), list(nodes)
        order = [*order[self.number % len(order) :], *order[: self.number % len(order)]] if order else []
        order.sort(key=lambda node: node.id not in self.replicas)
        rooms = Counter(node.region for node in nodes)
        quotas = _quotas(rooms, self.wanted, zone.pins, chance, self.number)
        self.replicas = []
        for node in order:
            if quotas.get(node.region, 0) > 0:
                quotas[node.region] -= 1
                self.replicas.append(node.id)
        if self.replicas:
            self.holder = sorted(self.replicas)[self.number % len(self.replicas)]

    def has_quorum(self, live: set[int]) -> bool:
        """Return whether more than half of its replicas are on live nodes."""
        return 2 * len(live & set(self.replicas)) > len(self.replicas)

    def is_short(self, live: set[int]) -> bool:
        """Return whether it has fewer replicas on live nodes than it should."""
        return len(live & set(self.replicas)) < self.wanted


def every() -> list[Range]:
    """Return all ranges of a cluster, data's first."""
    return [Range(number) for number in range(COUNT)] + [
        Range(COUNT + index, target) for index, target in enumerate(SYSTEM)
    ]


def _needed(replicas: int, nodes: int) -> int:
    """Return how many replicas a cluster of that size makes (`GetNeededVoters`): an odd number, three at least."""
    return replicas if nodes >= replicas else min(replicas, max(REPLICAS, nodes - 1 + nodes % 2))


def _quotas(rooms: Mapping[str, int], wanted: int, pins: Mapping[str, int], chance: Random, at: int) -> dict[str, int]:
    """Return how many replicas go to each region; what a constraint asks of a region that is gone goes nowhere else."""
    quotas = {region: min(pins.get(region, 0), room) for region, room in rooms.items()}
    left = wanted - sum(pins.values())
    regions = [*rooms][at % len(rooms) :] + [*rooms][: at % len(rooms)] if rooms else []
    if left > REPLICAS and len(regions) >= REPLICAS and chance.random() < _CROWDING:
        regions = chance.sample(regions, len(regions))
        for region in regions[:2]:
            more = max(0, min(left, (wanted + 1) // 2 - quotas[region], rooms[region] - quotas[region]))
            quotas[region] += more
            left -= more
    while left > 0 and (free := [region for region in regions if quotas[region] < rooms[region]]):
        quotas[min(free, key=lambda region: quotas[region])] += 1
        left -= 1
    return quotas
