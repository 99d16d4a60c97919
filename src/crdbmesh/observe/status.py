"""Reads every layer of every region at once: what `crdbmesh status` shows.

A layer that cannot be read says so as its cause; nothing here raises for the state of the world.
"""

import contextlib
import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.desired.placement import is_placed
from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import backups, certificates, cilium, database, links, machines, network, placement
from crdbmesh.observe.health import Health, Layer, Level, License, Note, RegionHealth
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Region


def read(world: World) -> Health:
    """Read every layer of every region, in parallel."""
    regions = world.mesh.all_regions()
    others = len(world.mesh.regions) - 1
    readers: dict[str, tuple[Callable[[World, Region], Layer], Callable[[Region], int]]] = {
        "network": (network.read_network, lambda _: 2),
        "peerings": (network.read_peerings, lambda _: others),
        "machines": (machines.read_machines, lambda region: len(region.machines)),
        "nodes": (machines.read_nodes, lambda region: len(region.machines)),
        "cilium": (cilium.read_cilium, lambda region: len(region.machines)),
        "clustermesh": (links.read_clustermesh, lambda _: others),
        "dns": (database.read_dns, lambda _: others),
        "cockroachdb": (database.read_cockroachdb, lambda region: region.replicas),
    }

    def guarded(name: str, region: Region) -> Layer:
        read_layer, wanted = readers[name]
        try:
            return read_layer(world, region)
        except CrdbmeshError as error:
            return Layer(name, Level.UNKNOWN, 0, wanted(region), str(error))

    with ThreadPoolExecutor(max_workers=32, thread_name_prefix="status") as pool:
        asked = {(region.name, name): pool.submit(guarded, name, region) for region in regions for name in readers}
        ids = [pool.submit(_cluster_id, world, region) for region in regions]
        found = tuple(
            RegionHealth(region.name, tuple(asked[region.name, name].result() for name in readers))
            for region in regions
        )
        license_ = pool.submit(_license, world)
        notes = [pool.submit(read, world) for read in (_survival, _backup, _expiry)]
        cluster_ids = tuple(sorted({known for future in ids if (known := future.result())}))
        told = tuple(note for future in notes if (note := future.result()))
    return Health(world.mesh.name, found, cluster_ids, license_.result(), told)


def _survival(world: World) -> Note | None:
    try:
        seen = placement.read(world)
    except CrdbmeshError:
        return None
    return Note("survival", str(seen), seen.at_risk and is_placed(world.mesh))


def _backup(world: World) -> Note | None:
    if (last := backups.read_last(world)) is not None:
        return Note("backup", str(last), last.is_stale)
    return Note("backup", backups.NONE, False) if world.mesh.profile == "production" else None


def _expiry(world: World) -> Note | None:
    """Tell of the certificate that ends first, of all regions that can be asked."""
    ends: dict[str, dt.datetime] = {}
    for region in world.mesh.all_regions():
        # Of what cannot be read each layer says so.
        with contextlib.suppress(CrdbmeshError, ValueError, KeyError, TypeError):
            found = certificates.read(world, region).ends
            ends |= {f"{name} of {region.name}": end for name, end in found.items()}
    if not ends:
        return None
    first = min(ends, key=lambda name: ends[name])
    left = ends[first] - dt.datetime.now(dt.UTC)
    when = f"{ends[first]:%Y-%m-%d}"
    text = f"The first certificate to end is the {first}: {when}, in {left.days} days"
    if left.days < 0:
        text = f"The {first} ended on {when}"
    is_soon = left < certificates.SOON
    return Note("certificates", f"{text}{'; `crdbmesh up` renews it' if is_soon else ''}.", is_soon)


def _license(world: World) -> License | None:
    try:
        return database.read_license(world)
    except CrdbmeshError:
        return None


def _cluster_id(world: World, region: Region) -> str | None:
    try:
        return database.read_cluster_id(world, database.address_of(region.name, 0))
    except CrdbmeshError:
        return None
