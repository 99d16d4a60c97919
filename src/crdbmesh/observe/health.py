"""The health of a mesh: the level of every layer in every region, which `status` reports."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Self

from crdbmesh.redaction import hide_in

LAYERS = ("network", "peerings", "machines", "nodes", "cilium", "clustermesh", "dns", "cockroachdb")


class Level(Enum):
    """The level of a layer's health."""

    OK = "ok"
    DEGRADED = "degraded"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of one region: `good` of `wanted`, and what is wrong when that is not all."""

    name: str
    level: Level
    good: int
    wanted: int
    cause: str | None = None

    def __post_init__(self) -> None:
        hide_in(self, "cause")

    @classmethod
    def of(cls, name: str, good: int, wanted: int, causes: Sequence[str], *, absent: bool = False) -> Self:
        """Sum up a layer from what is wrong with it: OK when all of it is good and nothing is wrong."""
        level = Level.ABSENT if absent else Level.OK if good >= wanted and not causes else Level.DEGRADED
        return cls(name, level, good, wanted, "; ".join(causes) or None)


@dataclass(frozen=True, slots=True)
class RegionHealth:
    """Every layer of one region."""

    region: str
    layers: tuple[Layer, ...]

    def layer(self, name: str) -> Layer:
        """The layer called `name`."""
        return next(layer for layer in self.layers if layer.name == name)


class Note(NamedTuple):
    """A sentence about the whole mesh: about its `survival`, its `backup` or its `certificates`."""

    about: str
    text: str
    is_bad: bool


@dataclass(frozen=True, slots=True)
class License:
    """CockroachDB's license: when it ends, or without one, from when on CockroachDB throttles."""

    ends: dt.datetime | None
    throttled_from: dt.datetime | None = None

    def __str__(self) -> str:
        """Return it as a sentence for people."""
        if self.ends is not None:
            is_over = self.ends < dt.datetime.now(dt.UTC)
            return f"The license of CockroachDB {'ended' if is_over else 'ends'} on {self.ends:%Y-%m-%d}."
        since = f"from {self.throttled_from:%Y-%m-%d} on" if self.throttled_from else "a week after its initialisation"
        return f"CockroachDB has no license: {since} it runs five transactions at a time. Set license_file."


@dataclass(frozen=True, slots=True)
class Health:
    """A whole mesh.

    Attributes:
        cluster_ids: the ids of all CockroachDB clusters found; one when all is well.
        license: None when it cannot be read.
        notes: what it survives, and how old its last backup is, as far as they can be read.
        remarks: what else to know, in a sentence each: who works on it, or that your address moved.
    """

    mesh: str
    regions: tuple[RegionHealth, ...]
    cluster_ids: tuple[str, ...]
    license: License | None = None
    notes: tuple[Note, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def degraded(self) -> bool:
        """Return True when any layer is not healthy, or the clusters are not one."""
        layers = (layer for region in self.regions for layer in region.layers)
        is_wrong = len(self.cluster_ids) != 1 or any(note.is_bad for note in self.notes)
        return is_wrong or any(layer.level is not Level.OK for layer in layers)

    def figures(self) -> dict[str, int]:
        """Return the figures of `crdbmesh demo`: counts over all regions; links and zones by ordered pair of them."""
        good = {name: sum(region.layer(name).good for region in self.regions) for name in LAYERS}
        return {
            "regions": len(self.regions),
            "machines": good["machines"],
            "peerings_connected": good["peerings"],
            "nodes_ready": good["nodes"],
            "clustermesh_links_ready": good["clustermesh"],
            "zones_resolved": good["dns"],
            "cockroach_nodes_live": good["cockroachdb"],
            "cluster_ids": len(self.cluster_ids),
        }
