"""Draws events, plans, status and results; decides nothing.

Progress and messages go to stderr, results to stdout. On a terminal progress is a live table, a row per region and a
column per stage; elsewhere it is plain lines.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crdbmesh.engine.step import Event, Gap, Outcome, Result
from crdbmesh.errors import CrdbmeshError, Finding, PreflightError
from crdbmesh.observe.health import LAYERS, Health, Layer, Level
from crdbmesh.spec.mesh import Mesh

_REFRESHES = 8
_WAITS_SHOWN = 8
_BLOCKED_SHOWN = 4
_BELONGINGS_SHOWN = 40
_UNCUT = 200
"""Width, in columns, of what is not a terminal: lines in a file or a log are not broken."""
_MARK = {
    Outcome.HELD: ("=", "dim"),
    Outcome.CHANGED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.BLOCKED: ("·", "yellow"),
    Outcome.STOPPED: ("-", "yellow"),
}
_LEVEL = {
    Level.OK: ("✓", "green"),
    Level.DEGRADED: ("✗", "bold red"),
    Level.ABSENT: ("–", "red"),
    Level.UNKNOWN: ("?", "yellow"),
}
_HEADING = {"clustermesh": "cluster\nmesh", "cockroachdb": "cockroach\ndb"}
"""In two lines, so that every layer fits into 80 columns."""


class Place(Protocol):
    """Where a step is shown: its row and its column."""

    def __call__(self, step: str, /) -> tuple[str, str]:
        """Its row and its column."""
        ...


def make(*, stderr: bool) -> Console:
    """A console on one of the two streams, honouring NO_COLOR, FORCE_COLOR and TERM=dumb."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        # A mark that the terminal's encoding lacks is worth less than the message around it.
        stream.reconfigure(errors="replace")
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    cut = stream.isatty() or "COLUMNS" in os.environ
    return Console(
        stderr=stderr,
        no_color=plain or None,
        highlight=False,
        soft_wrap=not stream.isatty(),
        width=None if cut else _UNCUT,
    )


