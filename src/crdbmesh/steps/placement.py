"""Places the ranges of CockroachDB, by zone configurations, so that no region holds a majority of any."""

from dataclasses import dataclass

from crdbmesh.clients import database
from crdbmesh.clients.waiting import Say
from crdbmesh.engine.step import Gap
from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import database as observed
from crdbmesh.observe import placement
from crdbmesh.steps.base import MeshStep

_MOVED_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement(MeshStep):
    """The system's and the default zone configurations are the mesh's; those of users stay."""

    def check(self) -> Gap | None:
        """Compare the zone configurations."""
        drift = [said for said, _ in placement.find_drift(self.world).values()]
        more = f"; and {len(drift) - 2} more" if len(drift) > 2 else ""
        return Gap(f"{'; '.join(drift[:2])}{more}") if drift else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Set what differs, and wait for CockroachDB's own ranges, which are few and small, to move."""
        # From v26.1 on, the system database is closed to sessions that do not ask for it.
        changes = ["SET allow_unsafe_internals = true"]
        changes += [zone.statement(target) for target, (_, zone) in placement.find_drift(self.world).items()]
        observed.through_client(self.world, lambda kube, region: database.query(kube, region, *changes))
        self.world.wait_until(self._moved, awaited="CockroachDB's own ranges to move", deadline_s=_MOVED_S, say=say)

    def _moved(self) -> tuple[bool | None, str]:
        try:
            seen = placement.read(self.world, own=True)
        except CrdbmeshError as error:
            return None, str(error)
        return (None, next(iter(seen.causes().values()))) if seen.at_risk else (True, "")
