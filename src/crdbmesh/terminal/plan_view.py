"""Draws what `up` would do: each known change with its sign, then what is bought, restarted and paid."""

from rich.console import Console
from rich.text import Text

from crdbmesh.commands.cost import Cost
from crdbmesh.commands.plan import PlanResult
from crdbmesh.desired import disks
from crdbmesh.engine.step import Gap
from crdbmesh.observe.backups import NONE
from crdbmesh.terminal.console import many, say, show_pairs

_SIGNS = {
    "+": ("create", "green"),
    "~": ("change", "yellow"),
    "!": ("change, with a restart", "bold yellow"),
    "-": ("delete", "red"),
}
_MOST = 12
"""The restarts that are named."""
_DEMO = "small and cheap machines; not for production"


def show_plan(console: Console, plan: PlanResult, cost: Cost) -> None:
    """Print what `up` would do, by region; then what it leaves as it is, though newer could be had."""
    from crdbmesh.steps import catalog

    gaps, refused = plan.gaps(), plan.refused()
    known = {sign: count for sign in _SIGNS if (count := plan.count(sign))}
    if known:
        say(console, "   ".join(f"{sign} {_SIGNS[sign][0]}" for sign in known))
    shown = [step for step, what in plan.found.items() if step in refused or (isinstance(what, Gap) and what.sign)]
    rows: dict[str, dict[str, str]] = {}
    for step in shown:
        row = catalog.place(step)[0]
        rows.setdefault(row, {})[step] = step.removeprefix(f"{row}/")
    wide = max((len(name) for names in rows.values() for name in names.values()), default=0)
    said: dict[object, str] = {}
    for row, names in rows.items():
        console.print(Text(row, style="bold"))
        for step, name in names.items():
            if step in gaps:
                gap = gaps[step]
                detail = f"{gap.summary}; restarts {', '.join(gap.restarts)}" if gap.restarts else gap.summary
                console.print(
                    Text.assemble((f"  {gap.sign} ", _SIGNS[gap.sign][1]), f"{name:<{wide}}  ", (detail, "dim"))
                )
                continue
            result = refused[step]
            first = said.setdefault(result.cause, step)
            detail = result.detail if first == step else f"as {first}"
            console.print(Text.assemble(("  ✗ ", "bold red"), f"{name:<{wide}}  {detail}"))
            if result.hint and first == step:
                console.print(f"      {result.hint}", markup=False)
    console.print(Text.assemble((plan.mesh.name, "bold"), f": {_total(plan, known)}"))
    show_pairs(console, *_consequences(plan).items(), ("costs", str(cost)))
    if plan.mesh.backup is None and plan.mesh.profile == "production":
        console.print(NONE, markup=False)
    for one in plan.migrations():
        kept = f"{one['field']} stays {one['has']}; for {one['newest']}, {one['how']}"
        console.print(kept, markup=False)


def _total(plan: PlanResult, known: dict[str, int]) -> str:
    verbs = {"+": "to create", "~": "to change", "!": "to change with a restart", "-": "to delete"}
    parts = [f"{count} {verbs[sign]}" for sign, count in known.items()]
    if refused := len(plan.refused()):
        parts.append(f"{refused} cannot be done")
    if not parts:
        return f"nothing to do, all {many(len(plan.found), 'step')} hold"
    if after := plan.count(""):
        it = "it" if sum(known.values()) + refused == 1 else "them"
        one, some = f"1 depends on {it} and is looked at again", f"{after} depend on {it} and are looked at again"
        parts.append(one if after == 1 else some)
    return ", ".join(parts)


def _consequences(plan: PlanResult) -> dict[str, str]:
    if not plan.gaps():
        return {}
    mesh, bought = plan.mesh, plan.bought()
    machines = mesh.machines
    kept = [f"a {role.name} disk" for role in disks.roles(mesh)]
    each = f"each with {', '.join([f'a disk ({machines.disk_gib} GiB {machines.disk_type})', *kept])} and a public IP"
    restarts = plan.restarts()
    profile = {} if mesh.profile == "production" else {"profile": f"{mesh.profile}: {_DEMO}"}
    return {
        **profile,
        "buys": f"{many(sum(bought.values()), 'new machine')} ({', '.join(bought)}), {each}" if bought else "nothing",
        "restarts": _one_at_a_time(restarts, plan.restarts_s())
        if restarts
        else ("nothing" if not plan.count("") or bought else "nothing, as far as is known now"),
    }


def _one_at_a_time(restarts: list[str], seconds: float) -> str:
    shown = [*restarts[:_MOST], f"and {len(restarts) - _MOST} more"] if len(restarts) > _MOST else restarts
    return (
        f"{', '.join(shown)}: one at a time, each only while the mesh is whole, and the database goes on serving; "
        f"about {max(1, round(seconds / 60))} min in all"
    )
