"""Journals of runs, read again."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from crdbmesh.local import journals
from crdbmesh.local.folder import LocalFolder

BEGAN = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
AFTER = {
    "net": frozenset[str](),
    "slow": frozenset({"net"}),
    "quick": frozenset({"net"}),
    "held": frozenset({"slow", "quick"}),
    "last": frozenset({"held"}),
}


def line(seconds: float, step: str, kind: str) -> str:
    at = (BEGAN + dt.timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, "step": step, "kind": kind, "text": "", "outcome": "changed"})


RUN = [
    json.dumps({"at": BEGAN.isoformat(), "command": "up"}),
    line(0, "net", "applying"),
    line(2, "net", "ended"),
    line(2, "slow", "applying"),
    line(2, "quick", "applying"),
    line(3, "quick", "ended"),
    line(5, "slow", "waiting"),
    line(9, "slow", "ended"),
    line(9, "held", "ended"),
    line(10, "last", "applying"),
    line(12, "last", "ended"),
]


def write(folder: Path, name: str, lines: list[str]) -> LocalFolder:
    (folder / "journals").mkdir(exist_ok=True)
    (folder / "journals" / name).write_text("\n".join(lines))
    return LocalFolder(folder)


def test_a_run_is_the_steps_that_changed_something_and_its_length_came_from_a_chain_of_them(tmp_path: Path) -> None:
    run = next(journals.ups(write(tmp_path, "1-up.jsonl", RUN)))
    assert (run.began, run.seconds) == (BEGAN, 12)
    assert {span.step: span.seconds for span in run.spans} == {"net": 2, "quick": 1, "slow": 7, "last": 2}
    assert [span.step for span in run.critical(AFTER)] == ["net", "slow", "last"]


def test_a_later_up_that_changed_nothing_does_not_hide_the_one_that_did(tmp_path: Path) -> None:
    write(tmp_path, "1-up.jsonl", RUN)
    write(tmp_path, "3-down.jsonl", RUN)
    run = next(journals.ups(write(tmp_path, "2-up.jsonl", [RUN[0], line(1, "net", "ended")])))
    assert len(run.spans) == 4


def test_lines_that_are_damaged_are_left_out(tmp_path: Path) -> None:
    damaged = ["", "{", "[1]", '{"at": 7}', '{"at": "soon"}', "\udcff", *RUN[:3], RUN[3][:-5]]
    folder = write(tmp_path, "1-up.jsonl", [text.encode(errors="replace").decode() for text in damaged])
    run = next(journals.ups(folder))
    assert [span.step for span in run.spans] == ["net"]
    assert not [*journals.ups(LocalFolder(tmp_path / "none"))]
