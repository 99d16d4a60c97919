"""Judges drills: which regions one has left cut off, and what keeps a mesh from surviving another."""

from collections.abc import Iterable, Iterator

from crdbmesh.clients import database as client
from crdbmesh.clients.azure import kinds
from crdbmesh.clients.database import Node
from crdbmesh.errors import CrdbmeshError, Finding
from crdbmesh.observe import database, firewall, placement, proof
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

LEAST_REGIONS = 3


def find_cut(world: World) -> dict[str, str]:
    """Find the regions that a drill has left cut off, and how: `firewall` or `stop`."""
    groups = {
        region.name: kinds.NSG.find(world.session, world.group, names.firewall(world.mesh.name, region.name))
        for region in world.mesh.all_regions()
    }
    return {region: how for region, nsg in groups.items() if (how := firewall.cut_by(nsg))}


def find_lacking(nodes: Iterable[Node], mesh: Mesh) -> Iterator[Finding]:
    """Find the nodes that are not live, and ranges that lack replicas."""
    nodes = list(nodes)
    for region in mesh.all_regions():
        for pod, why in database.not_live(region, nodes).items():
            yield Finding("node", f"{region.name}/{pod}", f"it {why}, and another may take the majority", "run `up`")
    if seen := proof.ranges_claim(nodes).seen:
        yield Finding("ranges", seen, "ranges must have all their replicas first", "wait, and look again")


def find_obstacles(world: World, region: Region) -> Iterator[Finding]:
    """Find why the database could not go on without a region."""
    if (count := len(world.mesh.regions)) < LEAST_REGIONS:
        reason = "without one of them no majority of the replicas is sure to be left"
        yield Finding("regions", str(count), reason, f"give the mesh {LEAST_REGIONS} regions, and run `up`")
        return
    for other, how in find_cut(world).items():
        yield Finding("region", other, f"a drill has left it cut off (by {how})", "run `crdbmesh drill heal`")
    if [one.name for one in world.mesh.client_regions()] == [region.name]:
        yield Finding("region", region.name, "it has the only client pod: nothing could be asked", "choose another")
        return
    try:
        yield from find_lacking(database.read_nodes(world), world.mesh)
        seen = placement.read(world)
        rows = database.through_client(world, lambda kube, at: client.query(kube, at, "SHOW DATABASES"))
    except CrdbmeshError as error:
        yield Finding("database", "no answer", str(error), "see `crdbmesh status`")
        return
    if told := seen.causes().get(region.name):
        yield Finding("ranges", told, "they would have no majority without it", "see `crdbmesh verify`")
    for name in (row["database_name"] for row in rows if row.get("survival_goal") == "zone"):
        reason = "it survives the loss of a zone only: rows of a region would be out of reach"
        yield Finding("database", name, reason, f"ALTER DATABASE {name} SURVIVE REGION FAILURE")
