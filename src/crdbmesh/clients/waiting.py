"""Waiting for something to become true: polled, with a deadline, saying what is awaited and what was last seen."""

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


class Wait:
    """A wait with a deadline, which says what is awaited and what was last seen.

    `awaited` is a noun phrase, `node eastus-1 Ready`; `say` is told whenever something else is seen. Once `stop` is
    set, it ends.
    """

    def __init__(self, awaited: str, deadline_s: float, say: Say, stop: threading.Event, clock: Clock) -> None:
        self.clock = clock
        self.seen = ""
        self._awaited = awaited
        self._say = say
        self._stop = stop
        self._started, self._ends = clock.now(), clock.after(deadline_s)

    def see(self, seen: str) -> None:
        """Keep what is seen now."""
        if seen != self.seen:
            self.seen = seen
            self._say(f"waiting for {self._awaited}; last seen: {seen}")

    def left_s(self) -> float:
        """Return the seconds left until the deadline."""
        return self._ends - self.clock.now()

    def pause(self, seconds: float) -> None:
        """Pause, jittered, for no longer than is left; raises as `check` does."""
        self.check()
        self.clock.wait(self._stop, min(jittered(seconds), self.left_s()))
        if self._stop.is_set():
            self.check()

    def check(self) -> None:
        """Go on, unless the wait is over: raise WaitError at the deadline, StoppedError when interrupted."""
        if self.left_s() <= 0:
            raise WaitError(self._awaited, seconds=self.clock.now() - self._started, last_seen=self.seen or "nothing")
        if self._stop.is_set():
            raise StoppedError(self._awaited, last_seen=self.seen or "nothing")


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
    """Call `probe` until it gives a value; see `Wait`, which raises.

    `probe` gives a value, None while it has not come about, and what was seen; what it raises ends the wait. It runs
    once more at the deadline. Pauses begin with `interval_s` and grow a little.
    """
    wait = Wait(awaited, deadline_s, say, stop or threading.Event(), clock)
    pause_s = interval_s
    while True:
        value, seen = probe()
        if value is not None:
            return value
        wait.see(seen)
        wait.pause(pause_s)
        pause_s = min(pause_s * _GROWTH, interval_s * _SLOWEST)


def jittered(seconds: float) -> float:
    """`seconds`, a little more or less, so that many waiters do not ask in step."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
