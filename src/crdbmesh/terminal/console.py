"""Draws plans, status, results and errors; decides nothing. Messages go to stderr, results to stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crdbmesh.desired.azure import opened
from crdbmesh.engine.step import Outcome
from crdbmesh.errors import CrdbmeshError, ElsewhereError, Finding, PreflightError, UnsafeError
from crdbmesh.observe.belongings import Belongings
from crdbmesh.observe.health import LAYERS, Health, Layer, Level
from crdbmesh.spec.mesh import Mesh
from crdbmesh.terminal.visible import Screen
from crdbmesh.terminal.voice import VOICE

if TYPE_CHECKING:
    from crdbmesh.commands.cost import Cost
    from crdbmesh.commands.listing import Listed
    from crdbmesh.local.birth import Aim

_REFUSED = "`up` cannot start; nothing was created:"
_TITLES: dict[type[CrdbmeshError], str] = {
    ElsewhereError: "This mesh is elsewhere; nothing was changed:",
    UnsafeError: "Others could change what crdbmesh reads; nothing was changed:",
}
_BELONGINGS_SHOWN = 40
_UNCUT = 200
"""The width, in columns, of files and logs, whose lines are not broken."""
MARK = {
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
"""Headings in two lines, so that every layer fits into 80 columns."""


def make(*, stderr: bool, always: bool = False) -> Console:
    """Make a console on stderr or stdout that honours NO_COLOR, FORCE_COLOR and TERM=dumb.

    With --quiet one on stderr prints errors only, except those `always` shown, as what a question is about.
    """
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        # A mark that the terminal's encoding lacks must not cost the message around it.
        stream.reconfigure(errors="replace")
    plain = VOICE.no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    cut = stream.isatty() or "COLUMNS" in os.environ
    return Screen(
        stderr=stderr,
        quiet=VOICE.quiet and stderr and not always,
        no_color=plain or None,
        highlight=False,
        soft_wrap=not stream.isatty(),
        width=None if cut else _UNCUT,
    )


def show_cursor() -> None:
    """Show the cursor again, which a live table hides."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")


def say(console: Console, text: str) -> None:
    """Print a line about what comes next."""
    console.print(Text(text, style="dim"))


def announce(console: Console, text: str) -> None:
    """Print the title of what comes next."""
    console.print(Text(text, style="bold"))


def show_aim(console: Console, aim: Aim) -> None:
    """Print what the command is aimed at."""
    console.print(Text(str(aim)[:1].upper() + str(aim)[1:], style="bold"))


def show_start(console: Console, aim: Aim, mesh: Mesh, doing: str) -> None:
    """Print what `up` or `plan` is aimed at, what it is for, and what comes next."""
    show_aim(console, aim)
    show_intent(console, mesh)
    say(console, doing)


def show_folder(console: Console, mesh: str, folder: Path, *, moved: bool) -> None:
    """Print where the local folder of a mesh is after `down`."""
    if moved:
        text = f"Its local folder is now {folder}; an `up` or `down` after 30 days erases it, or `down {mesh} --purge`."
    else:
        text = f"Nothing of {mesh} was found, so its local folder with its keys stays: {folder}"
    console.print(text, markup=False)


def show_intent(console: Console, mesh: Mesh) -> None:
    """Print what `up` is about to create, and the sources that may connect."""
    regions = mesh.all_regions()
    machines = sum(len(region.machines) for region in regions)
    sizes = ", ".join(sorted({machine.size for machine in mesh.all_machines()}))
    where = f" in resource group {mesh.group}" if mesh.group else ""
    title = f": {many(len(regions), 'region')}, {many(machines, 'machine')} ({sizes}){where}"
    console.print(Text.assemble((mesh.name, "bold"), title))
    table = columns("", "machines", "VNet", "pods", "services")
    for region in regions:
        ranges = [str(block) for block in (region.ranges.vnet, region.ranges.pods, region.ranges.services)]
        table.add_row(region.name, str(len(region.machines)), *ranges)
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if "*" in mesh.sources:
        loud = f"  {opened(mesh)} will be open to EVERYONE (allow_from: *)"
        console.print(Text(loud, style="bold red"))
    else:
        console.print(f"  {opened(mesh)}: open to {', '.join(mesh.sources)} only", markup=False)
    if len(regions) == 2:
        warning = "  Two regions do not survive the loss of one: a majority takes three."
        console.print(Text(warning, style="yellow"))


def show_belongings(console: Console, mesh: str, found: Belongings) -> None:
    """Print what `down` is about to delete, what it keeps, and what else to know before it is confirmed."""
    names, count = found.names(), found.count
    if not count:
        console.print(f"Nothing in Azure belongs to {mesh}.", markup=False)
    else:
        console.print(Text.assemble((mesh, "bold"), f": {many(count, 'resource')} will be deleted"))
    for name in names[:_BELONGINGS_SHOWN]:
        console.print(f"  {name}", markup=False)
    if (more := len(names) - _BELONGINGS_SHOWN) > 0:
        console.print(f"  and {more} more")
    _show_each(console, "kept, because it is not the mesh's alone", found.kept)
    _show_each(console, "only its tag says that it is the mesh's", [str(one["id"]) for one in found.unproven])
    _show_each(console, "a peering of others that will be Disconnected", found.severed)


def _show_each(console: Console, what: str, ids: Sequence[str]) -> None:
    for one in ids:
        console.print(Text(f"  {what}: {one}", style="yellow"))


