"""Platform images: Canonical's Ubuntu, by publisher, offer, SKU and version."""

from __future__ import annotations

from dataclasses import dataclass

from crdbmesh_simulator import tables

PUBLISHER = "Canonical"


@dataclass(frozen=True, slots=True)
class Image:
    """A platform image."""

    offer: str
    sku: str
    version: str
    os_version: str
    arm64: bool = False
    generation: str = "V2"
    disk_gib: int = 30


IMAGES = [Image(*row, **more) for *row, more in tables.read(__package__, "offers")["images"]["canonical"]]


def find(publisher: str, offer: str, sku: str, version: str) -> Image | None:
    """The image, or None; `version` may be `latest`."""
    if publisher.lower() != PUBLISHER.lower():
        return None
    for image in IMAGES:
        if (image.offer.lower(), image.sku.lower()) == (offer.lower(), sku.lower()):
            return image if version.lower() in ("latest", image.version) else None
    return None
