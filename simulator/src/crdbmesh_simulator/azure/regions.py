"""Azure's regions, as `GET /subscriptions/S/locations` describes them.

Coordinates and zones: the list-locations metadata and Microsoft's list of regions. `zones` says whether machines can be
spread over availability zones there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


_TABLE = """
eastus|East US|United States|US|37.3719|-79.8164|Virginia|westus|z|r
eastus2|East US 2|United States|US|36.6681|-78.3889|Virginia|centralus|z|r
centralus|Central US|United States|US|41.5908|-93.6208|Iowa|eastus2|z|r
northcentralus|North Central US|United States|US|41.8819|-87.6278|Illinois|southcentralus||
southcentralus|South Central US|United States|US|29.4167|-98.5|Texas|northcentralus|z|r
westcentralus|West Central US|United States|US|40.89|-110.234|Wyoming|westus2||
westus|West US|United States|US|37.783|-122.417|California|eastus||
westus2|West US 2|United States|US|47.233|-119.852|Washington|westcentralus|z|r
westus3|West US 3|United States|US|33.448376|-112.074036|Phoenix|eastus|z|r
canadacentral|Canada Central|Canada|Canada|43.653|-79.383|Toronto|canadaeast|z|r
canadaeast|Canada East|Canada|Canada|46.817|-71.217|Quebec|canadacentral||
mexicocentral|Mexico Central|Mexico|Mexico|20.588818|-100.389888|Querétaro State||z|r
brazilsouth|Brazil South|Brazil|South America|-23.55|-46.633|Sao Paulo State|southcentralus|z|r
brazilsoutheast|Brazil Southeast|Brazil|South America|-22.90278|-43.2075|Rio|brazilsouth||
chilecentral|Chile Central|Chile|South America|-33.447487|-70.673676|Santiago||z|r
northeurope|North Europe|Europe|Europe|53.3478|-6.2597|Ireland|westeurope|z|r
westeurope|West Europe|Europe|Europe|52.3667|4.9|Netherlands|northeurope|z|r
uksouth|UK South|United Kingdom|UK|50.941|-0.799|London|ukwest|z|r
ukwest|UK West|United Kingdom|UK|53.427|-3.084|Cardiff|uksouth||
francecentral|France Central|France|Europe|46.3772|2.3730|Paris|francesouth|z|r
francesouth|France South|France|Europe|43.8345|2.1972|Marseille|francecentral||
germanywestcentral|Germany West Central|Germany|Europe|50.110924|8.682127|Frankfurt|germanynorth|z|r
germanynorth|Germany North|Germany|Europe|53.073635|8.806422|Berlin|germanywestcentral||
swedencentral|Sweden Central|Sweden|Europe|60.67488|17.14127|Gävle|swedensouth|z|r
norwayeast|Norway East|Norway|Europe|59.913868|10.752245|Norway|norwaywest|z|r
norwaywest|Norway West|Norway|Europe|58.969975|5.733107|Norway|norwayeast||
switzerlandnorth|Switzerland North|Switzerland|Europe|47.451542|8.564572|Zurich|switzerlandwest|z|r
switzerlandwest|Switzerland West|Switzerland|Europe|46.204391|6.143158|Geneva|switzerlandnorth||
italynorth|Italy North|Italy|Europe|45.46888|9.18109|Milan||z|r
polandcentral|Poland Central|Poland|Europe|52.23334|21.01666|Warsaw||z|r
spaincentral|Spain Central|Spain|Europe|40.4259|3.4209|Madrid||z|r
austriaeast|Austria East|Austria|Europe|48.2201|16.3798|Vienna||z|r
belgiumcentral|Belgium Central|Belgium|Europe|50.8503|4.3517|Brussels||z|r
southafricanorth|South Africa North|South Africa|Africa|-25.73134|28.21837|Johannesburg|southafricawest|z|r
southafricawest|South Africa West|South Africa|Africa|-34.075691|18.843266|Cape Town|southafricanorth||
uaenorth|UAE North|UAE|Middle East|25.266666|55.316666|Dubai|uaecentral|z|r
uaecentral|UAE Central|UAE|Middle East|24.466667|54.366669|Abu Dhabi|uaenorth||
qatarcentral|Qatar Central|Qatar|Middle East|25.551462|51.439327|Doha||z|r
israelcentral|Israel Central|Israel|Middle East|31.2655698|33.4506633|Israel||z|r
centralindia|Central India|India|Asia Pacific|18.5822|73.9197|Pune|southindia|z|r
southindia|South India|India|Asia Pacific|12.9822|80.1636|Chennai|centralindia||
westindia|West India|India|Asia Pacific|19.088|72.868|Mumbai|southindia||
eastasia|East Asia|Asia Pacific|Asia Pacific|22.267|114.188|Hong Kong|southeastasia|z|r
southeastasia|Southeast Asia|Asia Pacific|Asia Pacific|1.283|103.833|Singapore|eastasia|z|r
japaneast|Japan East|Japan|Asia Pacific|35.68|139.77|Tokyo, Saitama|japanwest|z|r
japanwest|Japan West|Japan|Asia Pacific|34.6939|135.5022|Osaka|japaneast|z|r
koreacentral|Korea Central|Korea|Asia Pacific|37.5665|126.9780|Seoul|koreasouth|z|r
koreasouth|Korea South|Korea|Asia Pacific|35.1796|129.0756|Busan|koreacentral||
indonesiacentral|Indonesia Central|Indonesia|Asia Pacific|-6.31613|106.83142|Jakarta||z|r
malaysiawest|Malaysia West|Malaysia|Asia Pacific|3.140853|101.693207|Kuala Lumpur||z|r
newzealandnorth|New Zealand North|New Zealand|Asia Pacific|-36.84853|174.76349|Auckland||z|r
australiaeast|Australia East|Australia|Asia Pacific|-33.86|151.2094|New South Wales|australiasoutheast|z|r
australiasoutheast|Australia Southeast|Australia|Asia Pacific|-37.8136|144.9631|Victoria|australiaeast||
australiacentral|Australia Central|Australia|Asia Pacific|-35.3075|149.1244|Canberra|australiacentral2||
australiacentral2|Australia Central 2|Australia|Asia Pacific|-35.3075|149.1244|Canberra|australiacentral||
"""


def _region(line: str) -> Region:
    name, display, geography, group, latitude, longitude, place, paired, zones, recommended = line.split("|")
    return Region(name, display, geography, group, latitude, longitude, place, paired, zones == "z", recommended == "r")


REGIONS = {region.name: region for region in map(_region, _TABLE.strip().splitlines())}
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
