"""`crdbmesh plan`: what `up` would do, without a write."""

from __future__ import annotations

from dataclasses import dataclass

from crdbmesh import home as homes
from crdbmesh.access import Access
from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import preflight
from crdbmesh.engine import plan
from crdbmesh.engine.step import Gap, Outcome, Result
from crdbmesh.steps import catalog
from crdbmesh.topology.mesh import Mesh

WORKERS = 32


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What each step would find."""

    mesh: Mesh
    found: dict[str, Gap | Result]

    def gaps(self) -> dict[str, str]:
        """What would be done, by step."""
        return {name: found.summary for name, found in self.found.items() if isinstance(found, Gap)}

    def refused(self) -> dict[str, Result]:
        """What cannot be looked at, or cannot be changed in place, by step."""
        return {
            name: found
            for name, found in self.found.items()
            if isinstance(found, Result) and found.outcome is not Outcome.HELD
        }


def run_plan(mesh: Mesh, cloud: clouds.Cloud, home: homes.Home) -> PlanResult:
    """Survey every step.

    Raises:
        PreflightError: something foreseeable stands in the way.
        CrdbmeshError: Azure or the local folder cannot be used at all.
    """
    with Access.open(mesh, cloud, home) as access:
        preflight.check(access)
        return PlanResult(mesh, plan.survey(plan.order(catalog.steps(access)), workers=WORKERS))
