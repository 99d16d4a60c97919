"""What one seed does: a world that misbehaves, `up` that is killed and goes on, damage from outside, then `down`."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests import doors
from tests.soak import commands, damage, pictures

NAME = "soak"
RUN_DEADLINE_S = 150.0
MOST_RUNS = 12
PATIENCE = 0.08
"""Of the spec: deadlines are for minutes of the real world, and this one is a few hundred times as fast."""

SHAPES: tuple[tuple[tuple[str, ...], int, int], ...] = (
    (("eastus",), 1, 30),
    (("eastus", "westus"), 1, 40),
    (("eastus",), 3, 15),
    (("eastus", "westus", "northeurope"), 1, 10),
    (("eastus", "westus"), 3, 5),
)
"""Regions, machines in each, and how often, in percent."""

TRANSIENT = (
    "arm.throttled",
    "arm.another_operation",
    "arm.not_provisioned",
    "arm.server_error",
    "arm.unavailable",
    "arm.reset",
    "arm.slow",
    "arm.late_read",
    "arm.network_operation_failed",
    "ssh.refused",
    "ssh.reset",
    "kube.throttled",
    "kube.server_error",
    "kube.unavailable",
    "kube.reset",
    "kube.watch_dropped",
    "kube.gone",
    "kube.conflict",
    "kube.exec_broken",
    "k3s.learners",
)
RARE = ("arm.allocation_failed", "arm.zonal_allocation_failed", "arm.sku_not_available", "arm.quota", "ssh.reboot")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a mesh is laid out."""

    regions: tuple[str, ...]
    machines: int

    @property
    def text(self) -> str:
        """For people."""
        return f"{len(self.regions)}x{self.machines}"


@dataclass(slots=True)
class Outcome:
    """How a seed ended."""

    seed: int
    shape: str
    converged: bool = False
    leaked: int = 0
    split: bool = False
    tracebacks: int = 0
    ups: int = 0
    downs: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is to be said against it."""
        return self.converged and not (self.leaked or self.split or self.tracebacks)


def shape_of(seed: int) -> Shape:
    """How the mesh of a seed is laid out."""
    chosen = random.Random(f"shape {seed}").choices(SHAPES, weights=[shape[2] for shape in SHAPES])[0]
    return Shape(chosen[0], chosen[1])


def undisturbed(shape: Shape, *, scale: float) -> tuple[dict[str, Any], float]:
    """The picture of a world that nobody disturbed, and how long its `up` took, in seconds.

    Raises:
        RuntimeError: even that did not come up.
    """
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch)
        with doors.simulated(folder, scale=scale, seed=0) as coordinates:
            trial = _Trial(folder, coordinates, shape)
            ended = trial.run("up", "--config", str(trial.spec()), "--yes")
            if ended.code != 0:
                raise RuntimeError(f"{shape.text} does not come up undisturbed: {ended.printed[-3000:]}")
            return pictures.take(trial.doors, list(shape.regions)), ended.seconds


def run(seed: int, *, scale: float, wanted: dict[str, Any], usual_s: float) -> Outcome:
    """Do what the seed says, and judge.

    Args:
        seed: of everything that is left to chance, here and in the world.
        scale: simulated seconds per real second.
        wanted: the picture of an undisturbed world of this shape.
        usual_s: how long an undisturbed `up` takes, in seconds.
    """
    shape = shape_of(seed)
    outcome, started = Outcome(seed, shape.text), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch)
        with doors.simulated(folder, scale=scale, seed=seed) as coordinates:
            trial = _Trial(folder, coordinates, shape)
            try:
                _up(trial, outcome, random.Random(f"up {seed}"), wanted, usual_s)
                _down(trial, outcome, random.Random(f"down {seed}"), usual_s)
            except Exception as error:  # noqa: BLE001 - one seed's trouble is a line in the report
                outcome.converged = False
                outcome.notes.append(f"{type(error).__name__}: {error}")
            outcome.tracebacks += trial.tracebacks
            outcome.notes += trial.notes
        if "Traceback" in (log := (folder / "simulator.log").read_text()):
            outcome.notes.append(f"the simulator stumbled: {log[-1500:]}")
            outcome.converged = False
    outcome.seconds = time.monotonic() - started
    return outcome


class _Trial:
    """A world, a local folder, and the commands that run on them."""

    def __init__(self, folder: Path, coordinates: dict[str, Any], shape: Shape) -> None:
        self.folder = folder
        self.shape = shape
        self.home = folder / "home"
        self.doors = doors.Doors(coordinates, self.home / NAME)
        self.tracebacks = 0
        self.notes: list[str] = []
        self._environment = {"CRDBMESH_HOME": str(self.home), "CRDBMESH_CLOUD": coordinates["cloud_file"]}

    def spec(self) -> Path:
        """The mesh's spec, as a file."""
        document = {
            "name": NAME,
            "regions": [*self.shape.regions],
            "machines": {"per_region": self.shape.machines},
            "allow_from": ["127.0.0.1"],
            "patience": PATIENCE,
        }
        path = self.folder / "mesh.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def run(
        self, *arguments: str, end_after_s: float | None = None, end_by: signal.Signals = signal.SIGKILL
    ) -> commands.Ended:
        """Run a command line, and look at what it printed."""
        ended = commands.run(
            [*arguments, "--output", "json"],
            self._environment,
            self.folder,
            deadline_s=RUN_DEADLINE_S,
            end_after_s=end_after_s,
            end_by=end_by,
        )
        steps = ended.document.get("steps") or []
        bugs = [str(step["detail"]) for step in steps if "unexpected " in str(step.get("detail"))]
        bugs += [line for line in ended.printed.splitlines() if "unexpected " in line or "Traceback" in line]
        if bugs:
            self.tracebacks += 1
            self.notes.append(f"{arguments[0]}: {bugs[0]} … {ended.printed[-800:]}")
        if ended.seconds >= RUN_DEADLINE_S:
            self.notes.append(f"{arguments[0]} hung: {ended.printed[-1500:]}")
        return ended


