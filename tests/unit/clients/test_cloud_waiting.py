"""Waiting: what it says, how it ends."""

from __future__ import annotations

import threading
import time

import pytest

from crdbmesh.clients.waiting import jittered, wait_until
from crdbmesh.errors import StoppedError, WaitError


def test_the_value_is_returned_as_soon_as_there_is_one_and_changes_are_said_once() -> None:
    said: list[str] = []
    answers = iter([(None, "absent"), (None, "absent"), (None, "Creating"), (7, "Running")])
    value = wait_until(lambda: next(answers), awaited="the VM", deadline_s=5, interval_s=0.001, say=said.append)
    assert value == 7
    assert said == ["waiting for the VM; last seen: absent", "waiting for the VM; last seen: Creating"]


def test_a_deadline_that_passes_says_what_was_awaited_and_last_seen() -> None:
    with pytest.raises(WaitError, match=r"for the VM; last seen: Creating") as caught:
        wait_until(lambda: (None, "Creating"), awaited="the VM", deadline_s=0.02, interval_s=0.005)
    assert (caught.value.awaited, caught.value.last_seen) == ("the VM", "Creating")


def test_the_probe_runs_once_even_without_any_time() -> None:
    assert wait_until(lambda: (1, ""), awaited="x", deadline_s=0, interval_s=1) == 1


def test_false_and_zero_are_values() -> None:
    assert wait_until(lambda: (False, ""), awaited="x", deadline_s=0, interval_s=1) is False


def test_stopping_ends_the_wait_early() -> None:
    stop = threading.Event()
    stop.set()
    started = time.monotonic()
    with pytest.raises(StoppedError, match="interrupted"):
        wait_until(lambda: (None, "nothing"), awaited="x", deadline_s=60, interval_s=30, stop=stop)
    assert time.monotonic() - started < 5


def test_what_the_probe_raises_ends_the_wait() -> None:
    def probe() -> tuple[None, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wait_until(probe, awaited="x", deadline_s=60, interval_s=30)


def test_jitter_stays_near() -> None:
    assert all(0.8 <= jittered(1.0) <= 1.2 for _ in range(100))
