"""`make bench`: how much `up` gains by doing at once what does not depend on each other.

Two simulated worlds at the same pace; in one the steps run in parallel, in the other one after the other, which is the
order in which people type the manual recipe. The simulated time is the world's own, see its clock.

`make bench-load`: how much the simulated time of an `up` changes with what else the computer does, and with the pace of
the world. It prints the median of several runs, and how far it is from that of an idle computer at the usual pace.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crdbmesh.commands import demo
from crdbmesh.engine import plan, run
from crdbmesh.local.folder import LocalFolder
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh.steps import catalog

REGIONS = ["eastus", "westus", "northeurope"]
LOOPS = 4


@dataclass(frozen=True, slots=True)
class Taken:
    """How long a run took, in real seconds and in the world's."""

    real_s: float
    simulated_s: float


def measure(*, workers: int = 32, scale: float = demo.SCALE, runs: int = 1) -> list[Taken]:
    """Measure a first `up` in a new world, and as many more as asked for, which find everything held."""
    with tempfile.TemporaryDirectory() as folder, demo.serve(scale=scale, seed=1) as world:
        cloud = world.cloud()
        spec = {"regions": REGIONS, "allow_from": ["127.0.0.1"], "ssh": {"port": cloud.ssh_port}}
        taken = []
        for _ in range(runs):
            with World.open(config.mesh(spec), cloud, LocalFolder(Path(folder) / "bench")) as run_world:
                started, before = time.monotonic(), world.report()["now"]
                steps = plan.order(catalog.steps(run_world))
                results = run.run(steps, workers=workers, notify=lambda _event: None, pause=run_world.clock.wait)
                taken.append(Taken(time.monotonic() - started, world.report()["now"] - before))
            failed = [result for result in results.values() if not result.outcome.good]
            if failed:
                sys.exit(f"{failed[0].step}: {failed[0].detail}")
        return taken


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep the computer busy with so many processes that do nothing else."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def gain() -> None:
    """Print a row for each way, and the ratio."""
    sys.stdout.write(f"three regions of three machines, {demo.SCALE:.0f} simulated seconds a second\n")
    together, again = measure(runs=2)
    alone, again_alone = measure(workers=1, runs=2)
    for what, first, second in (("in parallel", together, again), ("one by one", alone, again_alone)):
        sys.stdout.write(
            f"{what:<12} up {first.simulated_s:5.0f} simulated s ({first.real_s:4.1f} s),"
            f" again {second.simulated_s:4.0f} ({second.real_s:4.1f} s)\n"
        )
    ratio, again_ratio = alone.simulated_s / together.simulated_s, again_alone.simulated_s / again.simulated_s
    sys.stdout.write(f"{'ratio':<12} up {ratio:5.1f}, again {again_ratio:4.1f}\n")


def load(times: int) -> None:
    """Print a row for each load and pace."""
    usual = 0.0
    for what, loops, scale in (
        ("idle", 0, demo.SCALE),
        (f"{LOOPS} busy loops", LOOPS, demo.SCALE),
        ("half pace", 0, demo.SCALE / 2),
        ("double pace", 0, demo.SCALE * 2),
    ):
        with busy_loops(loops):
            taken = [measure(scale=scale)[0] for _ in range(times)]
        median_s = statistics.median(one.simulated_s for one in taken)
        usual = usual or median_s
        real_s = statistics.median(one.real_s for one in taken)
        change = (median_s / usual - 1) * 100
        sys.stdout.write(f"{what:<12} up {median_s:5.0f} simulated s ({change:+5.1f} %), {real_s:5.1f} s\n")
        sys.stdout.flush()


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", action="store_true", help="compare loads and paces")
    parser.add_argument("--times", type=int, default=5, help="runs at each load and pace (default 5)")
    options = parser.parse_args()
    if options.load:
        load(options.times)
    else:
        gain()


if __name__ == "__main__":
    main()
