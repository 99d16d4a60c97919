"""Azure's public list of retail prices, which takes no login: `GET /api/retail/prices?$filter=…`.

Shape, filters and pages: learn.microsoft.com, "Azure Retail Prices overview". Nothing of the operator's is sent to it,
neither a token nor the subscription, nor what `.netrc` has for its host.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from crdbmesh.clients import web
from crdbmesh.clients.cloud import Cloud
from crdbmesh.errors import CloudError
from crdbmesh.spec.documents import MOST_BYTES, DocumentError, read_json

_PAGES = 5
_JSON = "application/json"
_HOURS = {"1 Hour": 1.0, "1/Month": 730.0}
_OTHERS = ("windows", "spot", "low priority", "cloudservices", "cloud services", "mount")
"""Words in the names of products, SKUs and meters that are not what a mesh uses."""


def find_hour(cloud: Cloud, region: str, what: str) -> float | None:
    """Return what a VM size or a disk's tier (`P10 LRS`) costs an hour in US dollars; None when it is not listed.

    A list that cannot be read is a CloudError.
    """
    service, field = ("Storage", "skuName") if " " in what else ("Virtual Machines", "armSkuName")
    wanted = {"serviceName": service, "armRegionName": region, field: what, "priceType": "Consumption"}
    query = " and ".join(f"{name} eq '{value.replace(chr(39), chr(39) * 2)}'" for name, value in wanted.items())
    found = [item for item in _read(cloud, query) if _is_meant(item)]
    newest = max(found, key=lambda item: str(item.get("effectiveStartDate")), default=None)
    return None if newest is None else float(newest["retailPrice"]) / _HOURS[newest["unitOfMeasure"]]


def _is_meant(item: dict[str, Any]) -> bool:
    names = " ".join(str(item.get(name)) for name in ("productName", "skuName", "meterName")).lower()
    price, other = item.get("retailPrice"), any(word in names for word in _OTHERS)
    is_primary = item.get("isPrimaryMeterRegion", True) and not item.get("tierMinimumUnits")
    return isinstance(price, int | float) and item.get("unitOfMeasure") in _HOURS and is_primary and not other


def _read(cloud: Cloud, query: str) -> Iterator[dict[str, Any]]:
    host, url, asked = urlsplit(cloud.prices_url).hostname, cloud.prices_url, {"$filter": query}
    for _ in range(_PAGES):
        try:
            most = MOST_BYTES + 1
            page = read_json(web.read(url, cloud.ca_file, most_bytes=most, timeout_s=10, asked=asked, Accept=_JSON))
            yield from (item for item in page.get("Items") or [] if isinstance(item, dict))
        except (OSError, DocumentError, AttributeError, TypeError) as error:
            why = f"cannot read Azure's price list at {cloud.prices_url}: {error}"
            raise CloudError(why, hint="leave out --prices to use crdbmesh's own table") from error
        url, asked = str(page.get("NextPageLink") or ""), {}
        if urlsplit(url).hostname != host:
            return
