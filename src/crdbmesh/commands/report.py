"""`crdbmesh report`: what is known of a mesh, gathered for one page: its place, health, versions and last `up`."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import aim as aims
from crdbmesh.errors import CloudError
from crdbmesh.local import journals
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.local.journals import Run, Span
from crdbmesh.observe import locations, proof, status
from crdbmesh.observe.health import Health
from crdbmesh.observe.proof import Readings
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that the page shows.

    Attributes:
        places: each region's latitude and longitude in degrees, as far as Azure tells.
        readings: round-trip times and the certificates' ends, as read from inside.
        run: the last `up` that changed something, or None.
        critical: the chain of its steps that its length came from.
    """

    mesh: Mesh
    aim: Aim
    at: dt.datetime
    health: Health
    readings: Readings
    places: Mapping[str, tuple[float, float]]
    run: Run | None = None
    critical: list[Span] = field(default_factory=list)


def run_report(mesh: Mesh, cloud: Cloud, folder: LocalFolder, *, told: aims.Told = aims.untold) -> Report:
    """Read the mesh, its regions' places and the local folder; raise CrdbmeshError when Azure is out of reach."""
    with World.open(mesh, cloud, folder) as world:
        aim = aims.require(world.session, folder, mesh.name, told)
        run = next(journals.ups(folder), None)
        after = {step.name: step.after for step in catalog.steps(world)}
        return Report(
            mesh=mesh,
            aim=aim,
            at=dt.datetime.now(dt.UTC),
            health=status.read(world),
            readings=proof.read(world, world.stop, lambda _readings: iter(())),
            places=_places(world),
            run=run,
            critical=run.critical(after) if run else [],
        )


def _places(world: World) -> dict[str, tuple[float, float]]:
    try:
        return locations.find_places(world)
    except CloudError:
        return {}
