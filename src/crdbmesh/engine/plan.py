"""From a list of steps to a plan: names checked, order known."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from crdbmesh.engine.step import Gap, Outcome, Result, Step
from crdbmesh.errors import CrdbmeshError, PlanError

WORKERS = 32
"""The number of steps at once; most of them wait for Azure and for machines."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which each comes after all it depends on."""

    steps: tuple[Step, ...]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def sorter(self) -> graphlib.TopologicalSorter[str]:
        """Return a prepared sorter over the step names."""
        sorter = graphlib.TopologicalSorter({step.name: step.after for step in self.steps})
        sorter.prepare()
        return sorter

    def by_name(self) -> dict[str, Step]:
        """Return the steps by name."""
        return {step.name: step for step in self.steps}


def order(steps: Iterable[Step]) -> Plan:
    """Check the steps and put them in order; equals stay in the order given.

    Raises:
        PlanError: a name twice, a prerequisite that does not exist, or a cycle.
    """
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
    position = {step.name: index for index, step in enumerate(given)}
    return Plan(tuple(sorted(given, key=lambda step: (depth[step.name], position[step.name]))))


def survey(plan: Plan, *, workers: int) -> dict[str, Gap | Result]:
    """Check every step without a write, and return its gap or its result, in the plan's order.

    A step is not checked while a prerequisite has a gap, since its check would tell nothing: its gap names the
    prerequisite.
    """
    found: dict[str, Gap | Result] = {}
    sorter = plan.sorter()
    steps = plan.by_name()
    running: dict[Future[Gap | Result], str] = {}
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="survey") as pool:
        while sorter.is_active():
            held = {name for name, seen in found.items() if isinstance(seen, Result) and seen.outcome is Outcome.HELD}
            for name in sorter.get_ready():
                waits_for = [other for other in sorted(steps[name].after) if other not in held]
                if waits_for:
                    found[name] = Gap(f"comes after {waits_for[0]}")
                    sorter.done(name)
                    continue
                running[pool.submit(_look, steps[name])] = name
            if not running:
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                found[name] = future.result()
                sorter.done(name)
    return {step.name: found[step.name] for step in plan}


def _look(step: Step) -> Gap | Result:
    try:
        gap = step.check()
    except CrdbmeshError as error:
        return Result(step.name, Outcome.FAILED, str(error), hint=error.hint)
    return gap or Result(step.name, Outcome.HELD)


def _depths(steps: Mapping[str, Step]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in graphlib.TopologicalSorter({name: step.after for name, step in steps.items()}).static_order():
        depths[name] = 1 + max((depths[other] for other in steps[name].after), default=-1)
    return depths