def is_terminal() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def show_cursor() -> None:
    """Show the cursor again, which a live table hides."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")


class Progress:
    """Shows a run as it goes; its block is the run.

    Args:
        console: where to, normally stderr.
        steps: names of all steps; with none, each result is a line of its own, on a terminal too.
        place: where each is shown.
        stages: the columns, in order.
        live: whether to draw a table over and over; when it is left out, on a terminal only.
    """

    def __init__(
        self,
        console: Console,
        steps: Iterable[str],
        place: Place,
        stages: Sequence[str],
        *,
        live: bool | None = None,
    ) -> None:
        self._console = console
        self._stages = stages
        self._started = time.monotonic()
        self._all: dict[tuple[str, str], list[str]] = {}
        self._row_of = {step: place(step)[0] for step in steps}
        for step in self._row_of:
            self._all.setdefault(place(step), []).append(step)
        self._rows = list(dict.fromkeys(self._row_of.values()))
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
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._doing.clear()
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
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

    def draw(self) -> RenderableType:
        """The table as it is now, and what is being waited for: in each row, what has taken longest."""
        return Group(*([self._table()] if self._stages and self._rows else []), *self._waits())

    def _end(self, result: Result) -> None:
        shown_in_table = self._live is not None and bool(self._rows)
        if shown_in_table and result.outcome is not Outcome.FAILED:
            return
        mark, style = _MARK[result.outcome]
        took = f" ({_lasted(result.seconds)})" if result.seconds >= 1 else ""
        detail = "" if result.outcome is Outcome.CHANGED or not result.detail else f": {result.detail}"
        self._console.print(Text.assemble(f"{self._clock()} ", (mark, style), f" {result.step}{took}{detail}"))

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column(self._clock().strip(), no_wrap=True)
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
        for bad in (Outcome.FAILED, Outcome.BLOCKED, Outcome.STOPPED):
            if bad in outcomes:
                mark, style = _MARK[bad]
                return Text(f"{mark} {outcomes.count(bad)}/{len(steps)}", style=style)
        if len(outcomes) == len(steps):
            mark, style = _MARK[Outcome.CHANGED if Outcome.CHANGED in outcomes else Outcome.HELD]
            return Text(f"{mark} {len(steps)}", style=style)
        if any(step in self._doing for step in steps):
            return Text(f"› {len(outcomes)}/{len(steps)}", style="cyan")
        return Text(f"  {len(outcomes)}/{len(steps)}" if outcomes else f"  {len(steps)}", style="dim")

    def _waits(self) -> list[Text]:
        longest: dict[str, tuple[float, str, str]] = {}
        # A copy, made in one go: the threads of the run write while the display's thread reads.
        for step, (since, text) in list(self._doing.items()):
            row = self._row_of.get(step, step)
            if row not in longest or since < longest[row][0]:
                longest[row] = (since, step, text)
        now = time.monotonic()
        lines = [
            Text(f"{_clock(now - since)} {step}: {text}", overflow="ellipsis", no_wrap=True, style="dim")
            for since, step, text in sorted(longest.values())
        ]
        if (more := len(lines) - _WAITS_SHOWN) > 0:
            lines[_WAITS_SHOWN:] = [Text(f"      and {more} more", style="dim")]
        return lines

    def _clock(self) -> str:
        return _clock(time.monotonic() - self._started)


def say(console: Console, text: str) -> None:
    """A line about what comes next."""
    console.print(Text(text, style="dim"))


def announce(console: Console, text: str) -> None:
    """The title of what comes next."""
    console.print(Text(text, style="bold"))


def show_intent(console: Console, mesh: Mesh) -> None:
    """What `up` is about to make, and who will be let in."""
    regions = mesh.all_regions()
    machines = sum(len(region.machines) for region in regions)
    sizes = ", ".join(sorted({machine.size for machine in mesh.all_machines()}))
    where = f" in resource group {mesh.group}" if mesh.group else ""
    title = f": {_many(len(regions), 'region')}, {_many(machines, 'machine')} ({sizes}){where}"
    console.print(Text.assemble((mesh.name, "bold"), title))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for heading in ("", "machines", "VNet", "pods", "services"):
        table.add_column(heading)
    for region in regions:
        ranges = [str(block) for block in (region.ranges.vnet, region.ranges.pods, region.ranges.services)]
        table.add_row(region.name, str(len(region.machines)), *ranges)
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if "*" in mesh.allow_from:
        loud = "  SSH, the Kubernetes API and NodePorts will be open to EVERYONE (allow_from: *)"
        console.print(Text(loud, style="bold red"))
    else:
        console.print(f"  SSH, Kubernetes API and NodePorts: open to {', '.join(mesh.allow_from)} only", markup=False)
    if len(regions) == 2:
        warning = "  Two regions do not survive the loss of one: it takes three to keep a majority."
        console.print(Text(warning, style="yellow"))


def show_belongings(console: Console, mesh: str, count: int, names: Sequence[str], kept: Sequence[str]) -> None:
    """What `down` is about to delete, and what it leaves alone."""
    if not count:
        console.print(f"Nothing in Azure carries the tag of {mesh}.", markup=False)
    else:
        console.print(Text.assemble((mesh, "bold"), f": {_many(count, 'thing')} will be deleted"))
    for name in names[:_BELONGINGS_SHOWN]:
        console.print(f"  {name}", markup=False)
    if (more := len(names) - _BELONGINGS_SHOWN) > 0:
        console.print(f"  and {more} more")
    for name in kept:
        console.print(Text(f"  stays, for it is not the mesh's alone: {name}", style="yellow"))


def show_results(
    console: Console, results: Mapping[str, Result], *, seconds: float, journal: str | None, again: str
) -> None:
    """How a run ended; of a failed one what failed, why, what to do, what it blocks, and how to go on.

    Args:
        console: where to.
        results: of every step.
        seconds: how long it took.
        journal: where the run's journal is.
        again: the command that goes on from here.
    """
    count = {outcome: sum(one.outcome is outcome for one in results.values()) for outcome in Outcome}
    for result in results.values():
        if result.outcome is Outcome.FAILED:
            _show_failure(console, result, [one.step for one in results.values() if one.culprit == result.step])
    parts = [f"{number} {outcome.value}" for outcome, number in count.items() if number]
    worst = next((one for one in (Outcome.FAILED, Outcome.BLOCKED, Outcome.STOPPED) if count[one]), None)
    mark, style = _MARK[worst or (Outcome.CHANGED if count[Outcome.CHANGED] else Outcome.HELD)]
    total = f" {_many(len(results), 'step')}: {', '.join(parts) or 'nothing to do'}, in {_lasted(seconds)}"
    console.print(Text.assemble((mark, style), total))
    if worst is None:
        return
    if journal:
        console.print(f"Journal: {journal}", markup=False)
    console.print(f"Run `{again}` again to go on from here.", markup=False)


def show_plan(console: Console, mesh: Mesh, found: Mapping[str, Gap | Result], place: Place) -> None:
    """What `up` would do, step by step, by region."""
    rows: dict[str, list[str]] = {}
    for step, what in found.items():
        if isinstance(what, Gap) or what.outcome is not Outcome.HELD:
            rows.setdefault(place(step)[0], []).append(step)
    wide = max((len(_within(step, row)) for row, steps in rows.items() for step in steps), default=0)
    for row, steps in rows.items():
        console.print(Text(row, style="bold"))
        for step in steps:
            what, name = found[step], f"{_within(step, row):<{wide}}"
            if isinstance(what, Gap):
                console.print(Text.assemble(("  + ", "green"), name, (f"  {what.summary}", "dim")))
                continue
            console.print(Text.assemble(("  ✗ ", "bold red"), name, f"  {what.detail}"))
            if what.hint:
                console.print(f"      {what.hint}", markup=False)
    gaps = sum(isinstance(what, Gap) for what in found.values())
    refused = sum(isinstance(what, Result) and what.outcome is not Outcome.HELD for what in found.values())
    failed = f", {refused} cannot be done" if refused else ""
    verb = "has" if gaps == 1 else "have"
    total = f": {gaps} of {_many(len(found), 'step')} {verb} something to do{failed}"
    console.print(Text.assemble((mesh.name, "bold"), total))


def show_status(console: Console, health: Health) -> None:
    """Every layer of every region, then what is wrong and why."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(health.mesh, style="bold", no_wrap=True, vertical="bottom")
    for name in LAYERS:
        table.add_column(_HEADING.get(name, name), no_wrap=True)
    for region in health.regions:
        table.add_row(region.region, *(_shown(region.layer(name)) for name in LAYERS))
    console.print(table)
    for region in health.regions:
        for layer in region.layers:
            if layer.cause:
                mark, style = _LEVEL[layer.level]
                where = f" {region.region} {layer.name}"
                console.print(Text.assemble((mark, style), (where, "bold"), f": {layer.cause}"))
    ids = health.cluster_ids
    if len(ids) > 1:
        split = f"✗ {len(ids)} CockroachDB clusters where there should be one: {', '.join(ids)}"
        console.print(Text(split, style="bold red"))
    elif ids:
        console.print(f"CockroachDB cluster {ids[0]}", markup=False)
    else:
        console.print("No CockroachDB cluster answers.")
    console.print(Text("degraded", style="bold red") if health.degraded else Text("healthy", style="green"))


