"""Judges CockroachDB: every pod ready and able to reach the others, every node live with its locality, one cluster.

Names resolve once CoreDNS has read its blocks; pods connect once the clustermesh is in sync. Both are asked from inside
a pod of the region's own.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from crdbmesh.clients import database
from crdbmesh.clients.database import Node
from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import CrdbmeshError, KubeError, WaitError
from crdbmesh.observe import rollouts
from crdbmesh.observe.health import Layer, License
from crdbmesh.observe.rollouts import Body
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region

T = TypeVar("T")

PODS = f"app={names.COCKROACH}"
_LICENSE = (
    "SET allow_unsafe_internals = true",
    "SELECT value FROM crdb_internal.node_metrics WHERE name = 'seconds.until.license.expiry'",
)
_GRACE = dt.timedelta(days=7)
WAITING = "node is waiting for cluster initialization"
"""The answer of a pod that is part of no cluster yet."""
_REACH_SCRIPT = """\
getent ahostsv4 "{name}" >/dev/null || {{ echo "does not resolve: {name}"; exit 0; }}
timeout 5 bash -c "</dev/tcp/{name}/{port}" 2>/dev/null ||
  {{ echo "resolves but does not connect: {name}:{port}"; exit 0; }}
echo reached
"""


def read_cockroachdb(world: World, region: Region) -> Layer:
    """Read how many of the region's pods are ready, live nodes of the cluster.

    When the cluster cannot be asked for its nodes, readiness alone counts: a pod of no cluster is never ready.
    """
    kube = world.kube(region.name)
    pods = kube.list("v1", "Pod", region.name, labels=PODS)
    bad = unready(kube, region, pods)
    with contextlib.suppress(CrdbmeshError):
        bad = {**not_live(region, read_nodes(world)), **bad}
    causes = [f"{pod} {bad[pod]}" for pod in pod_names(region) if pod in bad]
    return Layer.of("cockroachdb", region.replicas - len(causes), region.replicas, causes, absent=not pods)


def read_dns(world: World, region: Region) -> Layer:
    """Read how many of the other regions' first pods a region's first pod resolves and reaches."""
    remotes = [other.name for other in world.mesh.others(region)]
    unreached = read_unreached(world.kube(region.name), region.name, remotes)
    causes = [f"{remote}: {why}" for remote, why in unreached.items()]
    return Layer.of("dns", len(remotes) - len(causes), len(remotes), causes)


def read_unreached(kube: Kube, region: str, targets: list[str]) -> dict[str, str]:
    """Say, for every region whose first pod a region's first pod does not resolve or reach, why not."""
    found = {target: _reach(kube, region, target) for target in targets}
    return {target: why for target, why in found.items() if why}


def unready(kube: Kube, region: Region, pods: Sequence[Body]) -> dict[str, str]:
    """Say which of the region's pods are not ready, by name, and why."""
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    found = {name: _unready(kube, region.name, name, by_name.get(name)) for name in pod_names(region)}
    return {name: why for name, why in found.items() if why}


def not_running(region: Region, pods: Iterable[Body]) -> str | None:
    """Say which of the region's pods does not run, ready or not, and why; None when all do."""
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    for name in pod_names(region):
        why = rollouts.not_running(by_name[name]) if name in by_name else "absent"
        if why:
            return f"{region.name}: pod {name}: {why}"
    return None


def not_live(region: Region, nodes: Iterable[Node]) -> dict[str, str]:
    """Say which of the region's pods are no live node of the cluster with the right locality, by name, and why."""
    live = {node.address: node.locality for node in nodes if node.live}
    found = {}
    for ordinal, name in enumerate(pod_names(region)):
        locality = live.get(address_of(region.name, ordinal))
        if locality is None:
            found[name] = "is not a live node of the cluster"
        elif locality.get("region") != region.name or not locality.get("zone"):
            found[name] = f"has the locality {locality}, not region={region.name} and a zone"
    return found


