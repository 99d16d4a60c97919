"""Defaults: the fields that the API server fills in when an object leaves them out.

The plain ones are in `defaults-1.36.yaml`; here are those that depend on something. After
`pkg/apis/{core,apps,batch,rbac}/v1/defaults.go` of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.resources import Resource

_ROLLING: dict[str, tuple[str, Obj]] = {
    "Deployment": ("strategy", {"maxSurge": "25%", "maxUnavailable": "25%"}),
    "StatefulSet": ("updateStrategy", {"partition": 0}),
    "DaemonSet": ("updateStrategy", {"maxSurge": 0, "maxUnavailable": 1}),
}


_TABLE: dict[str, Obj] = tables.read_yaml("crdbmesh_simulator.kubernetes", "defaults-1.36")


def fill_in(resource: Resource, obj: Obj) -> None:
    """Set the defaults of an object's kind, in place."""
    if resource.custom:
        _custom(dict(resource.schema or {}), obj)
        return
    if resource.kind == "Job":
        _before_job(obj.setdefault("spec", {}))
    _fill(obj, _TABLE.get(resource.kind, {}))
    spec: Obj = obj.get("spec") or {}
    if resource.kind == "Pod":
        _pod_spec(spec)
    for holder in (spec, (spec.get("jobTemplate") or {}).get("spec") or {}):
        if isinstance(holder.get("template"), dict) and "containers" in (holder["template"].get("spec") or {}):
            _pod_spec(holder["template"]["spec"])
    if resource.kind in _ROLLING:
        name, rolling = _ROLLING[resource.kind]
        if spec[name]["type"] == "RollingUpdate":
            spec[name]["rollingUpdate"] = {**rolling, **(spec[name].get("rollingUpdate") or {})}
    more = _MORE.get(resource.kind)
    if more is not None:
        more(obj, spec)


def _fill(value: Obj, defaults: Mapping[str, Any]) -> None:
    for key, default in defaults.items():
        if key.endswith("[]"):
            for each in value.get(key[:-2]) or []:
                if isinstance(each, dict):
                    _fill(each, default)
        elif isinstance(default, dict):
            below = value.get(key[:-1]) if key.endswith("?") else value.setdefault(key, {})
            if isinstance(below, dict):
                _fill(below, default)
        else:
            value.setdefault(key, default)


def _pod_spec(spec: Obj) -> None:
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        image = str(container.get("image") or "")
        if image and not container.get("imagePullPolicy"):
            container["imagePullPolicy"] = "Always" if _tag(image) == "latest" else "IfNotPresent"
        for port in container.get("ports") or []:
            if spec.get("hostNetwork") is True and "containerPort" in port:
                port.setdefault("hostPort", port["containerPort"])
        for key, value in (container["resources"].get("limits") or {}).items():
            container["resources"].setdefault("requests", {}).setdefault(key, value)


def _tag(image: str) -> str:
    if "@" in image:
        return ""
    return image.rpartition("/")[2].partition(":")[2] or "latest"


def _before_job(spec: Obj) -> None:
    if "parallelism" not in spec:
        spec.setdefault("completions", 1)


def _job(obj: Obj, spec: Obj) -> None:
    meta = obj.get("metadata") or {}
    if spec["manualSelector"] or spec.get("selector") or not meta.get("uid"):
        return
    labels = spec["template"]["metadata"].setdefault("labels", {})
    for prefix in ("batch.kubernetes.io/", ""):
        labels[f"{prefix}controller-uid"] = meta["uid"]
        labels[f"{prefix}job-name"] = meta["name"]
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}


def _service(_obj: Obj, spec: Obj) -> None:
    kind = spec["type"]
    if spec["sessionAffinity"] == "ClientIP":
        _fill(spec, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}})
    for port in spec.get("ports") or []:
        if "port" in port and port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port["port"]
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")


def _namespace(obj: Obj, _spec: Obj) -> None:
    meta = obj["metadata"]
    if meta.get("name"):
        meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}


def _definition(_obj: Obj, spec: Obj) -> None:
    kind = spec["names"].get("kind")
    if kind:
        _fill(spec["names"], {"singular": str(kind).lower(), "listKind": f"{kind}List"})


_MORE: dict[str, Callable[[Obj, Obj], None]] = {
    "Job": _job,
    "Service": _service,
    "Namespace": _namespace,
    "CustomResourceDefinition": _definition,
}


def _custom(schema: dict[str, Any], value: Any) -> None:
    if isinstance(value, dict):
        for key, below in (schema.get("properties") or {}).items():
            if "default" in below and value.get(key) is None:
                value[key] = clone(below["default"])
            if key in value:
                _custom(below, value[key])
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for each in value:
            _custom(schema["items"], each)
