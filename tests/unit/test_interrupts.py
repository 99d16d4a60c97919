"""Ctrl-C: at once when nothing is under way, gracefully while something is, at once the second time."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from crdbmesh import interrupts


class Left(BaseException):
    """The process was ended at once."""


def leave() -> None:
    raise Left


def test_by_default_it_interrupts_what_runs() -> None:
    with interrupts.handled(leave) as handled, pytest.raises(KeyboardInterrupt):
        handled.arrived(signal.SIGINT, None)


def test_while_only_reading_it_leaves_at_once() -> None:
    with interrupts.handled(leave) as handled, handled.leaving(), pytest.raises(Left):
        handled.arrived(signal.SIGINT, None)
    assert not handled.stop.is_set()


def test_while_writing_the_first_one_only_asks_to_stop_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with interrupts.handled(leave) as handled, handled.finishing("Then `crdbmesh up` goes on.") as stop:
        handled.arrived(signal.SIGINT, None)
        assert stop.is_set()
        shown = capsys.readouterr().err
        assert "again to stop at once" in shown
        assert "Then `crdbmesh up` goes on." in shown
        with pytest.raises(Left):
            handled.arrived(signal.SIGINT, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_are_heard_and_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts.handled(leave) as handled, handled.finishing("") as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_signals_stay_as_they_were() -> None:
    seen: list[object] = []

    def body() -> None:
        with interrupts.handled(leave):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]
