"""Objects as rows of a table: how the API server prints them for `kubectl get`.

Columns after `pkg/printers/internalversion/printers.go` of Kubernetes 1.36, and for custom resources after their
`additionalPrinterColumns`; ages after `k8s.io/apimachinery/pkg/util/duration`.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.resources import Resource

_Cell = Callable[[Obj, float], Any]
_Columns = tuple[tuple[str, _Cell], ...]
"""The titles of a kind's columns after the first, and what stands in them at a time (seconds since the epoch).

A title that starts with `+` is shown with `-o wide`, `#` marks a number.
"""

_NONE, _UNKNOWN, _UNSET = "<none>", "<unknown>", "<unset>"
_NAME: Obj = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def make(resource: Resource, objects: Objs, *, now: float, include: str, head: bool = True) -> Obj:
    """Make a Table of objects of one kind.

    Ages are counted up to `now`; `include` says what each row holds of its object (`Object`, `Metadata` or `None`),
    `head` whether the columns are described (in a watch, only the first table does so).
    """
    columns = (
        _custom(resource)
        if resource.columns
        else _builtin().get(resource.kind, (("Age", _stamp(".metadata.creationTimestamp")),))
    )
    described = [_NAME, *(_describe(title) for title, _ in columns)]
    if resource.kind == "Event":
        described = described[1:]
    rows = [_row(obj, [cell(obj, now) for _, cell in columns], include) for obj in objects]
    if resource.kind != "Event":
        for row, obj in zip(rows, objects, strict=True):
            row["cells"].insert(0, obj["metadata"]["name"])
    table: Obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}}
    return {**table, "columnDefinitions": described if head else None, "rows": rows}


def _row(obj: Obj, cells: list[Any], include: str) -> Obj:
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
    return {"cells": cells, "object": obj if include == "Object" else partial}


def _describe(title: str) -> Obj:
    name = title.lstrip("+#")
    kind = "integer" if "#" in title else "string"
    return {"name": name, "type": kind, "format": "", "description": name, "priority": int(title.startswith("+"))}


def _custom(resource: Resource) -> _Columns:
    def column(each: Mapping[str, Any]) -> tuple[str, _Cell]:
        wide, number = "+" if each.get("priority") else "", "#" if each.get("type") == "integer" else ""
        path = str(each.get("jsonPath", ""))
        cell = _stamp(path) if each.get("type") == "date" else _at(path, None)
        return f"{wide}{number}{each['name']}", cell

    return tuple(column(each) for each in resource.columns)


def find_path(obj: Any, path: str) -> Any:
    """Return the value at a simple JSONPath such as `.status.conditions[?(@.type=="Ready")].status`, or None."""
    value = obj
    for field, filtered, index in re.findall(r"\.?((?:[^.\[\]\\]|\\.)+)|\[\?\(@\.(.*?)\)\]|\[(\d+)\]", path):
        if field:
            name = field.replace("\\.", ".")
            value = value.get(name) if isinstance(value, Mapping) else None
        elif filtered:
            key, _, wanted = filtered.partition("==")
            wanted = wanted.strip().strip("\"'")
            entries = value if isinstance(value, list) else []
            value = next((each for each in entries if str(each.get(key.strip())) == wanted), None)
        elif isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        if value is None:
            return None
    return value


# Cells.


def _at(path: str, absent: Any = "") -> _Cell:
    """The value at a path, or what is shown when there is none."""

    def cell(obj: Obj, _now: float) -> Any:
        found = find_path(obj, path)
        return absent if found in (None, "") else found

    return cell


def _count(path: str) -> _Cell:
    return lambda obj, _now: len(find_path(obj, path) or ())


def _joined(path: str) -> _Cell:
    """Labels, or those of a selector, as one text."""

    def cell(obj: Obj, _now: float) -> str:
        found = find_path(obj, path) or {}
        labels = found.get("matchLabels", found)
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or _NONE

    return cell


def _stamp(path: str) -> _Cell:
    """The time since the moment at a path."""
    return lambda obj, now: _since(find_path(obj, path), now)


def _since(moment: Any, now: float) -> str:
    try:
        return _human(now - dt.datetime.fromisoformat(str(moment)).timestamp())
    except ValueError:
        return _UNKNOWN


def _human(seconds: float) -> str:
    """A duration in at most two units, as `duration.HumanDuration` writes it."""
    total = int(seconds)
    if total < 120:
        return f"{max(total, 0)}s"
    for unit, letter, smaller, small_letter, fine, coarse in (
        (60, "m", 1, "s", 10, 180),
        (3600, "h", 60, "m", 8, 48),
        (86400, "d", 3600, "h", 8, 730),
    ):
        count, rest = divmod(total, unit)
        if count < coarse:
            left = rest // smaller if count < fine else 0
            return f"{count}{letter}{left}{small_letter}" if left else f"{count}{letter}"
    years, rest = divmod(total, 365 * 86400)
    return f"{years}y{rest // 86400}d"


def _phase(obj: Obj, _now: float) -> str:
    deleted = obj["metadata"].get("deletionTimestamp")
    return "Terminating" if deleted else str(find_path(obj, ".status.phase") or "")


def _node_status(obj: Obj, _now: float) -> str:
    ready = find_path(obj, '.status.conditions[?(@.type=="Ready")].status')
    word = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{word},SchedulingDisabled" if find_path(obj, ".spec.unschedulable") else word


def _roles(obj: Obj, _now: float) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or _NONE


def _external(obj: Obj, _now: float) -> str:
    spec = obj["spec"]
    return str(spec.get("externalName") or ",".join(spec.get("externalIPs") or []) or _NONE)


def _ports(obj: Obj, _now: float) -> str:
    shown = [
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol')}"
        for port in obj["spec"].get("ports") or []
    ]
    return ",".join(shown) or _NONE


def _modes(path: str) -> _Cell:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return lambda obj, _now: ",".join(short[mode] for mode in find_path(obj, path) or [])


def _claim(obj: Obj, _now: float) -> str:
    claim = find_path(obj, ".spec.claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


def _involved(obj: Obj, _now: float) -> str:
    about = obj.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _source(obj: Obj, _now: float) -> str:
    source = obj.get("source") or {}
    return ", ".join(str(source[key]) for key in ("component", "host") if source.get(key))


def _addresses(obj: Obj, _now: float) -> str:
    found = [address for each in obj.get("endpoints") or [] for address in each.get("addresses") or []]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or _UNSET


def _slice_ports(obj: Obj, _now: float) -> str:
    return ",".join(str(port.get("port")) for port in obj.get("ports") or []) or _UNSET


def _role(obj: Obj, _now: float) -> str:
    return f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"


def _replicas(path: str) -> _Cell:
    return lambda obj, _now: f"{find_path(obj, path) or 0}/{find_path(obj, '.spec.replicas') or 0}"


def _containers(field: str) -> _Cell:
    return lambda obj, _now: ",".join(str(each.get(field)) for each in obj["spec"]["template"]["spec"]["containers"])


# Jobs and pods.


def _job_status(obj: Obj, _now: float) -> str:
    holding = {each["type"] for each in find_path(obj, ".status.conditions") or [] if each.get("status") == "True"}
    return next((word for word in ("Complete", "Failed", "Suspended") if word in holding), "Running")


def _completions(obj: Obj, _now: float) -> str:
    return f"{find_path(obj, '.status.succeeded') or 0}/{obj['spec'].get('completions') or 1}"


def _duration(obj: Obj, now: float) -> str:
    status = obj.get("status") or {}
    end = status.get("completionTime")
    until = dt.datetime.fromisoformat(str(end)).timestamp() if end else now
    return _since(status["startTime"], until) if status.get("startTime") else ""


def _ready(obj: Obj, _now: float) -> str:
    ready = sum(1 for each in _statuses(obj) if each.get("ready"))
    return f"{ready}/{len(obj['spec']['containers'])}"


def _statuses(obj: Obj) -> Objs:
    return find_path(obj, ".status.containerStatuses") or []


def _restarts(obj: Obj, now: float) -> str:
    count = sum(int(each.get("restartCount") or 0) for each in _statuses(obj))
    ended = [find_path(each, ".lastState.terminated.finishedAt") for each in _statuses(obj)]
    latest = max((str(stamp) for stamp in ended if stamp), default=None)
    return f"{count} ({_since(latest, now)} ago)" if count and latest else str(count)


def _pod_status(obj: Obj, _now: float) -> str:
    status = obj.get("status") or {}
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    reason = str(status.get("reason") or status.get("phase") or _UNKNOWN)
    wanted = len(obj["spec"].get("initContainers") or [])
    for at, each in enumerate(status.get("initContainerStatuses") or []):
        ended = find_path(each, ".state.terminated")
        if ended is None:
            waiting = find_path(each, ".state.waiting.reason")
            return f"Init:{waiting}" if waiting not in (None, "PodInitializing") else f"Init:{at}/{wanted}"
        if ended.get("exitCode"):
            return f"Init:{_ending(ended)}"
    for each in reversed(_statuses(obj)):
        waiting, ended = find_path(each, ".state.waiting.reason"), find_path(each, ".state.terminated")
        if waiting or ended is not None:
            reason = waiting or _ending(ended)
    return reason


def _ending(ended: Obj) -> str:
    return str(ended.get("reason") or f"ExitCode:{ended.get('exitCode')}")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "count": _count,
    "joined": _joined,
    "since": _stamp,
    "replicas": _replicas,
    "modes": _modes,
    "containers": _containers,
    "phase": _phase,
    "node_status": _node_status,
    "roles": _roles,
    "external": _external,
    "ports": _ports,
    "claim": _claim,
    "involved": _involved,
    "source": _source,
    "addresses": _addresses,
    "slice_ports": _slice_ports,
    "role": _role,
    "job_status": _job_status,
    "completions": _completions,
    "duration": _duration,
    "ready": _ready,
    "restarts": _restarts,
    "pod_status": _pod_status,
}


@functools.cache
def _builtin() -> dict[str, _Columns]:
    listed: dict[str, dict[str, str]] = tables.read_yaml("crdbmesh_simulator.kubernetes", "columns-1.36")
    return {kind: tuple((title, _cell(text)) for title, text in cells.items()) for kind, cells in listed.items()}


def _cell(text: str) -> _Cell:
    if text.startswith("."):
        path, bar, absent = text.partition("|")
        return _at(path, yaml.load(absent, Loader=yaml.CSafeLoader) if bar else "")
    name, _, path = text.partition(" ")
    function = _FUNCTIONS[name]
    return function(path) if path else function
