"""Cluster Mesh: every cluster is in sync with every other cluster.

There is nothing to apply: the whole clustermesh is in each cluster's first install. This step waits for the links.
"""

from __future__ import annotations

from dataclasses import dataclass

from crdbmesh.observe import links
from crdbmesh.steps.base import AwaitedStep, RegionStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Links(RegionStep, AwaitedStep):
    """The region's agents and kvstoremesh have a ready link to every other region."""

    def awaited(self) -> str:
        """Name what is waited for, for messages."""
        return f"the clustermesh links of {self.region.name}"

    def missing(self) -> str | None:
        """Ask every agent and every kvstoremesh."""
        remotes = [other.name for other in self.world.mesh.others(self.region)]
        unready = links.read_unready(self.kube, remotes)
        causes = [cause for found in unready.values() for cause in found]
        return f"{self.region.name}: {'; '.join(causes)}" if causes else None
