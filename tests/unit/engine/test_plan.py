"""Plans of any shape: the order is kept, and every outcome follows from the ones before."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdbmesh.clients.waiting import Say
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Gap, Outcome, Result, Step
from crdbmesh.errors import CrdbmeshError, PlanError


@dataclass
class World:
    """What steps find and change."""

    holds: set[str] = field(default_factory=set)
    broken: frozenset[str] = frozenset()
    applied: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Step):
    """A step over a set of names."""

    world: World

    def check(self) -> Gap | None:
        with self.world.lock:
            self.world.checked.append(self.name)
            return None if self.name in self.world.holds else Gap(f"{self.name} is absent")

    def apply(self, gap: Gap, say: Say) -> None:
        with self.world.lock:
            self.world.applied.append(self.name)
            if self.name in self.world.broken:
                raise CrdbmeshError(f"{self.name} cannot be")
            self.world.holds.add(self.name)


Shape = dict[str, frozenset[str]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Steps, each coming after some of those before it, in a shuffled order."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 12)))]
    after = {
        name: draw(st.frozensets(st.sampled_from(names[:at]))) if at else frozenset() for at, name in enumerate(names)
    }
    return {name: after[name] for name in draw(st.permutations(names))}


def parts(shape: Shape, world: World, *, exclusive: frozenset[str] = frozenset()) -> list[Step]:
    return [Part(name=name, after=after, exclusive=exclusive, world=world) for name, after in shape.items()]


@given(shape=shapes())
@settings(max_examples=100, deadline=None)
def test_each_step_comes_after_all_it_depends_on(shape: Shape) -> None:
    ordered = [step.name for step in plan.order(parts(shape, World()))]
    assert sorted(ordered) == sorted(shape)
    assert all(ordered.index(before) < ordered.index(name) for name, after in shape.items() for before in after)


@given(shape=shapes(), broken=st.frozensets(st.sampled_from([f"s{number}" for number in range(12)]), max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_run_reaches_all_that_no_failure_stands_before_and_nothing_else(shape: Shape, broken: frozenset[str]) -> None:
    world = World(broken=broken)
    results = run.run(plan.order(parts(shape, world)), workers=3, notify=lambda _event: None)
    assert set(results) == set(shape)
    for name, result in results.items():
        bad = {before for before in shape[name] if not results[before].outcome.good}
        if bad:
            assert result.outcome is Outcome.BLOCKED
            assert result.culprit in broken
        else:
            assert result.outcome is (Outcome.FAILED if name in broken else Outcome.CHANGED)
    assert len(world.applied) == len(set(world.applied))
    applied_at = {name: at for at, name in enumerate(world.applied)}
    assert all(applied_at[before] < applied_at[name] for name in applied_at for before in shape[name])


@given(shape=shapes(), broken=st.frozensets(st.sampled_from([f"s{number}" for number in range(12)]), max_size=3))
@settings(max_examples=50, deadline=None)
def test_a_run_after_the_cause_is_gone_converges_and_the_next_changes_nothing(
    shape: Shape, broken: frozenset[str]
) -> None:
    world = World(broken=broken)
    order = plan.order(parts(shape, world))
    run.run(order, workers=3, notify=lambda _event: None)
    world.broken = frozenset()
    healed = run.run(order, workers=3, notify=lambda _event: None)
    assert all(result.outcome.good for result in healed.values())
    world.applied.clear()
    again = run.run(order, workers=3, notify=lambda _event: None)
    assert {result.outcome for result in again.values()} == {Outcome.HELD}
    assert world.applied == []


@given(shape=shapes())
@settings(max_examples=30, deadline=None)
def test_steps_that_all_write_one_thing_still_all_run(shape: Shape) -> None:
    world = World()
    order = plan.order(parts(shape, world, exclusive=frozenset({"vnet"})))
    results = run.run(order, workers=3, notify=lambda _event: None)
    assert {result.outcome for result in results.values()} == {Outcome.CHANGED}


@given(shape=shapes(), holds=st.sets(st.sampled_from([f"s{number}" for number in range(12)])))
@settings(max_examples=100, deadline=None)
def test_a_survey_looks_only_where_all_before_holds_and_applies_nothing(shape: Shape, holds: set[str]) -> None:
    world = World(holds=set(holds))
    found = plan.survey(plan.order(parts(shape, world)), workers=3)
    assert world.applied == []
    for name, what in found.items():
        all_before_hold = all(isinstance(found[before], Result) for before in shape[name])
        assert (name in world.checked) is all_before_hold
        assert isinstance(what, Result) is (all_before_hold and name in holds)


def test_an_empty_plan_is_done() -> None:
    assert run.run(plan.order([]), workers=1, notify=lambda _event: None) == {}
    assert plan.survey(plan.order([]), workers=1) == {}


def test_among_equals_the_given_order_stays() -> None:
    shape = {name: frozenset[str]() for name in "cab"}
    assert [step.name for step in plan.order(parts(shape, World()))] == ["c", "a", "b"]


def test_a_cycle_is_named_step_by_step() -> None:
    shape = {"a": frozenset({"c"}), "b": frozenset({"a"}), "c": frozenset({"b"})}
    with pytest.raises(PlanError) as caught:
        plan.order(parts(shape, World()))
    assert all(name in str(caught.value) for name in ("a", "b", "c", "->"))


def test_what_cannot_be_looked_at_is_a_failure_of_the_survey_not_an_end_to_it() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Unreadable(Step):
        def check(self) -> Gap | None:
            raise CrdbmeshError("cannot be read", hint="look there")

        def apply(self, gap: Gap, say: Say) -> None:
            raise AssertionError

    found = plan.survey(
        plan.order([Unreadable(name="a"), Part(name="b", after=frozenset({"a"}), world=World())]), workers=1
    )
    failed = found["a"]
    assert isinstance(failed, Result)
    assert (failed.outcome, failed.hint) == (Outcome.FAILED, "look there")
    assert found["b"] == Gap("comes after a")
