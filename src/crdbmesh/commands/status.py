"""`crdbmesh status`: the health of every layer in every region."""

from typing import Any

from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import aim as aims
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import status
from crdbmesh.observe.health import Health, Layer, License
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh


def run_status(mesh: Mesh, cloud: Cloud, folder: LocalFolder, *, told: aims.Told = aims.untold) -> Health:
    """Read every layer; `told` takes what the command is aimed at."""
    with World.open(mesh, cloud, folder) as world:
        aims.require(world.session, folder, mesh.name, told)
        return status.read(world)


def document(health: Health, aim: Aim, *, reconstructed: bool = False) -> dict[str, Any]:
    """Return the result as `--output json` prints it.

    `reconstructed` says that the spec was made from tags, because the local folder is lost.
    """
    return {
        "command": "status",
        "mesh": health.mesh,
        **aim.document(),
        "degraded": health.degraded,
        "reconstructed": reconstructed,
        "figures": health.figures(),
        "cluster_ids": list(health.cluster_ids),
        "license": _license(health.license),
        "regions": [
            {"region": region.region, "layers": [_layer(layer) for layer in region.layers]} for region in health.regions
        ],
    }


def _license(known: License | None) -> dict[str, str | None] | None:
    if known is None:
        return None
    dates = {"ends": known.ends, "throttled_from": known.throttled_from}
    return {name: None if date is None else date.isoformat(timespec="seconds") for name, date in dates.items()}


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "level": layer.level.value,
        "good": layer.good,
        "wanted": layer.wanted,
        "cause": layer.cause,
    }
