"""`crdbmesh up`: make everything hold."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from crdbmesh import home as homes
from crdbmesh.access import Access
from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import preflight
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Notify, Outcome, Result
from crdbmesh.steps import catalog
from crdbmesh.topology import config
from crdbmesh.topology.mesh import Mesh

WORKERS = 32
"""Steps at once: mostly waits for Azure and for machines."""


@dataclass(frozen=True, slots=True)
class UpResult:
    """How a run of `up` ended."""

    mesh: Mesh
    results: dict[str, Result]
    seconds: float
    journal: Path

    def count(self, outcome: Outcome) -> int:
        """How many steps ended so."""
        return sum(result.outcome is outcome for result in self.results.values())

    @property
    def stopped(self) -> bool:
        """Whether the run was interrupted."""
        return self.count(Outcome.STOPPED) > 0

    @property
    def done(self) -> bool:
        """Whether every step holds."""
        return all(result.outcome in {Outcome.HELD, Outcome.CHANGED} for result in self.results.values())


def with_caller(mesh: Mesh, cloud: clouds.Cloud) -> Mesh:
    """The spec with the caller's own address as the only one allowed in, when it names none."""
    if mesh.allow_from:
        return mesh
    return mesh.model_copy(update={"allow_from": (f"{clouds.find_caller_address(cloud)}/32",)})


def run_up(
    mesh: Mesh, cloud: clouds.Cloud, home: homes.Home, *, notify: Notify, stop: threading.Event | None = None
) -> UpResult:
    """Run every step that does not hold.

    Raises:
        PreflightError: something foreseeable stands in the way; nothing was created.
        CrdbmeshError: Azure or the local folder cannot be used at all.
    """
    started = time.monotonic()
    with Access.open(mesh, cloud, home) as access:
        preflight.check(access)
        home.write(homes.SPEC, config.dump(mesh))
        with home.journal("up", dt.datetime.now(dt.UTC)) as journal:

            def record(event: Event) -> None:
                outcome = {"outcome": event.result.outcome.value} if event.result else {}
                if event.kind != "checking":
                    journal.record(step=event.step, kind=event.kind, text=event.text, **outcome)
                notify(event)

            journal.record(command="up", mesh=mesh.name, regions=[region.name for region in mesh.regions])
            steps = plan.order(catalog.steps(access))
            results = run.run(steps, workers=WORKERS, notify=record, stop=stop)
            journal.record(ended=time.monotonic() - started)
    return UpResult(mesh, results, time.monotonic() - started, journal.path)
