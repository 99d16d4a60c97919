"""Draws the verdicts of the checks: a line for each check, and each finding with its reason and remedy."""

from collections.abc import Callable, Sequence

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
    """Print every check with its level, then a summary.

    `whole` says that there was a spec to check.
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
    warned = f", with {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""
    if refused:
        problems = "1 problem" if refused == 1 else f"{refused} problems"
        console.print(Text(f"{problems} would make `up` fail for {name}{warned}.", style="bold red"))
    elif whole:
        console.print(Text(f"All checks passed for {name}{warned}.", style="green"))
    else:
        console.print(Text(f"All checks that need no regions passed{warned}.", style="green"))
        console.print("To run the others: crdbmesh doctor --regions eastus,westus,northeurope", markup=False)


def warn(console: Console) -> Callable[[Finding], None]:
    """Return a function that prints a warning."""
    return lambda finding: _show_finding(console, finding, Level.WARNING, indent="  ")


def _show_finding(console: Console, finding: Finding, level: Level, *, indent: str = "    ") -> None:
    """Print a finding; one without a remedy, which asks for nothing, in one line."""
    mark, style = _MARK[level]
    title, reason = (finding.title, "bold"), finding.reason.replace("\n", f"\n{indent}    ")
    if not finding.remedy:
        console.print(Text.assemble((f"{indent}{mark} ", style), title, f": {reason}"))
        return
    console.print(Text.assemble((f"{indent}{mark} ", style), title))
    console.print(Text(f"{indent}    {reason}"))
    console.print(Text(f"{indent}    {finding.remedy}", style="dim"))
