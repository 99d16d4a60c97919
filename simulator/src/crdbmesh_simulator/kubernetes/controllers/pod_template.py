"""Pods made from a template: names, owner, and what admission adds (default service account, tolerations)."""

from __future__ import annotations

import copy

from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

_EVICTED_AFTER_S = 300
_PRIORITIES = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}


def pod_from(template: Obj, owner: Obj, *, name: str | None = None, generate: str | None = None) -> Obj:
    """A Pod object for `owner`, ready to be created."""
    meta = copy.deepcopy(template.get("metadata") or {})
    wanted: Obj = {
        "namespace": objects.namespace(owner),
        "labels": dict(meta.get("labels") or {}),
        "ownerReferences": [objects.owner_reference(owner)],
    }
    if meta.get("annotations"):
        wanted["annotations"] = dict(meta["annotations"])
    if meta.get("finalizers"):
        wanted["finalizers"] = list(meta["finalizers"])
    if name is not None:
        wanted["name"] = name
    if generate is not None:
        wanted["generateName"] = generate
    spec = copy.deepcopy(template["spec"])
    admit(spec)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": wanted, "spec": spec, "status": {"phase": "Pending"}}


def admit(spec: Obj) -> None:
    """Fill in a pod's spec as the API server's admission plugins and defaults do."""
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("enableServiceLinks", True)
    if spec.get("priorityClassName") in _PRIORITIES:
        spec["priority"] = _PRIORITIES[spec["priorityClassName"]]
    spec.setdefault("priority", 0)
    tolerations = spec.setdefault("tolerations", []) or []
    spec["tolerations"] = tolerations
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        covered = any(
            (not entry.get("key") or entry["key"] == key) and entry.get("effect") in (None, "", "NoExecute")
            for entry in tolerations
        )
        if not covered:
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute",
                                "tolerationSeconds": _EVICTED_AFTER_S})  # fmt: skip
