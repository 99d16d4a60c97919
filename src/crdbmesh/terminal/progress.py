"""Shows a run: on a terminal as a live table, a row per region and a column per stage; elsewhere as lines."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crdbmesh.engine.step import Event, Outcome, Result
from crdbmesh.terminal.console import MARK, columns, lasted

_REFRESHES = 8
_WAITS_SHOWN = 8
_SILENT_S = 30.0
"""The longest time without a line off a terminal."""
_LEGEND = "n/m done of all   ✓ changed  = held  › at work  ✗ failed  · blocked  - stopped"


class Progress:
    """Shows a run while its block lasts.

    Without steps each result is a line of its own, on a terminal too. `place` gives each row and column; a live table
    is drawn on a terminal only, unless `live` says otherwise; elsewhere nobody waits longer than `silent_s` for a line.
    """

    def __init__(
        self,
        console: Console,
        steps: Iterable[str],
        place: Callable[[str], tuple[str, str]],
        stages: Sequence[str],
        *,
        live: bool | None = None,
        silent_s: float = _SILENT_S,
    ) -> None:
        self._console, self._silent_s = console, silent_s
        self._stages = stages
        self._started = time.monotonic()
        self._all: dict[tuple[str, str], list[str]] = {}
        self._row_of = {step: place(step)[0] for step in steps}
        for step in self._row_of:
            self._all.setdefault(place(step), []).append(step)
        self._rows = list(dict.fromkeys(self._row_of.values()))
        self._left: tuple[float, float] = (0.0, 0.0)
        self._over = threading.Event()
        self._ended: dict[str, Result] = {}
        self._doing: dict[str, tuple[float, str]] = {}
        if live is None:
            # Forced colour makes a file a terminal to rich, but nothing can be redrawn in it.
            live = console.is_terminal and not console.is_dumb_terminal and console.file.isatty()
        self._live = Live(get_renderable=self.draw, console=console, refresh_per_second=_REFRESHES) if live else None

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self._live is not None:
            self._live.start(refresh=True)
        else:
            threading.Thread(target=self._break_silence, name="waiting", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._live is not None:
            self._doing.clear()
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.left_s is not None:
            self._left = (time.monotonic(), event.left_s)
        if event.result is not None:
            self._ended[event.step] = event.result
            self._doing.pop(event.step, None)
            if event.result.outcome not in {Outcome.HELD, Outcome.STOPPED}:
                self._end(event.result)
        elif event.kind in {"applying", "waiting"}:
            since, _ = self._doing.get(event.step, (time.monotonic(), ""))
            self._doing[event.step] = (since, event.text)
            if self._live is None and event.kind == "applying":
                self._console.print(Text(f"{self._clock()}   {event.step}: {event.text}"))
        elif event.kind == "warning":
            self._console.print(Text.assemble(f"{self._clock()} ", ("!", "yellow"), f" {event.text}"))

    def draw(self) -> RenderableType:
        """Return the table as it is now with its total, and below it, for each row, the step that has taken longest."""
        total: list[RenderableType] = [Text(self._total()), Text(_LEGEND, style="dim")]
        return Group(*([self._table(), *total] if self._stages and self._rows else []), *self._waits())

    def _total(self) -> str:
        """Return how many steps are done, and how long the rest takes by the estimate."""
        at, left_s = self._left
        left_s -= time.monotonic() - at
        rest = f", about {_rounded(left_s)} to go" if left_s > 1 else ""
        done = sum(result.outcome.good for result in list(self._ended.values()))
        return f"{done} of {len(self._row_of)} steps done in {lasted(self._seconds())}{rest}"

    def _break_silence(self) -> None:
        while self._row_of and not self._over.wait(self._silent_s):
            if waits := self._waits()[:_WAITS_SHOWN]:
                self._console.print(Text(f"{self._clock()} … {self._total()}; at work:"))
                for wait in waits:
                    self._console.print(Text(f"        {wait.plain.strip()}"))

    def _end(self, result: Result) -> None:
        shown_in_table = self._live is not None and bool(self._rows)
        if shown_in_table and result.outcome is not Outcome.FAILED:
            return
        mark, style = MARK[result.outcome]
        took = f" ({lasted(result.seconds)})" if result.seconds >= 1 else ""
        detail = "" if result.outcome is Outcome.CHANGED or not result.detail else f": {result.detail}"
        self._console.print(Text.assemble(f"{self._clock()} ", (mark, style), f" {result.step}{took}{detail}"))

    def _table(self) -> Table:
        table = columns()
        table.add_column("", no_wrap=True)
        for stage in self._stages:
            most = max((len(steps) for (_, column), steps in self._all.items() if column == stage), default=0)
            table.add_column(stage, no_wrap=True, min_width=len(f"  {most}/{most}"))
        for row in self._rows:
            table.add_row(row, *(self._cell(row, stage) for stage in self._stages))
        return table

    def _cell(self, row: str, stage: str) -> Text:
        steps = self._all.get((row, stage), [])
        if not steps:
            return Text("")
        outcomes = [self._ended[step].outcome for step in steps if step in self._ended]
        done = f"{sum(outcome.good for outcome in outcomes)}/{len(steps)}"
        for bad in (Outcome.FAILED, Outcome.BLOCKED, Outcome.STOPPED):
            if bad in outcomes:
                mark, style = MARK[bad]
                return Text(f"{mark} {done}", style=style)
        if len(outcomes) == len(steps):
            mark, style = MARK[Outcome.CHANGED if Outcome.CHANGED in outcomes else Outcome.HELD]
            return Text(f"{mark} {done}", style=style)
        if any(step in self._doing for step in steps):
            return Text(f"› {done}", style="cyan")
        return Text(f"  {done}", style="dim")

    def _waits(self) -> list[Text]:
        longest: dict[str, tuple[float, str, str]] = {}
        # A copy, made in one go: the threads of the run write while the display's thread reads.
        for step, (since, text) in list(self._doing.items()):
            row = self._row_of.get(step, step)
            if row not in longest or since < longest[row][0]:
                longest[row] = (since, step, text)
        now = time.monotonic()
        lines = [
            Text(
                f"{_clock(now - since)} {step}: {' '.join(text.split())}",
                overflow="ellipsis",
                no_wrap=True,
                style="dim",
            )
            for since, step, text in sorted(longest.values())
        ]
        if (more := len(lines) - _WAITS_SHOWN) > 0:
            lines[_WAITS_SHOWN:] = [Text(f"      and {more} more", style="dim")]
        return lines

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _clock(self) -> str:
        return _clock(self._seconds())


def watch(console: Console) -> Callable[[Sequence[str]], Progress]:
    """Return a function that shows a run, given the names of its steps."""
    from crdbmesh.steps import catalog

    return lambda steps: Progress(console, steps, catalog.place, catalog.STAGES)


def _rounded(seconds: float) -> str:
    """Return a time that is only estimated: `40 s`, `6 min`."""
    return f"{-(-seconds // 10) * 10:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:2d}:{rest:02d}"
