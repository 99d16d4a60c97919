"""Checks that the spec asks nothing of a serving mesh that would disturb its database.

A VM that is resized restarts, a changed template replaces pods, another version does both. `up` makes no such change
while the database serves; each finding tells how to make it by hand, one machine or region at a time.
"""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.checks.machines import Comparison, cannot_resize, other_sizes
from crdbmesh.errors import Finding
from crdbmesh.observe import serving
from crdbmesh.observe.serving import Running
from crdbmesh.spec import names

_GATE = "wait until `crdbmesh status` is healthy and the DB Console shows no under-replicated range"
BY_HAND = {
    "k3s": f"as its release notes say: install its binary on one machine, restart k3s there, {_GATE}, then the next",
    "cilium": f"as its release notes say: upgrade the chart in one region, {_GATE}, then the next",
    "cockroachdb": f"as its release notes say: set the image of one region's StatefulSet, {_GATE}, then the next",
}
"""The procedure by hand for another version of a program, by its name in the spec."""


def disturbing(compared: Comparison) -> Iterator[Finding]:
    """Yield every change that would disturb a serving database, with the procedure by hand."""
    world = compared.world
    regions = [region for region in compared.mesh.all_regions() if compared.found.numbers(region.name)]
    if not regions or not serving.is_initialised(world):
        return
    yield from _resized(compared)
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="serving") as pool:
        read = list(pool.map(lambda region: serving.read(world, region, compared.kept), regions))
    found = [running for running in read if running is not None]
    yield from _versions(compared, found)
    yield from _templates(found)


def _resized(compared: Comparison) -> Iterator[Finding]:
    resized: dict[tuple[str, str], list[str]] = defaultdict(list)
    for machine, name, size in other_sizes(compared):
        if cannot_resize(compared.world, machine, size) is None:
            resized[size, machine.size].append(name)
    for (size, wanted), machines in resized.items():
        reason = f"{', '.join(machines)}: {size} now, and a VM that is resized restarts, under a database that serves"
        by_hand = f"`kubectl drain` its node, `az vm resize --size {wanted}`, `kubectl uncordon`, {_GATE}"
        remedy = f"put {size} back; or, one machine at a time: {by_hand}; then `up`"
        yield Finding("machines.size", wanted, reason, remedy)


def _versions(compared: Comparison, found: list[Running]) -> Iterator[Finding]:
    for program, wanted in compared.mesh.versions.named().items():
        others: dict[str, list[str]] = defaultdict(list)
        for running in found:
            for version in running.versions.get(program, set()) - {wanted, ""}:
                others[version].append(running.region)
        for version, regions in others.items():
            reason = f"{', '.join(regions)} runs {version}, and `up` changes no version under a database that serves"
            remedy = f"put {version} into the spec; or, {BY_HAND[program]}; then `up`"
            yield Finding(f"versions.{program}", wanted, reason, remedy)


def _templates(found: list[Running]) -> Iterator[Finding]:
    replaced = {running.region: running.replaced for running in found if running.replaced}
    if len(replaced) < 2:
        # One region's pods are replaced one after the other, and the database serves meanwhile.
        return
    lines = "; ".join(next(iter(replaced.values()))[:3])
    reason = f"it would replace the CockroachDB pods of {', '.join(replaced)}, which serve"
    by_hand = f"change StatefulSet {names.COCKROACH} with kubectl, {_GATE}"
    yield Finding("cockroach", lines, reason, f"put it back; or, one region at a time: {by_hand}; then `up`")
