"""The page of `crdbmesh report`, from what a report holds; tests/referees shows it to a browser."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crdbmesh.commands import report_page
from crdbmesh.commands.report import Report
from crdbmesh.errors import ConfigError
from crdbmesh.local.birth import Aim
from crdbmesh.local.journals import Run, Span
from crdbmesh.observe.health import LAYERS, Health, Layer, Level, RegionHealth
from crdbmesh.observe.proof import Readings
from crdbmesh.spec import load

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
HOSTILE = "<script>alert(1)</script>"


def make(fault: tuple[str, str, str] | None = None) -> Report:
    """A report of three regions, all in order but for one layer of one region, if a fault is given."""

    def layer(region: str, name: str) -> Layer:
        if fault is None or fault[:2] != (region, name):
            return Layer(name, Level.OK, 1, 1)
        return Layer(name, Level.DEGRADED, 1, 2, fault[2] or None)

    places = {"eastus": (37.4, -79.8), "westus": (37.8, -122.4), "northeurope": (53.3, -6.3)}
    spans = (Span("mesh/group", 0, 2, "changed"), Span("eastus/network", 2, 60, "changed"))
    return Report(
        mesh=load.mesh({"name": "prod", "regions": list(places), "allow_from": ["127.0.0.1"]}),
        aim=Aim(cloud="AzureCloud", arm_url="https://arm.invalid", subscription_id="1", subscription_name=HOSTILE),
        at=NOW,
        health=Health(
            "prod", tuple(RegionHealth(one, tuple(layer(one, name) for name in LAYERS)) for one in places), ("id",)
        ),
        places=places,
        readings=Readings(
            rtt_ms={("eastus", "westus"): 70.4, ("westus", "eastus"): 69.6},
            ends={(one, "node certificate"): NOW + dt.timedelta(days=30 + number) for number, one in enumerate(places)},
        ),
        run=Run(NOW, 60, spans),
        critical=list(spans),
    )


class Tags(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_shows_every_part_and_fetches_nothing() -> None:
    page = report_page.render(make())
    tags = Tags(page).found
    assert not [tag for tag, given in tags if tag == "script" or given.keys() & {"src", "href", "onload"}]
    assert "url(" not in page
    assert "&lt;script&gt;" in page
    assert "Healthy" in page
    assert "in 30 days" in page
    assert "node certificate, the first in eastus" in page
    assert "70 ms" in page
    assert "1 min 0 s" in page
    links = [given for tag, given in tags if tag == "path" and "link" in str(given.get("class"))]
    assert [given["class"] for given in links] == ["link ok"] * 3
    assert len([tag for tag, _ in tags if tag == "circle"]) == 3


@pytest.mark.parametrize(
    ("cause", "broken"),
    [("peering eastus -> westus is Disconnected", 1), ("a cause of nobody", 2), (None, 2)],
)
def test_a_fault_is_drawn_at_the_link_that_it_names(cause: str | None, broken: int) -> None:
    page = report_page.render(make(("eastus", "peerings", cause or "")))
    links = [given["class"] for tag, given in Tags(page).found if tag == "path" and "link" in str(given.get("class"))]
    assert links.count("link degraded") == broken
    assert "Degraded" in page
    assert re.sub(r"[>-]", "", cause or "") in re.sub(r"&gt;|-", "", page)


def test_it_replaces_an_earlier_report_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "prod.html"
    assert report_page.write(make(), path) == path
    assert report_page.write(make(), path).stat().st_mode & 0o777 == 0o600
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is no report"):
        report_page.write(make(), path)
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError):
        report_page.write(make(), tmp_path)
