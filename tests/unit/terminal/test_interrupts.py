"""Ctrl-C: at once when nothing is under way, gracefully while something is, at once the second time."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from crdbmesh.terminal import interrupts

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    # A call whose end lets Python run the handler.
    time.sleep(0)


@BOTH
def test_by_default_it_interrupts_what_runs(number: signal.Signals) -> None:
    left = threading.Event()
    with interrupts.handled(left.set), pytest.raises(KeyboardInterrupt):
        send(number)
    assert not left.is_set()


@BOTH
def test_while_only_reading_it_leaves_at_once(number: signal.Signals) -> None:
    left = threading.Event()
    with interrupts.handled(left.set) as handled, handled.leaving():
        send(number)
        assert left.wait(5)
    assert not handled.stop.is_set()


@BOTH
def test_while_writing_the_first_one_asks_to_stop_and_the_second_leaves(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    left = threading.Event()
    with interrupts.handled(left.set) as handled, handled.finishing("Then `crdbmesh up` goes on.") as stop:
        send(number)
        assert stop.wait(5)
        assert not left.is_set()
        send(number)
        assert left.wait(5)
    shown = capsys.readouterr().err
    assert "interrupt again to end at once" in shown
    assert "Then `crdbmesh up` goes on." in shown


def test_one_that_interrupted_counts_so_that_the_next_leaves() -> None:
    left = threading.Event()
    with interrupts.handled(left.set):
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert left.wait(5)


def test_one_that_the_main_thread_does_not_hear_leaves_all_the_same() -> None:
    left = threading.Event()
    with interrupts.handled(left.set) as handled:
        # What the watcher does when the main thread had just begun to wait in the operating system.
        threading.Thread(target=handled.arrived, daemon=True).start()
        assert left.wait(5)


def test_asking_amid_work_it_interrupts_the_question() -> None:
    left = threading.Event()
    with interrupts.handled(left.set) as handled, handled.finishing("") as stop:
        with pytest.raises(KeyboardInterrupt), handled.asking():
            send(signal.SIGINT)
        assert not stop.is_set()


def test_a_closed_terminal_that_nohup_lets_us_ignore_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.handled(lambda: None) as handled, handled.finishing("") as stop:
            send(signal.SIGHUP)
            assert not stop.wait(0.2)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.active_count()
    with interrupts.handled(lambda: None):
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.active_count()) == before


def test_outside_the_main_thread_signals_stay_as_they_were() -> None:
    seen: list[object] = []

    def body() -> None:
        with interrupts.handled(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]