def read_nodes(world: World) -> list[Node]:
    """List every node that the cluster knows."""
    return through_client(world, database.read_nodes)


def read_cluster_id(world: World, address: str) -> str:
    """Return the id of the cluster that the node at an address is part of."""
    return through_client(world, lambda kube, region: database.read_cluster_id(kube, region, address))


def read_license(world: World, *before: str) -> License:
    """Read when the license ends, or when the week without one is over (docs v26.2, `licensing-faqs`).

    Statements `before` run first, in the same session: the node that sets a license knows of it at once.

    A KubeError or WaitError says that no database answers.
    """
    rows = through_client(world, lambda kube, region: database.query(kube, region, *before, *_LICENSE))
    left_s = float(rows[0]["value"]) if rows else 0.0
    if left_s:
        return License(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=left_s))
    region = world.mesh.all_regions()[0].name
    marker = world.kube(region).find("v1", "ConfigMap", names.INIT_MARKER, region) or {}
    made = (marker.get("metadata") or {}).get("creationTimestamp")
    return License(None, dt.datetime.fromisoformat(made) + _GRACE if made else None)


def read_states(world: World) -> dict[str, str | None]:
    """Return, by address of every pod, None when it is ready in an initialised cluster, else what it says."""
    states: dict[str, str | None] = {}
    for region, ordinal in every_pod(world):
        try:
            state = database.read_readiness(world.kube(region), region, f"{names.COCKROACH}-{ordinal}")
        except KubeError as error:
            state = str(error)
        states[address_of(region, ordinal)] = state
    return states


def through_client(world: World, ask: Callable[[Kube, str], T]) -> T:
    """Ask the database through the first client pod that can: `ask` is given its cluster and its namespace.

    The one that answered last is asked first. When none can, the error of the last is raised: a KubeError or WaitError.
    """
    regions = [region.name for region in world.mesh.client_regions()]
    regions.sort(key=lambda region: region != world.client_region)
    for region in regions:
        try:
            answer = ask(world.kube(region), region)
        except (KubeError, WaitError):
            if region == regions[-1]:
                raise
        else:
            world.client_region = region
            return answer
    raise AssertionError("a mesh has a region")


def every_pod(world: World) -> list[tuple[str, int]]:
    """List every CockroachDB pod of the spec, by region and ordinal."""
    return [(region.name, ordinal) for region in world.mesh.all_regions() for ordinal in range(region.replicas)]


def pod_names(region: Region) -> list[str]:
    """List the region's pods by name."""
    return [f"{names.COCKROACH}-{ordinal}" for ordinal in range(region.replicas)]


def address_of(region: str, ordinal: int) -> str:
    """Return the address that a pod is known by in the cluster."""
    return f"{names.cockroach_pod(region, ordinal)}:{names.COCKROACH_PORT}"


def _reach(kube: Kube, region: str, target: str) -> str | None:
    script = _REACH_SCRIPT.format(name=names.cockroach_pod(target, 0), port=names.COCKROACH_PORT)
    try:
        answer = kube.exec(region, f"{names.COCKROACH}-0", ["bash", "-c", script], container="db", timeout_s=60)
    except (KubeError, WaitError) as error:
        return str(error)
    said = answer.stdout.strip().splitlines()
    if answer.status == 0 and said[-1:] == ["reached"]:
        return None
    return (said or [answer.stderr.strip() or f"exit {answer.status}"])[-1]


def _unready(kube: Kube, namespace: str, name: str, pod: Body | None) -> str | None:
    if pod is None:
        return "is absent"
    if why := rollouts.not_running(pod):
        return f"does not run: {why}"
    if rollouts.is_ready(pod):
        return None
    try:
        said = database.read_readiness(kube, namespace, name)
    except KubeError as error:
        return f"does not answer ({error})"
    return f"is not ready: {said}" if said else "is not ready yet"
