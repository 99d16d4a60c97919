"""What a cluster says of itself: versions, groups and resources.

The documents at `/version`, `/api`, `/apis`, `/api/v1` and `/apis/<group>/<version>`, and their aggregated form
(`apidiscovery.k8s.io/v2`), as Kubernetes 1.36 serves them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.resources import Catalogue, Resource

_READ_WRITE = ("get", "patch", "update")
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "attach": ("", "v1", "PodAttachOptions", ("create", "get")),
    "binding": ("", "v1", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "exec": ("", "v1", "PodExecOptions", ("create", "get")),
    "log": ("", "", "", ("get",)),
    "portforward": ("", "v1", "PodPortForwardOptions", ("create", "get")),
    "proxy": ("", "", "", ("create", "delete", "get", "patch", "update")),
    "scale": ("autoscaling", "v1", "Scale", _READ_WRITE),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "finalize": ("", "", "", ("update",)),
    "approval": ("", "", "", _READ_WRITE),
}
_PROXY_KINDS = {"nodes": "NodeProxyOptions", "pods": "PodProxyOptions", "services": "ServiceProxyOptions"}


def version(text: str) -> Obj:
    """`/version`, for a k3s version such as `v1.36.4+k3s1`."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    major, minor = (found[1], found[2]) if found else ("", "")
    bare = text.lstrip("v").partition("+")[0]
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1) if minor else "",
        "gitVersion": text if text.startswith("v") else f"v{text}",
        "gitCommit": hashlib.sha1(bare.encode(), usedforsecurity=False).hexdigest(),
        "gitTreeState": "clean",
        "buildDate": "2026-08-27T00:00:00Z",
        "goVersion": "go1.26.1",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def is_served(catalogue: Catalogue, parts: list[str]) -> bool:
    """Whether the path is below an API version that is built in: there an unknown resource is a Status, not a page."""
    if parts[:1] == ["api"]:
        group_name, version_name = "", parts[1] if len(parts) > 1 else ""
    else:
        group_name, version_name = (parts[1], parts[2]) if len(parts) > 2 else ("", "")
    return any((each.group, each.version) == (group_name, version_name) and not each.custom for each in catalogue)


def paths(catalogue: Catalogue) -> list[str]:
    """What `/` lists."""
    found = {"/api", "/api/v1", "/apis", "/apis/", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz"}
    for each in catalogue:
        if each.group:
            found |= {f"/apis/{each.group}", f"/apis/{each.group}/{each.version}"}
    return [*sorted(found), "/version"]


def core_versions(server: str) -> Obj:
    """`/api`."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups(catalogue: Catalogue) -> Obj:
    """`/apis`."""
    found = [_group(name, versions) for name, versions in _grouped(catalogue).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(catalogue: Catalogue, name: str) -> Obj | None:
    """`/apis/<group>`."""
    versions = _grouped(catalogue).get(name)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def _group(name: str, versions: dict[str, list[Resource]]) -> Obj:
    entries = [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _grouped(catalogue: Catalogue) -> dict[str, dict[str, list[Resource]]]:
    found: dict[str, dict[str, list[Resource]]] = {}
    for resource in catalogue:
        found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return {name: dict(sorted(versions.items(), key=lambda pair: _rank(pair[0]))) for name, versions in found.items()}


def _rank(name: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", name)
    if not found:
        return (9, 0, 0)
    return ({None: 0, "beta": 1, "alpha": 2}[found[2]], -int(found[1]), -int(found[3] or 0))


def resources(catalogue: Catalogue, group_name: str, version_name: str) -> Obj | None:
    """`/api/v1` or `/apis/<group>/<version>`."""
    found = [each for each in catalogue if (each.group, each.version) == (group_name, version_name)]
    if not found:
        return None
    listed: Objs = []
    for resource in sorted(found, key=lambda each: each.plural):
        listed.append(_resource(resource))
        listed += [_subresource(resource, name) for name in sorted(resource.subresources)]
    label = f"{group_name}/{version_name}" if group_name else version_name
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": label, "resources": listed}


def _resource(resource: Resource) -> Obj:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.stored:
        seed = f"{resource.group}/{resource.plural}".encode()
        entry["storageVersionHash"] = hashlib.sha256(seed).hexdigest()[:11] + "="
    return entry


def _subresource(resource: Resource, name: str) -> Obj:
    group_name, version_name, kind, verbs = _SUBRESOURCES.get(name, ("", "", "", _READ_WRITE))
    if name == "proxy":
        kind = _PROXY_KINDS.get(resource.plural, "")
    entry: Obj = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind or resource.kind,
        "verbs": list(verbs),
    }
    if group_name and version_name:
        entry["group"], entry["version"] = group_name, version_name
    return entry


def aggregated(catalogue: Catalogue, *, core: bool) -> Obj:
    """`/api` or `/apis` in the aggregated form."""
    items = [
        {
            **({"metadata": {"name": name}} if name else {"metadata": {}}),
            "versions": [
                {"version": each, "resources": list(_aggregated(found)), "freshness": "Current"}
                for each, found in versions.items()
            ],
        }
        for name, versions in _grouped(catalogue).items()
        if (name == "") == core
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated(found: Iterable[Resource]) -> Iterable[Obj]:
    for resource in sorted(found, key=lambda each: each.plural):
        entry: Obj = {
            "resource": resource.plural,
            "responseKind": _kind(resource.group, resource.version, resource.kind),
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular or resource.kind.lower(),
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        below = [_aggregated_sub(resource, name) for name in sorted(resource.subresources)]
        if below:
            entry["subresources"] = below
        yield entry


def _aggregated_sub(resource: Resource, name: str) -> Obj:
    listed = _subresource(resource, name)
    group_name = listed.get("group", "" if listed["kind"] != resource.kind else resource.group)
    version_name = listed.get("version", "v1" if listed["kind"] != resource.kind else resource.version)
    return {
        "subresource": name,
        "responseKind": _kind(str(group_name), str(version_name), str(listed["kind"])),
        "verbs": listed["verbs"],
    }


def _kind(group_name: str, version_name: str, kind: str) -> dict[str, Any]:
    return {"group": group_name, "version": version_name, "kind": kind}
