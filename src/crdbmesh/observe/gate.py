"""The health gate of rollouts: judges whether the mesh is whole, so that it can bear that one machine or pod goes.

CockroachDB's docs ask for it before each pod (v26.2, `upgrade-cockroachdb-kubernetes`: "0 under-replicated ranges"),
k3s's and etcd's before each server.
"""

from crdbmesh.errors import KubeError, WaitError
from crdbmesh.observe import database, machines
from crdbmesh.run.world import World
from crdbmesh.spec.mesh import Region

LEAST = 3
"""The database nodes below which the database does not go on without one of them."""


def closed(world: World) -> str | None:
    """Say what is not whole, and why, or what cannot be asked; None when the gate is open."""
    try:
        for region in world.mesh.all_regions():
            if why := _of_region(world, region):
                return f"{region.name}: {why}"
        nodes = database.read_nodes(world)
    except (KubeError, WaitError) as error:
        return str(error)
    if dead := [node.address for node in nodes if not (node.live and node.available)]:
        return f"not live: {', '.join(dead)}"
    counts = {
        "unavailable": sum(node.unavailable for node in nodes),
        "under-replicated": sum(node.underreplicated for node in nodes),
    }
    return "; ".join(f"{count} ranges are {what}" for what, count in counts.items() if count) or None


def _of_region(world: World, region: Region) -> str | None:
    kube = world.kube(region.name)
    nodes = kube.list("v1", "Node")
    if unready := machines.unready_nodes(kube, region, nodes):
        return "; ".join(unready)
    by_name = {node["metadata"]["name"]: node for node in nodes}
    for server in region.servers:
        if why := machines.not_joined(by_name[server.node], server=True):
            return f"{server.node} {why}"
    bad = database.unready(kube, region, kube.list("v1", "Pod", region.name, labels=database.PODS))
    return "; ".join(f"{pod} {why}" for pod, why in bad.items()) or None
