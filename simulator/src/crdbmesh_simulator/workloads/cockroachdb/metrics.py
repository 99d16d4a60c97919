"""`/_status/vars`: some of a node's metrics, in Prometheus' text format.

No login is asked for (`pkg/server/server_http.go`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads import trust
from crdbmesh_simulator.workloads.cockroachdb import licenses

if TYPE_CHECKING:
    from crdbmesh_simulator.workloads.cockroachdb.node import CockroachNode
    from crdbmesh_simulator.workloads.cockroachdb.stores import Database


def values(node: CockroachNode, database: Database) -> dict[str, int]:
    """Return what a node tells of itself and of the ranges whose leases it has, by the metric's name."""
    number, pair, live = node.store.node_id, node.pair, database.live(node.container.world.clock.now())
    mine = [each for each in database.ranges if each.holder == number]
    found = {
        "clock_offset_meannanos": number * 7919 % 601_000 - 300_000,
        "liveness_livenodes": len(live),
        "ranges": len(mine),
        "ranges_unavailable": sum(not each.has_quorum(live) for each in mine),
        "ranges_underreplicated": sum(each.is_short(live) for each in mine),
    }
    for name, pem in (("ca", pair.ca), ("node", pair.cert)) if pair else ():
        found[f"security_certificate_expiration_{name}"] = int(trust.parse(pem)[0].not_valid_after_utc.timestamp())
    ends = licenses.ends_at(database.catalog.license)
    left = 0 if ends is None else int(ends - node.container.world.clock.utc().timestamp())
    return found | dict.fromkeys(("seconds_until_license_expiry", "seconds_until_enterprise_license_expiry"), left)


def exposed(node: CockroachNode, database: Database) -> str:
    """Return a node's metrics as Prometheus reads them."""
    shown = (
        f'# TYPE {name} gauge\n{name}{{node_id="{node.store.node_id}"}} {value}\n'
        for name, value in values(node, database).items()
    )
    return "".join(shown)
