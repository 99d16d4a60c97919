"""`crdbmesh demo`: up, status, up again and down, in a simulated world, through the same functions as the commands."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crdbmesh import home as homes
from crdbmesh.clients import cloud as clouds
from crdbmesh.commands import down, status, up
from crdbmesh.engine.step import Notify, Outcome
from crdbmesh.errors import CrdbmeshError
from crdbmesh.health import Health
from crdbmesh.topology import config
from crdbmesh.topology.mesh import Mesh

REGIONS = ("eastus", "westus", "northeurope")
SCALE = 60.0
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0

Tell = Callable[[str], None]


class DemoError(CrdbmeshError):
    """The demo did not show what it claims."""


@dataclass(frozen=True, slots=True)
class World:
    """A simulated world in a process of its own."""

    coordinates: dict[str, Any]
    process: subprocess.Popen[str]

    def cloud(self) -> clouds.Cloud:
        """Where its Azure is."""
        return clouds.from_environment({"CRDBMESH_CLOUD": self.coordinates["cloud_file"]})

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
def serve(*, scale: float = SCALE, seed: int = 0) -> Iterator[World]:
    """A world, until the block ends.

    Raises:
        DemoError: it does not start.
    """
    command = [sys.executable, "-m", "crdbmesh.simulator", "--scale", str(scale), "--seed", str(seed)]
    # A session of its own: Ctrl-C at the terminal is for us, and we stop it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:  # noqa: S603
        watchdog = threading.Timer(_START_DEADLINE_S, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            watchdog.cancel()
            if not line:
                raise DemoError(
                    "the simulated world did not start", hint="it needs Linux's loopback addresses 127.x.y.z"
                )
            yield World(json.loads(line), process)
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


def mesh_for(world: World, regions: list[str], machines: int, name: str = "demo") -> Mesh:
    """The spec of the demo's mesh."""
    return config.mesh(
        {
            "name": name,
            "regions": regions,
            "machines": {"per_region": machines},
            "ssh": {"port": world.cloud().ssh_port},
        }
    )


def run_demo(
    regions: list[str], machines: int, *, seed: int, tell: Tell, notify: Notify, stop: threading.Event
) -> DemoResult:
    """The whole demo.

    Args:
        regions: names of Azure regions.
        machines: in each region.
        seed: of the simulated world's chance.
        tell: told what comes next.
        notify: told of every event.
        stop: once set, nothing new is started.

    Raises:
        DemoError: something did not hold.
    """
    started = time.monotonic()
    tell("Starting a simulated Azure on this machine. Nothing is sent anywhere, nothing costs anything.")
    with tempfile.TemporaryDirectory(prefix="crdbmesh-demo-") as folder, serve(seed=seed) as world:
        home = homes.Home(Path(folder) / "demo")
        cloud = world.cloud()
        mesh = up.with_caller(mesh_for(world, regions, machines), cloud)
        tell(f"up: {', '.join(regions)}, {machines} machines each (simulated).")
        _must(up.run_up(mesh, cloud, home, notify=notify, stop=stop), "up")
        tell("status.")
        health = status.run_status(mesh, cloud, home)
        tell("up again: it must change nothing.")
        before = world.writes()
        again = up.run_up(mesh, cloud, home, notify=notify, stop=stop)
        _must(again, "the second up")
        writes = world.writes() - before
        tell("down.")
        ended = down.run_down(mesh.name, cloud, home, notify=notify, stop=stop)
        report = world.report()
        for unknown in report["unknown"]:
            tell(f"the simulated world did not understand ({unknown['door']}): {unknown['what']}")
        if not ended.done:
            raise DemoError(f"down left {', '.join(ended.left) or 'steps undone'}")
        return DemoResult(
            figures=_figures(health),
            changed_again=again.count(Outcome.CHANGED),
            writes_again=writes,
            left=int(report["resources"]),
            unknown=len(report["unknown"]),
            seconds=time.monotonic() - started,
        )


def keep(
    regions: list[str], machines: int, *, seed: int, tell: Tell, notify: Notify, stop: threading.Event, root: Path
) -> None:
    """Bring a mesh called `demo` up, say how to reach it, and serve its world until `stop` is set.

    Raises:
        DemoError: it did not come up.
    """
    home = homes.Home(root / "demo")
    if home.exists():
        raise DemoError(
            f"a mesh called demo is known already, in {home.folder}", hint="remove it with `crdbmesh down demo`"
        )
    with serve(seed=seed) as world:
        cloud = world.cloud()
        mesh = up.with_caller(mesh_for(world, regions, machines), cloud)
        try:
            tell(f"up: {', '.join(regions)}, {machines} machines each (simulated).")
            _must(up.run_up(mesh, cloud, home, notify=notify, stop=stop), "up")
            tell(
                "The simulated world keeps running until Ctrl-C. In another terminal, all commands work against it with"
            )
            tell(f"  export CRDBMESH_CLOUD={world.coordinates['cloud_file']}")
            tell("for example: crdbmesh status · crdbmesh kubeconfig · crdbmesh up --yes · crdbmesh down")
            while not stop.wait(0.5) and world.process.poll() is None:
                pass
            left = world.report()["resources"] if world.process.poll() is None else 0
            tell(f"Stopping the simulated world; {left} resources go with it.")
        finally:
            home.remove()


def _must(result: up.UpResult, what: str) -> None:
    if result.done:
        return
    if result.stopped:
        raise KeyboardInterrupt
    failed = [one for one in result.results.values() if one.outcome is Outcome.FAILED]
    raise DemoError(f"{what} failed: {failed[0].step}: {failed[0].detail}", hint=failed[0].hint)


def _figures(health: Health) -> dict[str, int]:
    for region in health.regions:
        for layer in region.layers:
            if layer.cause:
                raise DemoError(f"status: {region.region}: {layer.name}: {layer.cause}")
    return health.figures()
