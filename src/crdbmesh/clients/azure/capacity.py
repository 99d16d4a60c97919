"""The capacity of a location: VM sizes, images, and the rest of each quota."""

from crdbmesh.clients.azure.session import Session
from crdbmesh.desired import Body


def list_skus(session: Session, location: str) -> list[Body]:
    """List every size, disk and host type that Azure knows in a location, the restricted ones included."""
    return session.list_all(
        f"GET skus of {location}", lambda: session.compute.resource_skus.list(filter=f"location eq '{location}'")
    )


def list_compute_usages(session: Session, location: str) -> list[Body]:
    """List a location's compute quotas: `name.value`, `currentValue`, `limit`."""
    return session.list_all(
        f"GET locations/{location}/usages of Microsoft.Compute", lambda: session.compute.usage.list(location)
    )


def list_network_usages(session: Session, location: str) -> list[Body]:
    """List a location's network quotas: `name.value`, `currentValue`, `limit`."""
    return session.list_all(
        f"GET locations/{location}/usages of Microsoft.Network", lambda: session.network.usages.list(location)
    )


def find_image(
    session: Session, location: str, publisher: str, offer: str, sku: str, version: str = "latest"
) -> Body | None:
    """Return a platform image of a location, with `properties.architecture` and `hyperVGeneration`, or None."""
    images = session.compute.virtual_machine_images
    if version == "latest":
        listed = session.list_all(
            f"GET versions of {publisher}:{offer}:{sku} in {location}",
            lambda: images.list(location, publisher, offer, sku, top=1, orderby="name desc"),
        )
        if not listed:
            return None
        version = str(listed[0]["name"])
    return session.find(
        f"GET {publisher}:{offer}:{sku}:{version} in {location}",
        lambda: images.get(location, publisher, offer, sku, version),
    )
