"""Validation of objects beyond their schema: the checks of the real API server that clients run into.

After `pkg/apis/{core,apps,batch,policy}/validation` of Kubernetes 1.36. What can be said of a field alone stands in
`validation-1.36.yaml`; what depends on several is here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import admission, jsonvalue, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import Type, type_of
from crdbmesh_simulator.kubernetes.api.selectors import matches_selector
from crdbmesh_simulator.kubernetes.api.status import FieldError

ANNOTATIONS_LIMIT = 256 * 1024
_NAMES = {"Service": "dns_1035", "Namespace": "label"} | dict.fromkeys(
    ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"), "path_segment"
)
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


TABLE: dict[str, Obj] = tables.read_yaml("crdbmesh_simulator.kubernetes", "validation-1.36")
"""The forms of words, and the checks of kinds."""


def check_form(form: str, word: str, field: str, *, shown: Any = None, prefix: str = "") -> list[FieldError]:
    """Check that a word has a form; messages show `shown`, and begin with `prefix`."""
    wanted, shown = TABLE["forms"][form], word if shown is None else shown
    if len(word) > wanted["most"]:
        return [status.invalid(field, shown, f"{prefix}must be no more than {wanted['most']} characters")]
    if not re.fullmatch(wanted["pattern"], word):
        return [status.invalid(field, shown, f"{prefix}{wanted['why']}")]
    return []


def check_finalizers(new: Obj, old: Obj) -> list[FieldError]:
    """Check the finalizers that an update leaves: an object that is being deleted gets no new ones."""
    added = [str(each) for each in new.get("finalizers") or [] if each not in (old.get("finalizers") or [])]
    if not added or not old.get("deletionTimestamp"):
        return []
    listed = ", ".join(f'"{each}"' for each in sorted(added))
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [status.forbidden_field("metadata.finalizers", why)]


def check_metadata(resource: Resource, meta: Obj) -> list[FieldError]:
    """Check an object's metadata."""
    name = str(meta.get("name") or "")
    if not name:
        return [status.required("metadata.name", "name or generateName is required")]
    errors = check_form(_NAMES.get(resource.kind, "subdomain"), name, "metadata.name")
    errors += check_labels(meta.get("labels"), "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in annotations:
        errors += _check_qualified(str(key).lower(), "metadata.annotations", key)
    size = sum(len(str(key).encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_LIMIT:
        errors.append(status.too_long("metadata.annotations", ANNOTATIONS_LIMIT))
    for at, finalizer in enumerate(meta.get("finalizers") or []):
        where = f"metadata.finalizers[{at}]"
        errors += _check_qualified(str(finalizer), where, finalizer)
        if not resource.custom and "/" not in str(finalizer) and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(status.invalid(where, finalizer, why))
    for at, owner in enumerate(meta.get("ownerReferences") or []):
        errors += [
            status.invalid(f"metadata.ownerReferences[{at}].{field}", "", f"{field} must not be empty")
            for field in ("apiVersion", "kind", "name", "uid")
            if not owner.get(field)
        ]
    return errors


def check_labels(labels: Any, field: str) -> list[FieldError]:
    """Check a set of labels."""
    errors: list[FieldError] = []
    for key, value in (labels or {}).items():
        errors += _check_qualified(str(key), field, key) + check_form("label_value", str(value), field)
    return errors


def _check_qualified(word: str, field: str, shown: Any) -> list[FieldError]:
    domain, slash, name = word.rpartition("/")
    errors = check_form("subdomain", domain, field, shown=shown, prefix="prefix part ") if slash else []
    return errors or check_form("qualified", name, field, shown=shown)


DATA_LIMIT = 1024 * 1024
_QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def check(resource: Resource, new: Obj, old: Obj | None) -> list[FieldError]:
    """Check an object that is to be stored."""
    errors = check_metadata(resource, new["metadata"])
    if old is not None:
        errors += check_finalizers(new["metadata"], old["metadata"])
    if resource.custom:
        return errors
    errors += _required(type_of(resource), new, "")
    if errors:
        return errors
    errors += _fields(TABLE["kinds"].get(resource.kind) or {}, new, old, "")
    more = _MORE.get(resource.kind)
    return errors if more is None else [*errors, *more(new, old or {})]


def _required(type_: Type, value: Any, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if type_.kind == "struct" and isinstance(value, dict):
        errors += [status.required(_below(path, name)) for name in type_.required if value.get(name) is None]
        for name, each in value.items():
            if isinstance(each, dict | list) and name not in ("managedFields", "status"):
                errors += _required(type_.child(name), each, _below(path, name))
    elif type_.kind == "list" and isinstance(value, list):
        for at, each in enumerate(value):
            errors += _required(type_.element, each, f"{path}[{at}]")
    elif type_.kind == "map" and isinstance(value, dict):
        for key, each in value.items():
            errors += _required(type_.element, each, f"{path}[{key}]")
    return errors


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _fields(rules: Obj, value: Obj, old: Obj | None, path: str) -> Iterator[FieldError]:
    """Check the fields of a value by the rules of the table; `old` is what the value replaces, or None."""
    for key, rule in rules.items():
        name, bracket, identity = key.rstrip("]").partition("[")
        where, below = _below(path, name), value.get(name)
        if bracket:
            for at, each in enumerate(below or []):
                yield from _fields(rule, each, None, f"{where}[{at}]")
                if (mine := each.get(identity)) and mine in [other.get(identity) for other in value[name][:at]]:
                    yield status.duplicate(f"{where}[{at}].{identity}", mine)
        elif isinstance(rule, dict):
            yield from _fields(rule, below or {}, None if old is None else old.get(name) or {}, where) if below else ()
        elif isinstance(rule, list):
            if below is not None and below not in rule:
                yield status.not_supported(where, below, rule)
        elif "required" in rule and not below:
            yield status.required(where)
        else:
            for check_ in rule.split():
                yield from _field(check_, below, where)
            if "fixed" in rule and old is not None and below != old.get(name):
                yield status.invalid(where, below, "field is immutable")


def _field(check_: str, value: Any, where: str) -> Iterator[FieldError]:
    if check_ == "not_negative" and isinstance(value, int) and value < 0:
        yield status.invalid(where, value, "must be greater than or equal to 0")
    elif check_ == "port" and isinstance(value, int) and not 0 < value < 65536:
        yield status.invalid(where, value, "must be between 1 and 65535, inclusive")
    elif check_ == "labels":
        yield from check_labels(value, where)
    elif check_ == "quantities":
        for name, each in (value or {}).items():
            if not jsonvalue.is_quantity(each):
                yield status.invalid(f"{where}[{name}]", each, _QUANTITY_TEXT)
    elif check_ in TABLE["forms"] and value:
        yield from check_form(check_, str(value), where)


# Pods and workloads.


def _pod(new: Obj, old: Obj) -> Iterator[FieldError]:
    yield from _pod_spec(new["spec"], "spec")
    if old and _fixed(new["spec"]) != _fixed(old["spec"]):
        why = (
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
        )
        yield status.forbidden_field("spec", why)


def _fixed(spec: Obj) -> Obj:
    fixed: Obj = clone(spec)
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName", "ephemeralContainers"):
        fixed.pop(name, None)
    for container in [*(fixed.get("containers") or []), *(fixed.get("initContainers") or [])]:
        container.pop("image", None)
    return fixed


def _pod_spec(spec: Obj, path: str, claims: Iterable[str] = ()) -> Iterator[FieldError]:
    """Check a pod's spec; `claims` are volumes of its pods that it does not list."""
    volumes = [str(each.get("name")) for each in spec.get("volumes") or []] + list(claims)
    for at, volume in enumerate(spec.get("volumes") or []):
        yield from _single([key for key in volume if key != "name"], f"{path}.volumes[{at}]", "volume")
    for kind in ("containers", "initContainers"):
        for at, container in enumerate(spec.get(kind) or []):
            where = f"{path}.{kind}[{at}]"
            for number, mount in enumerate(container.get("volumeMounts") or []):
                if mount.get("name") not in volumes:
                    field, detail = f"{where}.volumeMounts[{number}].name", f'Not found: "{mount.get("name")}"'
                    yield FieldError("FieldValueNotFound", field, detail)
            yield from _resources(container.get("resources") or {}, f"{where}.resources")
            for probe in _PROBES:
                if (given := container.get(probe)) is None:
                    continue
                yield from _single(
                    [each for each in _HANDLERS if given.get(each) is not None], f"{where}.{probe}", "handler"
                )
                if kind == "initContainers" and container.get("restartPolicy") != "Always":
                    why = "may not be set for init containers without restartPolicy=Always"
                    yield status.forbidden_field(f"{where}.{probe}", why)


def _single(given: list[str], where: str, what: str) -> Iterator[FieldError]:
    if not given:
        yield status.required(where, f"must specify a {what} type")
    for extra in given[1:]:
        yield status.forbidden_field(f"{where}.{extra}", f"may not specify more than 1 {what} type")


def _resources(resources: Obj, where: str) -> Iterator[FieldError]:
    limits = resources.get("limits") or {}
    for name, value in (resources.get("requests") or {}).items():
        if name in limits and jsonvalue.value_of(value) > jsonvalue.value_of(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield status.invalid(f"{where}.requests", str(value), why)


def _workload(new: Obj, _old: Obj) -> Iterator[FieldError]:
    spec = new["spec"]
    labels, selector = (spec["template"].get("metadata") or {}).get("labels") or {}, spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield status.invalid("spec.selector", selector, "empty selector is invalid for deployment")
    elif not matches_selector(selector, labels):
        yield status.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _template(new, _old)


def _template(new: Obj, _old: Obj) -> Iterator[FieldError]:
    claims = [str((each.get("metadata") or {}).get("name")) for each in new["spec"].get("volumeClaimTemplates") or []]
    yield from _pod_spec(new["spec"]["template"]["spec"], "spec.template.spec", claims)


def _stateful_set(new: Obj, old: Obj) -> Iterator[FieldError]:
    yield from _workload(new, old)
    free = dict.fromkeys(
        (
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "minReadySeconds",
            "persistentVolumeClaimRetentionPolicy",
        )
    )
    if old and {**new["spec"], **free} != {**old["spec"], **free}:
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        yield status.forbidden_field("spec", why)


def _job(new: Obj, old: Obj) -> Iterator[FieldError]:
    yield from _template(new, old)
    changed = old and new["spec"]["template"] != old["spec"]["template"]
    if changed and (not old["spec"].get("suspend") or (old.get("status") or {}).get("startTime")):
        yield status.invalid("spec.template", new["spec"]["template"], "field is immutable")


# Data, Services, storage, policies.


def _data(new: Obj, old: Obj) -> Iterator[FieldError]:
    for field in ("data", "binaryData"):
        for key in new.get(field) or {}:
            yield from check_form("data_key", str(key), f"{field}[{key}]")
        if old.get("immutable") and new.get(field) != old.get(field):
            yield status.forbidden_field(field, "field is immutable when `immutable` is set")
    encoded = [new.get("binaryData") if new["kind"] == "ConfigMap" else new.get("data")]
    size = sum(len(str(value)) * 3 // 4 for values in encoded for value in (values or {}).values())
    if new["kind"] == "ConfigMap":
        size += sum(len(str(value).encode()) for value in (new.get("data") or {}).values())
    if size > DATA_LIMIT:
        yield status.too_long("" if new["kind"] == "ConfigMap" else "data", DATA_LIMIT)
    for key in _SECRET_KEYS.get(str(new.get("type")), ()):
        if key not in (new.get("data") or {}):
            yield status.required(f"data[{key}]")


def _service(new: Obj, old: Obj) -> Iterator[FieldError]:
    spec, was = new["spec"], (old.get("spec") or {}).get("clusterIP")
    kind, now, ports = spec.get("type"), spec.get("clusterIP"), spec.get("ports") or []
    if not ports and now != "None" and kind != "ExternalName":
        yield status.required("spec.ports")
    if now == "None" and kind in ("NodePort", "LoadBalancer"):
        yield status.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    for at, port in enumerate(ports):
        if len(ports) > 1 and not port.get("name"):
            yield status.required(f"spec.ports[{at}].name")
        if port.get("nodePort") and kind not in ("NodePort", "LoadBalancer"):
            yield status.forbidden_field(f"spec.ports[{at}].nodePort", f"may not be used when `type` is '{kind}'")
    if was and now and was != now and "ExternalName" not in (kind, old["spec"].get("type")):
        yield status.invalid("spec.clusterIPs[0]", [now], "may not change once set")


def _claim(new: Obj, old: Obj) -> Iterator[FieldError]:
    spec, before = new["spec"], old.get("spec") or {}
    if not spec.get("accessModes"):
        yield status.required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        yield status.required("spec.resources[storage]")
    # The binder names the volume; whether a bound claim may grow is for admission to say.
    free = {"resources"} | {key for key in ("volumeName", "storageClassName") if before.get(key) is None}
    if before and {**spec, **dict.fromkeys(free)} != {**before, **dict.fromkeys(free)}:
        but = "resources.requests and volumeAttributesClassName for bound claims"
        yield status.forbidden_field("spec", f"spec is immutable after creation except {but}")


def _budget(new: Obj, _old: Obj) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield status.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")


def _namespace(new: Obj, old: Obj) -> Iterator[FieldError]:
    errors = admission.check_labels(new["metadata"].get("labels") or {})
    before = admission.check_labels((old.get("metadata") or {}).get("labels") or {})
    yield from [] if old and errors == before else errors


def _definition(new: Obj, _old: Obj) -> Iterator[FieldError]:
    spec = new["spec"]
    wanted = f"{spec['names'].get('plural')}.{spec.get('group')}"
    if new["metadata"]["name"] != wanted:
        why = f'must be spec.names.plural+"."+spec.group, which is {json.dumps(wanted)}'
        yield status.invalid("metadata.name", new["metadata"]["name"], why)


_MORE: dict[str, Callable[[Obj, Obj], Iterator[FieldError]]] = {
    "ConfigMap": _data,
    "Secret": _data,
    "Namespace": _namespace,
    "Pod": _pod,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "DaemonSet": _workload,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "PodDisruptionBudget": _budget,
    "CustomResourceDefinition": _definition,
}
