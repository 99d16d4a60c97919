"""The values that belong to a mesh's birth: values that a later release, or a spec without them, does not change.

`up` keeps every value in the spec. A kept spec that lacks one is older than the field, and means what was built before
there was such a field: `BEFORE`. A user's file that lacks one keeps what the mesh has. See docs/decisions/0011.
"""

from collections.abc import Mapping
from typing import Any

from crdbmesh.spec.versions import RELEASE_0_1

LAYOUT = 2
"""The layout of a mesh that is made now.

A layout is all that a release sends to machines and clusters beyond what fields of the spec say, such as flags of k3s,
values of Cilium's chart and the template of the database's pods. Layout 1 is that of crdbmesh 0.1.
"""

BEFORE: dict[str, Any] = {
    "layout": 1,
    **{f"versions.{program}": release for program, release in RELEASE_0_1.model_dump(mode="json").items()},
    "network.node_ports": True,
    "machines.size": "Standard_D4s_v5",
    "cockroach.clients": 1,
    "cockroach.cpu": 2,
    "cockroach.memory_gib": 8,
    "cockroach.storage_gib": 60,
    "cockroach.wal_failover_gib": 0,
}
"""The values that were built before a field was there, by its dotted name; they never change."""

PROFILES: dict[str, dict[str, Any]] = {
    "production": {},
    "demo": {
        "machines.size": "Standard_D4s_v5",
        "cockroach.cpu": 2,
        "cockroach.memory_gib": 8,
        "cockroach.wal_failover_gib": 0,
    },
}
"""The defaults of a profile that differ from those of the fields, by dotted name."""


def fill(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the value of each dotted field that it lacks; a part that is no mapping stays as it is."""
    filled = dict(document)
    for dotted, value in values.items():
        head, _, rest = dotted.partition(".")
        part = filled.get(head, {}) if rest else value
        if rest and isinstance(part, Mapping):
            filled[head] = fill(part, {rest: value})
        elif not rest:
            filled.setdefault(head, value)
    return filled


def look_up(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a document says of the dotted fields of `values`; None for those that it lacks."""

    def find(part: Any, dotted: str) -> Any:
        head, _, rest = dotted.partition(".")
        one = part.get(head) if isinstance(part, Mapping) else None
        return find(one, rest) if rest else one

    return {dotted: find(document, dotted) for dotted in values}
