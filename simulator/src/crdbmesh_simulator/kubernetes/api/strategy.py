"""Steps of an object on its way into the store, and out of it.

Decoding, defaults, admission, allocation, validation and deletion by kind, in the order of the API server
(`staging/src/k8s.io/apiserver/pkg/registry/rest/{create,update,delete}.go` of Kubernetes 1.36).
"""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import admission, defaults, status, validation
from crdbmesh_simulator.kubernetes.api.decode import decode
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.managed import DeleteOptions
from crdbmesh_simulator.kubernetes.api.resources import Resource

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.store import Event, Store

_SYSTEM_META = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
NEVER_GIVEN = ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation")
"""Fields of a new object's metadata that a client cannot set."""

_GENERATED_KINDS: list[str] = tables.read_yaml("crdbmesh_simulator.kubernetes", "names-1.36")["generated kinds"]
_TEMPLATED = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"})


def prepare_create(store: Store, resource: Resource, obj: Obj) -> Obj:
    """A new object with its defaults, before admission. Raises StatusError: 400, 403, 404 or 422."""
    if resource.namespaced:
        admission.check_namespace(store, resource, obj["metadata"])
    new = read(resource, obj)
    if "status" in resource.subresources and resource.kind not in ("Node", "Namespace"):
        new.pop("status", None)
    if resource.kind == "Secret":
        _encode_strings(new)
    defaults.fill_in(resource, new)
    _refuse(resource, new, None)
    if resource.custom or resource.kind in _GENERATED_KINDS:
        new["metadata"]["generation"] = 1
    return new


def admit_create(store: Store, resource: Resource, new: Obj, warnings: list[str]) -> None:
    """Let admission and allocation complete a new object, in place. What they add has no owner.

    Raises StatusError: 403 or 422.
    """
    if resource.kind == "Pod":
        admission.admit_pod(store, resource, new, warnings)
    elif resource.kind == "Namespace":
        new["spec"].setdefault("finalizers", ["kubernetes"])
    elif resource.kind in _TEMPLATED:
        _warn_about_template(store, resource, new, warnings)
    elif resource.kind == "PersistentVolumeClaim":
        admission.admit_claim(store, new)
    elif resource.kind == "Service":
        store.allocations.allocate(store, resource, new, None)
    elif resource.kind == "CustomResourceDefinition":
        _establish(new, store.timestamp())


def read(resource: Resource, obj: Obj) -> Obj:
    """An object without what its type does not declare.

    Raises StatusError: 400 or 422 for a value of the wrong type.
    """
    found = decode(resource, obj)
    if found.mistyped is not None:
        raise status.unreadable(resource, found.mistyped)
    if found.errors:
        raise status.unprocessable(resource, str((obj.get("metadata") or {}).get("name")), found.errors)
    return found.obj


def check_update(resource: Resource, old: Obj, new: Obj) -> None:
    """Refuse a write that means another object, or an older version of this one.

    Raises StatusError: 409 for an older version; 422 for another object.
    """
    meta, before = new.get("metadata") or {}, old["metadata"]
    if meta.get("uid") and meta["uid"] != before["uid"]:
        problem = status.invalid("metadata.uid", meta["uid"], "field is immutable")
        raise status.unprocessable(resource, before["name"], [problem])
    if meta.get("resourceVersion") and str(meta["resourceVersion"]) != before["resourceVersion"]:
        raise status.conflict(resource, before["name"])


def check_absent(resource: Resource, name: str, config: Obj) -> None:
    """Refuse to create what a client believes to exist. Raises StatusError: 409."""
    uid = (config.get("metadata") or {}).get("uid")
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise status.conflict(resource, name, why)


def prepare_update(resource: Resource, old: Obj, new: Obj, subresource: str | None) -> Obj:
    """An object as it is to be put in place of `old`, before admission. Raises StatusError: 400 or 422."""
    new = read(resource, {key: each for key, each in new.items() if key != "spec"} if subresource == "status" else new)
    if subresource == "status":
        changed = {**old, "metadata": {**old["metadata"]}, "status": new.get("status") or {}}
        if new["metadata"].get("managedFields"):
            changed["metadata"]["managedFields"] = new["metadata"]["managedFields"]
        return changed
    if subresource == "finalize":
        finalizers = (new.get("spec") or {}).get("finalizers") or []
        return {**old, "metadata": {**old["metadata"]}, "spec": {**(old.get("spec") or {}), "finalizers": finalizers}}
    _restore_metadata(resource, old, new)
    if "status" in resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if resource.kind == "Namespace":
        new["spec"] = old.get("spec") or {}
    if resource.kind == "Secret":
        _encode_strings(new)
    if resource.kind == "Service" and old.get("spec") and new.get("spec"):
        _carry_over(new["spec"], old["spec"])
    defaults.fill_in(resource, new)
    _refuse(resource, new, old)
    return new


def admit_update(
    store: Store, resource: Resource, old: Obj, new: Obj, subresource: str | None, warnings: list[str]
) -> None:
    """Let admission and allocation complete a changed object, in place. Raises StatusError: 403 or 422."""
    if subresource is not None:
        return
    if resource.kind == "Service":
        store.allocations.allocate(store, resource, new, old)
    elif resource.kind == "CustomResourceDefinition":
        _establish(new, store.timestamp())
    elif resource.kind in _TEMPLATED and new.get("spec") != old.get("spec"):
        _warn_about_template(store, resource, new, warnings)


