"""The cluster roles for users, after `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go` of Kubernetes 1.36.

There `admin`, `edit` and `view` are aggregated from roles named `system:aggregate-to-*`; here they are written out.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")

_VIEWED = {
    "": "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims "
        "persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers replicationcontrollers/scale "
        "replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status",
    "apps": "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
            "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    "autoscaling": "horizontalpodautoscalers horizontalpodautoscalers/status",
    "batch": "cronjobs cronjobs/status jobs jobs/status",
    "discovery.k8s.io": "endpointslices",
    "networking.k8s.io": "ingresses ingresses/status networkpolicies",
    "policy": "poddisruptionbudgets poddisruptionbudgets/status",
}  # fmt: skip
_SECRET = {"": "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"}
_EDITED = {
    "": "configmaps events persistentvolumeclaims pods pods/attach pods/exec pods/portforward pods/proxy "
        "replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
    "apps": "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
            "statefulsets/scale",
    "autoscaling": "horizontalpodautoscalers",
    "batch": "cronjobs jobs",
    "networking.k8s.io": "ingresses networkpolicies",
    "policy": "poddisruptionbudgets",
}  # fmt: skip
_LEASES = {"coordination.k8s.io": "leases"}
_ROLES = {"rbac.authorization.k8s.io": "rolebindings roles"}


def rules() -> dict[str, list[Obj]]:
    """The rules of each role, by its name."""
    view = _allow(_READ, _VIEWED)
    edit = [
        *_allow(_READ, _SECRET),
        *_allow(("impersonate",), {"": "serviceaccounts"}),
        *_allow(_WRITE, _EDITED),
        *_allow(("create",), {"": "pods/eviction serviceaccounts/token"}),
        *_allow((*_WRITE, *_READ), _LEASES),
        *view,
    ]
    reviews = _allow(("create",), {"authorization.k8s.io": "localsubjectaccessreviews"})
    everything: list[Obj] = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    admin = [*reviews, *_allow((*_WRITE, *_READ), _ROLES), *edit]
    return {"cluster-admin": everything, "admin": admin, "edit": edit, "view": view}


def _allow(verbs: tuple[str, ...], resources: dict[str, str]) -> list[Obj]:
    return [
        {"apiGroups": [group], "resources": names.split(), "verbs": list(verbs)} for group, names in resources.items()
    ]
