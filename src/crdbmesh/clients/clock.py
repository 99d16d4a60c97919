"""The one clock of crdbmesh: every pause and every deadline of ours goes through it.

On Azure it is the computer's own monotonic clock. A cloud whose time passes faster (`Cloud.time_scale`) gets shorter
pauses. Deadlines shrink with them, but never below `SHORTEST_S` real seconds: they end what has gone wrong, and the
work between two pauses takes real time on this computer, whatever the cloud's clock does. Limits of the network
itself (a connection, one HTTP answer) and times that others read (leases, journals, certificates) stay in real time.
"""

import threading
import time

SHORTEST_S = 120.0
"""A scaled deadline is not shorter than this, in real seconds, unless it was shorter before scaling."""


class Clock:
    """A clock that runs `scale` times as fast as the computer's."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def now(self) -> float:
        """Seconds of the cloud since some fixed moment."""
        return time.monotonic() * self.scale

    def after(self, seconds: float) -> float:
        """The moment, as `now` tells it, at which something that may take `seconds` is given up."""
        return self.now() + self.real_s(seconds) * self.scale

    def real_s(self, seconds: float) -> float:
        """Return the real seconds to allow for something that may take `seconds` of the cloud's."""
        return max(seconds / self.scale, min(seconds, SHORTEST_S))

    def sleep(self, seconds: float) -> None:
        """Pause for `seconds` of the cloud's."""
        time.sleep(max(seconds, 0.0) / self.scale)

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Pause for `seconds` of the cloud's, or until `stop` is set; whether it is."""
        return stop.wait(max(seconds, 0.0) / self.scale)


REAL = Clock()
"""The clock of Azure itself."""
