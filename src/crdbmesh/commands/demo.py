"""`crdbmesh demo`: up, status, up again and down, in a simulated world, through the same functions as the commands."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import down, status, up
from crdbmesh.engine.step import Outcome
from crdbmesh.errors import CrdbmeshError
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe.health import Health
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh

NAME = "demo"
REGIONS = ("eastus", "westus", "northeurope")
SCALE = 60.0
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0
_WORLD = "simulated-world"
"""File in the local folder of a mesh that is in a simulated world: where that world's cloud file is."""

Tell = Callable[[str], None]


class DemoError(CrdbmeshError):
    """The demo did not show what it claims."""


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    """A simulated world in a process of its own."""

    coordinates: dict[str, Any]
    process: subprocess.Popen[str]

    @property
    def cloud_file(self) -> Path:
        """What `CRDBMESH_CLOUD` names."""
        return Path(self.coordinates["cloud_file"])

    def cloud(self) -> clouds.Cloud:
        """Where its Azure is."""
        return clouds.read_file(self.cloud_file)

    def report(self) -> dict[str, Any]:
        """What was asked of it so far, and what exists in it."""
        request = urllib.request.Request(  # noqa: S310 - an https address of our own
            self.coordinates["report_url"], headers={"Authorization": f"Bearer {self.coordinates['token']}"}
        )
        trust = ssl.create_default_context(cafile=self.coordinates["ca_file"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(request, timeout=30) as answer:
            report: dict[str, Any] = json.load(answer)
        return report

    def writes(self) -> int:
        """How many writes its doors have counted."""
        return sum(self.report()["writes"].values())


@contextlib.contextmanager
def serve(*, scale: float = SCALE, seed: int = 0) -> Iterator[SimulatedWorld]:
    """A world, until the block ends, or this process does in whatever way: the world holds on to our pipe.

    Raises:
        DemoError: it does not start.
    """
    options = ["--attached", "--scale", str(scale), "--seed", str(seed)]
    command = [sys.executable, "-m", "crdbmesh_simulator", *options]
    # A session of its own: Ctrl-C at the terminal is for us, and we stop it.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        watchdog = threading.Timer(_START_DEADLINE_S, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            watchdog.cancel()
            if not line:
                raise DemoError(
                    "the simulated world did not start",
                    hint="its own message is above; it needs Linux's loopback addresses 127.x.y.z",
                )
            yield SimulatedWorld(json.loads(line), process)
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo saw, each figure read from the world at its moment."""

    figures: dict[str, int]
    changed_again: int
    writes_again: int
    left: int
    unknown: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether the second `up` did nothing, `down` left nothing, and the world understood all that was asked."""
        return not (self.changed_again or self.writes_again or self.left or self.unknown)

    def title(self) -> str:
        """What it was all about."""
        regions = self.figures["regions"]
        return f"{regions} region{'' if regions == 1 else 's'}, all simulated on this machine"

    def lines(self) -> list[tuple[int, str]]:
        """Each figure and what it counts."""
        pairs = self.figures["regions"] * (self.figures["regions"] - 1)
        return [
            (self.figures["machines"], "machines running"),
            (self.figures["peerings_connected"], f"of {pairs} VNet peerings connected"),
            (self.figures["nodes_ready"], "Kubernetes nodes ready"),
            (self.figures["clustermesh_links_ready"], f"of {pairs} clustermesh links ready"),
            (self.figures["zones_resolved"], f"of {pairs} zones resolved from another cluster"),
            (self.figures["cockroach_nodes_live"], "CockroachDB nodes live"),
            (self.figures["cluster_ids"], "CockroachDB cluster id"),
            (self.changed_again, "steps changed anything in the second up"),
            (self.writes_again, "writes in the second up"),
            (self.left, "resources left after down"),
            (self.unknown, "requests that the simulated world did not understand"),
        ]

    def document(self) -> dict[str, Any]:
        """The result as `--output json` prints it."""
        return {
            "schema": 1,
            "simulated": True,
            **self.figures,
            "second_up": {"changed": self.changed_again, "writes": self.writes_again},
            "left_after_down": self.left,
            "unknown_requests": self.unknown,
        }


def spec(regions: list[str], machines: int, *, name: str = NAME, ssh_port: int = 22) -> Mesh:
    """The spec of the demo's mesh.

    Raises:
        ConfigError: with every mistake.
    """
    return config.mesh(
        {"name": name, "regions": regions, "machines": {"per_region": machines}, "ssh": {"port": ssh_port}}
    )


def run_demo(
    regions: list[str],
    machines: int,
    *,
    seed: int,
    tell: Tell,
    watch: up.Watch,
    show: Callable[[Health], None],
    stop: threading.Event,
    scale: float = SCALE,
) -> DemoResult:
    """The whole demo.

    Args:
        regions: names of Azure regions.
        machines: in each region.
        seed: of the simulated world's chance.
        tell: told what comes next, and, indented, how it went.
        watch: shows each run.
        show: shows the mesh's health.
        stop: once set, nothing new is started.
        scale: simulated seconds per real second.

    Raises:
        DemoError: something did not hold.
        KeyboardInterrupt: `stop` was set.
    """
    started = time.monotonic()
    tell("Starting a simulated Azure on this machine: nothing is sent anywhere, nothing costs anything.")
    with serve(scale=scale, seed=seed) as world:
        cloud = world.cloud()
        mesh = up.with_caller(spec(regions, machines, ssh_port=cloud.ssh_port), cloud)
        # Inside the world's own folder, which goes with the world however this ends.
        folder = LocalFolder(world.cloud_file.parent / "home" / mesh.name)
        tell(f"up (simulated): {', '.join(regions)}; {machines} machine{'s' if machines != 1 else ''} each")
        first = up.run_up(mesh, cloud, folder, watch=watch, stop=stop)
        _must(first, "up")
        tell(_summary(first))
        tell("status (simulated)")
        health = status.run_status(mesh, cloud, folder)
        show(health)
        tell("up again (simulated): it must change nothing")
        before = world.writes()
        again = up.run_up(mesh, cloud, folder, watch=watch, stop=stop)
        _must(again, "the second up")
        writes = world.writes() - before
        tell(f"{_summary(again)}; {writes} writes seen at the world's doors")
        tell("down (simulated)")
        with watch([]) as notify:
            ended = down.run_down(mesh.name, cloud, folder, notify=notify, stop=stop)
        report = world.report()
    for unknown in report["unknown"]:
        tell(f"the simulated world did not understand ({unknown['door']}): {unknown['what']}")
    if ended.stopped:
        raise KeyboardInterrupt
    if not ended.done:
        raise DemoError(f"down left {', '.join(ended.left) or _failures(ended.results)}")
    return DemoResult(
        figures=_figures(health),
        changed_again=again.count(Outcome.CHANGED),
        writes_again=writes,
        left=int(report["resources"]),
        unknown=len(report["unknown"]),
        seconds=time.monotonic() - started,
    )


def keep(
    regions: list[str],
    machines: int,
    *,
    name: str,
    seed: int,
    tell: Tell,
    watch: up.Watch,
    ready: Callable[[SimulatedWorld], None],
    stop: threading.Event,
    root: Path,
) -> None:
    """Bring a mesh up, say that it is ready, and serve its world until `stop` is set.

    Its local folder is where every other command looks for it, so these work from another terminal.

    Args:
        regions: names of Azure regions.
        machines: in each region.
        name: of the mesh.
        seed: of the simulated world's chance.
        tell: told what comes next.
        watch: shows the run.
        ready: called once the mesh is up.
        stop: ends it once set.
        root: where all meshes' local folders are.

    Raises:
        DemoError: it did not come up, or a mesh of that name is known already.
        KeyboardInterrupt: `stop` was set before it was up.
    """
    folder = LocalFolder(root / name)
    _forget_dead_world(folder)
    if folder.path.exists():
        hint = "choose another with --name, or remove that one with `crdbmesh down`"
        raise DemoError(f"a mesh called {name} is known already, in {folder.path}", hint=hint)
    tell("Starting a simulated Azure on this machine: nothing is sent anywhere, nothing costs anything.")
    with serve(seed=seed) as world:
        cloud = world.cloud()
        mesh = up.with_caller(spec(regions, machines, name=name, ssh_port=cloud.ssh_port), cloud)
        try:
            folder.write(_WORLD, str(world.cloud_file))
            tell(f"up (simulated): {', '.join(regions)}; {machines} machine{'s' if machines != 1 else ''} each")
            ended = up.run_up(mesh, cloud, folder, watch=watch, stop=stop)
            _must(ended, "up")
            tell(_summary(ended))
            ready(world)
            while not stop.wait(0.5) and world.process.poll() is None:
                pass
            if world.process.poll() is not None:
                raise DemoError("the simulated world ended by itself")
            tell(f"Stopping the simulated world; {world.report()['resources']} simulated resources go with it.")
        finally:
            folder.remove()


def _forget_dead_world(folder: LocalFolder) -> None:
    """Remove what a demo that was killed left behind: the folder of a mesh whose world is gone."""
    cloud_file = folder.read(_WORLD)
    if cloud_file is not None and not Path(cloud_file).exists():
        folder.remove()


def _summary(ended: up.UpResult) -> str:
    """What a run did, indented below its title."""
    changed, held = ended.count(Outcome.CHANGED), ended.count(Outcome.HELD)
    return f"  {changed} steps changed something, {held} held already"


def _must(result: up.UpResult, what: str) -> None:
    if result.done:
        return
    if result.stopped:
        raise KeyboardInterrupt
    failed = next(one for one in result.results.values() if one.outcome is Outcome.FAILED)
    raise DemoError(f"{what} failed: {failed.step}: {failed.detail}", hint=failed.hint)


def _failures(results: dict[str, Any]) -> str:
    return "; ".join(f"{one.step}: {one.detail}" for one in results.values() if one.outcome is Outcome.FAILED)


def _figures(health: Health) -> dict[str, int]:
    causes = [
        f"{region.region}: {layer.name}: {layer.cause}"
        for region in health.regions
        for layer in region.layers
        if layer.cause
    ]
    if causes:
        raise DemoError(f"status: {'; '.join(causes)}")
    return health.figures()
