"""The log of a container: its lines, each with the time at which it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Self, SupportsIndex


class LogLine(NamedTuple):
    """A line.

    Attributes:
        number: of the line, from 0 on; it stays when lines before it are forgotten.
        time: simulated seconds since the Unix epoch.
    """

    number: int
    time: float
    text: str


class Log(list[str]):
    """The lines of a program, which adds at the end and forgets at the start.

    Args:
        now: what time it is, in simulated seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._times: list[float] = []
        self._forgotten = 0

    def append(self, line: str, /) -> None:
        """Add a line."""
        self.extend([line])

    def extend(self, lines: Iterable[str], /) -> None:
        """Add lines."""
        super().extend(lines)
        self._times += [self._now()] * (len(self) - len(self._times))

    def __iadd__(self, lines: Iterable[str], /) -> Self:  # type: ignore[override, misc]  # as list's own
        """Add lines."""
        self.extend(lines)
        return self

    def __delitem__(self, which: SupportsIndex | slice, /) -> None:
        """Forget lines at the start."""
        super().__delitem__(which)
        gone = len(self._times) - len(self)
        del self._times[:gone]
        self._forgotten += gone

    def lines(self) -> list[LogLine]:
        """Return the lines that are kept."""
        return [
            LogLine(self._forgotten + index, time, text)
            for index, (time, text) in enumerate(zip(self._times, self, strict=True))
        ]
