"""Ctrl-C and SIGTERM.

What the first one does depends on what is under way: by default it raises KeyboardInterrupt; while only reading it ends
the process at once, since nothing is lost and threads that wait for the network would keep it; while writing to the
world it sets an event, so that nothing new is started and what runs is finished. The second one always ends at once.

A thread of its own acts on them, for Python runs a signal's handler only when the main thread gets to its next
bytecode. A signal that comes while that thread waits for the interpreter, just before it waits for a lock, is not heard
until the lock is free: with a pool of threads that wait for the network, a minute.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HEARD_S = 1.0
"""The main thread hears a signal within this, in seconds, or not before it is done with what it waits for."""


class _First(Enum):
    """What the first interrupt does."""

    RAISE = auto()
    LEAVE = auto()
    FINISH = auto()


class Interrupts:
    """What to do about them now.

    Args:
        leave: ends the process at once; called in any thread.

    Attributes:
        stop: set by the first one that came while `finishing`.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self.stop = threading.Event()
        self._leave = leave
        self._first = _First.RAISE
        self._resume = ""
        self._arrived = False
        self._raised = threading.Event()

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

    def arrived(self) -> None:
        """One came; unless it is the main thread's business, act on it."""
        again, self._arrived = self._arrived, True
        if again or self._first is _First.LEAVE:
            self._leave()
        elif self._first is _First.FINISH:
            self.stop.set()
            text = f"\nFinishing what is running, starting nothing new; again to stop at once. {self._resume}\n"
            sys.stderr.write(text)
            sys.stderr.flush()
        elif not self._raised.wait(_HEARD_S):
            # It came just before the main thread began to wait, at a question say, and will not be heard there.
            self._leave()

    def in_main_thread(self, _number: int, _frame: object) -> None:
        """One came: what the main thread does about it."""
        if self._first is _First.RAISE:
            self._raised.set()
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
    """Handle interrupts until the block ends; only the main thread can, elsewhere they stay as they were.

    Args:
        leave: ends the process at once; called in any thread.
    """
    interrupts = Interrupts(leave)
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_watch, args=(reader, interrupts.arrived), name="interrupts", daemon=True)
    watcher.start()
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers_before = {number: signal.signal(number, interrupts.in_main_thread) for number in _SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int, arrived: Callable[[], None]) -> None:
    """Python writes the number of each signal as it comes, whatever the main thread does."""
    while came := os.read(reader, 1):
        if came[0] in _SIGNALS:
            arrived()
