"""Draws events, plans, status and results; decides nothing.

Progress and messages go to stderr, results to stdout. On a terminal progress is a live table, a row per region and a
column per stage; elsewhere it is plain lines.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from crdbmesh.engine.step import Event, Gap, Outcome, Result
from crdbmesh.errors import CrdbmeshError, Finding, PreflightError
from crdbmesh.health import LAYERS, Health, Layer, Level
from crdbmesh.topology.mesh import Mesh

_REFRESHES = 8
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


class Place(Protocol):
    """Where a step is shown: its row and its column."""

    def __call__(self, step: str, /) -> tuple[str, str]:
        """Its row and its column."""
        ...


def make(*, stderr: bool) -> Console:
    """A console on one of the two streams, honouring NO_COLOR, FORCE_COLOR and TERM=dumb."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(stderr=stderr, no_color=plain or None, highlight=False, soft_wrap=not stderr)


class Progress:
    """Shows a run as it goes.

    Args:
        console: where to, normally stderr.
        steps: names of all steps.
        place: where each is shown.
        stages: the columns, in order.
    """

    def __init__(self, console: Console, steps: Iterable[str], place: Place, stages: tuple[str, ...]) -> None:
        self._console = console
        self._place = place
        self._stages = stages
        self._started = time.monotonic()
        self._all: dict[tuple[str, str], list[str]] = {}
        for step in steps:
            self._all.setdefault(place(step), []).append(step)
        self._rows = list(dict.fromkeys(row for row, _ in self._all))
        self._ended: dict[str, Result] = {}
        self._doing: dict[str, str] = {}
        self._live = (
            Live(get_renderable=self._draw, console=console, refresh_per_second=_REFRESHES, transient=True)
            if console.is_terminal and not console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if event.result is not None:
            self._ended[event.step] = event.result
            self._doing.pop(event.step, None)
            if event.result.outcome is not Outcome.HELD:
                self._line(event.step, event.result)
            return
        if event.kind in {"applying", "waiting"}:
            self._doing[event.step] = event.text
            if self._live is None and event.kind == "applying":
                self._console.print(f"{self._clock()} {event.step}: {event.text}", markup=False)

    def _line(self, step: str, result: Result) -> None:
        if self._live is not None and result.outcome is not Outcome.FAILED:
            return
        mark, style = _MARK[result.outcome]
        detail = "" if result.outcome is Outcome.CHANGED else f": {result.detail}"
        took = f" ({result.seconds:.0f} s)" if result.seconds >= 1 else ""
        self._console.print(Text.assemble(f"{self._clock()} ", (mark, style), f" {step}{took}{detail}"))

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes:2d}:{seconds:02d}"

    def _draw(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column(self._clock())
        for stage in self._stages:
            table.add_column(stage)
        for row in self._rows:
            table.add_row(row, *(self._cell(row, stage) for stage in self._stages))
        doing = [
            Text(f"  {step}: {text}", overflow="ellipsis", no_wrap=True, style="dim") for step, text in self._now()
        ]
        return Group(table, *doing)

    def _cell(self, row: str, stage: str) -> Text:
        steps = self._all.get((row, stage), [])
        if not steps:
            return Text("")
        results = [self._ended[step] for step in steps if step in self._ended]
        for outcome in (Outcome.FAILED, Outcome.BLOCKED, Outcome.STOPPED):
            if any(result.outcome is outcome for result in results):
                mark, style = _MARK[outcome]
                return Text(f"{mark} {outcome.value}", style=style)
        good = len(results)
        if good == len(steps):
            changed = any(result.outcome is Outcome.CHANGED for result in results)
            mark, style = _MARK[Outcome.CHANGED if changed else Outcome.HELD]
            return Text(mark, style=style)
        busy = any(step in self._doing for step in steps)
        return Text(f"{good}/{len(steps)}", style="cyan" if busy else "dim")

    def _now(self) -> list[tuple[str, str]]:
        return list(self._doing.items())[-6:]


def show_intent(console: Console, mesh: Mesh) -> None:
    """What `up` is about to make, and who will be let in."""
    regions = mesh.all_regions()
    machines = sum(len(region.machines) for region in regions)
    sizes = ", ".join(sorted({machine.size for machine in mesh.all_machines()}))
    console.print(f"[bold]{escape(mesh.name)}[/]: {len(regions)} regions, {machines} machines ({escape(sizes)})")
    for region in regions:
        ranges = region.ranges
        console.print(f"  {region.name:<20} VNet {ranges.vnet}  pods {ranges.pods}  services {ranges.services}")
    if "*" in mesh.allow_from:
        console.print("[bold red]  SSH, the Kubernetes API and NodePorts will be open to EVERYONE (allow_from: *)[/]")
    else:
        console.print(f"  SSH, the Kubernetes API and NodePorts open to {', '.join(mesh.allow_from)} only")
    if len(regions) == 2:
        console.print("[yellow]  two regions do not survive the loss of one: it takes three to keep a majority[/]")


def show_results(console: Console, results: Mapping[str, Result], *, seconds: float, journal: str | None) -> None:
    """How a run ended; of a failed one what failed, why, what to do, and what it blocks."""
    count = {outcome: sum(one.outcome is outcome for one in results.values()) for outcome in Outcome}
    parts = [f"{number} {outcome.value}" for outcome, number in count.items() if number]
    console.print(f"{len(results)} steps: {', '.join(parts) or 'nothing to do'}, in {seconds:.0f} s")
    for result in results.values():
        if result.outcome is not Outcome.FAILED:
            continue
        console.print(Text.assemble(("✗ ", "bold red"), (result.step, "bold"), f": {result.detail}"))
        if result.hint:
            console.print(f"    {result.hint}", markup=False)
        blocked = [one.step for one in results.values() if one.culprit == result.step]
        if blocked:
            more = f" and {len(blocked) - 4} more" if len(blocked) > 4 else ""
            console.print(f"    blocks {', '.join(blocked[:4])}{more}", markup=False)
    if journal and (count[Outcome.FAILED] or count[Outcome.STOPPED]):
        console.print(f"journal: {journal}", markup=False)
        console.print("Run `crdbmesh up` again to go on from here.")


def show_plan(console: Console, mesh: Mesh, found: Mapping[str, Gap | Result]) -> None:
    """What `up` would do, step by step."""
    for name, what in found.items():
        if isinstance(what, Gap):
            console.print(Text.assemble(("+ ", "green"), (f"{name:<28}", "bold"), f" {what.summary}"))
        elif what.outcome is not Outcome.HELD:
            console.print(Text.assemble(("✗ ", "bold red"), (f"{name:<28}", "bold"), f" {what.detail}"))
            if what.hint:
                console.print(f"    {what.hint}", markup=False)
    gaps = sum(isinstance(what, Gap) for what in found.values())
    console.print(f"{escape(mesh.name)}: {gaps} of {len(found)} steps have something to do")


def show_status(console: Console, health: Health) -> None:
    """Every layer of every region, then what is wrong and why."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(health.mesh, style="bold")
    for name in LAYERS:
        table.add_column(name)
    for region in health.regions:
        table.add_row(region.region, *(_shown(region.layer(name)) for name in LAYERS))
    console.print(table)
    for region in health.regions:
        for layer in region.layers:
            if layer.cause:
                console.print(
                    Text.assemble(("✗ ", "bold red"), (f"{region.region} {layer.name}", "bold"), f": {layer.cause}")
                )
    ids = health.cluster_ids
    if len(ids) > 1:
        console.print(
            Text(f"✗ {len(ids)} CockroachDB clusters where there should be one: {', '.join(ids)}", "bold red")
        )
    elif ids:
        console.print(f"CockroachDB cluster {ids[0]}", markup=False)
    else:
        console.print("no CockroachDB cluster answers")
    console.print(Text("degraded", "bold red") if health.degraded else Text("healthy", "green"))


def show_error(console: Console, error: CrdbmeshError) -> None:
    """An error, with each of its findings and what to do."""
    findings: list[Finding] = getattr(error, "findings", [])
    if findings:
        what = "Nothing was created" if isinstance(error, PreflightError) else "The input is not right"
        console.print(f"{what}:", style="bold red")
        for finding in findings:
            console.print(Text.assemble(("  ✗ ", "red"), (f"{finding.field} = {finding.value}", "bold")))
            console.print(f"      {finding.reason}", markup=False)
            console.print(f"      {finding.remedy}", markup=False, style="dim")
        return
    console.print(Text.assemble(("✗ ", "bold red"), str(error)))
    if error.hint:
        console.print(f"    {error.hint}", markup=False)


def is_terminal() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _shown(layer: Layer) -> Text:
    mark, style = _LEVEL[layer.level]
    if layer.wanted == 0 and layer.level is Level.OK:
        return Text("·", style="dim")
    return Text(f"{mark} {layer.good}/{layer.wanted}", style=style)
