"""The kinds of objects that a cluster serves: built-in ones, and those that its CustomResourceDefinitions add.

Names, scopes and short names are those of the discovery documents of Kubernetes 1.36. Kinds that neither the product
nor k3s, Cilium or kubectl (in `get`, `describe`, `apply`, `delete`) needs are not served: a request for one is a 404.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of objects, in one API version.

    Attributes:
        group: API group; empty for the core group.
        plural: name in paths, such as `statefulsets`.
        subresources: names of what is served below an object.
        schema: the OpenAPI v3 schema of a custom resource; None for a built-in one.
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


def _kind(
    group: str,
    plural: str,
    kind: str,
    *short: str,
    namespaced: bool = True,
    sub: tuple[str, ...] = (),
    shown_in_all: bool = False,
) -> Resource:
    return Resource(group, "v1", plural, kind, namespaced, short, sub, ("all",) if shown_in_all else ())


_POD = ("status", "exec", "log", "portforward", "proxy")
_STATUS = ("status",)
_RBAC, _STORAGE = "rbac.authorization.k8s.io", "storage.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    _kind("", "configmaps", "ConfigMap", "cm"),
    _kind("", "endpoints", "Endpoints", "ep"),
    _kind("", "events", "Event", "ev"),
    _kind("", "namespaces", "Namespace", "ns", namespaced=False, sub=("status", "finalize")),
    _kind("", "nodes", "Node", "no", namespaced=False, sub=_STATUS),
    _kind("", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", sub=_STATUS),
    _kind("", "persistentvolumes", "PersistentVolume", "pv", namespaced=False, sub=_STATUS),
    _kind("", "pods", "Pod", "po", sub=_POD, shown_in_all=True),
    _kind("", "secrets", "Secret"),
    _kind("", "serviceaccounts", "ServiceAccount", "sa"),
    _kind("", "services", "Service", "svc", sub=_STATUS, shown_in_all=True),
    _kind("apps", "controllerrevisions", "ControllerRevision"),
    _kind("apps", "daemonsets", "DaemonSet", "ds", sub=_STATUS, shown_in_all=True),
    _kind("apps", "deployments", "Deployment", "deploy", sub=_STATUS, shown_in_all=True),
    _kind("apps", "replicasets", "ReplicaSet", "rs", sub=_STATUS, shown_in_all=True),
    _kind("apps", "statefulsets", "StatefulSet", "sts", sub=_STATUS, shown_in_all=True),
    _kind("batch", "cronjobs", "CronJob", "cj", sub=_STATUS, shown_in_all=True),
    _kind("batch", "jobs", "Job", sub=_STATUS, shown_in_all=True),
    _kind("policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", sub=_STATUS),
    _kind(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _kind(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    _kind(_RBAC, "rolebindings", "RoleBinding"),
    _kind(_RBAC, "roles", "Role"),
    _kind(_STORAGE, "storageclasses", "StorageClass", "sc", namespaced=False),
    _kind("discovery.k8s.io", "endpointslices", "EndpointSlice"),
    _kind("coordination.k8s.io", "leases", "Lease"),
    _kind("scheduling.k8s.io", "priorityclasses", "PriorityClass", "pc", namespaced=False),
    _kind("node.k8s.io", "runtimeclasses", "RuntimeClass", namespaced=False),
    _kind("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", "crd", "crds",
          namespaced=False, sub=_STATUS),
)  # fmt: skip
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

    def forget(self, name: str) -> tuple[Resource, ...]:
        """Serve a CustomResourceDefinition's kinds no longer."""
        found = self._custom.pop(name, ())
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
        if not version.get("served"):
            continue
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
