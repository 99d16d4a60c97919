"""`crdbmesh drill`: cuts one region off on purpose, measures how the database goes on without it, and heals it.

What a drill that died has left is in Azure, on the region's security group: rules, and a tag that says how. A firewall
judges new connections only; Azure lets what is connected go on (learn.microsoft.com, network security groups overview,
July 2025). So it counts as cut only once the database has lost the region's nodes.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal

from crdbmesh.clients import database
from crdbmesh.clients.azure import kinds
from crdbmesh.clients.waiting import Say
from crdbmesh.commands import aim as aims
from crdbmesh.commands import rows, up
from crdbmesh.desired import azure as desired
from crdbmesh.errors import CrdbmeshError, PreflightError, RefusedError, StoppedError
from crdbmesh.local.birth import Aim
from crdbmesh.observe import database as observed
from crdbmesh.observe import drills, firewall
from crdbmesh.run import lease as leases
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

By = Literal["stop", "firewall"]
BASELINE_S, STEADY_S, LONGEST_S, RECOVERY_S = 5.0, 10.0, 120.0, 900.0
"""Seconds for which SQL must answer steadily before the cut, and before the region is healed; for which both are waited
for, and the recovery. After five minutes CockroachDB begins to replace replicas.
"""
_SLOW_S = 2.0
_CREATE = (
    "CREATE TABLE IF NOT EXISTS {} (id INT PRIMARY KEY, mark STRING)",
    "ALTER TABLE {} SPLIT AT VALUES (2), (3), (4), (5), (6), (7), (8), (9)",
    "ALTER TABLE {} SCATTER",
)
"""A table of several ranges, whose leases are spread over the mesh, so that some are where the cut is."""
_PROBE = f"UPSERT INTO {{}} (id, mark) VALUES {', '.join(f'({row}, 0)' for row in range(1, 10))}"
_SCRIPT = """
for try in 1 2 3 4; do
  begun=$(date +%s.%N)
  timeout 15 "$@" >/dev/null 2>&1 && said=1 || said=0
  echo "$begun $(date +%s.%N) $said"
  sleep 0.5
done
"""


class Probes(list[tuple[float, float, bool]]):
    """The statements sent to a region: when each began and ended by a pod's clock, and whether it was answered."""

    def __init__(self, region: str) -> None:
        super().__init__()
        self.region = region

    @property
    def failed(self) -> int:
        """The number of statements that were not answered."""
        return sum(not answered for _, _, answered in self)

    def window(self) -> tuple[float, float]:
        """Return when the first and the last statement that failed, or took far longer than most, began and ended."""
        usual = median([ended - begun for begun, ended, answered in self if answered] or [0.0])
        stalled = [(begun, ended) for begun, ended, answered in self if not answered or ended - begun > usual + _SLOW_S]
        start = self[0][0] if self else 0.0
        return (stalled[0][0], stalled[-1][1]) if stalled else (start, start)

    @property
    def window_s(self) -> float:
        """For how many seconds SQL did not answer as usual."""
        begun, ended = self.window()
        return ended - begun

    def is_steady(self, seconds: float) -> bool:
        """Return True when SQL has answered as usual for the last so many seconds."""
        return bool(self) and self[-1][1] - self.window()[1] >= seconds


@dataclass(frozen=True, slots=True)
class DrillResult:
    """The result of a drill: `cut` if the database saw the region go; the seconds until it was whole again."""

    mesh: str
    aim: Aim
    region: str
    by: By
    cut: bool
    probes: list[Probes]
    recovered_s: float
    stopped: bool

    def figures(self) -> dict[str, Any]:
        """Return the region, for how long SQL failed in the others at worst, and how long the recovery took."""
        window_s = max(one.window_s for one in self.probes)
        return {"region": self.region, "error_window_s": round(window_s, 1), "recovered_s": round(self.recovered_s, 1)}

    def document(self) -> dict[str, Any]:
        """Return the result as `--output json` prints it."""
        probes = [
            {"region": one.region, "sent": len(one), "failed": one.failed, "error_window_s": round(one.window_s, 1)}
            for one in self.probes
        ]
        known = {"command": "drill region-down", "mesh": self.mesh, **self.aim.document(), **self.figures()}
        return {**known, "by": self.by, "cut": self.cut, "interrupted": self.stopped, "probes": probes}


