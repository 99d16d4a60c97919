"""`crdbmesh demo`: up, status, verify, sql, drill, up again and down in a simulated Azure, by the commands' functions.

The simulator is another distribution, known by its doors only: the command `python -m crdbmesh_simulator`, the JSON
line that it prints once it serves, and the URL of its report. The commands are imported while it starts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crdbmesh.clients import cloud_file, web
from crdbmesh.engine.step import Outcome
from crdbmesh.errors import CrdbmeshError
from crdbmesh.local import files
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import load
from crdbmesh.spec.documents import MOST_BYTES

if TYPE_CHECKING:
    from crdbmesh.clients.cloud import Cloud
    from crdbmesh.commands import up
    from crdbmesh.commands.drill import DrillResult
    from crdbmesh.commands.verify import Proof
    from crdbmesh.observe.health import Health
    from crdbmesh.run.world import World
    from crdbmesh.spec.mesh import Mesh

NAME = "demo"
SCALE = 45.0
"""Simulated seconds per second."""
Tell = Callable[[str], None]
"""Shows a title, or, indented, a line below it."""

_MODULE = "crdbmesh_simulator"
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0


class DemoError(CrdbmeshError):
    """The simulator cannot run, or the demo did not show what it claims."""


class SimulatedAzure:
    """A running simulator, which is `process`; reading anything else of it waits until it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @functools.cached_property
    def coordinates(self) -> dict[str, Any]:
        """Return the JSON object that the simulator prints once it serves; raise DemoError when it does not start."""
        watchdog = threading.Timer(_START_DEADLINE_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline() if self.process.stdout else ""
        watchdog.cancel()
        if not line:
            raise DemoError(
                "the simulator did not start",
                hint="its own message is above; it needs Linux's loopback addresses 127.x.y.z",
            )
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def cloud_file(self) -> Path:
        """Return the path for `CRDBMESH_CLOUD`."""
        return Path(self.coordinates["cloud_file"])

    @property
    def home(self) -> Path:
        """Return the root of the demo's meshes, which goes with the simulator however it or this process ends."""
        return self.cloud_file.parent / "home"

    def cloud(self) -> Cloud:
        """Return the cloud that its cloud file describes."""
        return cloud_file.read(self.cloud_file)

    def report(self) -> dict[str, Any]:
        """Return its report: what exists in it, and what it was asked so far."""
        found = self.coordinates
        url, trust, token = found["report_url"], Path(found["ca_file"]), f"Bearer {found['token']}"
        report: dict[str, Any] = json.loads(
            web.read(url, trust, most_bytes=MOST_BYTES, timeout_s=30, asked={}, Authorization=token)
        )
        return report

    def writes(self) -> int:
        """Return the number of writes so far."""
        return sum(self.report()["writes"].values())


@contextlib.contextmanager
def serve(*, scale: float = SCALE, seed: int = 0, folder: Path | None = None) -> Iterator[SimulatedAzure]:
    """Start a simulated Azure, which ends with the block, or with this process: the simulator watches our pipe.

    Its files, and the folders of the meshes in it, are below `folder`, by default where temporary files are. Without an
    installed simulator this is a DemoError.
    """
    if importlib.util.find_spec(_MODULE) is None:
        raise DemoError("the simulator is not installed", hint="install it: pip install 'crdbmesh[demo]'")
    command = [sys.executable, "-m", _MODULE, "--attached", "--scale", str(scale), "--seed", str(seed)]
    environment = dict(os.environ)
    if folder is not None:
        files.make_folder(folder)
        environment["TMPDIR"] = str(folder)
    # A session of its own, so that Ctrl-C at the terminal reaches this process only, which then stops the simulator.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            yield SimulatedAzure(process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The figures of a demo, each read from the simulated Azure at its moment; `drill` is None with too few regions."""

    figures: dict[str, int]
    answering: int
    unproved: int
    drill: dict[str, Any] | None
    changed_again: int
    writes_again: int
    left: int
    unknown: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Return True if all was proved, the second `up` changed nothing, `down` left nothing, all was understood."""
        failed = self.unproved or self.answering < self.figures["regions"]
        return not (failed or self.changed_again or self.writes_again or self.left or self.unknown)

    def title(self) -> str:
        """Return the title of the figures."""
        regions = self.figures["regions"]
        return f"{regions} region{'' if regions == 1 else 's'}, all simulated on this machine"

    def lines(self) -> list[tuple[float, str]]:
        """Return each figure with the text for what it counts."""
        drill = self.drill or {}
        cut = f"without {drill.get('region')}"
        pairs = self.figures["regions"] * (self.figures["regions"] - 1)
        return [
            (self.figures["machines"], "machines running"),
            (self.figures["peerings_connected"], f"of {pairs} VNet peerings connected"),
            (self.figures["nodes_ready"], "Kubernetes nodes ready"),
            (self.figures["clustermesh_links_ready"], f"of {pairs} clustermesh links ready"),
            (self.figures["zones_resolved"], f"of {pairs} zones resolved from another cluster"),
            (self.figures["cockroach_nodes_live"], "CockroachDB nodes live"),
            (self.figures["cluster_ids"], "CockroachDB cluster id"),
            (self.answering, "regions answer SQL"),
            (self.unproved, "claims of the proof fall short"),
            *([(drill["error_window_s"], f"s in which SQL stalled {cut}, by the drill")] if drill else []),
            *([(drill["recovered_s"], "s until the database had recovered")] if drill else []),
            (self.changed_again, "steps changed anything in the second up"),
            (self.writes_again, "writes in the second up"),
            (self.left, "resources left after down"),
            (self.unknown, "requests that the simulator did not understand"),
        ]

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        return {
            "schema": 1,
            "simulated": True,
            **self.figures,
            "sql_regions_answering": self.answering,
            "verify_failed": self.unproved,
            "drill": self.drill,
            "second_up": {"changed": self.changed_again, "writes": self.writes_again},
            "left_after_down": self.left,
            "unknown_requests": self.unknown,
        }


def spec(regions: list[str], machines: int, *, name: str = NAME, ssh_port: int = 22) -> Mesh:
    """Return the spec of the demo's mesh; raise ConfigError with every mistake."""
    return load.mesh(
        {"name": name, "regions": regions, "machines": {"per_region": machines}, "ssh": {"port": ssh_port}}
    )


def run_demo(
    mesh: Mesh,
    azure: SimulatedAzure,
    *,
    tell: Tell,
    watch: up.Watch,
    show: Callable[[Health | Proof | DrillResult], None],
    stop: threading.Event,
) -> DemoResult:
    """Run the whole demo; raise DemoError when something does not hold.

    The spec's SSH port is set to the simulator's; the simulated Azure has nothing in it yet. `tell` takes each title
    and line, `watch` shows each run, `show` what it is given. Once `stop` is set, nothing new is started, and this ends
    with KeyboardInterrupt.
    """
    from crdbmesh.commands import down, drill, status, up, verify
    from crdbmesh.observe import drills
    from crdbmesh.run.world import World

    started = time.monotonic()
    mesh, cloud, folder = _up(mesh, azure, tell, watch, stop)
    tell("status (simulated)")
    health = status.run_status(mesh, cloud, folder)
    show(health)
    regions = mesh.all_regions()
    with World.open(mesh, cloud, folder) as world:
        tell("verify (simulated): from a pod in every region to all others")
        show(proof := verify.run_verify(world, stop=stop))
        tell("sql (simulated): a statement in each region")
        answering = sum(_answers(world, region.name, tell) for region in regions)
        drilled, last = None, regions[-1]
        if len(regions) < drills.LEAST_REGIONS:
            tell(f"no drill (simulated): it takes {drills.LEAST_REGIONS} regions to go on without one")
        else:
            tell(f"drill region-down {last.name} --by firewall (simulated)")
            drilled = drill.run_drill(world, last, by="firewall", stop=stop, say=lambda text: tell(f"  {text}"))
            show(drilled)
    tell("up again (simulated): it must change nothing")
    before = azure.writes()
    again = up.run_up(mesh, cloud, folder, watch=watch, stop=stop)
    _must(again, "the second up")
    writes = azure.writes() - before
    tell(f"{_summary(again)}; {writes} writes to the simulated Azure and machines")
    tell("down (simulated)")
    with watch([]) as notify:
        ended = down.run_down(mesh.name, cloud, folder, notify=notify, stop=stop)
    report = azure.report()
    for unknown in report["unknown"]:
        tell(f"the simulator did not understand ({unknown['door']}): {unknown['what']}")
    if ended.stopped:
        raise KeyboardInterrupt
    if not ended.done:
        failed = [f"{one.step}: {one.detail}" for one in ended.results.values() if one.outcome is Outcome.FAILED]
        raise DemoError(f"down left {', '.join(ended.left) or '; '.join(failed)}")
    return DemoResult(
        figures=_figures(health),
        answering=answering,
        unproved=len(proof.failures),
        drill=drilled.figures() if drilled else None,
        changed_again=again.count(Outcome.CHANGED),
        writes_again=writes,
        left=int(report["resources"]),
        unknown=len(report["unknown"]),
        seconds=time.monotonic() - started,
    )


def keep(
    mesh: Mesh, azure: SimulatedAzure, *, tell: Tell, watch: up.Watch, ready: Callable[[], None], stop: threading.Event
) -> None:
    """Bring a mesh up, report that it is `ready`, and keep its simulated Azure until `stop` is set.

    The spec's SSH port is set to the simulator's; the simulated Azure has nothing in it yet. A mesh that does not come
    up is a DemoError; a `stop` before it is up ends this with KeyboardInterrupt.
    """
    _up(mesh, azure, tell, watch, stop)
    ready()
    while not stop.wait(0.5) and azure.process.poll() is None:
        pass
    if azure.process.poll() is not None:
        raise DemoError("the simulator ended by itself")
    tell(f"Stopping the simulated Azure; {azure.report()['resources']} simulated resources go with it.")


def _up(
    mesh: Mesh, azure: SimulatedAzure, tell: Tell, watch: up.Watch, stop: threading.Event
) -> tuple[Mesh, Cloud, LocalFolder]:
    """Bring a mesh up, with the simulator's SSH port and the caller's address; return it, its cloud and its folder."""
    from crdbmesh.commands import up

    cloud = azure.cloud()
    ssh = mesh.ssh.model_copy(update={"port": cloud.ssh_port})
    mesh = up.with_caller(mesh.model_copy(update={"ssh": ssh}), cloud)
    machines, folder = mesh.machines.per_region, LocalFolder(azure.home / mesh.name)
    listed = ", ".join(region.name for region in mesh.all_regions())
    tell(f"up (simulated): {listed}; {machines} machine{'s' if machines != 1 else ''} each")
    ended = up.run_up(mesh, cloud, folder, watch=watch, stop=stop)
    _must(ended, "up")
    tell(_summary(ended))
    return mesh, cloud, folder


def _answers(world: World, region: str, tell: Tell) -> bool:
    """Ask a region's nodes which region they are in, as `crdbmesh sql REGION` does; return whether it is this one."""
    from crdbmesh.commands import database

    way = database.find_way(world, region, database.DEFAULT_USER, lambda text: tell(f"  {text}"))
    answer = way.execute(["SELECT gateway_region()"], form="csv")
    said = str((answer.stdout.split() or [answer.stderr])[-1])
    tell(f"  {region}: SELECT gateway_region() = {said}")
    return said == region


def _summary(ended: up.UpResult) -> str:
    """Return how many steps a run changed, indented below its title."""
    changed, held = ended.count(Outcome.CHANGED), ended.count(Outcome.HELD)
    return f"  {changed} steps changed something, {held} held already"


def _must(result: up.UpResult, what: str) -> None:
    if result.done:
        return
    if result.stopped:
        raise KeyboardInterrupt
    failed = next(one for one in result.results.values() if one.outcome is Outcome.FAILED)
    raise DemoError(f"{what} failed: {failed.step}: {failed.detail}", hint=failed.hint)


def _figures(health: Health) -> dict[str, int]:
    layers = [(region.region, layer) for region in health.regions for layer in region.layers]
    causes = [f"{region}: {layer.name}: {layer.cause}" for region, layer in layers if layer.cause]
    if causes:
        raise DemoError(f"status: {'; '.join(causes)}")
    return health.figures()
