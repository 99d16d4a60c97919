"""Reads the journals of runs: when each step began to change something, and when it ended."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh.local.folder import JOURNALS, LocalFolder
from crdbmesh.spec import documents

_MOST_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Span:
    """The time in which a step was at work, in seconds since its run began."""

    step: str
    begins_s: float
    ends_s: float
    outcome: str

    @property
    def seconds(self) -> float:
        """Return its length."""
        return self.ends_s - self.begins_s


@dataclass(frozen=True, slots=True)
class Run:
    """A run: when it began, how long it took, and the steps that changed something or tried to, as they ended."""

    began: dt.datetime
    seconds: float
    spans: tuple[Span, ...]

    def critical(self, after: Mapping[str, frozenset[str]]) -> list[Span]:
        """Return the chain of steps that the run's length came from, given what each step comes after.

        From the span that ended last, each one's predecessor is the one that ended last of all that it had to wait for.
        """
        by_step = {span.step: span for span in self.spans}
        chain: list[Span] = []
        span = max(self.spans, key=lambda one: one.ends_s, default=None)
        while span is not None:
            chain.append(span)
            waited_for = [by_step[name] for name in _before(span.step, after) if name in by_step]
            earlier = [one for one in waited_for if one.ends_s <= chain[-1].begins_s + 1]
            span = max(earlier, key=lambda one: one.ends_s, default=None)
        return chain[::-1]


def ups(folder: LocalFolder) -> Iterator[Run]:
    """Yield the runs of `up` that changed something, or tried to, the last one first."""
    for path in sorted((folder.path / JOURNALS).glob("*-up.jsonl"), reverse=True):
        run = read(path)
        if run is not None and run.spans:
            yield run


def read(path: Path) -> Run | None:
    """Read a journal; None when nothing in it can be read."""
    began: dt.datetime | None = None
    seconds, begun, spans = 0.0, dict[str, float](), list[Span]()
    for line in _lines(path):
        try:
            at = dt.datetime.fromisoformat(line["at"])
            began = began or at
            seconds = max(seconds, (at - began).total_seconds())
        except (KeyError, TypeError, ValueError):
            continue
        step, kind = str(line.get("step")), line.get("kind")
        if kind == "applying":
            begun.setdefault(step, seconds)
        elif kind == "ended" and step in begun:
            spans.append(Span(step, begun.pop(step), seconds, str(line.get("outcome"))))
    return None if began is None else Run(began, seconds, tuple(spans))


def _before(step: str, after: Mapping[str, frozenset[str]]) -> set[str]:
    """Return every step that `step` comes after, at any distance."""
    found: set[str] = set()
    asked = [step]
    while asked:
        new = after.get(asked.pop(), frozenset()) - found
        found |= new
        asked += new
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES)
    except OSError:
        return
    for line in text.splitlines():
        try:
            document = documents.read_json(line)
        except documents.DocumentError:
            continue
        if isinstance(document, dict):
            yield document
