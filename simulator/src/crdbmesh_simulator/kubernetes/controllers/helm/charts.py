"""The chart of this world, Cilium's, and where a job finds its archive."""

from __future__ import annotations

import copy
import functools
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import yaml

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers.cilium import rendering
from crdbmesh_simulator.kubernetes.controllers.helm.release import ReleaseError
from crdbmesh_simulator.kubernetes.controllers.site import Site, find_file
from crdbmesh_simulator.kubernetes.programs import Container

_STATIC = "/var/lib/rancher/k3s/server/static/"
_CILIUM = ("1.20.0",)
_DIGESTS = {"c5f013912360d1a334f44ef25f36da59ba3414cdb48f466ee12d0c4fdff27883": ("cilium", "1.20.0")}
_FILE = re.compile(r"^([a-z][a-z0-9-]*?)-v?(\d+\.\d+\.\d+\S*)\.tgz$")
_STAND_IN = re.compile(rb"simulated archive: (\S+)")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that has been found."""

    name: str
    version: str


def find_chart(site: Site, container: Container) -> Chart:
    """The chart at the address that a job's environment names: an archive that a k3s server serves from its own disk.

    Raises ReleaseError: it cannot be had, in helm's words.
    """
    where, host = container.env.get("CHART", ""), container.env.get("KUBERNETES_SERVICE_HOST", "")
    found = re.fullmatch(r"https://%\{KUBERNETES_API\}%/static/(\S+)", where)
    if found is None:
        site.world.not_known("helm", f"chart {where}: only archives of the server's own are part of this world")
        raise ReleaseError(f'path "{where}" not found')
    member = container.node
    if host not in ("127.0.0.1", "localhost") or member.role != "server":
        member = next((each for each in site.cluster.servers() if site.alive(each)), member)
    content = find_file(member.machine, _STATIC + found[1])
    if content is None:
        address = where.replace("%{KUBERNETES_API}%", f"{host}:{container.env.get('KUBERNETES_SERVICE_PORT', '')}")
        raise ReleaseError(f"failed to fetch {address} : 404 Not Found")
    return _identify(content, found[1].rsplit("/", 1)[-1])


def _identify(content: bytes, name: str) -> Chart:
    """Which chart an archive is: by what a stand-in says of itself, or by its published digest."""
    stand_in = _STAND_IN.search(content)
    found = _FILE.match(stand_in[1].decode()) if stand_in is not None else None
    if found is not None:
        return Chart(found[1], found[2])
    raise ReleaseError(f"file '{name}' does not appear to be a gzipped archive; got 'application/octet-stream'")


def render(site: Site, chart: Chart, given: Obj) -> list[Obj]:
    """The chart's objects for the user's values. Raises ReleaseError: the values do not fit the chart."""
    if chart.name != "cilium" or chart.version not in _CILIUM:
        site.world.not_known("helm", f"chart {chart.name} {chart.version}")
        raise ReleaseError(f'chart "{chart.name}" version "{chart.version}" cannot be rendered')
    faults = schema_errors(given)
    if faults:
        head = "values don't meet the specifications of the schema(s) in the following chart(s):\ncilium:\n"
        raise ReleaseError(head + "\n".join(faults))
    for path in unread_paths(given, rendering.defaults()):
        site.world.not_known("helm", f"value {path} of chart cilium {chart.version} is not part of this world")
    values = merge(rendering.defaults(), given)
    for path in ("hubble.enabled", "ipv6.enabled", "encryption.enabled"):
        part, _, flag = path.partition(".")
        if values[part][flag]:
            site.world.not_known("helm", f"value {path} of chart cilium: its objects are not part of this world")
    return rendering.render(values, version=chart.version)


_SCHEMA = "cilium-1.20.0-values.schema.json"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Obj:
    """`over` on top of `base`: maps are merged, everything else is replaced; null removes a key of the chart."""
    result: Obj = dict(base)
    for key, value in over.items():
        have = result.get(key)
        if isinstance(value, Mapping) and isinstance(have, Mapping):
            result[key] = merge(have, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def read(files: Mapping[str, bytes]) -> Obj:
    """The user's values: YAML files in the order of their names. Raises ValueError: a file is no YAML mapping."""
    values: Obj = {}
    for path in sorted(files):
        try:
            loaded = yaml.load(files[path], Loader=yaml.CSafeLoader) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"failed to parse {path}: {error}") from error
        values = merge(values, loaded)
    return values


@functools.cache
def _schema() -> Obj:
    folder = importlib.resources.files("crdbmesh_simulator.kubernetes.controllers") / "charts"
    return json.loads((folder / _SCHEMA).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def schema_errors(values: Obj) -> list[str]:
    """Return the violations of the chart's `values.schema.json`, in helm's words."""
    found = []
    for error in jsonschema.Draft7Validator(_schema()).iter_errors(_without_null(values)):
        where = "/".join(str(part) for part in error.absolute_path)
        found.append(f"- at '/{where}': {error.message}")
    return sorted(found)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(each) for key, each in value.items() if each is not None}
    return value


def unread_paths(values: Obj, read: Obj) -> Iterator[str]:
    """Paths in the values that are not among `read`, the values that the rendering of this world goes by."""
    for key, value in values.items():
        if key not in read:
            yield key
        elif isinstance(value, dict) and isinstance(read[key], dict) and read[key]:
            yield from (f"{key}.{path}" for path in unread_paths(value, read[key]))
