"""Draws how a run ended: each cause of a failure once, and after a good `up` what there is now and what comes next."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from crdbmesh.commands.cost import Cost
from crdbmesh.commands.up import UpResult
from crdbmesh.engine.step import Outcome, Result
from crdbmesh.observe.health import Health
from crdbmesh.terminal.console import MARK, lasted, many, show_pairs

_NAMED = 4


def show_results(
    console: Console, results: Mapping[str, Result], *, seconds: float, journal: str | None, again: str
) -> None:
    """Print how a run ended; for a failed one each cause and remedy, what it blocks, and how to resume.

    `again` is the command that resumes the run.
    """
    console.quiet = console.quiet and all(one.outcome.good for one in results.values())
    count = {outcome: sum(one.outcome is outcome for one in results.values()) for outcome in Outcome}
    causes: dict[object, list[str]] = {}
    failed = [result for result in results.values() if result.outcome is Outcome.FAILED]
    for result in failed:
        causes.setdefault(result.cause, []).append(result.step)
    for result in failed:
        if result.step == (same := causes[result.cause])[0]:
            _show_failure(console, result, same, [one.step for one in results.values() if one.culprit in same])
    waited = [one for one in results.values() if one.outcome is Outcome.STOPPED and one.seconds]
    for result in waited[:_NAMED]:
        console.print(Text.assemble(("- ", "yellow"), (result.step, "bold"), f": {result.detail}"))
    parts = [f"{number} {outcome.value}" for outcome, number in count.items() if number]
    worst = next((one for one in (Outcome.FAILED, Outcome.BLOCKED, Outcome.STOPPED) if count[one]), None)
    mark, style = MARK[worst or (Outcome.CHANGED if count[Outcome.CHANGED] else Outcome.HELD)]
    total = f" {many(len(results), 'step')}: {', '.join(parts) or 'nothing to do'}, in {lasted(seconds)}"
    console.print(Text.assemble((mark, style), total))
    if worst is None:
        return
    if journal:
        console.print(f"Journal: {journal}", markup=False)
    console.print(f"Run `{again}` again to resume from here.", markup=False)


def show_card(
    console: Console, ended: UpResult, cost: Cost, health: Health, commands: Sequence[str], folder: Path
) -> None:
    """Print what there is after a good `up`, and what comes next: `commands` are those to try."""
    versions = ended.mesh.versions.named()
    show_pairs(
        console,
        ("where", str(ended.aim)),
        ("versions", ", ".join(f"{program} {version}" for program, version in versions.items())),
        ("status", brief(health)),
        ("costs", str(cost)),
        *((note.about, note.text) for note in health.notes),
        *([("license", str(health.license))] if health.license else []),
        ("back up", f"{folder}, which holds keys that nothing can replace"),
        *(("next" if command == commands[0] else "", command) for command in commands),
    )


def brief(health: Health) -> str:
    """Return the health of a mesh in one line."""
    figures = health.figures()
    counts = (("regions", "region"), ("machines", "machine"), ("cockroach_nodes_live", "live CockroachDB node"))
    level = "degraded (`crdbmesh status` says why)" if health.degraded else "healthy"
    return f"{level}: {', '.join(many(figures[name], noun) for name, noun in counts)}"


def _show_failure(console: Console, result: Result, same: Sequence[str], blocked: Sequence[str]) -> None:
    detail = result.detail.replace("\n", "\n    ")
    console.print(Text.assemble(("✗ ", "bold red"), (", ".join(same), "bold"), f": {detail}"))
    if result.hint:
        console.print(f"    {result.hint}", markup=False)
    if blocked:
        more = len(blocked) - _NAMED
        rest = f" and {more} more" if more > 0 else ""
        console.print(Text(f"    blocks {', '.join(blocked[:_NAMED])}{rest}", style="dim"))
