"""Faults by themselves: when they happen, and what may be asked of them."""

from __future__ import annotations

import pytest

from crdbmesh_simulator import faults
from crdbmesh_simulator.faults import KNOWN, MODERATE, MOST_IN_A_ROW, Faults

THROTTLED, CONFLICT, QUOTA = "arm.throttled", "kube.conflict", "arm.quota"


def drawn(seed: int, *, rate: float = 0.4, key: str = "", name: str = THROTTLED, times: int = 200) -> list[bool]:
    chance = Faults(seed)
    chance.set({name: rate})
    return [chance.happens(name, key=key) for _ in range(times)]


def test_nothing_happens_until_a_rate_is_set() -> None:
    chance = Faults(1)
    assert not any(chance.happens(name) for name in KNOWN for _ in range(20))
    assert not chance.active
    assert chance.counts == {}


def test_a_seed_gives_the_same_draws_and_another_seed_others() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert drawn(7, name=THROTTLED) != drawn(7, name=CONFLICT)


def test_a_rate_is_how_often_it_happens() -> None:
    assert 0.07 < sum(drawn(3, rate=0.1, times=2000)) / 2000 < 0.13


def test_one_request_s_chance_does_not_depend_on_the_others() -> None:
    chance = Faults(7)
    chance.set({THROTTLED: 0.4})
    mixed = [(chance.happens(THROTTLED, key="a"), chance.happens(THROTTLED, key="b"))[0] for _ in range(200)]
    assert mixed == drawn(7, key="a")


def test_a_transient_fault_strikes_three_times_in_a_row_at_most() -> None:
    assert drawn(1, rate=1, times=8) == [True, True, True, False, True, True, True, False]
    chance = Faults(1)
    chance.set(dict.fromkeys(("arm.throttled", "arm.server_error", "arm.reset"), 1.0))
    picks = [chance.pick(["arm.throttled", "arm.server_error", "arm.reset"], key="GET /x") for _ in range(8)]
    assert [pick is not None for pick in picks] == [True, True, True, False, True, True, True, False]


def test_the_limit_is_one_for_each_key() -> None:
    chance = Faults(1)
    chance.set({THROTTLED: 1})
    assert all(chance.happens(THROTTLED, key=key) for key in "abcdef" for _ in range(MOST_IN_A_ROW))


def test_what_does_not_pass_by_itself_has_no_limit() -> None:
    assert all(drawn(1, rate=1, name=QUOTA, times=20))


def test_a_rate_may_be_for_one_place_only() -> None:
    chance = Faults(1)
    chance.set({"arm.allocation_failed@WestUS": 1, QUOTA: 1, f"{QUOTA}@eastus": 0})
    assert chance.happens("arm.allocation_failed", "westus")
    assert chance.happens("arm.allocation_failed", ("westus", "machine-1"))
    assert not chance.happens("arm.allocation_failed", "eastus")
    assert not chance.happens("arm.allocation_failed")
    assert not chance.happens(QUOTA, "eastus")
    assert chance.happens(QUOTA, "westus")


def test_what_happens_is_counted_until_it_is_cleared() -> None:
    chance = Faults(1)
    chance.set({THROTTLED: 1, CONFLICT: 1})
    assert [chance.happens(THROTTLED), chance.happens(THROTTLED), chance.happens(CONFLICT)] == [True] * 3
    chance.clear()
    assert not chance.happens(THROTTLED)
    assert not chance.active
    assert chance.counts == {THROTTLED: 2, CONFLICT: 1}


@pytest.mark.parametrize("rates", [{"arm.nonsense": 0.1}, {"": 0.1}, {"throttled": 1}, {"arm.throttled@": 1}])
def test_a_name_that_is_not_known_is_refused_with_those_that_are(rates: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"no fault is called .*arm\.throttled.*k3s\.learners"):
        Faults(1).set(rates)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), True, "0.1", None])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        Faults(1).set({THROTTLED: rate})


def test_rates_that_are_refused_change_nothing() -> None:
    chance = Faults(1)
    chance.set({THROTTLED: 0.5})
    with pytest.raises(ValueError, match="nonsense"):
        chance.set({CONFLICT: 0.1, "arm.nonsense": 0.1})
    assert chance.rates == {THROTTLED: 0.5}


def test_the_preset_has_every_transient_fault_and_no_other() -> None:
    lasting = {"arm.allocation_failed", "arm.zonal_allocation_failed", "arm.sku_not_available", "arm.quota"}
    # A machine that is running keeps its hardware, however often it is asked, and a clock that is off stays off.
    lasting |= {"arm.size_not_in_cluster", "clock.off"}
    assert set(MODERATE) == set(KNOWN) - lasting
    assert all(0 < rate <= 0.3 for rate in MODERATE.values())


def test_a_specification_is_the_preset_rates_or_both() -> None:
    assert faults.parse("transient") == MODERATE
    assert faults.parse("arm.throttled=0.2, kube.conflict@westus=1") == {THROTTLED: 0.2, "kube.conflict@westus": 1.0}
    assert faults.parse("transient,arm.throttled=0,arm.quota=1") == {**MODERATE, THROTTLED: 0.0, QUOTA: 1.0}
    assert faults.parse("") == {}


@pytest.mark.parametrize("text", ["often", "arm.throttled", "arm.throttled=much", "arm.throttled=2", "arm.x=0.1"])
def test_a_specification_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"transient|number from 0 to 1|no fault is called"):
        faults.parse(text)