def run_drill(
    world: World,
    region: Region,
    *,
    by: By,
    stop: threading.Event,
    say: Say,
    told: aims.Told = aims.untold,
    ask: Callable[[], None] = lambda: None,
    **lease: Any,
) -> DrillResult:
    """Cut a region off, measure, and heal it, whatever happens in between; once `stop` is set, at once.

    The world must not end with `stop`. `ask` is called before the first write; what it raises ends the run. When the
    database could not go on without the region, that is a PreflightError, and nothing was changed; after any other
    CrdbmeshError the region is healed, unless its hint says how to.
    """
    mesh = world.mesh
    with world.folder.locked(leases.name_of("drill")), up.lease_of(world, "drill", **lease) as held:
        aim = aims.require(world.session, world.folder, mesh.name, told)
        held.look()
        _require_whole(world, region)
        ask()
        held.take()
        # The answer may have taken hours, and another run may have had the lease meanwhile.
        _require_whole(world, region)
        say("preparing a table whose rows are spread over the mesh")
        with rows.prepared(world, "drill", *_CREATE) as table, _probing(world, region, table) as probes:
            _wait_steady(world, probes, stop, say)
            held.take()
            cut, recovered_s = _cut_and_heal(world, region, by, probes, stop, say)
    return DrillResult(mesh.name, aim, region.name, by, cut, probes, recovered_s, stop.is_set())


def run_heal(world: World, *, told: aims.Told, say: Say, **lease: Any) -> dict[str, Any]:
    """Heal what a drill that died has left, and wait for the recovery; return the result as JSON has it."""
    with world.folder.locked(leases.name_of("drill heal")), up.lease_of(world, "drill heal", **lease) as held:
        aim = aims.require(world.session, world.folder, world.mesh.name, told)
        held.look()
        if left := drills.find_cut(world):
            held.take()
            for name, by in left.items():
                _heal(world, world.mesh.region(name), by, say)
            _wait_recovered(world, say)
    return {"command": "drill heal", "mesh": world.mesh.name, **aim.document(), "healed": list(left)}


def _require_whole(world: World, region: Region) -> None:
    if obstacles := list(drills.find_obstacles(world, region)):
        raise PreflightError(obstacles)


def _wait_steady(world: World, probes: list[Probes], stop: threading.Event, say: Say) -> None:
    say("probing SQL in the other regions")
    if not _wait(world, stop, lambda: all(one.is_steady(BASELINE_S) for one in probes)):
        if stop.is_set():
            raise StoppedError("the drill", last_seen="nothing was cut off yet")
        raise RefusedError("SQL does not answer steadily as it is; nothing was cut off", hint="see `crdbmesh verify`")


def _cut_and_heal(
    world: World, region: Region, by: By, probes: list[Probes], stop: threading.Event, say: Say
) -> tuple[bool, float]:
    """Return whether the database saw the region go, and how many seconds the recovery took."""
    client, seen = _client(world, region), threading.Event()

    def is_over() -> bool:
        if not seen.is_set() and _is_gone(client, region):
            say(f"the database has lost the nodes of {region.name}")
            seen.set()
        return seen.is_set() and all(one.is_steady(STEADY_S) for one in probes)

    try:
        say(f"cutting {region.name} off")
        _change_firewall(world, region, partial(with_cut, world.mesh, region, by))
        if by == "stop":
            _every_machine(world, region, kinds.cut_power)
        _wait(world, stop, is_over)
    finally:
        begun = time.monotonic()
        _heal(world, region, by, say)
    _wait_recovered(world, say)
    return seen.is_set(), time.monotonic() - begun


def _wait(world: World, stop: threading.Event, is_over: Callable[[], bool]) -> bool:
    """Wait until something is over; False when it is not in time, or `stop` is set."""
    ends = world.clock.after(LONGEST_S)
    while not stop.is_set() and world.clock.now() < ends:
        if is_over():
            return True
        world.clock.wait(stop, 1.0)
    return False