def raise_generation(old: Obj, new: Obj) -> None:
    """Count a change of what an object wants."""
    if "generation" not in old["metadata"]:
        return
    skipped = ("metadata", "status")
    wanted = {key: value for key, value in new.items() if key not in skipped}
    before = {key: value for key, value in old.items() if key not in skipped}
    started = bool(new["metadata"].get("deletionTimestamp")) and not old["metadata"].get("deletionTimestamp")
    new["metadata"]["generation"] = old["metadata"]["generation"] + (1 if wanted != before or started else 0)


def check_delete(resource: Resource, old: Obj, options: DeleteOptions) -> None:
    """Refuse to delete another object than the one that is meant, or what a cluster cannot be without.

    Raises StatusError: 403 or 409.
    """
    meta = old["metadata"]
    pairs = (("UID", options.uid, meta["uid"]), ("ResourceVersion", options.version, meta["resourceVersion"]))
    for label, wanted, have in pairs:
        if wanted and wanted != have:
            why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {have}"
            raise status.conflict(resource, meta["name"], why)
    if resource.kind == "Namespace" and old["metadata"]["name"] in admission.IMMORTAL[:3]:
        raise status.forbidden(resource, old["metadata"]["name"], "this namespace may not be deleted")


def mark_deleted(resource: Resource, obj: Obj, options: DeleteOptions, now: float) -> bool:
    """Mark `obj` as being deleted, in place; returns whether it stays for a while."""
    meta = obj["metadata"]
    finalizers = [str(each) for each in meta.get("finalizers") or []]
    begun = bool(meta.get("deletionTimestamp"))
    if not begun and options.propagation in ("Foreground", "Orphan", "Background"):
        word = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
        finalizers = [each for each in finalizers if each not in ("foregroundDeletion", "orphan")]
        finalizers += [word] if word else []
        meta.pop("finalizers", None)
        if finalizers:
            meta["finalizers"] = finalizers
    grace = _grace(resource, obj, options.grace_s)
    held = bool(finalizers)
    if resource.kind == "Namespace":
        held = held or bool((obj.get("spec") or {}).get("finalizers"))
    if not grace and not held:
        return False
    if begun:
        if grace < int(meta.get("deletionGracePeriodSeconds") or 0):
            meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = _stamp(now + grace), grace
        return held or int(meta.get("deletionGracePeriodSeconds") or 0) > 0
    meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = _stamp(now + grace), grace
    if "generation" in meta:
        meta["generation"] += 1
    if resource.kind == "Namespace":
        del meta["deletionGracePeriodSeconds"]
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return True


def ends_with_update(resource: Resource, new: Obj) -> bool:
    """Tell whether an update took away the last thing that kept a deleted object."""
    meta = new["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (resource.kind == "Namespace" and (new.get("spec") or {}).get("finalizers"))


def follow(store: Store, event: Event) -> None:
    """Serve what a CustomResourceDefinition defines."""
    if event.resource.kind == "CustomResourceDefinition" and event.type != "DELETED":
        store.resources.register(event.obj)


def _refuse(resource: Resource, new: Obj, old: Obj | None) -> None:
    errors = validation.check(resource, new, old)
    if errors:
        raise status.unprocessable(resource, str(new["metadata"].get("name") or ""), errors)


def _restore_metadata(resource: Resource, old: Obj, new: Obj) -> None:
    meta, before = new["metadata"], old["metadata"]
    for key in _SYSTEM_META:
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]
    for key in ("name", "resourceVersion", *(("namespace",) if resource.namespaced else ())):
        meta[key] = before[key]
    if "generateName" in before:
        meta.setdefault("generateName", before["generateName"])
    new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]


def _carry_over(spec: Obj, before: Obj) -> None:
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(key) and key in before:
                spec[key] = before[key]
    ports = {
        (port.get("port"), port.get("protocol", "TCP")): port.get("nodePort") for port in before.get("ports") or []
    }
    if spec.get("type", "ClusterIP") in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports") or []:
            number = ports.get((port.get("port"), port.get("protocol", "TCP")))
            if number and not port.get("nodePort"):
                port["nodePort"] = number
    elif before.get("type") in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports") or []:
            if port.get("nodePort") == ports.get((port.get("port"), port.get("protocol", "TCP"))):
                port.pop("nodePort", None)


def _encode_strings(secret: Obj) -> None:
    """Move `stringData` into `data`: it is write-only."""
    text = secret.pop("stringData", None)
    if text:
        secret["data"] = {**(secret.get("data") or {}), **{key: _base64(str(value)) for key, value in text.items()}}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _warn_about_template(store: Store, resource: Resource, obj: Obj, warnings: list[str]) -> None:
    spec = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    admission.check_pod_security(store, resource, obj["metadata"], spec, warnings, enforce=False)


def _establish(definition: Obj, now: str) -> None:
    names = (definition.get("spec") or {}).get("names") or {}
    conditions = (definition.get("status") or {}).get("conditions") or [
        {
            "type": "NamesAccepted",
            "status": "True",
            "reason": "NoConflicts",
            "message": "no conflicts found",
            "lastTransitionTime": now,
        },
        {
            "type": "Established",
            "status": "True",
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
            "lastTransitionTime": now,
        },
    ]
    versions = [each["name"] for each in definition["spec"].get("versions") or [] if each.get("storage")]
    definition["status"] = {"conditions": conditions, "acceptedNames": names, "storedVersions": versions}


def _grace(resource: Resource, obj: Obj, grace_s: int | None) -> int:
    if resource.kind != "Pod":
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if grace_s is not None:
        return max(grace_s, 0)
    return int(spec.get("terminationGracePeriodSeconds", 30))


def _stamp(now: float) -> str:
    return dt.datetime.fromtimestamp(int(now), tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
