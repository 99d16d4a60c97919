"""Azure's regions, as `GET /subscriptions/S/locations` describes them.

Coordinates and zones: the list-locations metadata and Microsoft's list of regions. `zones` says whether machines can be
spread over availability zones there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdbmesh_simulator import tables


@dataclass(frozen=True, slots=True)
class Region:
    """A physical region."""

    name: str
    display_name: str
    geography: str
    geography_group: str
    latitude: str
    longitude: str
    place: str
    paired: str
    zones: bool
    recommended: bool

    @property
    def zone_names(self) -> list[str]:
        """Logical zones, `["1", "2", "3"]` or none."""
        return ["1", "2", "3"] if self.zones else []


REGIONS = {name: Region(name, *row) for name, row in tables.read(__package__, "offers")["regions"].items()}
"""Physical regions by name."""

_LOGICAL = {"asia": "Asia", "europe": "Europe", "global": "Global", "unitedstates": "United States"}


def normal(location: str) -> str:
    """A location as ARM compares them: `East US` and `eastus` are one."""
    return location.replace(" ", "").lower()


def find(location: str) -> Region | None:
    """The region of this name or display name, or None."""
    return REGIONS.get(normal(location))


def describe(subscription_id: str) -> list[dict[str, Any]]:
    """The entries of the locations list, logical ones included."""
    physical = [_physical(region, subscription_id) for region in REGIONS.values()]
    return physical + [_logical(name, display, subscription_id) for name, display in _LOGICAL.items()]


def _physical(region: Region, subscription_id: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "regionType": "Physical",
        "regionCategory": "Recommended" if region.recommended else "Other",
        "geography": region.geography,
        "geographyGroup": region.geography_group,
        "longitude": region.longitude,
        "latitude": region.latitude,
        "physicalLocation": region.place,
        "pairedRegion": [],
    }
    if region.paired:
        metadata["pairedRegion"] = [
            {"name": region.paired, "id": f"/subscriptions/{subscription_id}/locations/{region.paired}"}
        ]
    entry: dict[str, Any] = {
        "id": f"/subscriptions/{subscription_id}/locations/{region.name}",
        "name": region.name,
        "type": "Region",
        "displayName": region.display_name,
        "regionalDisplayName": f"({region.geography_group}) {region.display_name}",
        "metadata": metadata,
    }
    if region.zones:
        entry["availabilityZoneMappings"] = [
            {"logicalZone": zone, "physicalZone": f"{region.name}-az{zone}"} for zone in region.zone_names
        ]
    return entry


def _logical(name: str, display: str, subscription_id: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription_id}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": display,
        "regionalDisplayName": display,
        "metadata": {"regionType": "Logical", "regionCategory": "Other"},
    }
