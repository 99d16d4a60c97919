"""Platform images in a region: publishers, offers, SKUs and versions, as clients browse them.

These lists are bare arrays, not `{"value": [...]}`.
"""

from __future__ import annotations

from crdbmesh_simulator.azure import images
from crdbmesh_simulator.azure.about import location_of
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.errors import ArmError, Body, refusal


def list_versions(call: Call) -> Answer:
    """The versions of an image."""
    return Answer(200, [_entry(call, _find(call, "latest").version)])


def get_version(call: Call) -> Answer:
    """One version of an image."""
    image = _find(call, call.names["version"])
    properties = {
        "architecture": "Arm64" if image.arm64 else "x64",
        "hyperVGeneration": image.generation,
        "osDiskImage": {"operatingSystem": "Linux", "sizeInGb": image.disk_gib},
        "dataDiskImages": [],
        "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
        "features": [{"name": "DiskControllerTypes", "value": "SCSI, NVMe"}],
        "imageDeprecationStatus": {"imageState": "Active"},
    }
    entry = _entry(call, image.version)
    entry["id"] = f"{str(entry['id']).rpartition('/')[0]}/{image.version}"
    return Answer(200, {**entry, "properties": properties})


def _find(call: Call, version: str) -> images.Image:
    location_of(call)
    names = call.names
    image = images.find(names["publisher"], names["offer"], names["sku"], version)
    if image is None:
        raise _not_found(
            f"Publisher: {names['publisher']}, Offer: {names['offer']}, Sku: {names['sku']}, Version: {version}"
        )
    return image


def _not_found(what: str) -> ArmError:
    return refusal("NotFound, image", what=what)


def _entry(call: Call, name: str) -> Body:
    path = call.path.rstrip("/")
    return {"location": location_of(call), "name": name, "id": f"{path}/{name}"}
