"""`python -m crdbmesh_simulator`: serve a simulated world until stopped.

Prints its coordinates as one JSON object, a line, so that any client can be pointed at it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from crdbmesh_simulator import faults
from crdbmesh_simulator.server import Simulator

_FAULTS = "what goes wrong: 'transient', or rates 0..1 such as arm.throttled=0.2,kube.conflict@westus=0.1, or both"


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m crdbmesh_simulator", description=__doc__)
    parser.add_argument("--scale", type=float, default=60.0, help="simulated seconds per real second")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is left to chance")
    parser.add_argument("--attached", action="store_true", help="also stop when standard input ends")
    parser.add_argument("--folder", type=Path, help="where the CA and cloud files go; a temporary one when left out")
    parser.add_argument("--faults", type=_rates, metavar="SPEC", help=_FAULTS)
    arguments = parser.parse_args()
    if arguments.scale <= 0:
        parser.error("argument --scale: must be above 0")
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    if arguments.attached:
        threading.Thread(target=_stop_when_input_ends, args=(stop,), name="attached", daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="crdbmesh-") as scratch:
        folder = arguments.folder or Path(scratch)
        try:
            simulator = Simulator(folder, scale=arguments.scale, seed=arguments.seed, faults=arguments.faults)
            simulator.start()
        except OSError as error:
            sys.stderr.write(f"cannot serve: {error}\n")
            return 1
        try:
            sys.stdout.write(f"{json.dumps(simulator.coordinates())}\n")
            sys.stdout.flush()
            stop.wait()
        finally:
            simulator.stop()
    return 0


def _rates(text: str) -> dict[str, float]:
    try:
        return faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _stop_when_input_ends(stop: threading.Event) -> None:
    # Not sys.stdin: a thread that waits in its buffer would hold the buffer's lock when the interpreter ends.
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    raise SystemExit(main())
