"""What is particular to a kind when it is created, updated and deleted."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crdbmesh.simulator.kube import status
from crdbmesh.simulator.kube.jsonvalue import Obj
from crdbmesh.simulator.kube.resources import Resource

if TYPE_CHECKING:
    from crdbmesh.simulator.kube.store import Event, Store

_SYSTEM_META = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "generateName",
)


class Allocations:
    def configure(self, service_cidr: str) -> None: ...

    @contextlib.contextmanager
    def trying(self, store: Store, *, keep: bool) -> Iterator[None]:
        yield


def prepare_create(store: Store, resource: Resource, obj: Obj) -> Obj:
    meta = obj["metadata"]
    if resource.namespaced:
        namespace = store.peek(store.resource("Namespace", "v1"), None, str(meta.get("namespace")))
        if namespace is None:
            raise status.not_found(store.resource("Namespace", "v1"), str(meta.get("namespace")))
        if namespace["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {meta['namespace']} because it is being terminated"
            raise status.forbidden(resource, str(meta.get("name")), why)
    if resource.kind == "Namespace":
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        obj.setdefault("status", {}).setdefault("phase", "Active")
    if "spec" in obj:
        meta["generation"] = 1
    return obj


def check_update(resource: Resource, old: Obj, new: Obj) -> None:
    meta = new.setdefault("metadata", {})
    before = old["metadata"]
    if meta.get("uid") and meta["uid"] != before["uid"]:
        raise status.conflict(
            resource,
            before["name"],
            f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}",
        )
    if meta.get("resourceVersion") and str(meta["resourceVersion"]) != before["resourceVersion"]:
        raise status.conflict(resource, before["name"])


def prepare_update(store: Store, resource: Resource, old: Obj, new: Obj, subresource: str | None) -> Obj:
    if subresource == "status":
        return {**old, "metadata": dict(old["metadata"]), "status": new.get("status") or {}}
    if subresource == "finalize":
        return {
            **old,
            "metadata": dict(old["metadata"]),
            "spec": {**old["spec"], "finalizers": (new.get("spec") or {}).get("finalizers") or []},
        }
    meta = new["metadata"]
    for key in _SYSTEM_META:
        if key in old["metadata"]:
            meta[key] = old["metadata"][key]
        else:
            meta.pop(key, None)
    meta["name"] = old["metadata"]["name"]
    meta["resourceVersion"] = old["metadata"]["resourceVersion"]
    new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
    if resource.namespaced:
        meta["namespace"] = old["metadata"]["namespace"]
    if "status" in resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new


def raise_generation(resource: Resource, old: Obj, new: Obj) -> None:
    if new.get("spec") != old.get("spec") and "generation" in old["metadata"]:
        new["metadata"]["generation"] = old["metadata"]["generation"] + 1


def check_preconditions(resource: Resource, old: Obj, *, uid: str | None, version: str | None) -> None:
    for label, wanted, have in (
        ("UID", uid, old["metadata"]["uid"]),
        ("ResourceVersion", version, old["metadata"]["resourceVersion"]),
    ):
        if wanted and wanted != have:
            why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {have}"
            raise status.conflict(resource, old["metadata"]["name"], why)


def check_delete(resource: Resource, old: Obj) -> None:
    if resource.kind == "Namespace" and old["metadata"]["name"] in ("default", "kube-system", "kube-public"):
        raise status.forbidden(resource, old["metadata"]["name"], "this namespace may not be deleted")


def mark_deleted(resource: Resource, obj: Obj, propagation: str | None, grace_s: int | None, now: float) -> bool:
    """Mark `obj`; returns whether it stays for a while."""
    meta = obj["metadata"]
    finalizers = list(meta.get("finalizers") or [])
    if not meta.get("deletionTimestamp") and propagation in ("Foreground", "Orphan"):
        word = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}[propagation]
        if word not in finalizers:
            finalizers.append(word)
            meta["finalizers"] = finalizers
    grace = _grace(resource, obj, grace_s)
    pending = bool(finalizers) or bool(
        (obj.get("spec") or {}).get("finalizers") if resource.kind == "Namespace" else False
    )
    if not grace and not pending:
        return False
    if "deletionTimestamp" in meta:
        if grace < meta.get("deletionGracePeriodSeconds", 0):
            meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = _stamp(now + grace), grace
        return pending or meta["deletionGracePeriodSeconds"] > 0
    meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = _stamp(now + grace), grace
    if "generation" in meta:
        meta["generation"] += 1
    if resource.kind == "Namespace":
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        del meta["deletionGracePeriodSeconds"]
    return True


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
    return datetime.datetime.fromtimestamp(int(now), tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ends_with_update(resource: Resource, new: Obj) -> bool:
    meta = new["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (resource.kind == "Namespace" and (new.get("spec") or {}).get("finalizers"))


def follow(store: Store, event: Event) -> None:
    if event.resource.kind != "CustomResourceDefinition":
        return
    if event.type == "DELETED":
        store.drop_all(store.resources.forget(event.name))
    else:
        store.resources.register(event.obj)
