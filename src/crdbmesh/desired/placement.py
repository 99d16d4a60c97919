"""The placement of ranges: how many replicas, and at least how many in which region, so that no region has a majority.

CockroachDB spreads replicas by localities, but may put three of five into one region, and a system range that loses
such a region is lost for good (cockroachdb/cockroach#168148; #168436 pins `DATABASE system` as is done here). It takes
a majority, so the pins leave no room for one. A database with regions of its own sets its own zone configuration, which
overrides `RANGE default` whole (CockroachDB docs v26.2, `configure-replication-zones`, `multiregion-survival-goals`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from crdbmesh.spec.mesh import Mesh

SYSTEM = ("DATABASE system", "RANGE meta", "RANGE liveness", "RANGE system")
"""The data of CockroachDB's own without which no other is found; it has five replicas from the beginning."""
DATA = ("RANGE timeseries", "RANGE default")
SURVIVING = 3
"""The number of regions from which on the loss of one leaves a majority."""
_SYSTEM_REPLICAS, _FEW, _MANY = 5, 3, 5


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone configuration: so many replicas, and of them at least so many in each of some regions."""

    replicas: int
    pins: Mapping[str, int]

    def statement(self, target: str) -> str:
        """Return the statement that gives a target this configuration; what it does not name stays."""
        pins = ", ".join(f'"+region={region}": {count}' for region, count in self.pins.items())
        constraints = f"{{{pins}}}" if pins else "[]"
        return f"ALTER {target} CONFIGURE ZONE USING num_replicas = {self.replicas}, constraints = '{constraints}'"


def is_placed(mesh: Mesh) -> bool:
    """Return whether a mesh's ranges are placed by us: since layout 2, or because its spec asks for it."""
    return mesh.layout >= 2 or mesh.cockroach.replication_factor is not None


def zones(mesh: Mesh) -> dict[str, Zone]:
    """Return the zone configuration of each target."""
    factor = mesh.cockroach.replication_factor or (_MANY if len(mesh.regions) > SURVIVING else _FEW)
    capacity = {region.name: region.replicas for region in mesh.all_regions()}
    data, system = place(capacity, factor), place(capacity, max(factor, _SYSTEM_REPLICAS))
    return {**dict.fromkeys(SYSTEM, system), **dict.fromkeys(DATA, data)}


def place(capacity: Mapping[str, int], factor: int) -> Zone:
    """Return the largest odd number of replicas, up to a factor, that leaves a majority without any one region.

    `capacity` is the number of nodes by region. Where there are more regions than replicas, each of the first has one;
    where there are fewer, as many as can be are free to go where CockroachDB likes. With fewer than three regions there
    is no such number: the factor is kept, and each region has one replica at least.
    """
    for replicas in range(factor, 2, -2):
        lost = (replicas - 1) // 2
        frees = range(lost if len(capacity) < replicas else 0, -1, -1)
        for free in frees if replicas <= sum(capacity.values()) else ():
            pins = _deal(capacity, replicas - free)
            if max(pins.values()) + free <= lost:
                return Zone(replicas, pins)
    return Zone(factor, dict.fromkeys(capacity, 1) if len(capacity) > 1 else {})


def _deal(capacity: Mapping[str, int], count: int) -> dict[str, int]:
    """Deal so many replicas to the regions, one after the other, to none more than it has nodes."""
    dealt = dict.fromkeys(capacity, 0)
    while sum(dealt.values()) < count:
        for region in capacity:
            if dealt[region] < capacity[region] and sum(dealt.values()) < count:
                dealt[region] += 1
    return {region: number for region, number in dealt.items() if number}