def show_wider(console: Console, wider: Mapping[str, str]) -> None:
    """Print other people's firewall rules that let in more than the spec: what each lets in, by its id."""
    for rule, said in wider.items():
        console.print(Text(f"  {said} lets in more than the spec: {rule}", style="bold red"))


def show_status(console: Console, health: Health, cost: Cost | None = None) -> None:
    """Print the health of every layer in every region, then each cause once, and what the mesh costs."""
    table = columns(gap=1)
    table.add_column(health.mesh, style="bold", no_wrap=True, vertical="bottom")
    for name in LAYERS:
        table.add_column(_HEADING.get(name, name), no_wrap=True)
    for region in health.regions:
        table.add_row(region.region, *(_shown(region.layer(name)) for name in LAYERS))
    console.print(table)
    causes: dict[tuple[Level, str], dict[str, list[str]]] = {}
    for region in health.regions:
        for layer in region.layers:
            if layer.cause:
                causes.setdefault((layer.level, layer.cause), {}).setdefault(region.region, []).append(layer.name)
    for (level, cause), found in causes.items():
        mark, style = _LEVEL[level]
        where = "; ".join(f"{region} {', '.join(layers)}" for region, layers in found.items())
        console.print(Text.assemble((f"{mark} ", style), (where, "bold"), f": {cause}"))
    ids = health.cluster_ids
    if len(ids) > 1:
        split = f"✗ {len(ids)} CockroachDB clusters where there should be one: {', '.join(ids)}"
        console.print(Text(split, style="bold red"))
    elif ids:
        console.print(f"CockroachDB cluster {ids[0]}", markup=False)
    else:
        console.print("No CockroachDB cluster answers.")
    if health.license is not None:
        console.print(str(health.license), markup=False)
    for note in health.notes:
        console.print(Text.assemble(("✗ ", "bold red") if note.is_bad else "", note.text))
    for remark in health.remarks:
        console.print(Text.assemble(("! ", "yellow"), remark))
    if cost is not None and any(region.layer("machines").level is not Level.ABSENT for region in health.regions):
        console.print(f"Costs {cost}", markup=False)
    console.print(Text("degraded", style="bold red") if health.degraded else Text("healthy", style="green"))


def show_list(console: Console, listed: Sequence[Listed], elsewhere: Sequence[str]) -> None:
    """Print the meshes of a subscription, then those that are known here only."""
    table = columns("mesh", "regions", "machines", "age", "USD an hour", "known here")
    for one in listed:
        age = "–" if one.age_s is None else _age(one.age_s)
        about = f"{'over' if one.cost.unpriced else 'about'} {one.cost.hour:.2f}"
        known = "yes" if one.known else "no"
        table.add_row(one.name, ", ".join(one.regions), str(one.machines), age, about, known)
    console.print(table if listed else "No mesh is in this subscription.")
    if listed:
        say(console, f"Prices without traffic, {listed[0].cost.source}.")
    if elsewhere:
        say(console, f"Known here, and nothing of it in this subscription: {', '.join(elsewhere)}")


def show_pairs(console: Console, *pairs: tuple[str, str]) -> None:
    """Print what each word stands for, one a line."""
    wide = max(len(name) for name, _ in pairs)
    for name, text in pairs:
        console.print(Text.assemble((f"  {name:<{wide}}  ", "dim"), text))


def show_figures(console: Console, title: str, figures: Sequence[tuple[float, str]], seconds: float) -> None:
    """Print counts, one a line, under a title with the time they took."""
    console.print(Text(f"{title}, in {lasted(seconds)}", "bold"))
    for number, text in figures:
        console.print(f"{number:>5}  {text}", markup=False)


def show_error(console: Console, error: CrdbmeshError, *, refused: str = _REFUSED) -> None:
    """Print an error with its findings and remedies; `refused` is the title of those that would make `up` fail."""
    console.quiet = False
    findings: list[Finding] = getattr(error, "findings", [])
    if findings:
        titles = {**_TITLES, PreflightError: refused}
        console.print(Text(titles.get(type(error), "Invalid input:"), style="bold red"))
        for finding in findings:
            console.print(Text.assemble(("  ✗ ", "red"), (finding.title, "bold")))
            console.print("      " + finding.reason.replace("\n", "\n      "), markup=False)
            console.print(Text(f"      {finding.remedy}", style="dim"))
        return
    console.print(Text.assemble(("✗ ", "bold red"), str(error).replace("\n", "\n    ")))
    if error.hint:
        console.print(f"    {error.hint}", markup=False)
    elif error.request_id:
        say(console, f"    correlation id {error.request_id}, for a support case")


def _shown(layer: Layer) -> Text:
    mark, style = _LEVEL[layer.level]
    if layer.wanted == 0 and layer.level is Level.OK:
        return Text("·", style="dim")
    return Text(f"{mark} {layer.good}/{layer.wanted}", style=style)


def columns(*headings: str, gap: int = 2) -> Table:
    """Return a table without lines, whose columns are so many spaces apart."""
    return Table(*headings, box=None, padding=(0, gap, 0, 0), header_style="dim", pad_edge=False)


def many(count: int, noun: str) -> str:
    """Return a count with its noun: `1 region`, `3 regions`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _age(seconds: float) -> str:
    hours = int(seconds // 3600)
    return many(hours // 24, "day") if hours >= 48 else many(hours, "hour") if hours else lasted(max(seconds, 0))


def lasted(seconds: float) -> str:
    """Return a time in words: `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
