"""How each layer of each region is doing: read-only probes behind `crdbmesh status`.

Every probe of every region runs at once, and one that cannot be read says so as its cause; nothing here raises for
the state of the world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crdbmesh.clients import database
from crdbmesh.clients.azure import compare, compute, network
from crdbmesh.desired import azure as resources
from crdbmesh.errors import CrdbmeshError, KubeError
from crdbmesh.observe.health import Health, Layer, Level, RegionHealth
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Region
from crdbmesh.steps import cilium, clustermesh


def read(world: World) -> Health:
    """Read every layer of every region, in parallel."""
    regions = world.mesh.all_regions()
    probes: dict[str, Callable[[World, Region], Layer]] = {
        "network": _network,
        "peerings": _peerings,
        "machines": _machines,
        "nodes": _nodes,
        "cilium": _cilium,
        "clustermesh": _clustermesh,
        "dns": _dns,
        "cockroachdb": _cockroachdb,
    }
    with ThreadPoolExecutor(max_workers=32, thread_name_prefix="status") as pool:
        asked = {
            (region.name, name): pool.submit(_guarded, name, probe, world, region)
            for region in regions
            for name, probe in probes.items()
        }
        ids = [pool.submit(_cluster_id, world, region) for region in regions]
        found = tuple(
            RegionHealth(region.name, tuple(asked[region.name, name].result() for name in probes)) for region in regions
        )
        cluster_ids = tuple(sorted({known for future in ids if (known := future.result())}))
    return Health(world.mesh.name, found, cluster_ids)


def _guarded(name: str, probe: Callable[[World, Region], Layer], world: World, region: Region) -> Layer:
    try:
        return probe(world, region)
    except CrdbmeshError as error:
        return Layer(name, Level.UNKNOWN, 0, _wanted(name, world, region), str(error))


def _wanted(name: str, world: World, region: Region) -> int:
    others = len(world.mesh.regions) - 1
    return {
        "network": 2,
        "peerings": others,
        "machines": len(region.machines),
        "nodes": len(region.machines),
        "cilium": len(region.machines),
        "clustermesh": others,
        "dns": others,
        "cockroachdb": region.replicas,
    }[name]


def _layer(name: str, good: int, wanted: int, causes: list[str], *, absent: bool = False) -> Layer:
    level = Level.ABSENT if absent else Level.OK if good >= wanted and not causes else Level.DEGRADED
    return Layer(name, level, good, wanted, "; ".join(causes) or None)


def _network(world: World, region: Region) -> Layer:
    mesh, session, group = world.mesh, world.session, world.group
    vnet = network.find_vnet(session, group, names.network(mesh.name, region.name))
    nsg = network.find_nsg(session, group, names.firewall(mesh.name, region.name))
    causes = []
    for what, found, wanted in (
        ("VNet", vnet, resources.network(mesh, region)),
        ("network security group", nsg, resources.firewall(mesh, region)),
    ):
        if found is None:
            causes.append(f"the {what} is absent")
        elif differences := compare.differences(wanted["properties"], found.get("properties", {})):
            causes.append(f"{what}: {differences[0]}")
    ours = {rule["name"] for rule in resources.firewall(mesh, region)["properties"]["securityRules"]}
    rules = (nsg or {}).get("properties", {}).get("securityRules") or []
    foreign = sorted(str(rule.get("name")) for rule in rules if rule.get("name") not in ours)
    if foreign:
        causes.append(f"firewall rules that are not ours: {', '.join(foreign)}")
    absent = vnet is None and nsg is None
    return _layer("network", max(0, 2 - len(causes)), 2, causes, absent=absent)


def _peerings(world: World, region: Region) -> Layer:
    mesh = world.mesh
    causes, good, seen = [], 0, 0
    for other in mesh.others(region):
        name = names.peering(mesh.name, region.name, other.name)
        found = network.find_peering(world.session, world.group, names.network(mesh.name, region.name), name)
        if found is None:
            causes.append(f"peering to {other.name} is absent")
            continue
        seen += 1
        properties = found.get("properties", {})
        wanted = resources.peering(mesh, other, world.session.subscription_id)
        differences = compare.differences(wanted, found)
        state = properties.get("peeringState")
        if state != "Connected":
            causes.append(f"peering to {other.name} is {state}")
        elif properties.get("peeringSyncLevel", "FullyInSync") != "FullyInSync":
            causes.append(f"peering to {other.name} is {properties['peeringSyncLevel']}")
        elif differences:
            causes.append(f"peering to {other.name}: {differences[0]}")
        else:
            good += 1
    wanted_count = len(mesh.others(region))
    return _layer("peerings", good, wanted_count, causes, absent=wanted_count > 0 and seen == 0)


def _machines(world: World, region: Region) -> Layer:
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="machines") as pool:
        states = list(pool.map(lambda machine: _machine(world, machine), region.machines))
    causes = [f"{machine.node} is {state}" for machine, state in zip(region.machines, states, strict=True) if state]
    return _layer(
        "machines",
        states.count(None),
        len(states),
        causes,
        absent=all(state == "absent" for state in states),
    )


def _machine(world: World, machine: Machine) -> str | None:
    name = names.machine(world.mesh.name, machine.region, machine.number)
    view = compute.find_instance_view(world.session, world.group, name)
    if view is None:
        return "absent"
    codes = [str(status.get("code", "")) for status in view.get("statuses") or []]
    if any(code.lower() == "powerstate/running" for code in codes):
        return None
    return ", ".join(code.rpartition("/")[2] for code in codes) or "in an unknown state"


def _nodes(world: World, region: Region) -> Layer:
    nodes = world.kube(region.name).list("v1", "Node")
    wanted = [machine.node for machine in region.machines]
    causes = [missing for name in wanted if (missing := cilium.nodes_missing([name], nodes))]
    return _layer("nodes", len(wanted) - len(causes), len(wanted), causes)


def _cilium(world: World, region: Region) -> Layer:
    kube = world.kube(region.name)
    causes = []
    daemons = kube.find("apps/v1", "DaemonSet", names.CILIUM, names.KUBE_SYSTEM)
    operator = kube.find("apps/v1", "Deployment", "cilium-operator", names.KUBE_SYSTEM)
    causes += [missing for found in (daemons, operator) if (missing := cilium.rollout_missing(found))]
    ready = (daemons or {}).get("status", {}).get("numberReady", 0)
    return _layer("cilium", ready, len(region.machines), causes, absent=daemons is None)


def _clustermesh(world: World, region: Region) -> Layer:
    remotes = [other.name for other in world.mesh.others(region)]
    if not remotes:
        return _layer("clustermesh", 0, 0, [])
    kube = world.kube(region.name)
    bad: dict[str, str] = {}
    for (node, remote), why in clustermesh.read_links(kube, remotes).items():
        if why is not None:
            bad.setdefault(remote, f"{remote} from {node}: {why}")
    causes = list(bad.values())
    if bad:
        causes += [f"kvstoremesh: {cause}" for cause in clustermesh.kvstoremesh_causes(kube, remotes)]
    return _layer("clustermesh", len(remotes) - len(bad), len(remotes), causes)


def _dns(world: World, region: Region) -> Layer:
    remotes = [other.name for other in world.mesh.others(region)]
    reached = database.read_reach(world.kube(region.name), region.name, remotes)
    causes = [f"{remote}: {why}" for remote, why in reached.items() if why]
    return _layer("dns", len(remotes) - len(causes), len(remotes), causes)


def _cockroachdb(world: World, region: Region) -> Layer:
    kube = world.kube(region.name)
    found_pods = kube.list("v1", "Pod", region.name, labels=f"app={names.COCKROACH}")
    pods = {pod["metadata"]["name"]: pod for pod in found_pods}
    localities = _localities(world)
    causes = []
    for ordinal in range(region.replicas):
        name = f"{names.COCKROACH}-{ordinal}"
        why = _pod_problem(world, region, name, pods.get(name))
        if why is None and localities is not None:
            found = localities.get(f"{names.cockroach_pod(region.name, ordinal)}:{names.COCKROACH_PORT}")
            if found is None:
                why = "is not a live node of the cluster"
            elif found.get("region") != region.name:
                why = f"has the locality region={found.get('region')}"
        if why is not None:
            causes.append(f"{name} {why}")
    return _layer("cockroachdb", region.replicas - len(causes), region.replicas, causes, absent=not pods)


def _pod_problem(world: World, region: Region, name: str, pod: Mapping[str, Any] | None) -> str | None:
    if pod is None:
        return "is absent"
    if pod.get("status", {}).get("phase") != "Running":
        return f"is {pod.get('status', {}).get('phase')}"
    try:
        return database.read_readiness(world.kube(region.name), region.name, name)
    except KubeError as error:
        return f"does not answer ({error})"


def _localities(world: World) -> dict[str, dict[str, str]] | None:
    """Locality by address of every live node; None when the client pod cannot say, which readiness then covers."""
    first = world.mesh.regions[0].name
    try:
        nodes = database.read_nodes(world.kube(first), first)
    except CrdbmeshError:
        return None
    return {node.address: node.locality for node in nodes if node.live}


def _cluster_id(world: World, region: Region) -> str | None:
    first = world.mesh.regions[0].name
    host = f"{names.cockroach_pod(region.name, 0)}:{names.COCKROACH_PORT}"
    try:
        return database.read_cluster_id(world.kube(first), first, host)
    except CrdbmeshError:
        return None
