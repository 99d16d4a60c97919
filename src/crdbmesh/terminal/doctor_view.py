"""Draws what the checks found: a line for each check, and for each finding its cause and its remedy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from crdbmesh.checks.base import Level, Verdict
from crdbmesh.errors import Finding

_MARK = {
    Level.OK: ("✓", "green"),
    Level.SKIPPED: ("–", "dim"),
    Level.WARNING: ("!", "yellow"),
    Level.REFUSED: ("✗", "bold red"),
}


def show_verdicts(console: Console, name: str, verdicts: Sequence[Verdict], *, whole: bool) -> None:
    """Every check with its level, then what it all comes to.

    Args:
        console: where to.
        name: the mesh's.
        verdicts: of every check.
        whole: whether there was a spec to check.
    """
    wide = max((len(verdict.title) for verdict in verdicts), default=0)
    for verdict in verdicts:
        mark, style = _MARK[verdict.level]
        level = f"{verdict.level.value:<7}"
        found = (f"  {verdict.found}", "dim" if verdict.level in {Level.OK, Level.SKIPPED} else "")
        console.print(Text.assemble((f"{mark} {level}", style), f" {verdict.title:<{wide}}", found))
        for finding in verdict.refused:
            _show_finding(console, finding, Level.REFUSED)
        for finding in verdict.warnings:
            _show_finding(console, finding, Level.WARNING)
    refused = sum(len(verdict.refused) for verdict in verdicts)
    warnings = sum(len(verdict.warnings) for verdict in verdicts)
    warned = f", {warnings} to know about" if warnings else ""
    if refused:
        stand = "thing stands" if refused == 1 else "things stand"
        console.print(Text(f"{refused} {stand} in the way of {name}{warned}.", style="bold red"))
    elif whole:
        console.print(Text(f"Nothing stands in the way of {name}{warned}.", style="green"))
    else:
        console.print(Text(f"So far nothing stands in the way{warned}.", style="green"))
        console.print("For the rest, say where: crdbmesh doctor --regions eastus,westus,northeurope", markup=False)


def show_warning(console: Console, finding: Finding) -> None:
    """Something that does not stand in the way, but should be known."""
    _show_finding(console, finding, Level.WARNING, indent="  ")


def _show_finding(console: Console, finding: Finding, level: Level, *, indent: str = "    ") -> None:
    mark, style = _MARK[level]
    title = (f"{finding.field} = {finding.value}", "bold")
    console.print(Text.assemble((f"{indent}{mark} ", style), title))
    console.print(Text(f"{indent}    {finding.reason}"))
    console.print(Text(f"{indent}    {finding.remedy}", style="dim"))
