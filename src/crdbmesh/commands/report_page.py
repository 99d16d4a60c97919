"""Renders a report as one HTML file that needs no network: light and dark, readable on a phone and in print."""

import datetime as dt
import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from crdbmesh import __version__
from crdbmesh.commands import cost
from crdbmesh.commands.report import Report
from crdbmesh.errors import ConfigError
from crdbmesh.local import files
from crdbmesh.observe.health import LAYERS, Level, RegionHealth
from crdbmesh.steps import catalog

_MARGIN, _NARROWEST = 36.0, 200.0
"""Of the map around the regions, and its least width, in its units of half a degree."""
_MARK = b'<meta name="generator" content="crdbmesh report">'
_LABELS = {
    "peerings_connected": "peerings connected",
    "nodes_ready": "Kubernetes nodes ready",
    "clustermesh_links_ready": "Cluster Mesh links ready",
    "zones_resolved": "DNS zones resolved",
    "cockroach_nodes_live": "CockroachDB nodes live",
    "cluster_ids": "CockroachDB clusters",
}
Way = tuple[str, str]
"""The regions at the ends of a link, in one direction."""
_SIGNS = {Level.OK: "✓", Level.DEGRADED: "!", Level.ABSENT: "–", Level.UNKNOWN: "?"}


def render(report: Report) -> str:
    """Return the page. Whatever comes from outside is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["length"] = _length
    template = environment.from_string(_file("report.html"))
    return template.render(
        report=report,
        layers=LAYERS,
        cost=cost.of_mesh(report.mesh),
        signs=_SIGNS,
        labels=_LABELS,
        map=_map(report),
        rows=_rows(report),
        version=__version__,
        ends=_soonest(report),
        days=lambda end: (end - report.at).days,
    )


def _soonest(report: Report) -> list[tuple[str, dt.datetime]]:
    """Return of each certificate that every region has the one that ends first."""
    found: dict[str, tuple[str, dt.datetime]] = {}
    for (region, name), end in sorted(report.readings.ends.items(), key=lambda item: item[1]):
        found.setdefault(name, (f"{name}, the first in {region}", end))
    return [*found.values()]


def write(report: Report, path: Path) -> Path:
    """Write the page to `path` and return its whole path; what is there and no earlier report is a ConfigError."""
    if path.exists() and not (path.is_file() and _MARK in path.read_bytes()[:4096]):
        raise ConfigError.of("--file", str(path), "exists, and is no report", "name another file with --file")
    files.write_private(path, render(report))
    return path.resolve()


@dataclass(frozen=True, slots=True)
class _Dot:
    """A region on the map, at `x` and `y`; its name stands at `label_y`."""

    region: str
    x: float
    y: float
    label_y: float
    level: str


@dataclass(frozen=True, slots=True)
class _Link:
    """A link on the map: its curve, its level, and its round-trip time at the curve's top."""

    curve: str
    level: str
    x: float
    y: float
    rtt: str


@dataclass(frozen=True, slots=True)
class _Map:
    """The map: its window, the land, the regions, and the curve and level of each link."""

    box: tuple[float, float, float, float]
    land: str
    dots: list[_Dot]
    links: list[_Link]


def _map(report: Report) -> _Map | None:
    """Return the map of all regions with a known place; None without one."""
    health = {region.region: region for region in report.health.regions}
    dots: list[_Dot] = []
    for region, (latitude, longitude) in report.places.items():
        x, y = (longitude + 180) * 2, (90 - latitude) * 2
        # Names of regions that are close to each other are put one above the other.
        near = [dot for dot in dots if abs(dot.x - x) < 40 and abs(dot.label_y - y) < 8]
        level = "ok" if all(layer.level is Level.OK for layer in health[region].layers) else "degraded"
        dots.append(_Dot(region, x, y, y + 8 * len(near), level))
    if not dots:
        return None
    left, right = min(dot.x for dot in dots), max(dot.x for dot in dots)
    top, bottom = min(dot.y for dot in dots), max(dot.y for dot in dots)
    width = max(right - left + 2 * _MARGIN, 2 * (bottom - top + 2 * _MARGIN), _NARROWEST)
    box = (left + right - width) / 2, (top + bottom - width / 2) / 2, width, width / 2
    blamed = {(dot.region, other) for dot in dots for other in _blamed(health[dot.region], health)}
    links = [_link(one, other, blamed, report.readings.rtt_ms) for one, other in itertools.combinations(dots, 2)]
    land = re.search(r'\sd="([^"]+)"', _file("land.svg"))
    return _Map(box, land[1] if land else "", dots, links)


def _link(
    one: _Dot, other: _Dot, blamed: Collection[tuple[str, str]], rtt_ms: Mapping[tuple[str, str], float]
) -> _Link:
    ways = ((one.region, other.region), (other.region, one.region))
    x, y = (one.x + other.x) / 2, (one.y + other.y) / 2 - abs(one.x - other.x) / 8
    level = "degraded" if any(way in blamed for way in ways) else "ok"
    times = [rtt_ms[way] for way in ways if way in rtt_ms]
    curve = f"M{one.x:.0f} {one.y:.0f}Q{x:.0f} {y:.0f} {other.x:.0f} {other.y:.0f}"
    return _Link(curve, level, x, (y + (one.y + other.y) / 2) / 2, f"{min(times):.0f} ms" if times else "")


def _blamed(here: RegionHealth, regions: Iterable[str]) -> set[str]:
    """Return the regions that the faults of a region's links name; all of them for a fault that names none."""
    found: set[str] = set()
    for layer in (here.layer("peerings"), here.layer("clustermesh")):
        if layer.level is not Level.OK:
            others = {name for name in regions if name != here.region}
            found |= {name for name in others if re.search(rf"\b{name}\b", layer.cause or "")} or others
    return found


@dataclass(frozen=True, slots=True)
class _Bar:
    """A step in the timeline: its place in per cent of the run."""

    step: str
    left: float
    width: float
    seconds: float
    stage: str
    critical: bool


def _rows(report: Report) -> dict[str, list[list[_Bar]]]:
    """Return the bars of each region, in lanes in which none overlaps another."""
    rows: dict[str, list[list[_Bar]]] = {}
    if report.run is None:
        return rows
    whole = max(report.run.seconds, 0.001) / 100
    critical = {span.step for span in report.critical}
    for span in sorted(report.run.spans, key=lambda one: one.begins_s):
        try:
            row, stage = catalog.place(span.step)
        except KeyError:
            continue
        bar = _Bar(span.step, span.begins_s / whole, span.seconds / whole, span.seconds, stage, span.step in critical)
        lanes = rows.setdefault(row, [])
        free = next((lane for lane in lanes if lane[-1].left + lane[-1].width <= bar.left), None)
        if free is None:
            lanes.append([bar])
        else:
            free.append(bar)
    return rows


def _length(seconds: float) -> str:
    """Return a length of time for people: `6 min 40 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _file(name: str) -> str:
    return resources.files("crdbmesh.commands").joinpath(name).read_text(encoding="utf-8")