def show_figures(console: Console, title: str, figures: Sequence[tuple[int, str]], seconds: float) -> None:
    """Counts, one a line, under a title that says how long they took."""
    console.print(Text(f"{title}, in {_lasted(seconds)}", "bold"))
    for number, text in figures:
        console.print(f"{number:>5}  {text}", markup=False)


def show_error(console: Console, error: CrdbmeshError) -> None:
    """An error, with each of its findings and what to do."""
    findings: list[Finding] = getattr(error, "findings", [])
    if findings:
        mistakes = f"{_many(len(findings), 'mistake')} in what was given:"
        stands = "Nothing was created, since this stands in the way:"
        console.print(Text(stands if isinstance(error, PreflightError) else mistakes, style="bold red"))
        for finding in findings:
            console.print(Text.assemble(("  ✗ ", "red"), (f"{finding.field} = {finding.value}", "bold")))
            console.print(f"      {finding.reason}", markup=False)
            console.print(Text(f"      {finding.remedy}", style="dim"))
        return
    console.print(Text.assemble(("✗ ", "bold red"), str(error)))
    if error.hint:
        console.print(f"    {error.hint}", markup=False)


def _show_failure(console: Console, result: Result, blocked: Sequence[str]) -> None:
    console.print(Text.assemble(("✗ ", "bold red"), (result.step, "bold"), f": {result.detail}"))
    if result.hint:
        console.print(f"    {result.hint}", markup=False)
    if blocked:
        more = len(blocked) - _BLOCKED_SHOWN
        rest = f" and {more} more" if more > 0 else ""
        console.print(Text(f"    blocks {', '.join(blocked[:_BLOCKED_SHOWN])}{rest}", style="dim"))


def _shown(layer: Layer) -> Text:
    mark, style = _LEVEL[layer.level]
    if layer.wanted == 0 and layer.level is Level.OK:
        return Text("·", style="dim")
    return Text(f"{mark} {layer.good}/{layer.wanted}", style=style)


def _within(step: str, row: str) -> str:
    """A step's name without the region that its row says already."""
    return step.removeprefix(f"{row}/")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:2d}:{rest:02d}"


def _lasted(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
