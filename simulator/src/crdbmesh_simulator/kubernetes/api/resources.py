"""The kinds of objects that a cluster serves: built-in ones, and those that its CustomResourceDefinitions add.

Names, scopes and short names are those of the discovery documents of Kubernetes 1.36. Kinds that neither the product
nor k3s, Cilium or kubectl (in `get`, `describe`, `apply`, `delete`) needs are not served: a request for one is a 404.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of objects, in one API version.

    `group`: API group; empty for the core group. `plural`: name in paths, such as `statefulsets`. `subresources`: names
    of what is served below an object. `schema`: the OpenAPI v3 schema of a custom resource; None for a built-in one.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    singular: str = ""
    custom: bool = False
    schema: Mapping[str, Any] | None = field(default=None, compare=False, hash=False)
    columns: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, hash=False)

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """Its name in messages: `statefulsets.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> tuple[str, str]:
        """The key that its objects are stored under, whatever the version."""
        return (self.group, self.plural)


_STATUS = ("status",)


def _builtin() -> Iterator[Resource]:
    for group, kinds in tables.read_yaml("crdbmesh_simulator.kubernetes", "kinds-1.36").items():
        for plural, given in kinds.items():
            names, below = tuple(given.get("short", ())), tuple(given.get("sub", ()))
            scope, shown = not given.get("cluster"), ("all",) if given.get("all") else ()
            yield Resource(group, "v1", plural, given["kind"], scope, names, below, shown)


RESOURCES = tuple(_builtin())
"""The built-in kinds."""


class Catalogue:
    """The kinds that one cluster serves now."""

    def __init__(self, builtin: Iterable[Resource] = RESOURCES) -> None:
        self._builtin = tuple(builtin)
        self._custom: dict[str, tuple[Resource, ...]] = {}
        self._index()

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The kind served at `/apis/<group>/<version>/<plural>`."""
        return self._by_path.get((group, version, plural))

    def find_kind(self, kind: str, api_version: str | None = None) -> Resource | None:
        """The kind by its name, in a certain API version or in whichever comes first."""
        if api_version is None:
            return self._by_kind.get(kind)
        return self._by_version.get((api_version, kind))

    def register(self, definition: Mapping[str, Any]) -> tuple[Resource, ...]:
        """Serve what a CustomResourceDefinition defines."""
        found = tuple(_custom(definition))
        self._custom[definition["metadata"]["name"]] = found
        self._index()
        return found

    def _index(self) -> None:
        everything = [*self._builtin, *(each for group in self._custom.values() for each in group)]
        self._by_path = {(each.group, each.version, each.plural): each for each in everything}
        self._by_version = {(each.api_version, each.kind): each for each in reversed(everything)}
        self._by_kind = {each.kind: each for each in reversed(everything)}


def _custom(definition: Mapping[str, Any]) -> Iterator[Resource]:
    spec = definition["spec"]
    names = spec["names"]
    for version in spec.get("versions") or []:
        yield Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec.get("scope") == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            subresources=_STATUS if "status" in (version.get("subresources") or {}) else (),
            categories=tuple(names.get("categories") or ()),
            singular=names.get("singular") or names["kind"].lower(),
            custom=True,
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )


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

    `catalogue`: the kinds that the cluster serves now. `parts`: the path's segments. `version`: the cluster's version,
    such as `v1.36.4+k3s1`.
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
    commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return _filled("version", major=major, minor=minor, version=text, commit=commit)


def _filled(name: str, **blanks: object) -> Obj:
    template = tables.read_yaml("crdbmesh_simulator.kubernetes.controllers", f"manifests/{name}")
    return tables.fill(template, blanks)  # type: ignore[no-any-return]


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
    paths = {f"/{where}/{each.plural}/{{name}}": {"patch": _filled("openapi", kind=each)} for each in found}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36"}, "paths": paths}


def _where(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
