"""Doing something again that failed for a moment: a few times, with growing pauses, until the operator interrupts."""

import threading
from collections.abc import Callable

import tenacity

from crdbmesh.clients.clock import Clock

BUDGET_S = 20.0
"""The time after which no other attempt is made."""


def retrying(
    *,
    when: tenacity.retry_base,
    attempts: int,
    pause_s: Callable[[tenacity.RetryCallState], float],
    stop: threading.Event,
    clock: Clock,
    budget_s: float = BUDGET_S,
) -> tenacity.Retrying:
    """Return what calls a function again; the last attempt's result or error is the caller's.

    `when` says which results and errors are worth another attempt, `pause_s` the seconds before it. None begins later
    than `budget_s`, or once `stop` is set, which also ends a pause.
    """

    def pause(seconds: float) -> None:
        clock.wait(stop, seconds)

    return tenacity.Retrying(
        retry=when,
        wait=pause_s,
        stop=tenacity.stop_after_attempt(attempts)
        | tenacity.stop_before_delay(budget_s)
        | tenacity.stop_when_event_set(stop),
        sleep=pause,
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
