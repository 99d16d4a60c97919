"""`crdbmesh plan`: what `up` would do, without a write."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crdbmesh.checks import catalog as checks
from crdbmesh.checks.disturbance import BY_HAND
from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import aim as aims
from crdbmesh.engine import plan
from crdbmesh.engine.step import Gap, Outcome, Result
from crdbmesh.errors import Finding
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh
from crdbmesh.spec.versions import CLIENTS, outdated
from crdbmesh.steps import catalog


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The result of `plan`: the gap or result of every step, in the catalog's order."""

    mesh: Mesh
    aim: Aim
    found: dict[str, Gap | Result]

    def gaps(self) -> dict[str, str]:
        """Return the summary of each gap, by step."""
        return {name: found.summary for name, found in self.found.items() if isinstance(found, Gap)}

    def refused(self) -> dict[str, Result]:
        """Return the results of steps that cannot be checked or cannot be changed in place."""
        return {
            name: found
            for name, found in self.found.items()
            if isinstance(found, Result) and found.outcome is not Outcome.HELD
        }

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        return {
            "command": "plan",
            "mesh": self.mesh.name,
            **self.aim.document(),
            "regions": [region.name for region in self.mesh.regions],
            "allow_from": list(self.mesh.sources),
            "gaps": len(self.gaps()),
            "refused": len(self.refused()),
            "steps": [
                {"step": name, "gap": found.summary} if isinstance(found, Gap) else found.document()
                for name, found in self.found.items()
            ],
            "migrations": self.migrations(),
        }

    def migrations(self) -> list[dict[str, str]]:
        """Return what the mesh has otherwise than one that is made now, and how to change it; `up` leaves it so."""
        versions = [
            {"field": f"versions.{program}", "has": has, "newest": newest, "how": BY_HAND[program]}
            for program, has, newest in outdated(self.mesh.versions)
        ]
        has, newest = len(self.mesh.client_regions()), min(CLIENTS, len(self.mesh.regions))
        if has >= newest:
            return versions
        how = f"set `cockroach: {{clients: {newest}}}` in the spec: losing the first region then leaves SQL"
        return [*versions, {"field": "cockroach.clients", "has": str(has), "newest": str(newest), "how": how}]


def run_plan(
    mesh: Mesh,
    cloud: clouds.Cloud,
    folder: LocalFolder,
    *,
    told: aims.Told = aims.untold,
    warn: Callable[[Finding], None] = lambda _finding: None,
) -> PlanResult:
    """Make every check, then survey every step; raise PreflightError when the checks found why `up` would fail."""
    with World.open(mesh, cloud, folder) as world:
        aim = aims.require(world.session, folder, mesh.name, told)
        checks.require(world, warn)
        steps = catalog.steps(world)
        found = plan.survey(plan.order(steps), workers=plan.WORKERS)
        return PlanResult(mesh, aim, {step.name: found[step.name] for step in steps})
