"""`crdbmesh status`: the health of every layer in every region."""

from __future__ import annotations

from typing import Any

from crdbmesh.clients.cloud import Cloud
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import status
from crdbmesh.observe.health import Health, Layer
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh


def run_status(mesh: Mesh, cloud: Cloud, folder: LocalFolder) -> Health:
    """Read every layer.

    Raises:
        CrdbmeshError: Azure cannot be reached at all.
    """
    with World.open(mesh, cloud, folder) as world:
        return status.read(world)


def document(health: Health, *, reconstructed: bool = False) -> dict[str, Any]:
    """Return the result as `--output json` prints it.

    `reconstructed` says that the spec was made from tags, because the local folder is lost.
    """
    return {
        "command": "status",
        "mesh": health.mesh,
        "degraded": health.degraded,
        "reconstructed": reconstructed,
        "figures": health.figures(),
        "cluster_ids": list(health.cluster_ids),
        "regions": [
            {"region": region.region, "layers": [_layer(layer) for layer in region.layers]} for region in health.regions
        ],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "level": layer.level.value,
        "good": layer.good,
        "wanted": layer.wanted,
        "cause": layer.cause,
    }
