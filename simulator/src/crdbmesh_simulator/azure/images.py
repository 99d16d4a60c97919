"""Platform images: Canonical's Ubuntu, by publisher, offer, SKU and version."""

from __future__ import annotations

from dataclasses import dataclass

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


def _plain(offer: str, os_version: str, version: str) -> list[Image]:
    images = []
    for stem in ("server", "minimal"):
        images += [
            Image(offer, stem, version, os_version),
            Image(offer, f"{stem}-arm64", version, os_version, arm64=True),
            Image(offer, f"{stem}-gen1", version, os_version, generation="V1"),
        ]
    return images


def _dated(offer: str, stem: str, os_version: str, version: str) -> list[Image]:
    return [
        Image(offer, stem, version, os_version, generation="V1"),
        Image(offer, f"{stem}-gen2", version, os_version),
        Image(offer, f"{stem}-arm64", version, os_version, arm64=True),
    ]


IMAGES = [
    *_dated("0001-com-ubuntu-server-focal", "20_04-lts", "20.04", "20.04.202505200"),
    *_dated("0001-com-ubuntu-server-jammy", "22_04-lts", "22.04", "22.04.202611100"),
    *_plain("ubuntu-22_04-lts", "22.04", "22.04.202611100"),
    *_plain("ubuntu-24_04-lts", "24.04", "24.04.202611120"),
    *_plain("ubuntu-26_04-lts", "26.04", "26.04.202611130"),
]


def find(publisher: str, offer: str, sku: str, version: str) -> Image | None:
    """The image, or None; `version` may be `latest`."""
    if publisher.lower() != PUBLISHER.lower():
        return None
    for image in IMAGES:
        if (image.offer.lower(), image.sku.lower()) == (offer.lower(), sku.lower()):
            return image if version.lower() in ("latest", image.version) else None
    return None
