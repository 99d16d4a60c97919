"""Zone configurations: how many replicas of what, and where at least; after `pkg/sql/set_zone_config.go` of v26.2.

A new cluster has those of `pkg/sql/catalog/bootstrap/metadata.go`. The tables of statistics have constraints of their
own, which are none, so that they do not inherit the database's.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from crdbmesh_simulator.workloads.cockroachdb.sql import SqlError

DEFAULT = "RANGE default"


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone configuration; replicas and constraints that are None are inherited."""

    replicas: int | None = None
    constraints: str | None = "[]"
    more: dict[str, str] = field(default_factory=dict)

    @property
    def pins(self) -> dict[str, int]:
        """Return the least number of replicas by region."""
        found = re.findall(r"\+region=([\w-]+)[\"']?: *(\d+)", self.constraints or "")
        return {region: int(count) for region, count in found}

    def shown(self, target: str) -> str:
        """Return it as `SHOW ZONE CONFIGURATIONS` does."""
        values = {
            **self.more,
            **({} if self.replicas is None else {"num_replicas": str(self.replicas)}),
            **({} if self.constraints is None else {"constraints": f"'{self._yaml()}'", "lease_preferences": "'[]'"}),
        }
        lines = ",\n\t".join(f"{name} = {value}" for name, value in values.items())
        return f"ALTER {target} CONFIGURE ZONE USING\n\t{lines}"

    def _yaml(self) -> str:
        """Return the constraints as they are printed: sorted, without quotes."""
        pins = ", ".join(f"+region={region}: {count}" for region, count in sorted(self.pins.items()))
        return f"{{{pins}}}" if pins else (self.constraints or "[]")


_SIZES = {"range_min_bytes": "134217728", "range_max_bytes": "536870912"}


def first() -> dict[str, Zone]:
    """Return the zone configurations of a new cluster."""
    kept_s = {"DATABASE system": "14400", "RANGE meta": "3600", "RANGE system": "14400", "RANGE liveness": "600"}
    tables = ("replication_constraint_stats", "replication_stats")
    return {
        DEFAULT: Zone(3, more={**_SIZES, "gc.ttlseconds": "14400"}),
        **{target: Zone(5, more={**_SIZES, "gc.ttlseconds": time_s}) for target, time_s in kept_s.items()},
        **{f"TABLE system.public.{table}": Zone(more={"gc.ttlseconds": "600"}) for table in tables},
    }


def effective(zones: dict[str, Zone], target: str) -> Zone:
    """Return what holds for a target, with what it inherits."""
    own, default = zones.get(target, Zone(None, None)), zones[DEFAULT]
    parent = zones["DATABASE system"] if target.startswith("TABLE system.") else default
    replicas = next(one.replicas for one in (own, parent, default) if one.replicas is not None)
    constraints = next(one.constraints for one in (own, parent, default) if one.constraints is not None)
    return replace(own, replicas=replicas, constraints=constraints)


def changed(zone: Zone, assignments: str, regions: Collection[str]) -> Zone:
    """Return a zone configuration with other values. Raises SqlError: they make no sense, or name no region."""
    given = dict(re.findall(r"([\w.]+) = ('[^']*'|\d+)(?:, |$)", assignments))
    if ", ".join(f"{name} = {value}" for name, value in given.items()) != assignments:
        raise SqlError(f'at or near "{assignments}": syntax error', "42601")
    replicas, constraints = given.pop("num_replicas", None), given.pop("constraints", None)
    made = replace(zone, more={**zone.more, **given})
    if replicas is not None:
        made = replace(made, replicas=int(replicas))
    if constraints is not None:
        made = replace(made, constraints=constraints.strip("'"))
    for region in re.findall(r"[+-]region=([\w-]+)", made.constraints or ""):
        if region not in regions:
            said = f'constraint "+region={region}" matches no existing nodes within the cluster'
            raise SqlError(f"{said} - did you enter it correctly?", "23514")
    if made.replicas == 2:
        raise SqlError("at least 3 replicas are required for multi-replica configurations", "23514")
    if (pinned := sum(made.pins.values())) > (made.replicas or pinned):
        said = f"the number of replicas specified in constraints ({pinned}) cannot be greater than the number"
        said += f" of replicas configured for the zone ({made.replicas})"
        raise SqlError(f"could not validate zone config: {said}", "23514")
    return made
