"""What a seed of `world` does: a mesh among other people, and commands that are aimed at another subscription."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests import doors
from tests.soak import commands, people

NAME = "soak"
RUN_DEADLINE_S = 150.0
MOST_RUNS = 12
PATIENCE = 0.08
SHAPES = ((("eastus",), 70), (("eastus", "westus"), 30))
"""Regions, and how often, in percent; each has one machine."""


@dataclass(slots=True)
class Outcome:
    """How a seed ended.

    Attributes:
        foreign_lost: things of other people that are gone or changed.
        secrets_lost: secrets of a mesh that exists which are gone or changed.
        wrong_writes: writes in a subscription in which the mesh is not.
    """

    seed: int
    converged: bool = False
    foreign_lost: int = 0
    secrets_lost: int = 0
    wrong_writes: int = 0
    runs: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is to be said against it."""
        return self.converged and not (self.foreign_lost or self.secrets_lost or self.wrong_writes)


def run(seed: int, *, scale: float) -> Outcome:
    """Do what the seed says, at `scale` simulated seconds per real second, and judge."""
    outcome, started = Outcome(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        here, elsewhere = Path(scratch, "here"), Path(scratch, "elsewhere")
        here.mkdir()
        elsewhere.mkdir()
        with (
            doors.simulated(here, scale=scale, seed=seed) as coordinates,
            doors.simulated(elsewhere, scale=scale, seed=seed + 10**6) as other,
        ):
            trial = _Trial(here, coordinates, other, outcome, random.Random(f"world {seed}"))
            try:
                outcome.converged = trial.live() and trial.die()
            except Exception as error:  # noqa: BLE001 - one seed's trouble is a line in the report
                outcome.converged = False
                outcome.notes.append(f"{type(error).__name__}: {error}")
    outcome.seconds = time.monotonic() - started
    return outcome


class _Trial:
    """A world with other people in it, another subscription, and one or two operators."""

    def __init__(
        self,
        folder: Path,
        coordinates: dict[str, Any],
        other: dict[str, Any],
        outcome: Outcome,
        chance: random.Random,
    ) -> None:
        self.folder, self.outcome, self.chance = folder, outcome, chance
        self.home = folder / "home"
        self.clouds = {"here": coordinates["cloud_file"], "elsewhere": other["cloud_file"]}
        self.elsewhere = doors.Doors(other, self.home / NAME)
        self.regions = list(chance.choices([shape[0] for shape in SHAPES], [shape[1] for shape in SHAPES])[0])
        shared = chance.random() < 0.3
        self.group = "databases" if shared else NAME
        self.people = people.People(doors.Doors(coordinates, self.home / NAME), self.group, NAME, self.regions)
        self.people.settle()
        if shared:
            self.people.doors.arm("PUT", f"/resourcegroups/{self.group}", {"location": "eastus"})
            theirs = {"properties": {"addressSpace": {"addressPrefixes": ["172.29.0.0/16"]}}}
            self.people.have(self.group, "Microsoft.Network/virtualNetworks/neighbour", theirs)
        document = {
            "name": NAME,
            "regions": self.regions,
            "machines": {"per_region": 1},
            "allow_from": ["127.0.0.1"],
            "patience": PATIENCE,
            **({"group": self.group} if shared else {}),
        }
        self.spec = folder / "mesh.yaml"
        self.spec.write_text(yaml.safe_dump(document))
        self.up = ("up", "--config", str(self.spec), "--yes")
        self.down = ("down", NAME, "--yes")

    def live(self) -> bool:
        """`up`, other people, `up` again, now and then killed or aimed elsewhere, until nothing is left to do."""
        self._until(self.up)
        acts = self.chance.sample([*people.EVERY], k=self.chance.choice((2, 3, 4, 5)))
        for act in acts:
            self.outcome.notes.append(act)
            people.EVERY[act](self.people, self.chance)
            what = self.chance.random()
            if what < 0.25:
                self._aim_elsewhere()
            elif what < 0.5:
                self._run(self.up, end_after_s=self.chance.uniform(0.1, 3))
            elif what < 0.6:
                self._second_operator()
        self._until(self.up)
        again = self._run(self.up)
        status = self._run(("status", NAME))
        if again.code != 0 or again.document.get("changed") != 0 or status.code != 0:
            self.outcome.notes.append(f"up again: {_said(again)}; status {status.code}: {status.printed[-600:]}")
            return False
        return True

    def die(self) -> bool:
        """`down`, now and then aimed elsewhere or killed, until nothing of the mesh is left, and all of the others."""
        if self.chance.random() < 0.5:
            self._aim_elsewhere()
        if self.people.in_the_way is not None:
            blocked = self._run(self.down)
            if blocked.code == 0 or "networkInterfaces/theirs" not in blocked.printed:
                self.outcome.notes.append(f"down does not name what is in its way: {blocked.printed[-1500:]}")
                return False
            people.make_way(self.people)
        if self.chance.random() < 0.5:
            self._run(self.down, end_after_s=self.chance.uniform(0.1, 2))
        before = self._secrets()
        self._until(self.down, dying=True)
        aside = {hashlib.sha256(file.read_bytes()).hexdigest() for file in self.home.rglob("*") if file.is_file()}
        self._lose_secrets([name for name, digest in before.items() if digest not in aside])
        left = [
            resource["id"]
            for group in self.people.doors.arm("GET", "/resourcegroups")[1]["value"]
            for resource in self.people.doors.arm("GET", f"/resourceGroups/{group['name']}/resources")[1]["value"]
            if resource["name"].startswith(f"{NAME}-")
        ]
        if left:
            self.outcome.notes.append(f"left: {left[:5]}")
        return not left

    def _until(self, command: tuple[str, ...], *, dying: bool = False) -> None:
        """Run a command until it succeeds."""
        breaks: tuple[str, ...] = ()
        for _ in range(MOST_RUNS):
            if (ended := self._run((*command, *breaks), dying=dying)).code == 0:
                return
            # Of an operator who was killed elsewhere; nobody waits until it runs out.
            lease = re.search(r"--break-lease (\w+)", ended.printed)
            breaks = ("--break-lease", lease[1]) if lease else ()
        raise RuntimeError(f"{command[0]} does not end well: {_said(ended)}")

    def _run(
        self,
        arguments: tuple[str, ...],
        *,
        at: str = "here",
        home: Path | None = None,
        end_after_s: float | None = None,
        dying: bool = False,
    ) -> commands.Ended:
        """Run a command, killed after a while if so asked, and see whether anything of other people is lost."""
        self.outcome.runs += 1
        before = self._secrets()
        environment = {"CRDBMESH_HOME": str(home or self.home), "CRDBMESH_CLOUD": self.clouds[at]}
        ended = commands.run(
            [*arguments, "--output", "json"],
            environment,
            self.folder,
            deadline_s=RUN_DEADLINE_S,
            end_after_s=end_after_s,
            end_by=self.chance.choice((signal.SIGKILL, signal.SIGINT)),
        )
        if "Traceback" in ended.printed:
            self.outcome.notes.append(f"{arguments[0]}: {ended.printed[-1500:]}")
            raise RuntimeError("a traceback")
        gone = dying or arguments[0] == "down"
        lost = self.people.lost(after_down=gone)
        if lost:
            self.outcome.foreign_lost += len(lost)
            self.outcome.notes += [f"{arguments[0]} lost {one}" for one in lost]
            self.people.things = [thing for thing in self.people.things if thing.own]
        if gone:
            self.people.things = [thing for thing in self.people.things if thing.own]
        else:
            after = self._secrets()
            self._lose_secrets([name for name, digest in before.items() if after.get(name) != digest])
        return ended

    def _aim_elsewhere(self) -> None:
        """Run a command with another subscription selected: it refuses, and writes nothing there."""
        command = self.chance.choice([self.up, self.down, ("status", NAME), ("plan", "--config", str(self.spec))])
        writes = sum(self.elsewhere.report()["writes"].values())
        before = self._secrets()
        ended = self._run(command, at="elsewhere")
        self.outcome.wrong_writes += sum(self.elsewhere.report()["writes"].values()) - writes
        after = self._secrets()
        self._lose_secrets([name for name, digest in before.items() if after.get(name) != digest])
        if ended.code != 3:
            self.outcome.notes.append(f"{command[0]} elsewhere ended with {_said(ended)}")
            raise RuntimeError("a command that was aimed elsewhere was not refused")

    def _second_operator(self) -> None:
        """Let somebody else with a copy of the local folder run `up`."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.home, copy, symlinks=True)
        self._run(self.up, home=copy, end_after_s=self.chance.choice((None, 1.0)))

    def _secrets(self) -> dict[str, str]:
        """The digest of every secret of the mesh, by its file."""
        folder = self.home / NAME
        return {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file() and (file.name == "login.key" or file.parent.name in {"ca", "tokens", "host-keys"})
        }

    def _lose_secrets(self, names: list[str]) -> None:
        self.outcome.secrets_lost += len(names)
        self.outcome.notes += [f"the secret {name} is lost" for name in names]


def _said(ended: commands.Ended) -> str:
    steps = ended.document.get("steps") or []
    failed = [f"{step['step']}: {step['detail']}" for step in steps if step["outcome"] == "failed"]
    error = (ended.document.get("error") or {}).get("message", "")
    return f"{ended.code} after {ended.seconds:.0f} s: {'; '.join(failed)[:900] or error or ended.printed[-600:]}"
