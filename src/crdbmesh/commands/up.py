"""`crdbmesh up`: create or update the mesh."""

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crdbmesh.checks import catalog as checks
from crdbmesh.clients import caller
from crdbmesh.clients.azure import kinds
from crdbmesh.clients.cloud import Cloud
from crdbmesh.commands import aim as aims
from crdbmesh.commands.estimate import Estimate
from crdbmesh.commands.plan import PlanResult
from crdbmesh.desired import azure as resources
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Notify, Outcome, Result, Step
from crdbmesh.errors import CloudError, Finding, HeldError, PreflightError, RefusedError
from crdbmesh.local.birth import Aim
from crdbmesh.local.contents import DOWN_BEGUN, OWN_ADDRESS
from crdbmesh.local.folder import SPEC, Journal, LocalFolder, erase_removed
from crdbmesh.observe import belongings, firewall, inventory, serving
from crdbmesh.run import lease as leases
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.spec import names
from crdbmesh.spec.fields import OWN
from crdbmesh.spec.mesh import Mesh
from crdbmesh.steps import catalog

RETRY_DELAYS_S = (2.0, 6.0, 15.0, 30.0)
"""Delays between tries of a step that failed with a retryable error; their sum is about a machine's restart."""
RECHECK_DELAYS_S = (1.0, 2.0, 4.0, 8.0)
"""Delays between checks of a step that was applied and does not hold yet: Azure's reads lag behind its writes."""
Ask = Callable[[PlanResult], None]
"""Takes what is to be done, before the first write."""
Watch = Callable[[Sequence[str]], AbstractContextManager[Notify]]
"""Shows a run: it takes the names of the steps, and until its block ends each event."""


@dataclass(frozen=True, slots=True)
class UpResult:
    """The result of a run of `up`, or of `maintain`; `held` names the run which took its lease, or is None."""

    mesh: Mesh
    aim: Aim
    results: dict[str, Result]
    seconds: float
    journal: Path
    held: HeldError | None = None
    command: str = "up"

    def count(self, outcome: Outcome) -> int:
        """Return the number of steps with that outcome."""
        return sum(result.outcome is outcome for result in self.results.values())

    @property
    def stopped(self) -> bool:
        """Return True when the run was interrupted."""
        return self.count(Outcome.STOPPED) > 0

    @property
    def done(self) -> bool:
        """Return True when every step holds."""
        return all(result.outcome.good for result in self.results.values())

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        return {
            "command": self.command,
            "mesh": self.mesh.name,
            **self.aim.document(),
            "regions": [region.name for region in self.mesh.regions],
            "allow_from": list(self.mesh.sources),
            "done": self.done,
            "error": self.held.document() if self.held else None,
            **{outcome.value: self.count(outcome) for outcome in Outcome},
            "seconds": round(self.seconds, 1),
            "steps": [result.document() for result in self.results.values()],
            "journal": str(self.journal),
        }


def with_caller(mesh: Mesh, cloud: Cloud, *, sure: bool = False) -> Mesh:
    """Return the spec with the caller's own address where it says `own`; raise CloudError when it cannot be found.

    It is a PreflightError if the address has to be `sure`, because nobody is asked, and no two services agree on it.
    """
    if OWN not in mesh.allow_from:
        return mesh
    own = caller.find_address(cloud)
    if sure and not own.sure:
        reason = f"no two services agree that this is your address ({own.told})"
        remedy = f"pass --allow-from {own.address}, or leave out --yes to be asked"
        raise PreflightError.of("allow_from", own.address, reason, remedy)
    return mesh.with_own(own.address)


def refuse_wider(wider: Mapping[str, str]) -> bool:
    """Raise PreflightError while nobody has said whether other people's rules stay: what each lets in, by its id."""
    reason = "lets in more than the spec, and is not the mesh's own"
    raise PreflightError(
        [Finding("rule", rule, f"{said} {reason}", firewall.KEEP_OR_PRUNE) for rule, said in wider.items()]
    )


