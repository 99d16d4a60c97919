"""A world as one comparable document: what there is and in what state, without ids, times and what chance named."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from tests.doors import Doors

_CLUSTER_KINDS = (
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/persistentvolumeclaims",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/daemonsets",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/helm.cattle.io/v1/helmcharts",
)
_CHANCE = {
    "etag",
    "resourceGuid",
    "uniqueId",
    "vmId",
    "macAddress",
    "timeCreated",
    "createdTime",
    "changedTime",
    "internalDomainNameSuffix",
    "uid",
    "resourceVersion",
    "generation",
    "observedGeneration",
    "creationTimestamp",
    "managedFields",
    "annotations",
    "ownerReferences",
    "clusterIP",
    "clusterIPs",
    "status",
    "diskSizeBytes",
    "crdbmesh-id",
    "tidy",
}
"""Members that differ between two worlds that are alike: ids, times, counts, and the tag of somebody who tidies up."""
_PATTERNS = (
    (re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\s*", re.DOTALL), r"<\1>"),
    (re.compile(r"\b(sh\.helm\.release\.v1\.[a-z-]+)\.v\d+$"), r"\1"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE), "<uuid>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?!/)"), "<address>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\dZ+:]*"), "<time>"),
    (re.compile(r"[A-Za-z0-9+/=]{60,}"), "<data>"),
    (re.compile(r"_[0-9a-f]{32}\b"), "_<id>"),
    # Azure chooses the fault domain of a machine in an availability set.
    (re.compile(r"-fd\d+$"), "-fd<n>"),
    (re.compile(r"\b[0-9a-f]{40,64}\b"), "<digest>"),
)


def take(doors: Doors, regions: list[str]) -> dict[str, Any]:
    """The picture of a world: a flat document of comparable values."""
    picture: dict[str, Any] = {}
    for group in doors.arm("GET", "/resourcegroups")[1]["value"]:
        picture[f"arm {group['name']}"] = _still({key: group[key] for key in ("location", "tags", "properties")})
        for resource in doors.arm("GET", f"/resourceGroups/{group['name']}/resources")[1]["value"]:
            status, body = doors.arm("GET", resource["id"])
            if resource["name"].endswith("-lease"):
                # It says who was at work last, and how that went.
                body = {}
            picture[f"arm {resource['type']} {_plain(resource['name'])}"] = _still(body) if status == 200 else status
    for region in regions:
        for path in _CLUSTER_KINDS:
            for item in _list(doors, region, path):
                picture[f"{region} {path.rpartition('/')[2]} {_called(item)}"] = _object(item)
        pods = Counter(_pod(pod) for pod in _list(doors, region, "/api/v1/pods"))
        picture[f"{region} pods"] = dict(sorted(pods.items()))
    return picture


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What two pictures do not have in common, a line each."""
    lines = [f"only in the undisturbed world: {key}" for key in sorted(one.keys() - other.keys())]
    lines += [f"only in the disturbed world: {key}" for key in sorted(other.keys() - one.keys())]
    for key in sorted(one.keys() & other.keys()):
        lines += [f"{key}{where}" for where in _unlike(one[key], other[key])]
    return lines


def _list(doors: Doors, region: str, path: str) -> list[dict[str, Any]]:
    status, answer = doors.kube(region, "GET", path)
    if status != 200:
        raise RuntimeError(f"{region}: GET {path}: {status} {answer}")
    return list(answer["items"])


def _called(item: dict[str, Any]) -> str:
    metadata = item["metadata"]
    return _plain("/".join(filter(None, (metadata.get("namespace"), metadata["name"]))))


def _object(item: dict[str, Any]) -> Any:
    if "data" in item and "type" in item:
        # A Secret: what it holds differs, what it is for does not.
        return {"type": item["type"], "keys": sorted(item["data"])}
    return _still(item)


def _pod(pod: dict[str, Any]) -> str:
    """Whose pod it is, and how it does. Helm's jobs come and go."""
    owners = pod["metadata"].get("ownerReferences") or [{"kind": "none", "name": pod["metadata"]["name"]}]
    kind, name = owners[0]["kind"], re.sub(r"-[0-9a-f]{8,10}$", "", owners[0]["name"])
    ready = {c["type"]: c["status"] for c in pod["status"].get("conditions") or []}.get("Ready", "Unknown")
    if kind == "Job":
        ready = "-"
    return f"{pod['metadata']['namespace']} {kind}/{name} {pod['status'].get('phase')} ready={ready}"


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _still(inner) for key, inner in value.items() if key not in _CHANCE}
    if isinstance(value, list):
        stilled = [_still(inner) for inner in value]
        return sorted(stilled, key=repr)
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _unlike(one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        lines = [f".{key} is gone" for key in sorted(one.keys() - other.keys())]
        lines += [f".{key} is new" for key in sorted(other.keys() - one.keys())]
        for key in sorted(one.keys() & other.keys()):
            lines += [f".{key}{where}" for where in _unlike(one[key], other[key])]
        return lines
    return [] if one == other else [f": {str(one)[:160]} -> {str(other)[:160]}"]
