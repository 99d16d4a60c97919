"""Scaled time: a simulated minute passes in `60 / scale` real seconds.

Everything in the simulated world that takes time asks this clock, so that one number sets the pace of the whole
world and nothing is ever immediate.
"""

from __future__ import annotations

import datetime as dt
import time


class Clock:
    """A clock that starts at the real time and runs `scale` times as fast.

    Args:
        scale: simulated seconds per real second, above 0.
    """

    def __init__(self, scale: float = 60.0) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        self.scale = scale
        self._epoch = time.time()
        self._started = time.monotonic()

    def now(self) -> float:
        """Simulated seconds since the Unix epoch."""
        return self._epoch + (time.monotonic() - self._started) * self.scale

    def utc(self) -> dt.datetime:
        """Simulated date and time, in UTC."""
        return dt.datetime.fromtimestamp(self.now(), tz=dt.UTC)

    def real_s(self, simulated_s: float) -> float:
        """How many real seconds `simulated_s` simulated ones take."""
        return simulated_s / self.scale

    def sleep(self, simulated_s: float) -> None:
        """Wait for `simulated_s` simulated seconds; a negative time is none."""
        time.sleep(max(self.real_s(simulated_s), 0.0))