def run_up(
    mesh: Mesh,
    cloud: Cloud,
    folder: LocalFolder,
    *,
    watch: Watch,
    told: aims.Told = aims.untold,
    ask: Ask | None = None,
    warn: Callable[[Finding], None] = lambda _finding: None,
    keeps_rules: bool | None = None,
    decide: Callable[[Mapping[str, str]], bool] = refuse_wider,
    break_lease: str | None = None,
    allow_outage: bool = False,
    stop: threading.Event | None = None,
) -> UpResult:
    """Apply every step that does not hold.

    `told` takes what the run is aimed at, `warn` each warning of the checks, and `watch` shows the run. `ask` is called
    before the first write, and what it raises ends the run. `keeps_rules` says whether firewall rules of other people
    that let in more than the spec stay; when there are some and it does not, `decide` is given what each lets in, by
    its id. `break_lease` is the id of a lease to take from whoever has it. With `allow_outage`, rollouts go on although
    the database cannot bear them. Once `stop` is set, nothing new is started.
    What the checks found is a PreflightError, before anything is created; another run at work on this mesh is a
    HeldError.
    """
    stop = stop or threading.Event()
    with folder.locked(leases.name_of("up")), World.open(mesh, cloud, folder, stop=stop) as world:
        world.allows_outage = allow_outage
        aim = aims.require(world.session, folder, mesh.name, told)
        lease = lease_of(world, "up", lost=stop.set, breaks=break_lease, warn=warn)
        with contextlib.suppress(CloudError, RefusedError):
            # The checks report better why it cannot be read.
            lease.look()
        checks.require(world, warn)
        if wider := {} if keeps_rules else firewall.find_all_wider(world):
            keeps_rules = decide(wider) if keeps_rules is None else keeps_rules
        world.keeps_rules, world.prunes = bool(keeps_rules), wider
        steps = catalog.steps(world)
        if ask is not None:
            found = plan.survey(plan.order(steps), workers=plan.WORKERS)
            machines = inventory.list_machines(world)
            ask(PlanResult(mesh, aim, {step.name: found[step.name] for step in steps}, machines))
            with contextlib.suppress(CloudError, RefusedError):
                # The answer may have taken long; another run's spec stays the one that is kept.
                lease.look()
        aims.record(world.session, folder, mesh.name, aim)
        folder.write(SPEC, config.dump(mesh))
        folder.write(OWN_ADDRESS, mesh.own or "")
        folder.delete(DOWN_BEGUN)
        erase_removed(folder.path.parent, dt.datetime.now(dt.UTC))
        return run_steps(world, aim, steps, lease, watch, stop, command="up")


def run_steps(
    world: World,
    aim: Aim,
    steps: Sequence[Step],
    lease: leases.Lease,
    watch: Watch,
    stop: threading.Event,
    *,
    command: str,
) -> UpResult:
    """Apply every step that does not hold, in the name of a command, with the mesh's lease and a journal."""
    mesh, folder, started = world.mesh, world.folder, time.monotonic()
    with folder.journal(command, dt.datetime.now(dt.UTC)) as journal, watch([step.name for step in steps]) as notify:
        journal.record(command=command, mesh=mesh.name, regions=[region.name for region in mesh.regions])
        estimate = Estimate(plan.order(steps), folder, world.session.cloud.time_scale)

        def tell(event: Event) -> None:
            notify(replace(event, left_s=estimate.see(event)))

        with lease:
            results = run.run(
                plan.order(steps),
                workers=plan.WORKERS,
                notify=recorded(journal, tell),
                stop=stop,
                permit=lambda step: lease.take() if step.leased else None,
                defer=lambda gap: bool(gap.restarts) and serving.is_initialised(world),
                retry_delays_s=[world.deadline(pause_s) for pause_s in RETRY_DELAYS_S],
                recheck_delays_s=[world.deadline(pause_s) for pause_s in RECHECK_DELAYS_S],
                pause=world.clock.wait,
            )
        held = {"held": str(lease.held_by_other)} if lease.held_by_other else {}
        journal.record(ended=round(time.monotonic() - started, 3), **held)
    seconds = time.monotonic() - started
    return UpResult(mesh, aim, results, seconds, journal.path, lease.held_by_other, command)


def lease_of(world: World, command: str, **options: Any) -> leases.Lease:
    """Return the mesh's lease, for a run of a command that changes the mesh; see `Lease` for the options."""
    mesh = world.mesh
    return leases.Lease(
        world.session,
        group=mesh.group_name,
        mesh=mesh.name,
        location=mesh.regions[0].name,
        tags=resources.tags(mesh),
        command=command,
        origin=leases.origin_id(world.folder.path),
        owns=belongings.of(world).owns,
        record=lambda: world.record(kinds.NSG.type, names.lease(mesh.name)),
        **options,
    )


def recorded(journal: Journal, notify: Notify) -> Notify:
    """Return `notify`, with a line in the journal for every event but `checking`; a failure of it is told once."""
    told = False

    def record(event: Event) -> None:
        nonlocal told
        outcome = {"outcome": event.result.outcome.value} if event.result else {}
        if event.result and event.result.request_id:
            outcome["request_id"] = event.result.request_id
        if event.kind != "checking":
            journal.record(step=event.step, kind=event.kind, text=event.text, **outcome)
        notify(event)
        if journal.failure and not told:
            told = True
            text = f"the journal {journal.path} lacks lines ({journal.failure}); the run goes on"
            notify(Event("journal", "warning", text))

    return record
