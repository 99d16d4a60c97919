"""Reads every layer of every region at once: what `crdbmesh status` shows.

A layer that cannot be read says so as its cause; nothing here raises for the state of the world.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import cilium, database, dns, k3s, links, machines, network
from crdbmesh.observe.health import Health, Layer, Level, RegionHealth
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Region


def read(world: World) -> Health:
    """Read every layer of every region, in parallel."""
    regions = world.mesh.all_regions()
    readers: dict[str, Callable[[World, Region], Layer]] = {
        "network": network.read_network,
        "peerings": network.read_peerings,
        "machines": machines.read_machines,
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


def _cluster_id(world: World, region: Region) -> str | None:
    try:
        return database.read_cluster_id(world, region)
    except CrdbmeshError:
        return None
