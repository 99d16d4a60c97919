"""Times that are asked for, and lines that do not look as they should."""

from __future__ import annotations

import datetime as dt

import pytest

from crdbmesh.commands.logs import read_window
from crdbmesh.errors import ConfigError
from crdbmesh.observe.logs import Log, Window

EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
AT = dt.datetime(2026, 11, 27, 18, 0, tzinfo=dt.UTC)


def lines(*said: str) -> list[tuple[dt.datetime, str]]:
    log = Log("eastus/1", "machines/eastus-1/k3s.log", lambda _window, _follow: said)
    return [(line.at, line.text) for line in log.read(Window())]


def test_no_lines_are_asked_for_as_such() -> None:
    assert read_window(None, 0) == Window(tail=0)
    assert read_window(None, None).tail == 100
    assert read_window("10m", None) == Window(ago_s=600)
    assert read_window("2026-11-27T18:00:00", 5) == Window(since=AT.timestamp(), tail=5)


@pytest.mark.parametrize("since", ["yesterday", "10", "0001-01-01", "1969-12-31T23:59:59Z", "999999999d", "-5m", ""])
def test_a_time_that_no_log_reaches_is_refused(since: str) -> None:
    with pytest.raises(ConfigError, match="give 10m, 2h"):
        read_window(since, None)


@pytest.mark.parametrize("word", ["2026-11-27", "20261127", "2026-11-27T19:00:00", "W1106", "00:00+01:00"])
def test_a_line_that_begins_with_a_date_of_its_own_has_the_time_of_the_one_before(word: str) -> None:
    assert lines("2026-11-27T18:00:00+00:00 first", f"{word} second") == [(AT, "first"), (AT, f"{word} second")]
    assert lines(f"{word} alone") == [(EPOCH, f"{word} alone")]


def test_times_with_any_offset_are_in_one_order() -> None:
    assert [at for at, _ in lines("2026-11-27T18:00:00Z a", "2026-11-27T19:00:00+01:00 b")] == [AT, AT]


def test_a_line_without_an_end_is_cut() -> None:
    ((_, text),) = lines("2026-11-27T18:00:00Z " + "x" * 10_000_000)
    assert len(text) < 100_000
    assert text.endswith("x…")
