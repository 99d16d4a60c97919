"""Ctrl-C and SIGTERM.

What the first one does depends on what is under way: by default it raises KeyboardInterrupt; while only reading it ends
the process at once, since nothing is lost and threads that wait for the network would keep it; while writing to the
world it sets an event, so that nothing new is started and what runs is finished. The second one always ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto


class _First(Enum):
    """What the first interrupt does."""

    RAISE = auto()
    LEAVE = auto()
    FINISH = auto()


class Interrupts:
    """What to do about them now.

    Args:
        leave: ends the process at once.

    Attributes:
        stop: set by the first one that came while `finishing`.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self.stop = threading.Event()
        self._leave = leave
        self._first = _First.RAISE
        self._resume = ""
        self._arrived = False

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Nothing would be lost: the first one ends the process."""
        with self._as(_First.LEAVE):
            yield

    @contextmanager
    def finishing(self, resume: str) -> Iterator[threading.Event]:
        """Something would be left half done: the first one sets `stop`.

        Args:
            resume: how to go on later, said when it comes.
        """
        self._resume = resume
        with self._as(_First.FINISH):
            yield self.stop

    def arrived(self, _number: int, _frame: object) -> None:
        """One came."""
        again, self._arrived = self._arrived, True
        if again or self._first is _First.LEAVE:
            self._leave()
        elif self._first is _First.FINISH:
            self.stop.set()
            _say(f"\nFinishing what is running, starting nothing new; again to stop at once. {self._resume}\n")
        else:
            raise KeyboardInterrupt

    @contextmanager
    def _as(self, first: _First) -> Iterator[None]:
        before, self._first = self._first, first
        try:
            yield
        finally:
            self._first = before


@contextmanager
def handled(leave: Callable[[], None]) -> Iterator[Interrupts]:
    """Handle interrupts until the block ends; only the main thread can, elsewhere they stay as they were."""
    interrupts = Interrupts(leave)
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.arrived) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (RuntimeError, OSError, ValueError):
        # The signal came in the middle of another write to the same buffer, or there is nobody to read it.
        os.write(2, text.encode())
