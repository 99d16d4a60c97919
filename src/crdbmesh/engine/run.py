"""Runs a plan: check, apply, check; in parallel; failure is a value.

A step that ran but does not hold afterwards has failed. What depends on a failed step is blocked, with the culprit
named; everything else goes on. Nothing is retried here: clients retry what is transient, the operator runs again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from crdbmesh.engine.plan import Plan
from crdbmesh.engine.step import Event, Notify, Outcome, Result, Step
from crdbmesh.errors import CrdbmeshError, HeldError, StoppedError

_GOOD = (Outcome.HELD, Outcome.CHANGED)


def run(
    plan: Plan,
    *,
    workers: int,
    notify: Notify,
    stop: threading.Event | None = None,
    permit: Callable[[Step], None] = lambda _step: None,
) -> dict[str, Result]:
    """Make every step of `plan` hold, as far as possible.

    Args:
        plan: what to run.
        workers: how many steps may run at once.
        notify: told of every event, one at a time, from any thread. What it raises ends the run at once.
        stop: once set, no new step starts; those running finish.
        permit: asked before each `apply`; what it raises keeps the step from being applied.

    Returns:
        The result of every step, in the plan's order.
    """
    return _Run(plan, notify, stop or threading.Event(), permit).run(workers)


class _Run:
    def __init__(self, plan: Plan, notify: Notify, stop: threading.Event, permit: Callable[[Step], None]) -> None:
        self._plan = plan
        self._steps = plan.by_name()
        self._notify = notify
        self._notify_lock = threading.Lock()
        self._stop = stop
        self._permit = permit
        self._results: dict[str, Result] = {}
        self._held_exclusively: set[str] = set()

    def run(self, workers: int) -> dict[str, Result]:
        sorter = self._plan.sorter()
        ready: list[str] = []
        running: dict[Future[Result], str] = {}
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="step") as pool:
            while sorter.is_active():
                ready.extend(sorter.get_ready())
                waiting: list[str] = []
                for name in ready:
                    if (ended := self._cannot_start(name)) is not None:
                        self._end(ended)
                        sorter.done(name)
                    elif self._steps[name].exclusive & self._held_exclusively:
                        waiting.append(name)
                    else:
                        self._held_exclusively |= self._steps[name].exclusive
                        running[pool.submit(self._carry_out, self._steps[name])] = name
                ready = waiting
                if not running:
                    # Marking a blocked step as done makes its dependants ready: look again before waiting.
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    self._held_exclusively -= self._steps[name].exclusive
                    self._end(future.result())
                    sorter.done(name)
        return {step.name: self._results[step.name] for step in self._plan}

    def _cannot_start(self, name: str) -> Result | None:
        for prerequisite in sorted(self._steps[name].after):
            before = self._results[prerequisite]
            if before.outcome is Outcome.STOPPED:
                return Result(name, Outcome.STOPPED, "interrupted before it started")
            if before.outcome not in _GOOD:
                culprit = before.culprit or prerequisite
                return Result(name, Outcome.BLOCKED, f"{culprit} failed", culprit=culprit)
        if self._stop.is_set():
            return Result(name, Outcome.STOPPED, "interrupted before it started")
        return None

    def _carry_out(self, step: Step) -> Result:
        started = time.monotonic()

        def result(outcome: Outcome, detail: str = "", hint: str | None = None) -> Result:
            return Result(step.name, outcome, detail, hint=hint, seconds=time.monotonic() - started)

        try:
            self._tell(Event(step.name, "checking"))
            gap = step.check()
            if gap is None:
                return result(Outcome.HELD)
            if self._stop.is_set():
                return result(Outcome.STOPPED, gap.summary)
            self._permit(step)
            self._tell(Event(step.name, "applying", gap.summary))
            step.apply(gap, lambda text: self._tell(Event(step.name, "waiting", text)))
            self._tell(Event(step.name, "applied", gap.summary))
            remaining = step.check()
        except (HeldError, StoppedError) as error:
            return result(Outcome.STOPPED, str(error))
        except CrdbmeshError as error:
            return result(Outcome.FAILED, str(error), error.hint)
        except Exception as error:  # noqa: BLE001 - a bug in one step must not take the other regions down
            return result(
                Outcome.FAILED,
                f"unexpected {type(error).__name__}: {error}",
                "this is a bug in crdbmesh; run again, and report it with the journal if it stays",
            )
        if remaining is not None:
            return result(Outcome.FAILED, f"done, but it does not hold: {remaining.summary}")
        return result(Outcome.CHANGED, gap.summary)

    def _end(self, result: Result) -> None:
        self._results[result.step] = result
        self._tell(Event(result.step, "ended", result.detail, result))

    def _tell(self, event: Event) -> None:
        with self._notify_lock:
            self._notify(event)
