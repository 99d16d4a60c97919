"""How long a run still takes: by the last runs here, or by Azure's usual times."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from crdbmesh.commands.estimate import Estimate
from crdbmesh.commands.up import recorded
from crdbmesh.engine.step import Event, Gap, Outcome, Result, Step
from crdbmesh.errors import CloudError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.steps.catalog import USUAL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain(Step):
    def check(self) -> Gap | None:
        return None

    def apply(self, gap: Gap, say: Callable[[str], None]) -> None: ...


PLAN = [
    Plain(name="mesh/group"),
    Plain(name="eastus/network", after=frozenset({"mesh/group"})),
    Plain(name="eastus/firewall", after=frozenset({"mesh/group"})),
    Plain(name="eastus/node1/machine", after=frozenset({"eastus/network"})),
]
CHAIN_S = USUAL_S["group"] + USUAL_S["network"] + USUAL_S["machine"]


def done(step: str, outcome: Outcome) -> Event:
    return Event(step, "ended", "", Result(step, outcome))


def test_nothing_is_expected_of_what_may_hold_already(tmp_path: Path) -> None:
    estimate = Estimate(PLAN, LocalFolder(tmp_path), 1.0)
    assert estimate.see(Event("mesh/group", "checking")) == 0
    assert estimate.see(done("mesh/group", Outcome.HELD)) == 0
    changed = estimate.see(Event("eastus/network", "applying", "a tag differs"))
    assert changed == pytest.approx(USUAL_S["network"], abs=1), "what follows a change is likely to hold"


def test_the_longest_chain_after_something_new_is_the_rest_and_gets_shorter(tmp_path: Path) -> None:
    estimate = Estimate(PLAN, LocalFolder(tmp_path), 1.0)
    assert estimate.see(Event("mesh/group", "applying", "is absent", creates=True)) == pytest.approx(CHAIN_S, abs=1)
    left = estimate.see(done("mesh/group", Outcome.CHANGED))
    assert left == pytest.approx(USUAL_S["network"] + USUAL_S["machine"], abs=1)
    for step in ("eastus/network", "eastus/firewall", "eastus/node1/machine"):
        left = estimate.see(done(step, Outcome.CHANGED))
    assert left == 0


def test_a_faster_clock_makes_it_shorter_and_the_last_run_here_counts_more(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    begun = Event("mesh/group", "applying", "is absent", creates=True)
    assert Estimate(PLAN, folder, 10.0).see(begun) == pytest.approx(CHAIN_S / 10, abs=1)
    with folder.journal("up", dt.datetime.now(dt.UTC)) as journal:
        journal.record(command="up", mesh="m", regions=["eastus"])
    at = dt.datetime.now(dt.UTC)
    began = {"at": at.isoformat(), "step": "eastus/node1/machine", "kind": "applying", "text": ""}
    ended = {**began, "at": (at + dt.timedelta(seconds=500)).isoformat(), "kind": "ended", "outcome": "changed"}
    with journal.path.open("a") as file:
        file.write("".join(f"{json.dumps(line)}\n" for line in (began, ended)))
    assert Estimate(PLAN, folder, 1.0).see(begun) == pytest.approx(CHAIN_S - USUAL_S["machine"] + 500, abs=1)


def test_the_journal_keeps_the_id_of_a_request_that_the_screen_leaves_out(tmp_path: Path) -> None:
    failed = Result.of("a", CloudError("it is odd", request_id="corr-1"))
    assert "corr-1" not in failed.detail
    with LocalFolder(tmp_path / "m").journal("up", dt.datetime.now(dt.UTC)) as journal:
        recorded(journal, lambda _event: None)(Event("a", "ended", failed.detail, failed))
    assert '"request_id": "corr-1"' in journal.path.read_text()
