"""`/_status/vars`: some of a node's metrics, in Prometheus' text format.

No login is asked for (`pkg/server/server_http.go`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads import trust

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode
    from crdbmesh_simulator.workloads.cockroachdb.stores import Database


def exposed(node: CockroachNode, database: Database) -> str:
    """Return what a node tells of itself and of the ranges whose leases it has."""
    number, pair, live = node.store.node_id, node.pair, database.live(node.container.world.clock.now())
    mine = [each for each in database.ranges if each.holder == number]
    values = {
        "clock_offset_meannanos": number * 7919 % 601_000 - 300_000,
        "liveness_livenodes": len(live),
        "ranges": len(mine),
        "ranges_unavailable": sum(not each.has_quorum(live) for each in mine),
        "ranges_underreplicated": sum(each.is_short(live) for each in mine),
    }
    for name, pem in (("ca", pair.ca), ("node", pair.cert)) if pair else ():
        values[f"security_certificate_expiration_{name}"] = int(trust.parse(pem)[0].not_valid_after_utc.timestamp())
    shown = (f'# TYPE {name} gauge\n{name}{{node_id="{number}"}} {value}\n' for name, value in values.items())
    return "".join(shown)
