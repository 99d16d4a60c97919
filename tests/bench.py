"""`make bench`: how much `up` gains by doing at once what does not depend on each other.

Two simulated worlds at the same pace; in one the steps run in parallel, in the other one after the other, which is the
order in which people type the manual recipe. Read the ratio, not the seconds: machines differ, and the pace is ours.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from crdbmesh.commands import simulated
from crdbmesh.engine import plan, run
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.steps import catalog

REGIONS = ["eastus", "westus", "northeurope"]
SCALE = 30.0


def measure(workers: int) -> tuple[float, float]:
    """Real seconds of a first `up` and of one that finds everything held."""
    with tempfile.TemporaryDirectory() as folder, simulated.serve(scale=SCALE, seed=1) as world:
        cloud = world.cloud()
        spec = {"regions": REGIONS, "allow_from": ["127.0.0.1"], "ssh": {"port": cloud.ssh_port}}
        taken = []
        for _ in range(2):
            with World.open(config.mesh(spec), cloud, LocalFolder(Path(folder) / "bench")) as run_world:
                started = time.monotonic()
                steps = plan.order(catalog.steps(run_world))
                results = run.run(steps, workers=workers, notify=lambda _event: None)
                taken.append(time.monotonic() - started)
            failed = [result for result in results.values() if not result.outcome.good]
            if failed:
                sys.exit(f"{failed[0].step}: {failed[0].detail}")
        return taken[0], taken[1]


def main() -> None:
    """Print a row for each way, and the ratio."""
    sys.stdout.write(f"three regions of three machines, {SCALE:.0f} simulated seconds a second\n")
    together, again = measure(32)
    alone, again_alone = measure(1)
    for what, first, second in (("in parallel", together, again), ("one by one", alone, again_alone)):
        minutes = first * SCALE / 60
        sys.stdout.write(f"{what:<12} up {first:5.1f} s ({minutes:4.1f} simulated min), again {second:4.1f} s\n")
    sys.stdout.write(f"{'ratio':<12} up {alone / together:5.1f}, again {again_alone / again:4.1f}\n")


if __name__ == "__main__":
    main()
