"""From a list of steps to a plan: names checked, order known."""

import graphlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from crdbmesh.engine.step import Gap, Outcome, Result, Step
from crdbmesh.errors import CrdbmeshError, PlanError

WORKERS = 32
"""The number of steps at once; most of them wait for Azure and for machines."""

THREADS = 256
"""The number of steps that may wait for their turn at once, each in a thread."""

Plan = tuple[Step, ...]
"""Steps in an order in which each comes after all it depends on."""


def order(steps: Iterable[Step]) -> Plan:
    """Order the steps, equals as given; raise PlanError for a name twice, an unknown prerequisite, or a cycle."""
    given = list(steps)
    by_name: dict[str, Step] = {}
    for step in given:
        if step.name in by_name:
            raise PlanError(f"two steps are called {step.name}")
        by_name[step.name] = step
    for step in given:
        for prerequisite in sorted(step.after):
            if prerequisite not in by_name:
                raise PlanError(f"{step.name} comes after {prerequisite}, but there is no step of that name")
    try:
        depth = _depths(by_name)
    except graphlib.CycleError as error:
        raise PlanError(f"steps wait for each other: {' -> '.join(error.args[1])}") from error
    return tuple(sorted(given, key=lambda step: depth[step.name]))


def survey(plan: Plan, *, workers: int) -> dict[str, Gap | Result]:
    """Check every step without a write, and return its gap or its result, in the plan's order.

    A step is not checked while a prerequisite has a gap, since its check would tell nothing: its gap names the
    prerequisite.
    """
    found: dict[str, Future[Gap | Result]] = {}
    slots = threading.BoundedSemaphore(workers)

    def look(step: Step) -> Gap | Result:
        for name in sorted(step.after):
            before = found[name].result()
            if isinstance(before, Gap) or before.outcome is not Outcome.HELD:
                return Gap(f"comes after {name}", "after")
        with slots:
            try:
                gap = step.check()
            except CrdbmeshError as error:
                return Result.of(step.name, error)
        return gap or Result(step.name, Outcome.HELD)

    # Threads take steps in the plan's order, so the first that waits always waits for one that runs.
    with ThreadPoolExecutor(THREADS, thread_name_prefix="survey") as pool:
        for step in plan:
            found[step.name] = pool.submit(look, step)
    return {name: future.result() for name, future in found.items()}


def _depths(steps: Mapping[str, Step]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in graphlib.TopologicalSorter({name: step.after for name, step in steps.items()}).static_order():
        depths[name] = 1 + max((depths[other] for other in steps[name].after), default=-1)
    return depths