def with_cut(mesh: Mesh, region: Region, by: By, nsg: dict[str, Any]) -> dict[str, Any]:
    """Return a region's security group with the cut, once, whether or not an earlier try has made it."""
    nsg = firewall.without_cut(nsg) or nsg
    there = nsg["properties"].get("securityRules") or []
    rules = [*there, *desired.cut(mesh, region, there)] if by == "firewall" else there
    tags = {**(nsg.get("tags") or {}), names.TAG_DRILL: by}
    return {**nsg, "tags": tags, "properties": {**nsg["properties"], "securityRules": rules}}


def _heal(world: World, region: Region, by: str, say: Say) -> None:
    """Give a region back what a drill took; the tag goes last, so that one that dies here can be healed again."""
    say(f"healing {region.name}")
    try:
        if by == "stop":
            _every_machine(world, region, kinds.start_vm)
        _change_firewall(world, region, firewall.without_cut)
    except CrdbmeshError as error:
        error.hint = f"{region.name} is still cut off: run `crdbmesh drill heal`"
        raise


def _every_machine(world: World, region: Region, change: Callable[..., None]) -> None:
    machines = [names.machine(world.mesh.name, region.name, machine.number) for machine in region.machines]
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="drill") as pool:
        list(pool.map(partial(change, world.session, world.group), machines))


def _change_firewall(world: World, region: Region, change: Callable[[dict[str, Any]], Any]) -> None:
    name = names.firewall(world.mesh.name, region.name)
    for attempt in range(3):
        found = kinds.NSG.find(world.session, world.group, name)
        if found is None or (wanted := change(found)) is found:
            return
        try:
            kinds.NSG.ensure(world.session, world.group, name, body=wanted, **kinds.unless_changed(found))
        except CrdbmeshError as error:
            if not error.retryable or attempt == 2:
                raise
        else:
            return


def _is_gone(client: tuple[Any, str], region: Region) -> bool:
    """Return True when the database counts no node of a region as live."""
    with contextlib.suppress(CrdbmeshError):
        return len(observed.not_live(region, database.read_nodes(*client))) == region.replicas
    return False


def _wait_recovered(world: World, say: Say) -> None:
    def probe() -> tuple[bool | None, str]:
        try:
            found = drills.find_lacking(observed.read_nodes(world), world.mesh)
            lacking = next(map(str, found), "")
        except CrdbmeshError as error:
            lacking = str(error)
        return (None, lacking) if lacking else (True, "")

    say("waiting for the database to recover")
    world.wait_until(probe, awaited="the database to recover", deadline_s=RECOVERY_S, say=lambda _text: None)


def _client(world: World, cut: Region) -> tuple[Any, str]:
    """Return the cluster and the namespace of a client pod that is not in the region that is cut off."""
    at = next(region.name for region in world.mesh.client_regions() if region != cut)
    return world.kube(at), at


def _in_client(client: tuple[Any, str], *argv: str) -> str:
    kube, at = client
    output: str = kube.exec(at, database.client_pod(kube, at), argv, container="client", timeout_s=120).stdout
    return output


@contextlib.contextmanager
def _probing(world: World, cut: Region, table: str) -> Iterator[list[Probes]]:
    """Send a statement about every second to each other region, from a client pod, until the block ends."""
    probes, ended = [Probes(region.name) for region in world.mesh.others(cut)], threading.Event()
    client = _client(world, cut)
    with ThreadPoolExecutor(max_workers=len(probes), thread_name_prefix="probes") as pool:
        sent = [pool.submit(_send, world, client, table, one, ended) for one in probes]
        try:
            yield probes
        finally:
            ended.set()
    for one in sent:
        one.result()


def _send(world: World, client: tuple[Any, str], table: str, probes: Probes, ended: threading.Event) -> None:
    argv = database.shell_argv(client[1], host=observed.address_of(probes.region, 0))
    argv.append(f"--execute={_PROBE.format(table)}")
    while not ended.is_set():
        try:
            said = _in_client(client, "bash", "-c", _SCRIPT, "probe", *argv)
        except CrdbmeshError:
            # The way to the pod stumbled, which says nothing of the database.
            world.clock.wait(ended, 1.0)
            continue
        for line in said.splitlines():
            # The last one may be cut short.
            with contextlib.suppress(ValueError):
                begun, done, answered = line.split()
                probes.append((float(begun), float(done), answered == "1"))
