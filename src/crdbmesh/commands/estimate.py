"""Estimates how long a run still takes: by what its steps took in the last runs here, or else usually take on Azure."""

import itertools
import time
from collections.abc import Iterable

from crdbmesh.engine.step import Event, Outcome, Step
from crdbmesh.local import journals
from crdbmesh.local.folder import LocalFolder
from crdbmesh.steps import catalog

_RUNS = 5
"""The number of last runs that are read."""
_LATE = 0.2
"""The share of its usual time that a step is taken to need still, when it has taken longer than that already."""


class Estimate:
    """The longest chain of steps that a run still has to do.

    A step that has not begun counts when one before it made something new; else it is likely to hold already.
    """

    def __init__(self, plan: Iterable[Step], folder: LocalFolder, time_scale: float) -> None:
        self._after = {step.name: step.after for step in plan}
        last = _last_s(folder)
        usual = {name: catalog.USUAL_S.get(name.rpartition("/")[2], 0.0) / time_scale for name in self._after}
        self._usual_s = {name: last.get(name, seconds) for name, seconds in usual.items()}
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        self._made: set[str] = set()

    def see(self, event: Event) -> float:
        """Take an event into account, and return how long the run still takes, in real seconds."""
        now = time.monotonic()
        if event.kind == "applying":
            self._begun[event.step] = now
            if event.creates:
                self._made.add(event.step)
        elif event.result is not None:
            self._ended.add(event.step)
        left: dict[str, float] = {}
        follows: set[str] = set()
        for name, after in self._after.items():
            left[name] = max((left[one] for one in after), default=0.0)
            if not self._made.isdisjoint(after) or not follows.isdisjoint(after):
                follows.add(name)
            if name in self._ended:
                left[name] = 0.0
            elif name in self._begun:
                usual = self._usual_s[name]
                left[name] = max(usual - (now - self._begun[name]), usual * _LATE)
            elif name in follows:
                left[name] += self._usual_s[name]
        return max(left.values(), default=0.0)


def _last_s(folder: LocalFolder) -> dict[str, float]:
    """Return how long each step took in the last run that changed something by it, in real seconds."""
    last = [*itertools.islice(journals.ups(folder), _RUNS)]
    spans = (span for run in reversed(last) for span in run.spans)
    return {span.step: span.seconds for span in spans if span.outcome == Outcome.CHANGED.value}
