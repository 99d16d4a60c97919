"""The world's clock: it goes at its pace while nobody in the world computes, and slowly meanwhile.

Everything in the simulated world that takes time asks this clock. Real time in which this process and its clients were
idle counts with the pace. Time in which one of them ran counts little (`_COMPUTING_PACE`), and time in which one waited
for a core counts nothing (`load.Load` tells them apart). So a machine that is busy with something else stretches the
run, not the simulated time. What several do at once counts for each, so the clock may be slower than its pace, never
faster. It counts a little and not nothing when they run, because clients that poll may leave no idle moment.

Nobody advances it: it is worked out when it is asked for. Whoever waits for it sleeps as long as the time would take at
full pace, looks, and sleeps again for what is left.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Iterator

from crdbmesh_simulator.load import Address, Load

_LOOK_S = 0.004
"""For so many real seconds the time stands still after a look."""
_REST_S = 0.004
"""Nobody who waits looks more often than this."""
_COARSE = 3.0
"""A coarse wait, when the clock goes slowly, rests up to so many times as long as all of it takes at full pace."""
_COMPUTING_PACE = 15.0
_COMPUTING_PART = 1 / 12
"""What a second of computing counts, in simulated seconds: the larger of these, the second being a part of the pace."""
_DEBT_S = 0.1
"""Time in which several computed at once is owed to the clock up to this many real seconds, and then forgotten."""
_ALONE_PACE = 0.05
"""The part of its pace at which a world goes that nobody asks for anything."""


class Clock:
    """A clock that starts at the real time and runs at most `scale` times as fast.

    `scale`: simulated seconds per real second, above 0. `alone_after_s`: once nobody has asked the world for anything
    for so many real seconds, it goes slowly.
    """

    def __init__(self, scale: float = 60.0, *, alone_after_s: float = 30.0) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        self.scale = scale
        self._alone_after_s = alone_after_s
        self._load = Load()
        self._lock = threading.Lock()
        self._now = time.time()
        self._looked = self._asked = time.monotonic()
        self._owed_s = 0.0
        self._computing = min(max(_COMPUTING_PACE, scale * _COMPUTING_PART), scale)

    def now(self) -> float:
        """Simulated seconds since the Unix epoch."""
        with self._lock:
            looked = time.monotonic()
            passed_s = looked - self._looked
            if passed_s >= _LOOK_S:
                self._looked = looked
                ran_s, waited_s = self._load.take_s()
                idle_s = max(passed_s - ran_s - waited_s - self._owed_s, -_DEBT_S)
                self._now += max(idle_s, 0.0) * self._pace() + ran_s * self._computing
                self._owed_s = max(-idle_s, 0.0)
            return self._now

    def utc(self) -> dt.datetime:
        """Simulated date and time, in UTC."""
        return dt.datetime.fromtimestamp(self.now(), tz=dt.UTC)

    def rest_s(self, simulated_s: float) -> float:
        """The real seconds after which it is worth looking whether `simulated_s` simulated ones have passed."""
        return max(simulated_s / self._pace(), _REST_S)

    def sleep(self, simulated_s: float) -> None:
        """Wait for `simulated_s` simulated seconds; a negative time is none."""
        self.wait(threading.Event(), simulated_s)

    def wait(self, event: threading.Event, simulated_s: float, *, coarse: bool = False) -> bool:
        """Wait until `event` is set, or `simulated_s` simulated seconds have passed; whether it is set.

        `event`: what ends the wait early. `simulated_s`: how long it lasts at most. `coarse`: the wait may last some
        times as long, for whoever only wants to look now and then: it costs less.
        """
        return any(event.wait(rest_s) for rest_s in self._rests(simulated_s, coarse=coarse)) or event.is_set()

    async def pause(self, simulated_s: float, *, coarse: bool = False) -> None:
        """`sleep`, in an event loop; coarse as in `wait`."""
        for rest_s in self._rests(simulated_s, coarse=coarse):
            await asyncio.sleep(rest_s)

    async def wait_in_loop(self, event: asyncio.Event, simulated_s: float, *, coarse: bool = False) -> bool:
        """`wait`, in an event loop."""
        waiter = asyncio.ensure_future(event.wait())
        try:
            for rest_s in self._rests(simulated_s, coarse=coarse):
                if event.is_set():
                    break
                await asyncio.wait([waiter], timeout=rest_s)
        finally:
            waiter.cancel()
        return event.is_set()

    def _rests(self, simulated_s: float, *, coarse: bool) -> Iterator[float]:
        """The real seconds to rest before each look at the clock, until `simulated_s` simulated ones have passed."""
        until = self.now() + simulated_s
        rests = 0
        while (left_s := until - self.now()) > 0:
            if coarse and rests:
                left_s = simulated_s * min(left_s / max(simulated_s - left_s, simulated_s / _COARSE), _COARSE)
            rests += 1
            yield self.rest_s(left_s)

    def meet(self, peer: Address) -> None:
        """Take note that somebody asks the world for something, and of the process that does.

        `peer`: its end of the connection.
        """
        self._asked = time.monotonic()
        self._load.meet(peer)

    def hear(self, transport: asyncio.BaseTransport | None) -> None:
        """`meet` for a request that came over a transport of an event loop."""
        if transport is not None:
            self.meet(transport.get_extra_info("peername"))

    def observed(self) -> frozenset[int]:
        """The processes whose computing holds the clock up."""
        return self._load.processes()

    def _pace(self) -> float:
        alone = time.monotonic() - self._asked > self._alone_after_s
        return self.scale * _ALONE_PACE if alone else self.scale
