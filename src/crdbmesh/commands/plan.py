"""`crdbmesh plan`: what `up` would do, without a write."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from crdbmesh.checks import catalog as checks
from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import aim as aims
from crdbmesh.commands import migrations
from crdbmesh.engine import plan
from crdbmesh.engine.step import Gap, Outcome, Result
from crdbmesh.errors import Finding
from crdbmesh.local.birth import Aim
from crdbmesh.local.contents import Place
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe import inventory
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The result of `plan`: the gap or result of every step, in the catalog's order; the machines that are `there`."""

    mesh: Mesh
    aim: Aim
    found: dict[str, Gap | Result]
    there: frozenset[Place] = frozenset()

    def gaps(self) -> dict[str, Gap]:
        """Return each gap, by step; of some it is only known that they come after another."""
        return {name: found for name, found in self.found.items() if isinstance(found, Gap)}

    def restarts(self) -> list[str]:
        """Return what is restarted, in the order in which it is as far as it is known."""
        return [one for gap in self.gaps().values() for one in gap.restarts]

    def restarts_s(self) -> float:
        """Return the time that the restarts usually take, in seconds: one after the other, behind the health gate."""
        return sum(catalog.rollout_s(name) * len(gap.restarts) for name, gap in self.gaps().items())

    def count(self, sign: str) -> int:
        """Return the number of gaps with that sign."""
        return sum(gap.sign == sign for gap in self.gaps().values())

    def bought(self) -> dict[str, int]:
        """Return the machines that Azure does not have yet, as counts by size."""
        machines = self.mesh.all_machines()
        return Counter(machine.size for machine in machines if (machine.region, machine.number) not in self.there)

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
            "changes": {sign: self.count(sign) for sign in "+~!-"},
            "dependent": self.count(""),
            "refused": len(self.refused()),
            "steps": [
                _document(name, found) if isinstance(found, Gap) else found.document()
                for name, found in self.found.items()
            ],
            "new_machines": self.bought(),
            "migrations": self.migrations(),
        }

    def migrations(self) -> list[dict[str, str]]:
        """Return what the mesh has otherwise than one that is made now, and how to change it; `up` leaves it so."""
        return [asdict(one) for one in migrations.find(self.mesh)]


def _document(step: str, gap: Gap) -> dict[str, Any]:
    restarts = ", ".join(gap.restarts) or None
    return {"step": step, "gap": gap.summary, "sign": gap.sign or None, "restarts": restarts}


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
        return survey(world, aim)


def survey(world: World, aim: Aim) -> PlanResult:
    """Survey every step, without the checks."""
    steps = catalog.steps(world)
    found = plan.survey(plan.order(steps), workers=plan.WORKERS)
    there = inventory.list_machines(world)
    return PlanResult(world.mesh, aim, {step.name: found[step.name] for step in steps}, there)
