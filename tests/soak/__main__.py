"""`make soak`: seeds of faults, kills and damage, and what became of each mesh.

Every seed has a simulated world of its own that misbehaves at every door. `up` runs in it, is killed at random
moments, finds damage, and is run again until it holds; then the world must look like one that nobody disturbed. `down`,
disturbed and killed as well, must leave nothing. Exits with 1 when a seed did not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, NoReturn

from tests.soak import crowded, seeds


def main() -> None:
    """Run the seeds and print a line for each that did not end well, then the sum."""
    options = _options()
    if options.world:
        _world(options)
    chosen = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    started = time.monotonic()
    fork = multiprocessing.get_context("fork")
    outcomes: list[seeds.Outcome] = []
    with ProcessPoolExecutor(options.jobs, mp_context=fork) as pool:
        shapes = {seeds.shape_of(seed) for seed in chosen}
        wanted: dict[seeds.Shape, tuple[dict[str, Any], float]] = {}
        for shape, begun in {
            shape: pool.submit(seeds.undisturbed, shape, scale=options.scale) for shape in shapes
        }.items():
            wanted[shape] = begun.result()
        running = []
        for seed in chosen:
            picture, usual_s = wanted[seeds.shape_of(seed)]
            running.append(pool.submit(seeds.run, seed, scale=options.scale, wanted=picture, usual_s=usual_s))
        for future in as_completed(running):
            outcomes.append(future.result())
            _tell(outcomes[-1], verbose=options.verbose or options.seed is not None)
    sys.stdout.write(f"{_sum(outcomes)}\n")
    sys.stderr.write(
        f"{sum(one.ups for one in outcomes)} ups, {sum(one.downs for one in outcomes)} downs, "
        f"{sum(one.kills for one in outcomes)} of them killed or interrupted, in {time.monotonic() - started:.0f} s\n"
    )
    happened = sum((one.faults for one in outcomes), Counter())
    sys.stderr.write(f"faults: {', '.join(f'{name} {count}' for name, count in sorted(happened.items()))}\n")
    sys.exit(0 if all(one.good for one in outcomes) else 1)


def _world(options: argparse.Namespace) -> NoReturn:
    """Run the seeds in which other people live beside the mesh."""
    chosen = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    outcomes: list[crowded.Outcome] = []
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        for future in as_completed([pool.submit(crowded.run, seed, scale=options.scale) for seed in chosen]):
            outcomes.append(one := future.result())
            if not one.good or options.verbose or options.seed is not None:
                notes = "".join(f"\n    {note}" for note in one.notes)
                verdict = "good" if one.good else "BAD"
                sys.stderr.write(f"seed {one.seed}: {verdict}, {one.runs} runs, {one.seconds:.0f} s{notes}\n")
                sys.stderr.flush()
    sys.stdout.write(
        f"world: seeds={len(outcomes)} converged={sum(one.converged for one in outcomes)} "
        f"foreign_lost={sum(one.foreign_lost for one in outcomes)} "
        f"secrets_lost={sum(one.secrets_lost for one in outcomes)} "
        f"wrong_world_writes={sum(one.wrong_writes for one in outcomes)}\n"
    )
    sys.exit(0 if all(one.good for one in outcomes) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default 1)")
    parser.add_argument("--seed", type=int, help="just this one, told in full")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="how many at once (default: cores)")
    parser.add_argument("--scale", type=float, default=300, help="simulated seconds per real second (default 300)")
    parser.add_argument("--world", action="store_true", help="other people live beside the mesh, instead of faults")
    parser.add_argument("--verbose", action="store_true", help="tell of every seed")
    return parser.parse_args()


def _tell(outcome: seeds.Outcome, *, verbose: bool) -> None:
    if outcome.good and not verbose:
        return
    sys.stderr.write(
        f"seed {outcome.seed} ({outcome.shape}): {'good' if outcome.good else 'BAD'}, {outcome.ups} ups, "
        f"{outcome.downs} downs, {outcome.kills} killed, {outcome.seconds:.0f} s\n"
    )
    for note in outcome.notes:
        sys.stderr.write(f"    {note}\n")
    sys.stderr.flush()


def _sum(outcomes: list[seeds.Outcome]) -> str:
    return (
        f"seeds={len(outcomes)} converged={sum(one.converged for one in outcomes)} "
        f"leaked={sum(one.leaked for one in outcomes)} split={sum(one.split for one in outcomes)} "
        f"tracebacks={sum(one.tracebacks for one in outcomes)}"
    )


if __name__ == "__main__":
    main()
