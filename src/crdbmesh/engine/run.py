"""Runs a plan: checks, applies and checks again each step, many in parallel; a failure is a value.

A step that was applied but does not hold afterwards has failed. Steps after a failed one are blocked, with the culprit
named; all others continue. Clients retry operations that are safe to repeat. An operation that is not, such as a
command whose connection broke, is retried here by doing the whole step again.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from crdbmesh.engine.plan import THREADS, Plan
from crdbmesh.engine.step import Event, Gap, Notify, Outcome, Result, Step
from crdbmesh.errors import CrdbmeshError, HeldError, StoppedError

_BUG = "this is a bug in crdbmesh; run again, and report it with the journal if it stays"


def run(
    plan: Plan,
    *,
    workers: int,
    notify: Notify,
    stop: threading.Event | None = None,
    permit: Callable[[Step], None] = lambda _step: None,
    defer: Callable[[Gap], bool] = lambda _gap: False,
    retry_delays_s: Sequence[float] = (),
    recheck_delays_s: Sequence[float] = (),
    pause: Callable[[threading.Event, float], bool] = threading.Event.wait,
) -> dict[str, Result]:
    """Make every step of `plan` hold, as far as possible; return the result of every step, in the plan's order.

    At most so many `workers` run at once. `notify` is called with every event, one at a time, from any thread; an error
    of its own is raised at the end. Once `stop` is set, no new step starts; running ones finish. `permit` is called
    before each `apply`; an error of its own keeps the step from being applied. A step whose gap `defer` picks is left
    until every other one holds, and done in a second pass: it disturbs what serves. After each of `retry_delays_s` a
    step that failed with a retryable error is tried once more, and after each of `recheck_delays_s` an applied step
    that does not hold yet is checked once more: reads lag behind writes. `pause` waits for an event for at most a
    number of seconds, and returns True when it is set.
    """
    exclusive = {name: threading.Lock() for step in plan for name in step.exclusive}
    slots = threading.BoundedSemaphore(workers)
    stop = stop or threading.Event()
    run = _Run(notify, stop, permit, defer, retry_delays_s, recheck_delays_s, pause, exclusive, slots)
    first = run.every(plan)
    deferred = [name for name, result in first.items() if result.outcome is Outcome.DEFERRED]
    if not deferred:
        return first
    if bad := next((result for result in first.values() if not result.outcome.good), None):
        return {**first, **{name: run.leave(first[name], bad) for name in deferred}}
    seen = frozenset(first) - frozenset(deferred)
    again = replace(run, notify=_of_others(notify, seen), defer=lambda _gap: False, ended={}).every(plan)
    return {
        name: first[name] if again[name].outcome is Outcome.HELD and name in seen else again[name] for name in first
    }


def _of_others(notify: Notify, seen: Collection[str]) -> Notify:
    """Return `notify` without the events of steps that have been seen to hold, unless one holds no more."""

    def told(event: Event) -> None:
        holds = event.kind == "checking" or (event.result and event.result.outcome is Outcome.HELD)
        if event.step not in seen or not holds:
            notify(event)

    return told


class _NotHeldError(CrdbmeshError):
    """A step was applied, and a gap remains."""


@dataclass
class _Run:
    """A run, whose steps wait in their threads for their turn: after others, and not at once with some."""

    notify: Notify
    stop: threading.Event
    permit: Callable[[Step], None]
    defer: Callable[[Gap], bool]
    retry_delays_s: Sequence[float]
    recheck_delays_s: Sequence[float]
    pause: Callable[[threading.Event, float], bool]
    exclusive: Mapping[str, threading.Lock]
    slots: threading.BoundedSemaphore
    ended: dict[str, Future[Result]] = field(default_factory=dict)
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def every(self, plan: Plan) -> dict[str, Result]:
        """Make every step hold; threads take them in the plan's order, so whatever is waited for is being done."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="step") as pool:
            for step in plan:
                self.ended[step.name] = pool.submit(self.one, step)
        return {name: future.result() for name, future in self.ended.items()}

    def leave(self, deferred: Result, bad: Result) -> Result:
        """Return, and tell, the result of a deferred step that is not done because another one ended badly."""
        if bad.outcome is Outcome.STOPPED:
            result = replace(deferred, outcome=Outcome.STOPPED)
        else:
            culprit = bad.culprit or bad.step
            detail = f"{culprit} failed, and what serves is not disturbed before everything else holds"
            result = replace(deferred, outcome=Outcome.BLOCKED, detail=detail, culprit=culprit)
        self._tell(Event(result.step, "ended", result.detail, result))
        return result

    def one(self, step: Step) -> Result:
        """Check, apply and check again, and again after a retryable error; return how it ended."""
        with contextlib.ExitStack() as turn:
            result = self._wait_for_turn(step, turn)
            started, delays_s, begun = time.monotonic(), iter(self.retry_delays_s), None
            while result is None:
                try:
                    self._tell(Event(step.name, "checking"))
                    gap = step.check()
                    if gap is not None and self.defer(gap):
                        self._tell(Event(step.name, "waiting", "waiting until everything else holds"))
                        return Result(step.name, Outcome.DEFERRED, gap.summary)
                    if gap is not None:
                        self._begin(step, gap)
                        begun = gap
                        step.apply(gap, lambda text: self._tell(Event(step.name, "waiting", text)))
                        self._tell(Event(step.name, "applied", gap.summary))
                        self._check_again(step)
                    result = (
                        Result(step.name, Outcome.CHANGED, begun.summary) if begun else Result(step.name, Outcome.HELD)
                    )
                except Exception as error:  # noqa: BLE001 - a bug in one step must not take the other regions down
                    result = self._failed(step, error, next(delays_s, None))
            result = replace(result, seconds=time.monotonic() - started)
        self._tell(Event(step.name, "ended", result.detail, result))
        return result

    def _wait_for_turn(self, step: Step, turn: contextlib.ExitStack) -> Result | None:
        """Wait for the prerequisites, then for what only one step at a time may write; the result of what cannot start.

        `turn` gives all of it back.
        """
        interrupted = Result(step.name, Outcome.STOPPED, "interrupted before it started")
        for name in sorted(step.after):
            before = self.ended[name].result()
            if before.outcome is Outcome.STOPPED:
                return interrupted
            if not before.outcome.good:
                culprit = before.culprit or name
                return Result(step.name, Outcome.BLOCKED, f"{culprit} failed", culprit=culprit)
        for name in sorted(step.exclusive):
            turn.enter_context(self.exclusive[name])
        turn.enter_context(self.slots)
        return interrupted if self.stop.is_set() else None

    def _begin(self, step: Step, gap: Gap) -> None:
        if self.stop.is_set():
            raise StoppedError(step.name, last_seen=gap.summary)
        self.permit(step)
        self._tell(Event(step.name, "applying", gap.summary, creates=gap.kind == "create"))

    def _check_again(self, step: Step) -> None:
        remaining = step.check()
        for pause_s in self.recheck_delays_s:
            if remaining is None or self.pause(self.stop, pause_s):
                break
            remaining = step.check()
        if remaining is not None:
            raise _NotHeldError(f"applied, but still not as required: {remaining.summary}")

    def _failed(self, step: Step, error: Exception, pause_s: float | None) -> Result | None:
        """Return the result of a try that failed, or pause and return None when the step is to be tried again."""
        if isinstance(error, HeldError | StoppedError):
            return Result(step.name, Outcome.STOPPED, str(error))
        if not isinstance(error, CrdbmeshError):
            error = CrdbmeshError(f"unexpected {type(error).__name__}: {error}", hint=_BUG, code="bug")
        if pause_s is None or not error.retryable:
            return Result.of(step.name, error)
        self._tell(Event(step.name, "waiting", f"{error}; trying again"))
        if self.pause(self.stop, pause_s * random.uniform(0.8, 1.2)):  # noqa: S311 - spreads load, guards nothing
            return Result(step.name, Outcome.STOPPED, str(error))
        return None

    def _tell(self, event: Event) -> None:
        with self._telling:
            self.notify(event)
