"""Validation of objects beyond their schema: the checks of the real API server that clients run into.

After `pkg/apis/{core,apps,batch,networking}/validation` of Kubernetes 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from crdbmesh_simulator.kubernetes.api import names, podsecurity, status, workloads
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import Type, type_of
from crdbmesh_simulator.kubernetes.api.status import FieldError
from crdbmesh_simulator.kubernetes.api.workloads import find_changed, spec_of

DATA_LIMIT = 1024 * 1024


def check(resource: Resource, new: Obj, old: Obj | None) -> list[FieldError]:
    """Check an object that is to be stored."""
    errors = names.check_metadata(resource, new["metadata"])
    if old is not None:
        errors += names.check_finalizers(new["metadata"], old["metadata"])
    if not resource.custom:
        errors += check_required(type_of(resource), new, "")
    checker = _CHECKERS.get((resource.group, resource.kind))
    if errors or checker is None:
        return errors
    return checker(new, old)


def check_required(type_: Type, value: Any, path: str) -> list[FieldError]:
    """Check that a value has its required fields."""
    errors: list[FieldError] = []
    if type_.kind == "struct" and isinstance(value, dict):
        errors += [
            status.required(f"{path}.{name}" if path else name) for name in type_.required if value.get(name) is None
        ]
        for name, each in value.items():
            if isinstance(each, dict | list) and name not in ("managedFields", "status"):
                errors += check_required(type_.child(name), each, f"{path}.{name}" if path else name)
    elif type_.kind == "list" and isinstance(value, list):
        for at, each in enumerate(value):
            errors += check_required(type_.element, each, f"{path}[{at}]")
    elif type_.kind == "map" and isinstance(value, dict):
        for key, each in value.items():
            errors += check_required(type_.element, each, f"{path}[{key}]")
    return errors


# Data.


def _config_map(new: Obj, old: Obj | None) -> list[FieldError]:
    errors = names.check_data_keys(new.get("data"), "data") + names.check_data_keys(new.get("binaryData"), "binaryData")
    errors += [
        status.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        for key in new.get("data") or {}
        if key in (new.get("binaryData") or {})
    ]
    size = sum(len(str(value).encode()) for value in (new.get("data") or {}).values())
    size += sum(len(str(value)) * 3 // 4 for value in (new.get("binaryData") or {}).values())
    if size > DATA_LIMIT:
        errors.append(status.too_long("", DATA_LIMIT))
    return errors + _frozen(new, old, ("data", "binaryData"))


def _frozen(new: Obj, old: Obj | None, fields: tuple[str, ...]) -> list[FieldError]:
    if not (old or {}).get("immutable"):
        return []
    why = "field is immutable when `immutable` is set"
    errors = [status.forbidden_field(name, why) for name in fields if new.get(name) != (old or {}).get(name)]
    if not new.get("immutable"):
        errors.append(status.forbidden_field("immutable", why))
    return errors


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _secret(new: Obj, old: Obj | None) -> list[FieldError]:
    data = new.get("data") or {}
    errors = names.check_data_keys(data, "data")
    if sum(len(str(value)) * 3 // 4 for value in data.values()) > DATA_LIMIT:
        errors.append(status.too_long("data", DATA_LIMIT))
    for key in _SECRET_KEYS.get(str(new.get("type")), ()):
        if key not in data:
            errors.append(status.required(f"data[{key}]"))
    return errors + find_changed(new, old, ("type",), "") + _frozen(new, old, ("data",))


# Services and storage.


_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _service(new: Obj, old: Obj | None) -> list[FieldError]:
    spec, before = spec_of(new), spec_of(old)
    errors: list[FieldError] = []
    kind = spec.get("type")
    if kind not in _SERVICE_TYPES:
        errors.append(status.not_supported("spec.type", kind, _SERVICE_TYPES))
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        errors.append(status.required("spec.ports"))
    if kind == "ExternalName" and not spec.get("externalName"):
        errors.append(status.required("spec.externalName"))
    if headless and kind in ("NodePort", "LoadBalancer"):
        why = f"may not be set to 'None' for {kind} services"
        errors.append(status.invalid("spec.clusterIPs[0]", "None", why))
    seen_names: set[str] = set()
    seen: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for at, port in enumerate(ports):
        errors += _service_port(port, f"spec.ports[{at}]", many=len(ports) > 1, kind=str(kind))
        if port.get("name") in seen_names:
            errors.append(status.duplicate(f"spec.ports[{at}].name", port["name"]))
        if port.get("name"):
            seen_names.add(port["name"])
        identity = (port.get("protocol", "TCP"), port.get("port"))
        if identity in seen:
            errors.append(status.duplicate(f"spec.ports[{at}]", {"port": port.get("port"), "protocol": identity[0]}))
        seen.add(identity)
        node_port = (port.get("protocol", "TCP"), port.get("nodePort"))
        if port.get("nodePort") and node_port in node_ports:
            errors.append(status.duplicate(f"spec.ports[{at}].nodePort", port["nodePort"]))
        node_ports.add(node_port)
    errors += names.check_labels(spec.get("selector"), "spec.selector")
    if spec.get("sessionAffinity") not in ("None", "ClientIP"):
        errors.append(status.not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None")))
    return errors + _fixed_address(spec, before)


def _fixed_address(spec: Obj, before: Obj) -> list[FieldError]:
    was, now = before.get("clusterIP"), spec.get("clusterIP")
    if not was or not now or was == now or "ExternalName" in (spec.get("type"), before.get("type")):
        return []
    return [status.invalid("spec.clusterIPs[0]", [now], "may not change once set")]


def _service_port(port: Obj, field: str, *, many: bool, kind: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if many and not port.get("name"):
        errors.append(status.required(f"{field}.name"))
    elif port.get("name"):
        errors += names.check_label(str(port["name"]), f"{field}.name")
    errors += _check_port(port.get("port"), f"{field}.port")
    if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
        errors.append(status.not_supported(f"{field}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
    target = port.get("targetPort")
    if isinstance(target, int):
        errors += _check_port(target, f"{field}.targetPort")
    if port.get("nodePort") and kind not in ("NodePort", "LoadBalancer"):
        why = f"may not be used when `type` is '{kind}'"
        errors.append(status.forbidden_field(f"{field}.nodePort", why))
    return errors


def _check_port(number: Any, field: str) -> list[FieldError]:
    if isinstance(number, int) and 0 < number < 65536:
        return []
    return [status.invalid(field, number, "must be between 1 and 65535, inclusive")]


def _claim(new: Obj, old: Obj | None) -> list[FieldError]:
    spec, before = spec_of(new), spec_of(old)
    errors: list[FieldError] = []
    if not spec.get("accessModes"):
        errors.append(status.required("spec.accessModes", "at least 1 access mode is required"))
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        errors.append(status.required("spec.resources[storage]"))
    # The binder names the volume; whether a bound claim may grow is for admission to say.
    free = {"resources"} | {key for key in ("volumeName", "storageClassName") if before.get(key) is None}
    if old is not None and {**spec, **dict.fromkeys(free)} != {**before, **dict.fromkeys(free)}:
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        errors.append(status.forbidden_field("spec", why))
    return errors


def _volume(new: Obj, _old: Obj | None) -> list[FieldError]:
    spec = spec_of(new)
    errors: list[FieldError] = []
    if not spec.get("accessModes"):
        errors.append(status.required("spec.accessModes"))
    if "storage" not in (spec.get("capacity") or {}):
        errors.append(status.not_supported("spec.capacity", json.dumps(spec.get("capacity") or {}), ("storage",)))
    return errors


def _storage_class(new: Obj, old: Obj | None) -> list[FieldError]:
    why = "updates to parameters are forbidden."
    fields = ("provisioner", "reclaimPolicy", "volumeBindingMode", "parameters")
    if old is None:
        return []
    return [
        status.forbidden_field(name, why if name == "parameters" else f"updates to {name} are forbidden.")
        for name in fields
        if new.get(name) != old.get(name)
    ]


def _binding(new: Obj, old: Obj | None) -> list[FieldError]:
    if old is None or new.get("roleRef") == old.get("roleRef"):
        return []
    return [status.invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]


def _budget(new: Obj, _old: Obj | None) -> list[FieldError]:
    spec = spec_of(new)
    if spec.get("minAvailable") is None or spec.get("maxUnavailable") is None:
        return []
    return [status.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")]


def _namespace(new: Obj, old: Obj | None) -> list[FieldError]:
    errors = podsecurity.check_labels(new["metadata"].get("labels") or {})
    before = podsecurity.check_labels(((old or {}).get("metadata") or {}).get("labels") or {})
    return [] if old is not None and errors == before else errors


def _definition(new: Obj, _old: Obj | None) -> list[FieldError]:
    spec = spec_of(new)
    wanted = f"{(spec.get('names') or {}).get('plural')}.{spec.get('group')}"
    if new["metadata"]["name"] != wanted:
        why = f'must be spec.names.plural+"."+spec.group, which is {wanted!r}'.replace("'", '"')
        return [status.invalid("metadata.name", new["metadata"]["name"], why)]
    return []


_RBAC = "rbac.authorization.k8s.io"
_CHECKERS: dict[tuple[str, str], Callable[[Obj, Obj | None], list[FieldError]]] = {
    ("", "ConfigMap"): _config_map,
    ("", "Secret"): _secret,
    ("", "Namespace"): _namespace,
    ("", "Pod"): workloads.check_pod,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("apps", "Deployment"): workloads.check_deployment,
    ("apps", "ReplicaSet"): workloads.check_replica_set,
    ("apps", "DaemonSet"): workloads.check_daemon_set,
    ("apps", "StatefulSet"): workloads.check_stateful_set,
    ("batch", "Job"): workloads.check_job,
    ("batch", "CronJob"): workloads.check_cron_job,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("policy", "PodDisruptionBudget"): _budget,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    (_RBAC, "ClusterRoleBinding"): _binding,
    (_RBAC, "RoleBinding"): _binding,
}
