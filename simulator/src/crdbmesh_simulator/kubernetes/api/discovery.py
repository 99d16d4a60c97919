"""Discovery: versions, groups and resources of a server, and which of its writes validate fields.

The documents at `/version`, `/api`, `/apis`, `/api/v1`, `/apis/<group>/<version>` and `/openapi/v3` as Kubernetes 1.36
serves them, in the form that every client reads. The OpenAPI documents list the PATCH operations only: kubectl learns
from them that the server validates fields, and merges by the types that it has compiled in.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.resources import Catalogue, Resource

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "exec": ("PodExecOptions", ("create", "get")),
    "finalize": ("Namespace", ("update",)),
    "log": ("Pod", ("get",)),
    "portforward": ("PodPortForwardOptions", ("create", "get")),
    "proxy": ("PodProxyOptions", ("get",)),
}


def document(catalogue: Catalogue, parts: list[str], version: str) -> Any:
    """Return the document at a path, or None for a path that has none.

    Args:
        catalogue: the kinds that the cluster serves now.
        parts: the path's segments.
        version: the cluster's version, such as `v1.36.4+k3s1`.
    """
    if parts == ["version"]:
        return _version(version)
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(catalogue)}
    if parts[:1] == ["api"] and len(parts) == 2:
        return _resources(catalogue, "", parts[1])
    if parts[:1] == ["apis"] and len(parts) == 3:
        return _resources(catalogue, parts[1], parts[2])
    if parts[:2] == ["openapi", "v3"]:
        return _operations(catalogue, "/".join(parts[2:])) if parts[2:] else _index(catalogue)
    return None


def is_served(catalogue: Catalogue, parts: list[str]) -> bool:
    """Tell whether a path is below a built-in API version: there an unknown resource is a Status, not a page."""
    group, version = ("", parts[1:2]) if parts[:1] == ["api"] else ("".join(parts[1:2]), parts[2:3])
    return any(each.group == group and [each.version] == version and not each.custom for each in catalogue)


def _version(text: str) -> Obj:
    found = re.match(r"v?(\d+)\.(\d+)", text)
    major, minor = (found[1], found[2]) if found else ("", "")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": text,
        "gitCommit": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        "gitTreeState": "clean",
        "buildDate": "2026-08-27T00:00:00Z",
        "goVersion": "go1.26.1",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def _groups(catalogue: Catalogue) -> Objs:
    found: dict[str, list[str]] = {}
    for resource in catalogue:
        versions = found.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
    groups: Objs = []
    for name, versions in found.items():
        entries = [{"groupVersion": f"{name}/{each}", "version": each} for each in sorted(versions, key=_rank)]
        groups.append({"name": name, "versions": entries, "preferredVersion": entries[0]})
    return [group for group in groups if group["name"]]


def _rank(name: str) -> tuple[int, int]:
    """Order versions by how stable they are, the newest first: v2, v1, v2beta1, v1alpha1."""
    found = re.fullmatch(r"v(\d+)(alpha|beta)?\d*", name)
    return (9, 0) if found is None else ({None: 0, "beta": 1, "alpha": 2}[found[2]], -int(found[1]))


def _resources(catalogue: Catalogue, group: str, version: str) -> Obj | None:
    found = [each for each in catalogue if (each.group, each.version) == (group, version)]
    if not found:
        return None
    listed: Objs = []
    for resource in sorted(found, key=lambda each: each.plural):
        listed.append(_resource(resource))
        for name in sorted(resource.subresources):
            kind, verbs = _SUBRESOURCES.get(name, (resource.kind, ("get", "patch", "update")))
            entry = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
            listed.append({**entry, "kind": kind, "verbs": list(verbs)})
    label = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": label, "resources": listed}


def _resource(resource: Resource) -> Obj:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(_VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


# OpenAPI.


def _index(catalogue: Catalogue) -> Obj:
    wheres = sorted({_where(each) for each in catalogue})
    return {"paths": {where: {"serverRelativeURL": f"/openapi/v3/{where}"} for where in wheres}}


def _operations(catalogue: Catalogue, where: str) -> Obj | None:
    found = [each for each in catalogue if _where(each) == where]
    if not found:
        return None
    paths = {f"/{where}/{each.plural}/{{name}}": {"patch": _patch(each)} for each in found}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36"}, "paths": paths}


def _patch(resource: Resource) -> Obj:
    options = ("dryRun", "fieldManager", "fieldValidation", "force")
    return {
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in options],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }


def _where(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
