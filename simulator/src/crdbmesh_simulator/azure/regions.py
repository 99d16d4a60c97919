"""Azure's regions, as `GET /subscriptions/S/locations` describes them.

Coordinates and zones: the list-locations metadata and Microsoft's list of regions. `zones` says whether machines can be
spread over availability zones there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure.errors import body


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

    @property
    def fault_domains(self) -> str:
        """How many fault domains an aligned availability set has."""
        return "3" if self.recommended or self.name in ("westus", "northcentralus", "canadaeast") else "2"


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
    logical = [body("geography", subscription=subscription_id, name=name, display=_LOGICAL[name]) for name in _LOGICAL]
    return [_physical(region, subscription_id) for region in REGIONS.values()] + logical


def _physical(region: Region, subscription_id: str) -> dict[str, Any]:
    where, category = f"/subscriptions/{subscription_id}/locations", "Recommended" if region.recommended else "Other"
    paired = [{"name": region.paired, "id": f"{where}/{region.paired}"}] if region.paired else []
    entry: dict[str, Any] = body(
        "region", region=region, subscription=subscription_id, category=category, paired=paired
    )
    if region.zones:
        entry["availabilityZoneMappings"] = [
            {"logicalZone": zone, "physicalZone": f"{region.name}-az{zone}"} for zone in region.zone_names
        ]
    return entry
