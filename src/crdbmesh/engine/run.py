"""Runs a plan: checks, applies and checks again each step, many in parallel; a failure is a value.

A step that was applied but does not hold afterwards has failed. Steps after a failed one are blocked, with the culprit
named; all others continue. Clients retry operations that are safe to repeat. An operation that is not, such as a
command whose connection broke, is retried here by doing the whole step again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from crdbmesh.engine.plan import Plan
from crdbmesh.engine.step import Event, Gap, Notify, Outcome, Result, Step
from crdbmesh.errors import CrdbmeshError, HeldError, StoppedError


def run(
    plan: Plan,
    *,
    workers: int,
    notify: Notify,
    stop: threading.Event | None = None,
    permit: Callable[[Step], None] = lambda _step: None,
    retry_delays_s: Sequence[float] = (),
    recheck_delays_s: Sequence[float] = (),
    pause: Callable[[threading.Event, float], bool] = threading.Event.wait,
) -> dict[str, Result]:
    """Make every step of `plan` hold, as far as possible.

    Args:
        plan: the steps, in order.
        workers: the number of steps that may run at once.
        notify: called with every event, one at a time, from any thread; an error of its own ends the run at once.
        stop: once set, no new step starts; running ones finish.
        permit: called before each `apply`; an error of its own keeps the step from being applied.
        retry_delays_s: the delays between tries of a step that failed with a retryable error, one more try for each.
        recheck_delays_s: the delays between checks of an applied step that does not hold yet: reads lag behind writes.
        pause: waits for an event for at most a number of seconds, and returns True when it is set.

    Returns:
        The result of every step, in the plan's order.
    """
    return _Run(plan, notify, stop or threading.Event(), permit, retry_delays_s, recheck_delays_s, pause).run(workers)


class _NotHeldError(Exception):
    """A step was applied, and a gap remains."""


@dataclass
class _Run:
    _plan: Plan
    _notify: Notify
    _stop: threading.Event
    _permit: Callable[[Step], None]
    _retry_delays_s: Sequence[float]
    _recheck_delays_s: Sequence[float]
    _pause: Callable[[threading.Event, float], bool]
    _notify_lock: threading.Lock = field(default_factory=threading.Lock)
    _results: dict[str, Result] = field(default_factory=dict)
    _begun: dict[str, Gap] = field(default_factory=dict)
    """The gaps of steps that are tried again after a retryable error."""
    _held_exclusively: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._steps = self._plan.by_name()

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
                        running[pool.submit(self._run_step, self._steps[name])] = name
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
            if not before.outcome.good:
                culprit = before.culprit or prerequisite
                return Result(name, Outcome.BLOCKED, f"{culprit} failed", culprit=culprit)
        if self._stop.is_set():
            return Result(name, Outcome.STOPPED, "interrupted before it started")
        return None

    def _run_step(self, step: Step) -> Result:
        started = time.monotonic()

        def result(outcome: Outcome, detail: str = "", hint: str | None = None) -> Result:
            return Result(step.name, outcome, detail, hint=hint, seconds=time.monotonic() - started)

        for pause_s in (*self._retry_delays_s, None):
            try:
                gap = self._close(step)
            except (HeldError, StoppedError) as error:
                return result(Outcome.STOPPED, str(error))
            except CrdbmeshError as error:
                if pause_s is None or not error.retryable:
                    return result(Outcome.FAILED, str(error), error.hint)
                self._tell(Event(step.name, "waiting", f"{error}; trying again"))
                if self._pause(self._stop, pause_s * random.uniform(0.8, 1.2)):  # noqa: S311 - spreads load, guards nothing
                    return result(Outcome.STOPPED, str(error))
            except _NotHeldError as error:
                return result(Outcome.FAILED, str(error))
            except Exception as error:  # noqa: BLE001 - a bug in one step must not take the other regions down
                return result(
                    Outcome.FAILED,
                    f"unexpected {type(error).__name__}: {error}",
                    "this is a bug in crdbmesh; run again, and report it with the journal if it stays",
                )
            else:
                gap = gap or self._begun.get(step.name)
                return result(Outcome.CHANGED, gap.summary) if gap else result(Outcome.HELD)
        raise AssertionError("the last try returns")

    def _close(self, step: Step) -> Gap | None:
        """Check, apply and check again; return the gap that was closed, or None when there was none."""
        self._tell(Event(step.name, "checking"))
        gap = step.check()
        if gap is None:
            return None
        if self._stop.is_set():
            raise StoppedError(step.name, last_seen=gap.summary)
        self._permit(step)
        self._begun[step.name] = gap
        self._tell(Event(step.name, "applying", gap.summary))
        step.apply(gap, lambda text: self._tell(Event(step.name, "waiting", text)))
        self._tell(Event(step.name, "applied", gap.summary))
        remaining = step.check()
        for pause_s in self._recheck_delays_s:
            if remaining is None or self._pause(self._stop, pause_s):
                break
            remaining = step.check()
        if remaining is not None:
            raise _NotHeldError(f"applied, but still not as required: {remaining.summary}")
        return gap

    def _end(self, result: Result) -> None:
        self._results[result.step] = result
        self._tell(Event(result.step, "ended", result.detail, result))

    def _tell(self, event: Event) -> None:
        with self._notify_lock:
            self._notify(event)
