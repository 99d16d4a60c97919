"""Draws a proof (a heat map of round-trip times, what was proved, what falls short) and a drill; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from crdbmesh.observe.proof import KINDS
from crdbmesh.terminal.console import columns

if TYPE_CHECKING:
    from rich.console import Console

    from crdbmesh.commands.drill import DrillResult
    from crdbmesh.commands.verify import Proof
    from crdbmesh.observe.proof import Claim

_HEAT = {5: "bright_green", 50: "green", 100: "yellow", 180: "bright_red", 1e9: "red"}
"""The colour of times below so many milliseconds."""


def show(console: Console, what: Proof | DrillResult) -> None:
    """Print a proof or a drill."""
    (show_drill if hasattr(what, "cut") else show_proof)(console, what)  # type: ignore[arg-type]


def show_proof(console: Console, proof: Proof) -> None:
    """Print a proof."""
    names = [region.name for region in proof.mesh.all_regions()]
    table = columns(gap=1)
    table.add_column("round trip, ms", style="bold", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for source in names:
        table.add_row(source, *(_heat(proof.readings.rtt_ms.get((source, target))) for target in names))
    console.print(table)
    failures, shown = proof.failures, dict[str, list["Claim"]]()
    for kind, (good, wanted) in proof.counts().items():
        mark, style = ("✗", "bold red") if any(one.kind == kind for one in failures) else ("✓", "green")
        said = Text.assemble((mark, style), f" {good:>4} of {wanted:<4} {KINDS[kind]}", (_more(proof, kind), "dim"))
        console.print(said)
    for claim in failures:
        shown.setdefault(claim.cause or "no cause was found in Azure, DNS or Cilium", []).append(claim)
    for cause, claims in shown.items():
        console.print(Text.assemble(("✗ ", "bold red"), (cause, "bold")))
        for one in claims:
            about = " -> ".join(filter(None, (one.source, one.target))) or "mesh"
            console.print(Padding(Text.assemble(f"{about}, {one.kind}: ", (one.seen or "", "dim")), (0, 0, 0, 4)))
    ending = f"{len(failures)} claim{'s fall' if len(failures) > 1 else ' falls'} short"
    console.print(Text(ending, "bold red") if failures else Text("proved: nothing falls short", "green"))


def show_drill(console: Console, result: DrillResult) -> None:
    """Print what a drill found."""
    for one in result.probes:
        said = f"SQL in {one.region}: {len(one)} statements, {one.failed} failed, no answer for {one.window_s:.1f} s"
        console.print(said, markup=False)
    if not result.cut:
        said = "the database kept its nodes, for what was connected went on; use --by stop"
        console.print(Text(f"✗ {result.region} was not cut off by {result.by}: {said}", "bold red"))
    figures = result.figures()
    console.print(f"{result.region} was cut off by {result.by}, and is healed:", markup=False)
    console.print(f"{figures['error_window_s']:>8} s  error window, at the worst of the other regions", markup=False)
    console.print(f"{figures['recovered_s']:>8} s  until every node was live and every range whole again", markup=False)


def _heat(rtt_ms: float | None) -> Text:
    if rtt_ms is None:
        return Text("   none", "bold white on red")
    return Text(f"{rtt_ms:7.1f}", f"black on {next(colour for limit, colour in _HEAT.items() if rtt_ms < limit)}")


def _more(proof: Proof, kind: str) -> str:
    """Return what else there is to say of a kind of claim."""
    read = proof.readings
    if kind == "clock" and read.offsets_ms:
        return f"  at most {max(map(abs, read.offsets_ms.values())):.1f} ms"
    if kind == "certificates" and read.ends:
        (region, name), ends = min(read.ends.items(), key=lambda item: item[1])
        return f"  the first to end: {name} in {region}, {ends:%Y-%m-%d}"
    return ""
