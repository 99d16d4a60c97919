"""The places of a mesh's regions, as Azure tells them."""

from crdbmesh.clients.azure import resources
from crdbmesh.run.world import World


def find_places(world: World) -> dict[str, tuple[float, float]]:
    """Return latitude and longitude in degrees of each region that Azure tells them of; raise CloudError on failure."""
    regions = {region.name for region in world.mesh.all_regions()}
    found = {}
    for location in resources.list_locations(world.session):
        metadata = location.get("metadata") or {}
        try:
            place = float(metadata["latitude"]), float(metadata["longitude"])
        except (KeyError, TypeError, ValueError):
            continue
        if location["name"] in regions:
            found[str(location["name"])] = place
    return found
