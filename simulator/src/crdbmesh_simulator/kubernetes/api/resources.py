"""What kinds of objects a cluster serves: the built-in ones, and those that its CustomResourceDefinitions add.

After the discovery documents of Kubernetes 1.36 (`/api/v1`, `/apis/<group>/<version>`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SCALE = ("status", "scale")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of objects, in one API version.

    Attributes:
        group: API group; empty for the core group.
        plural: name in paths, such as `statefulsets`.
        subresources: names of what is served below an object.
        verbs: what can be done; a review kind can only be created.
        schema: the OpenAPI v3 schema of a custom resource; None for a built-in one.
        stored: False for kinds that are answered but never kept (reviews).
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    singular: str = ""
    custom: bool = False
    stored: bool = True
    schema: Mapping[str, Any] | None = field(default=None, compare=False, hash=False)
    columns: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, hash=False)

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """How messages name it: `statefulsets.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> tuple[str, str]:
        """What its objects are stored under, whatever the version."""
        return (self.group, self.plural)


def _core(
    plural: str, kind: str, *short: str, namespaced: bool = True, sub: tuple[str, ...] = (), all_: bool = False
) -> Resource:
    categories = ("all",) if all_ else ()
    return Resource("", "v1", plural, kind, namespaced, short, sub, categories)


def _in(
    group: str,
    plural: str,
    kind: str,
    *short: str,
    namespaced: bool = True,
    sub: tuple[str, ...] = (),
    all_: bool = False,
) -> Resource:
    categories = ("all",) if all_ else ()
    return Resource(group, "v1", plural, kind, namespaced, short, sub, categories)


def _review(group: str, plural: str, kind: str, *, namespaced: bool = False) -> Resource:
    return Resource(group, "v1", plural, kind, namespaced, verbs=("create",), stored=False)


_POD = (
    "status",
    "ephemeralcontainers",
    "resize",
    "attach",
    "binding",
    "eviction",
    "exec",
    "log",
    "portforward",
    "proxy",
)
_RBAC, _NET, _STORAGE = "rbac.authorization.k8s.io", "networking.k8s.io", "storage.k8s.io"
_ADMISSION, _APIEXT = "admissionregistration.k8s.io", "apiextensions.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource("", "v1", "componentstatuses", "ComponentStatus", False, ("cs",), verbs=("get", "list")),
    _core("configmaps", "ConfigMap", "cm"),
    _core("endpoints", "Endpoints", "ep"),
    _core("events", "Event", "ev"),
    _core("limitranges", "LimitRange", "limits"),
    _core("namespaces", "Namespace", "ns", namespaced=False, sub=("status", "finalize")),
    _core("nodes", "Node", "no", namespaced=False, sub=("status", "proxy")),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", sub=("status",)),
    _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, sub=("status",)),
    _core("pods", "Pod", "po", sub=_POD, all_=True),
    _core("podtemplates", "PodTemplate"),
    _core("replicationcontrollers", "ReplicationController", "rc", sub=_SCALE, all_=True),
    _core("resourcequotas", "ResourceQuota", "quota", sub=("status",)),
    _core("secrets", "Secret"),
    _core("serviceaccounts", "ServiceAccount", "sa", sub=("token",)),
    _core("services", "Service", "svc", sub=("status", "proxy"), all_=True),
    _in("apps", "controllerrevisions", "ControllerRevision"),
    _in("apps", "daemonsets", "DaemonSet", "ds", sub=("status",), all_=True),
    _in("apps", "deployments", "Deployment", "deploy", sub=_SCALE, all_=True),
    _in("apps", "replicasets", "ReplicaSet", "rs", sub=_SCALE, all_=True),
    _in("apps", "statefulsets", "StatefulSet", "sts", sub=_SCALE, all_=True),
    _in("batch", "cronjobs", "CronJob", "cj", sub=("status",), all_=True),
    _in("batch", "jobs", "Job", sub=("status",), all_=True),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, ("hpa",), ("status",),
             ("all",)),
    _in("policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", sub=("status",)),
    _in(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _in(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    _in(_RBAC, "rolebindings", "RoleBinding"),
    _in(_RBAC, "roles", "Role"),
    _in(_NET, "ingressclasses", "IngressClass", namespaced=False),
    _in(_NET, "ingresses", "Ingress", "ing", sub=("status",)),
    _in(_NET, "ipaddresses", "IPAddress", "ip", namespaced=False),
    _in(_NET, "networkpolicies", "NetworkPolicy", "netpol"),
    _in(_NET, "servicecidrs", "ServiceCIDR", namespaced=False, sub=("status",)),
    _in(_STORAGE, "csidrivers", "CSIDriver", namespaced=False),
    _in(_STORAGE, "csinodes", "CSINode", namespaced=False),
    _in(_STORAGE, "csistoragecapacities", "CSIStorageCapacity"),
    _in(_STORAGE, "storageclasses", "StorageClass", "sc", namespaced=False),
    _in(_STORAGE, "volumeattachments", "VolumeAttachment", namespaced=False, sub=("status",)),
    _in("discovery.k8s.io", "endpointslices", "EndpointSlice"),
    _in("coordination.k8s.io", "leases", "Lease"),
    _in("events.k8s.io", "events", "Event", "ev"),
    _in("scheduling.k8s.io", "priorityclasses", "PriorityClass", "pc", namespaced=False),
    _in("node.k8s.io", "runtimeclasses", "RuntimeClass", namespaced=False),
    _in(_ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", namespaced=False),
    _in(_ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False, sub=("status",)),
    _in(_ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False),
    _in(_ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", namespaced=False),
    _in(_APIEXT, "customresourcedefinitions", "CustomResourceDefinition", "crd", "crds", namespaced=False,
        sub=("status",)),
    _in("apiregistration.k8s.io", "apiservices", "APIService", namespaced=False, sub=("status",)),
    _in("certificates.k8s.io", "certificatesigningrequests", "CertificateSigningRequest", "csr", namespaced=False,
        sub=("status", "approval")),
    _review("authentication.k8s.io", "tokenreviews", "TokenReview"),
    _review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True),
    _review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
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
            subresources=tuple(name for name in ("status", "scale") if name in (version.get("subresources") or {})),
            categories=tuple(names.get("categories") or ()),
            singular=names.get("singular") or names["kind"].lower(),
            custom=True,
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )
