"""How a plan is run: check, apply, check; blocked with culprit; exclusive; interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from crdbmesh.clients.waiting import Say
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Gap, Outcome, Result, Step
from crdbmesh.errors import (
    CrdbmeshError,
    HeldError,
    KubeError,
    PlanError,
    RefusedError,
    StoppedError,
    UnreachableError,
)


@dataclass
class State:
    """What steps find and change."""

    holds: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    busy: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing(Step):
    """A step over a set of names."""

    state: State
    raises: Exception | None = None
    useless: bool = False
    late: list[None] = field(default_factory=list)
    """As many looks find nothing although it holds."""
    breaks: list[CrdbmeshError] = field(default_factory=list)
    """What one apply after the other raises, after it has done its work."""
    during: Callable[[], None] = lambda: None

    def check(self) -> Gap | None:
        if self.name in self.state.holds and self.late:
            self.late.pop()
            return Gap(f"{self.name} is not seen yet")
        return None if self.name in self.state.holds else Gap(f"{self.name} is absent")

    def apply(self, gap: Gap, say: Say) -> None:
        say("working")
        if self.raises is not None:
            raise self.raises
        with self.state.lock:
            self.state.busy += 1
            self.state.most = max(self.state.most, self.state.busy)
        self.during()
        with self.state.lock:
            self.state.busy -= 1
            self.state.log.append(self.name)
        if not self.useless:
            self.state.holds.add(self.name)
        if self.breaks:
            raise self.breaks.pop()


def go(
    *steps: Step, stop: threading.Event | None = None, events: list[Event] | None = None, **options: Any
) -> dict[str, Result]:
    seen = events if events is not None else []
    return run.run(plan.order(steps), workers=4, notify=seen.append, stop=stop, **options)


def outcomes(results: dict[str, Result]) -> dict[str, str]:
    return {name: result.outcome.value for name, result in results.items()}


def test_what_holds_is_left_alone_and_what_does_not_is_changed() -> None:
    state = State(holds={"a"})
    assert outcomes(go(Thing(name="a", state=state), Thing(name="b", state=state))) == {"a": "held", "b": "changed"}
    assert state.log == ["b"]


def test_a_second_run_finds_everything_held() -> None:
    state = State()
    steps = [Thing(name="a", state=state), Thing(name="b", after=frozenset({"a"}), state=state)]
    go(*steps)
    assert outcomes(go(*steps)) == {"a": "held", "b": "held"}
    assert state.log == ["a", "b"]


def test_a_step_that_ran_but_does_not_hold_has_failed() -> None:
    results = go(Thing(name="a", state=State(), useless=True))
    assert results["a"].outcome is Outcome.FAILED
    assert "still not as required" in results["a"].detail


def test_what_depends_on_a_failure_is_blocked_with_its_culprit_and_the_rest_goes_on() -> None:
    state = State()
    results = go(
        Thing(name="a", state=state, raises=KubeError("no", hint="look there")),
        Thing(name="b", after=frozenset({"a"}), state=state),
        Thing(name="c", after=frozenset({"b"}), state=state),
        Thing(name="d", state=state),
    )
    assert outcomes(results) == {"a": "failed", "b": "blocked", "c": "blocked", "d": "changed"}
    assert results["a"].hint == "look there"
    assert results["c"].culprit == "a"


def test_a_bug_in_a_step_fails_that_step_alone() -> None:
    results = go(Thing(name="a", state=State(), raises=ZeroDivisionError("oops")), Thing(name="b", state=State()))
    assert outcomes(results) == {"a": "failed", "b": "changed"}
    assert "ZeroDivisionError" in results["a"].detail


def test_what_may_pass_is_made_good_by_doing_the_step_again() -> None:
    state = State()
    broke = UnreachableError("the connection broke")
    results = go(Thing(name="a", state=state, useless=True, breaks=[broke, broke]), retry_delays_s=[0.01])
    assert outcomes(results) == {"a": "failed"}
    assert state.log == ["a", "a"]
    results = go(Thing(name="b", state=state, breaks=[broke]), retry_delays_s=[0.01])
    assert outcomes(results) == {"b": "changed"}
    assert results["b"].detail == "b is absent"


def test_what_will_not_pass_is_not_tried_again() -> None:
    state = State()
    results = go(Thing(name="a", state=state, raises=RefusedError("no")), retry_delays_s=[0.01, 0.01])
    assert outcomes(results) == {"a": "failed"}
    assert outcomes(go(Thing(name="b", state=state, raises=KeyError("x")), retry_delays_s=[0.01])) == {"b": "failed"}
    assert state.log == []


def test_what_is_seen_late_is_looked_at_again() -> None:
    state = State()
    assert outcomes(go(Thing(name="a", state=state, late=[None, None]))) == {"a": "failed"}
    results = go(Thing(name="b", state=state, late=[None, None]), recheck_delays_s=[0.01, 0.01])
    assert outcomes(results) == {"b": "changed"}


def test_a_step_that_has_no_permit_is_not_applied_and_what_may_wait_is_interrupted() -> None:
    state = State()

    def refuse(step: Step) -> None:
        raise HeldError(f"another run has {step.name}")

    results = go(Thing(name="a", state=state), permit=refuse)
    assert (results["a"].outcome, results["a"].detail) == (Outcome.STOPPED, "another run has a")
    assert state.log == []
    interrupted = StoppedError("the VM", last_seen="Creating")
    assert outcomes(go(Thing(name="b", state=state, raises=interrupted))) == {"b": "stopped"}


def test_steps_that_write_the_same_thing_never_run_at_once() -> None:
    state = State()
    shared = [
        Thing(name=name, state=state, exclusive=frozenset({"vnet", name}), during=lambda: time.sleep(0.02))
        for name in "abcd"
    ]
    assert set(outcomes(go(*shared)).values()) == {"changed"}
    assert state.most == 1


def test_steps_that_share_nothing_run_at_once() -> None:
    state = State()
    together = threading.Barrier(3, timeout=5)
    steps = [Thing(name=name, state=state, during=lambda: (together.wait(), None)[1]) for name in "abc"]
    assert set(outcomes(go(*steps)).values()) == {"changed"}


def test_an_interrupted_run_finishes_what_runs_and_starts_nothing_new() -> None:
    state, stop = State(), threading.Event()
    results = go(
        Thing(name="a", state=state, during=stop.set),
        Thing(name="b", after=frozenset({"a"}), state=state),
        Thing(name="c", after=frozenset({"b"}), state=state),
        stop=stop,
    )
    assert outcomes(results) == {"a": "changed", "b": "stopped", "c": "stopped"}


def test_events_tell_the_story_of_a_step_in_order() -> None:
    events: list[Event] = []
    go(Thing(name="a", state=State()), events=events)
    assert [event.kind for event in events] == ["checking", "applying", "waiting", "applied", "ended"]
    assert events[1].text == "a is absent"


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ([("a", ()), ("a", ())], "two steps are called a"),
        ([("a", ("b",))], "no step of that name"),
        ([("a", ("b",)), ("b", ("a",))], "wait for each other"),
    ],
)
def test_steps_that_form_no_plan_are_refused(steps: list[tuple[str, tuple[str, ...]]], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        plan.order([Thing(name=name, after=frozenset(after), state=State()) for name, after in steps])


def test_a_survey_looks_no_further_than_a_gap_and_writes_nothing() -> None:
    state = State(holds={"a"})
    steps = [
        Thing(name="a", state=state),
        Thing(name="b", after=frozenset({"a"}), state=state),
        Thing(name="c", after=frozenset({"b"}), state=state),
    ]
    found = plan.survey(plan.order(steps), workers=2)
    assert found["b"] == Gap("b is absent")
    assert found["c"] == Gap("comes after b")
    assert isinstance(found["a"], Result)
    assert found["a"].outcome is Outcome.HELD
    assert state.log == []


def deferring(*names: str) -> Callable[[Gap], bool]:
    """Defer the steps of these names, as what disturbs something that serves."""
    return lambda gap: gap.summary.split()[0] in names


def test_what_disturbs_is_done_once_everything_else_holds_and_meanwhile_counts_as_it_is() -> None:
    state, events = State(), list[Event]()
    steps = [Thing(name="a", state=state), Thing(name="b", after=frozenset({"a"}), state=state)]
    results = go(*steps, Thing(name="c", state=state), defer=deferring("a"), events=events)
    assert outcomes(results) == {"a": "changed", "b": "changed", "c": "changed"}
    assert state.log[-1] == "a"
    assert sorted(event.step for event in events if event.kind == "ended") == ["a", "b", "c"]


def test_what_disturbs_is_left_when_something_else_fails_and_names_it() -> None:
    state, events = State(), list[Event]()
    broken = Thing(name="b", state=state, raises=KubeError("no"))
    results = go(Thing(name="a", state=state), broken, defer=deferring("a"), events=events)
    assert outcomes(results) == {"a": "blocked", "b": "failed"}
    assert (results["a"].culprit, "not disturbed" in results["a"].detail) == ("b", True)
    assert state.log == []
    assert sorted(event.step for event in events if event.kind == "ended") == ["a", "b"]


def test_an_interrupt_leaves_what_disturbs() -> None:
    state, stop = State(), threading.Event()
    steps = [Thing(name="a", state=state), Thing(name="b", state=state, during=stop.set)]
    results = go(*steps, Thing(name="c", after=frozenset({"b"}), state=state), stop=stop, defer=deferring("a"))
    assert outcomes(results) == {"a": "stopped", "b": "changed", "c": "stopped"}
    assert state.log == ["b"]
