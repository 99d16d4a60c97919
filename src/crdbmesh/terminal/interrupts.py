"""Ctrl-C, SIGTERM, and SIGHUP, which the end of a terminal sends.

The effect of the first interrupt depends on the work in progress. By default it raises KeyboardInterrupt. While a
command only reads, it ends the process at once: nothing is lost, and threads that wait for the network would delay it.
While a command writes, it sets an event, so that running steps finish and no new one starts. The second interrupt
always ends the process at once.

Interrupts are handled in a thread of their own, because Python runs a signal's handler only when the main thread
reaches its next bytecode. A main thread that waits for a lock, as for a pool of threads that wait for the network, may
take a minute to get there.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from pathlib import Path

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HEARD_S = 1.0
"""The time in seconds after which the main thread is taken to be waiting for a lock."""


class _First(Enum):
    """The effect of the first interrupt."""

    RAISE = auto()
    LEAVE = auto()
    FINISH = auto()


class Interrupts:
    """The handling of interrupts, which changes as a command goes on.

    `leave` ends the process at once, in any thread; `stop` is set by the first interrupt while `finishing`.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self.stop = threading.Event()
        self._leave = leave
        self._first = _First.RAISE
        self._resume = ""
        self._arrived = False
        self._raised = threading.Event()

    def leaving(self) -> AbstractContextManager[threading.Event]:
        """Let the first interrupt end the process at once, because nothing would be lost."""
        return self._as(_First.LEAVE)

    def finishing(self, resume: str) -> AbstractContextManager[threading.Event]:
        """Let the first interrupt set `stop`, which is yielded, because work would be left half done.

        `resume` says how to resume later; it is printed at the interrupt.
        """
        self._resume = resume
        return self._as(_First.FINISH)

    def asking(self) -> AbstractContextManager[threading.Event]:
        """Let the first interrupt raise KeyboardInterrupt again, while the user is asked before anything is written."""
        return self._as(_First.RAISE)

    def arrived(self) -> None:
        """Handle an interrupt in the watching thread, unless the main thread will."""
        again, self._arrived = self._arrived, True
        if again or self._first is _First.LEAVE:
            self._leave()
        elif self._first is _First.FINISH:
            self.stop.set()
            notice = "Stopping: running steps finish, no new one starts; interrupt again to end at once."
            sys.stderr.write(f"\n{notice}\n{self._resume}\n")
            sys.stderr.flush()
        elif not self._raised.wait(_HEARD_S):
            # The main thread waits, at a question say, and will not run its handler.
            self._leave()

    def in_main_thread(self, _number: int, _frame: object) -> None:
        """Handle an interrupt in the main thread."""
        if self._first is _First.RAISE:
            self._raised.set()
            raise KeyboardInterrupt

    @contextmanager
    def _as(self, first: _First) -> Iterator[threading.Event]:
        before, self._first = self._first, first
        try:
            yield self.stop
        finally:
            self._first = before


@contextmanager
def handled(leave: Callable[[], None]) -> Iterator[Interrupts]:
    """Handle interrupts until the block ends, but in the main thread only; `leave`, called in any, ends the process."""
    interrupts = Interrupts(leave)
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    terminals = [descriptor for descriptor in range(3) if os.isatty(descriptor)]
    watching = (reader, interrupts.arrived, terminals)
    watcher = threading.Thread(target=_watch, args=watching, name="interrupts", daemon=True)
    watcher.start()
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # What nohup lets us ignore stays ignored.
    taken = [one for one in _SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
    handlers_before = {number: signal.signal(number, interrupts.in_main_thread) for number in taken}
    try:
        yield interrupts
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int, arrived: Callable[[], None], terminals: Iterable[int]) -> None:
    """Read the number of each signal, which Python writes at once, whatever the main thread does."""
    while came := os.read(reader, 1):
        if came[0] == signal.SIGHUP:
            # The terminal is gone: what is still written to it goes nowhere, instead of failing.
            with Path(os.devnull).open("r+b", buffering=0) as nowhere:
                for descriptor in terminals:
                    os.dup2(nowhere.fileno(), descriptor)
        if came[0] in _SIGNALS:
            arrived()
