"""Reads every layer of every region at once: what `crdbmesh status` shows.

A layer that cannot be read says so as its cause; nothing here raises for the state of the world.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.clients.azure import compare, compute, network
from crdbmesh.desired import azure as resources
from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import cilium, database, dns, k3s, links
from crdbmesh.observe.health import Health, Layer, Level, RegionHealth
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Region


def read(world: World) -> Health:
    """Read every layer of every region, in parallel."""
    regions = world.mesh.all_regions()
    readers: dict[str, Callable[[World, Region], Layer]] = {
        "network": _network,
        "peerings": _peerings,
        "machines": _machines,
        "nodes": k3s.read_nodes,
        "cilium": cilium.read_cilium,
        "clustermesh": links.read_clustermesh,
        "dns": dns.read_dns,
        "cockroachdb": database.read_cockroachdb,
    }
    with ThreadPoolExecutor(max_workers=32, thread_name_prefix="status") as pool:
        asked = {
            (region.name, name): pool.submit(_guarded, name, read_layer, world, region)
            for region in regions
            for name, read_layer in readers.items()
        }
        ids = [pool.submit(_cluster_id, world, region) for region in regions]
        found = tuple(
            RegionHealth(region.name, tuple(asked[region.name, name].result() for name in readers))
            for region in regions
        )
        cluster_ids = tuple(sorted({known for future in ids if (known := future.result())}))
    return Health(world.mesh.name, found, cluster_ids)


def _guarded(name: str, read_layer: Callable[[World, Region], Layer], world: World, region: Region) -> Layer:
    try:
        return read_layer(world, region)
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


def _cluster_id(world: World, region: Region) -> str | None:
    try:
        return database.read_cluster_id(world, region)
    except CrdbmeshError:
        return None