def _up(trial: _Trial, outcome: Outcome, chance: random.Random, wanted: dict[str, Any], usual_s: float) -> None:
    """`up` until it holds, however often it takes, then a look at the world."""
    regions = [*trial.shape.regions]
    spec = str(trial.spec())
    trial.doors.misbehave(_rates(chance))
    kills = chance.choice((0, 1, 1, 2, 3))
    hurts = chance.choice((0, 1, 1, 2))
    last = ""
    while outcome.ups < MOST_RUNS:
        outcome.ups += 1
        if kills:
            kills -= 1
            outcome.kills += 1
            by = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))
            ended = trial.run(
                "up", "--config", spec, "--yes", "--prune-rules", end_after_s=chance.uniform(0.05, usual_s), end_by=by
            )
        else:
            ended = trial.run("up", "--config", spec, "--yes", "--prune-rules")
        last = _said(ended)
        if hurts and (ended.code == 0 or chance.random() < 0.5):
            hurts -= 1
            name = chance.choice([*damage.EVERY])
            damage.EVERY[name](trial.doors, chance, regions)
            outcome.notes.append(name)
            continue
        if ended.code == 0:
            break
        if outcome.ups == MOST_RUNS - 2:
            trial.doors.misbehave({})
    trial.doors.misbehave({})
    again = trial.run("up", "--config", spec, "--yes", "--prune-rules")
    status = trial.run("status", NAME)
    found = status.document.get("figures") or {}
    outcome.split = len(status.document.get("cluster_ids") or []) > 1
    unlike = pictures.differences(wanted, pictures.take(trial.doors, regions)) if again.code == 0 else []
    changed = again.document.get("changed")
    outcome.converged = again.code == 0 and status.code == 0 and not unlike and changed == 0
    if not outcome.converged:
        outcome.notes.append(f"last up before: {last}")
        outcome.notes.append(f"up again: {_said(again)}; changed={changed}; status: {status.code} {found}")
        outcome.notes += unlike[:12]
    if unknown := trial.doors.report()["unknown"]:
        outcome.notes.append(f"unknown to the world: {unknown[:3]}")
        outcome.converged = False


def _down(trial: _Trial, outcome: Outcome, chance: random.Random, usual_s: float) -> None:
    """`down` until it says that all is gone, then a look at what is left."""
    trial.doors.misbehave({name: rate for name, rate in _rates(chance).items() if name.startswith("arm.")})
    kills = chance.choice((0, 1, 2))
    last = ""
    while outcome.downs < MOST_RUNS:
        outcome.downs += 1
        if kills:
            kills -= 1
            outcome.kills += 1
            by = chance.choice((signal.SIGKILL, signal.SIGINT))
            ended = trial.run("down", NAME, "--yes", end_after_s=chance.uniform(0.05, usual_s / 3), end_by=by)
        else:
            ended = trial.run("down", NAME, "--yes")
        last = _said(ended)
        if ended.code == 0:
            break
    trial.doors.misbehave({})
    report = trial.doors.report()
    outcome.faults.update(report["faults"])
    outcome.leaked = int(report["resources"]) + int(report["machines"])
    if outcome.leaked:
        outcome.notes.append(f"left: {report['resources']} resources, {report['machines']} machines; {last}")
    if last != "0" or (trial.home / NAME).exists():
        outcome.converged = False
        outcome.notes.append(f"down ended with {last}; folder there: {(trial.home / NAME).exists()}")


def _rates(chance: random.Random) -> dict[str, float]:
    """How this seed's world misbehaves: half of the faults, each by a rate of its own."""
    rates = {name: round(chance.uniform(0.005, 0.06), 4) for name in TRANSIENT if chance.random() < 0.5}
    rates |= {name: round(chance.uniform(0.01, 0.15), 4) for name in RARE if chance.random() < 0.25}
    return rates


def _said(ended: commands.Ended) -> str:
    """How a run ended, in a line."""
    if ended.code == 0:
        return "0"
    steps = ended.document.get("steps") or []
    failed = [f"{step['step']}: {step['detail']}" for step in steps if step["outcome"] == "failed"]
    error = (ended.document.get("error") or {}).get("message", "")
    return f"{ended.code} after {ended.seconds:.0f} s: {'; '.join(failed)[:900] or error or ended.printed[-300:]}"
