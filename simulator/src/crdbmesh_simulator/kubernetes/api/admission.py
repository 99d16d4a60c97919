"""Admission: what the API server's built-in plugins add to an object, and what they refuse.

NamespaceLifecycle, ServiceAccount, Priority, DefaultTolerationSeconds, PodSecurity, StorageObjectInUseProtection,
DefaultStorageClass and PersistentVolumeClaimResize of Kubernetes 1.36 (`plugin/pkg/admission`).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api import podsecurity, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, value_of
from crdbmesh_simulator.kubernetes.api.resources import Resource

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.store import Store

IMMORTAL = ("default", "kube-system", "kube-public", "kube-node-lease")
_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_MIRROR = "kubernetes.io/config.mirror"


def check_namespace(store: Store, resource: Resource, meta: Obj) -> None:
    """Refuse an object whose namespace does not exist, or is on its way out. Raises StatusError: 404 or 403."""
    namespaces = store.resource("Namespace", "v1")
    name = str(meta.get("namespace") or "")
    found = store.peek(namespaces, None, name)
    if found is None:
        raise status.not_found(namespaces, name)
    if not found["metadata"].get("deletionTimestamp"):
        return
    refusal = status.forbidden(
        resource,
        str(meta.get("name") or ""),
        f"unable to create new content in namespace {name} because it is being terminated",
    )
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {name} is being terminated",
        "field": "metadata.namespace",
    }
    refusal.details["causes"] = [cause]
    raise refusal


def admit_pod(store: Store, resource: Resource, pod: Obj, warnings: list[str]) -> None:
    """Fill in what plugins add to a new pod, and refuse one that the namespace's profile does not allow.

    Raises StatusError: 403.
    """
    spec, meta = pod["spec"], pod["metadata"]
    if _MIRROR not in (meta.get("annotations") or {}):
        _add_account(store, resource, pod)
    _add_priority(store, resource, pod)
    _add_tolerations(spec)
    check_pod_security(store, resource, meta, spec, warnings, enforce=True)
    pod["status"]["qosClass"] = _quality(spec)


def check_pod_security(
    store: Store, resource: Resource, meta: Obj, spec: Obj, warnings: list[str], *, enforce: bool
) -> None:
    """Hold a pod, or a workload's template, against the profile of its namespace. Raises StatusError: 403."""
    namespace = store.peek(store.resource("Namespace", "v1"), None, str(meta.get("namespace"))) or {"metadata": {}}
    labels = namespace["metadata"].get("labels") or {}
    if not any(key.startswith(podsecurity.PREFIX) for key in labels):
        return
    violations = podsecurity.find_violations(labels, "enforce", spec) if enforce else None
    if violations is not None:
        raise status.forbidden(resource, str(meta.get("name")), f"violates {violations}")
    warned = podsecurity.find_violations(labels, "warn", spec)
    if warned is not None:
        warnings.append(f"would violate {warned}")


def _add_account(store: Store, resource: Resource, pod: Obj) -> None:
    spec, meta = pod["spec"], pod["metadata"]
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = store.peek(store.resource("ServiceAccount", "v1"), meta.get("namespace"), name)
    if account is None:
        why = f'error looking up service account {meta.get("namespace")}/{name}: serviceaccount "{name}" not found'
        raise status.forbidden(resource, str(meta.get("name")), why)
    mounts = spec.get("automountServiceAccountToken")
    if mounts is None:
        mounts = account.get("automountServiceAccountToken")
    if mounts is False:
        return
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    wanting = [
        each
        for each in containers
        if not any(mount.get("mountPath") == _ACCOUNT_PATH for mount in each.get("volumeMounts") or [])
    ]
    volume = _token_volume()
    spec["volumes"] = [*(spec.get("volumes") or []), volume]
    for each in wanting:
        mount = {"name": volume["name"], "readOnly": True, "mountPath": _ACCOUNT_PATH}
        each["volumeMounts"] = [*(each.get("volumeMounts") or []), mount]


def _token_volume() -> Obj:
    suffix = "".join(random.choice(_LETTERS) for _ in range(5))  # noqa: S311 - a volume's name
    sources: list[Obj] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    return {"name": f"kube-api-access-{suffix}", "projected": {"sources": sources, "defaultMode": 420}}


def _add_priority(store: Store, resource: Resource, pod: Obj) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName")
    if not name:
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        return
    found = store.peek(store.resource("PriorityClass", "scheduling.k8s.io/v1"), None, name)
    if found is None:
        raise status.forbidden(
            resource, str(pod["metadata"].get("name")), f"no PriorityClass with name {name} was found"
        )
    spec["priority"] = found["value"]
    spec["preemptionPolicy"] = found.get("preemptionPolicy") or "PreemptLowerPriority"


def _add_tolerations(spec: Obj) -> None:
    tolerations = list(spec.get("tolerations") or [])
    for key in _TAINTS:
        covered = any(
            each.get("key") in (key, None, "") and each.get("effect") in ("NoExecute", None, "") for each in tolerations
        )
        if not covered:
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec["tolerations"] = tolerations


def _quality(spec: Obj) -> str:
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    all_limited = bool(containers)
    any_set = False
    for each in containers:
        resources = each.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        any_set = any_set or any(value_of(value) for value in [*limits.values(), *requests.values()])
        for name in ("cpu", "memory"):
            limit = limits.get(name)
            if limit is None or value_of(requests.get(name, limit)) != value_of(limit):
                all_limited = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if all_limited else "Burstable"


def admit_claim(store: Store, claim: Obj) -> None:
    """Give a claim that names no storage class the default one."""
    spec = claim["spec"]
    if spec.get("storageClassName") is not None:
        return
    for found in store.peek_all(store.resource("StorageClass", "storage.k8s.io/v1")):
        annotations = found["metadata"].get("annotations") or {}
        if annotations.get("storageclass.kubernetes.io/is-default-class") == "true":
            spec["storageClassName"] = found["metadata"]["name"]
            return
