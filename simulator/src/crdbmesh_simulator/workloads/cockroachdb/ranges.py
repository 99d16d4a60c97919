"""The ranges of a CockroachDB cluster: where their replicas are, who holds their leases, which have lost their quorum.

After `pkg/kv/kvserver/allocator` (replicas as far apart as localities tell) and `pkg/base/config.go` (a lease that its
holder does not renew is over 6 s after the last heartbeat, one of which comes every 3 s). All data is in a fixed number
of ranges, and every table is taken to be spread over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.stores import NodeRecord

COUNT = 24
REPLICAS = 3


@dataclass(slots=True)
class Range:
    """A range: the nodes that have a replica of it, and the one that has its lease."""

    number: int
    replicas: list[int] = field(default_factory=list)
    holder: int = 0

    def place(self, nodes: Sequence[NodeRecord]) -> None:
        """Put replicas on so many of the nodes as are wanted, first one in each region; spread the leases anew."""
        known = {node.id: node for node in nodes}
        self.replicas = [number for number in self.replicas if number in known]
        order = [*nodes[self.number % len(nodes) :], *nodes[: self.number % len(nodes)]] if nodes else []

        while order:
            regions = [known[number].region for number in self.replicas]
            free = [node for node in order if node.id not in self.replicas]
            best = min(free, key=lambda node: regions.count(node.region), default=None)
            crowded = next((one for one in self.replicas if regions.count(known[one].region) > 1), None)
            if best is not None and len(self.replicas) < REPLICAS:
                self.replicas.append(best.id)
            elif best is not None and crowded is not None and best.region not in regions:
                self.replicas[self.replicas.index(crowded)] = best.id
            else:
                break
        if self.replicas:
            self.holder = sorted(self.replicas)[self.number % len(self.replicas)]

    def has_quorum(self, live: set[int]) -> bool:
        """Return whether more than half of its replicas are on live nodes."""
        return 2 * len(live & set(self.replicas)) > len(self.replicas)

    def is_short(self, live: set[int]) -> bool:
        """Return whether it has fewer replicas on live nodes than it should."""
        return len(live & set(self.replicas)) < REPLICAS
