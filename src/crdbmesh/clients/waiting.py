"""Waiting for something to become true: polled, with a deadline, saying what is awaited and what was last seen."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from crdbmesh.clients.clock import REAL, Clock
from crdbmesh.errors import StoppedError, WaitError

T = TypeVar("T")

Say = Callable[[str], None]
"""Told, in a short phrase, what is being waited for right now."""

_GROWTH = 1.25
_SLOWEST = 4.0
"""An interval grows to at most this many times its first length."""
_JITTER = 0.2


def unsaid(_text: str) -> None:
    """The `Say` of callers that have nobody to tell."""


def wait_until(
    probe: Callable[[], tuple[T | None, str]],
    *,
    awaited: str,
    deadline_s: float,
    interval_s: float,
    say: Say = unsaid,
    stop: threading.Event | None = None,
    clock: Clock = REAL,
) -> T:
    """Call `probe` until it gives a value.

    `probe` gives a value, None while it has not come about, and what was seen; what it raises ends the wait. It runs
    once more at the deadline. Pauses begin with `interval_s`, grow a little and are jittered. `awaited` is a noun
    phrase, `node eastus-1 Ready`; `say` is told whenever something else is seen.

    Raises:
        WaitError: the deadline passed.
        StoppedError: `stop` was set.
    """
    stop = stop or threading.Event()
    started, ends = clock.now(), clock.after(deadline_s)
    pause_s = interval_s
    told = None
    while True:
        value, seen = probe()
        if value is not None:
            return value
        if seen != told:
            say(f"{awaited} (last: {seen})")
            told = seen
        now = clock.now()
        if now >= ends:
            raise WaitError(awaited, seconds=now - started, last_seen=seen)
        if clock.wait(stop, min(jittered(pause_s), ends - now)):
            raise StoppedError(awaited, last_seen=seen)
        pause_s = min(pause_s * _GROWTH, interval_s * _SLOWEST)


def jittered(seconds: float) -> float:
    """`seconds`, a little more or less, so that many waiters do not ask in step."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
