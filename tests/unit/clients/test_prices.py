"""Azure's public price list, as a small server on this machine gives it: nothing of the operator's reaches it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crdbmesh.clients import prices
from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh.commands import cost
from crdbmesh.errors import CloudError
from crdbmesh.spec import load

TOKEN = "a-token-that-nobody-may-see"


def item(price: float, **more: Any) -> dict[str, Any]:
    """An item as the list's documentation shows it."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": "eastus",
        "effectiveStartDate": "2021-11-01T00:00:00Z",
        "meterName": "D4s v5",
        "productName": "Virtual Machines Dsv5 Series",
        "skuName": "Standard_D4s_v5",
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "Standard_D4s_v5",
        **more,
    }


DISK = {"productName": "Premium SSD Managed Disks", "skuName": "P10 LRS", "unitOfMeasure": "1/Month"}
MACHINES = [
    item(0.376, productName="Virtual Machines Dsv5 Series Windows"),
    item(0.04, skuName="D4s v5 Spot", meterName="D4s v5 Spot"),
    item(0.05, skuName="D4s v5 Low Priority", meterName="D4s v5 Low Priority"),
    item(0.2, effectiveStartDate="2020-01-01T00:00:00Z"),
    item(0.3, isPrimaryMeterRegion=False),
]
DISKS = [item(21.9, meterName="P10 LRS Disk", **DISK), item(1.2, meterName="P10 LRS Disk Mount", **DISK)]


class PriceList(ThreadingHTTPServer):
    """The list: machines on two pages, disks on one; what it was asked, with every header."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.broken = ""
        self.url = f"http://127.0.0.1:{self.server_port}/api/retail/prices"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, PriceList)
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append((query["$filter"][0], dict(self.headers)))
        more, items = "", DISKS if "'Storage'" in self.path or "%27Storage%27" in self.path else MACHINES
        if items is MACHINES and "page" not in query:
            more = f"{self.server.url}{self.path[self.path.index('?') :]}&page=2"
        elif items is MACHINES:
            items = [item(0.192)]
        body = self.server.broken or json.dumps(
            {"BillingCurrency": "USD", "Items": items, "NextPageLink": more or None}
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def listed() -> Iterator[PriceList]:
    with PriceList() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def cloud(url: str) -> Cloud:
    return Cloud("c", "https://localhost:1", ("s",), GivenToken(TOKEN), subscription_id="sub", prices_url=url)


def test_the_newest_linux_price_of_a_machine_is_found_on_whatever_page_and_a_disks_by_the_hour(
    listed: PriceList,
) -> None:
    there = cloud(listed.url)
    assert prices.find_hour(there, "eastus", "Standard_D4s_v5") == 0.192
    assert prices.find_hour(there, "eastus", "P10 LRS") == pytest.approx(21.9 / 730)
    assert listed.asked[0][0] == (
        "serviceName eq 'Virtual Machines' and armRegionName eq 'eastus' and armSkuName eq 'Standard_D4s_v5' "
        "and priceType eq 'Consumption'"
    )
    assert len(listed.asked) == 3


def test_nothing_of_the_operators_is_sent(listed: PriceList, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    prices.find_hour(cloud(listed.url), "eastus", "it's")
    assert "armSkuName eq 'it''s'" in listed.asked[0][0]
    for _, headers in listed.asked:
        assert "Authorization" not in headers
        assert TOKEN not in str(headers)
        assert "sub" not in str(headers)


@pytest.mark.parametrize("broken", ["{", "[]", '{"Items": 3}', "<html>"])
def test_a_list_that_cannot_be_read_says_what_to_do(listed: PriceList, broken: str) -> None:
    listed.broken = broken
    with pytest.raises(CloudError, match="cannot read Azure's price list at http") as caught:
        prices.find_hour(cloud(listed.url), "eastus", "Standard_D4s_v5")
    assert caught.value.hint == "leave out --prices to use crdbmesh's own table"


def test_a_list_that_is_not_there_and_one_without_tls_elsewhere_are_errors_too() -> None:
    for url in ("https://127.0.0.1:1/prices", "http://prices.example/prices"):
        with pytest.raises(CloudError, match="cannot read Azure's price list"):
            prices.find_hour(cloud(url), "eastus", "P10 LRS")


def test_a_mesh_costs_its_machines_disks_and_addresses_by_the_list(listed: PriceList) -> None:
    mesh = load.mesh({"regions": ["eastus"], "layout": 1})
    paid = cost.of_mesh(mesh, cloud(listed.url))
    assert paid.hour == pytest.approx(3 * (0.192 + 21.9 / 730 + 0.005))
    assert str(paid) == "about 0.68 USD an hour, 497 USD a month, without traffic (Azure's list prices)"
    assert len(listed.asked) == 3
