"""Kubernetes objects as plain dicts: selectors, owners, conditions, quantities, times, hashes, filled manifests.

After the API conventions of Kubernetes 1.36 (`staging/src/k8s.io/apimachinery`).
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, value_of

_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def meta(obj: Mapping[str, Any]) -> Obj:
    """The object's metadata."""
    return obj.get("metadata") or {}


def name(obj: Mapping[str, Any]) -> str:
    """The object's name."""
    return str(meta(obj).get("name", ""))


def namespace(obj: Mapping[str, Any]) -> str:
    """The object's namespace; empty when it has none."""
    return str(meta(obj).get("namespace") or "")


def uid(obj: Mapping[str, Any]) -> str:
    """The object's uid."""
    return str(meta(obj).get("uid", ""))


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    """The object's labels."""
    return meta(obj).get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """The object's annotations."""
    return meta(obj).get("annotations") or {}


def deleting(obj: Mapping[str, Any]) -> bool:
    """Return whether the object is on its way out."""
    return bool(meta(obj).get("deletionTimestamp"))


def spec(obj: Mapping[str, Any]) -> Obj:
    """The object's spec."""
    return obj.get("spec") or {}


def status(obj: Mapping[str, Any]) -> Obj:
    """The object's status."""
    return obj.get("status") or {}


def controller(obj: Mapping[str, Any]) -> Obj | None:
    """The owner reference with `controller: true`."""
    return next((ref for ref in meta(obj).get("ownerReferences") or [] if ref.get("controller")), None)


def owner_reference(owner: Obj) -> Obj:
    """A controlling reference to `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned(objects: Iterable[Obj], owner: Obj) -> list[Obj]:
    """Return those of `objects` that `owner` controls."""
    wanted = uid(owner)
    return [obj for obj in objects if (ref := controller(obj)) is not None and ref.get("uid") == wanted]


def condition(obj: Mapping[str, Any], kind: str) -> Obj | None:
    """The condition of that type in the object's status."""
    return next((entry for entry in status(obj).get("conditions") or [] if entry.get("type") == kind), None)


def is_true(obj: Mapping[str, Any], kind: str) -> bool:
    """Return whether the condition of that type is True."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def with_condition(conditions: Iterable[Obj], new: Obj, now: str) -> list[Obj]:
    """The conditions with `new` put in; its transition time moves only when its status does."""
    result: list[Obj] = []
    placed = False
    for old in conditions:
        if old.get("type") != new["type"]:
            result.append(old)
            continue
        placed = True
        same = old.get("status") == new["status"]
        result.append({**old, **new, "lastTransitionTime": old.get("lastTransitionTime", now) if same else now})
    if not placed:
        result.append({**new, "lastTransitionTime": now})
    return result


def requests(pod_spec: Mapping[str, Any]) -> dict[str, float]:
    """Return a pod's requests: the sum over containers, or the largest init container if that is more."""
    total: dict[str, float] = {}
    for container in pod_spec.get("containers") or []:
        for resource, value in _requests(container).items():
            total[resource] = total.get(resource, 0.0) + value
    for container in pod_spec.get("initContainers") or []:
        for resource, value in _requests(container).items():
            total[resource] = max(total.get(resource, 0.0), value)
    return total


def _requests(container: Mapping[str, Any]) -> dict[str, float]:
    resources = container.get("resources") or {}
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {resource: float(value_of(value)) for resource, value in wanted.items()}


def rfc3339(now: float) -> str:
    """Simulated seconds since the epoch as Kubernetes writes a time."""
    return dt.datetime.fromtimestamp(now, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(now: float) -> str:
    """As `rfc3339`, with microseconds (MicroTime, used by Leases)."""
    return dt.datetime.fromtimestamp(now, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(text: str) -> float:
    """The reverse of `rfc3339`."""
    return dt.datetime.fromisoformat(text).timestamp()


def digest(value: Any, length: int = 10) -> str:
    """A short hash of a JSON value in the alphabet that Kubernetes uses for generated names."""
    raw = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in raw[:length])


def integer_or_percent(value: int | str | None, of: int, *, up: bool, default: int | str) -> int:
    """An IntOrString such as 1 or `25%` as a count."""
    chosen = default if value is None else value
    if isinstance(chosen, int):
        return chosen
    if not chosen.endswith("%"):
        return int(chosen)
    share = of * int(chosen[:-1])
    return -(-share // 100) if up else share // 100


def pod_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is Ready."""
    return is_true(pod, "Ready")


def pod_active(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is neither finished nor being deleted."""
    return not deleting(pod) and status(pod).get("phase") not in ("Succeeded", "Failed")


def pod_from(template: Obj, owner: Obj, *, name: str | None = None, generate: str | None = None) -> Obj:
    """A Pod object for `owner`, ready to be created."""
    meta = copy.deepcopy(template.get("metadata") or {})
    wanted: Obj = {
        "namespace": namespace(owner),
        "labels": dict(meta.get("labels") or {}),
        "ownerReferences": [owner_reference(owner)],
    }
    if meta.get("annotations"):
        wanted["annotations"] = dict(meta["annotations"])
    if name is not None:
        wanted["name"] = name
    if generate is not None:
        wanted["generateName"] = generate
    spec = copy.deepcopy(template["spec"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": wanted, "spec": spec, "status": {"phase": "Pending"}}


def fill(name: str, blanks: Mapping[str, Any] | None = None) -> list[Obj]:
    """The objects of a file, private copies, with their blanks filled in."""
    found = tables.read_yaml("crdbmesh_simulator.kubernetes.controllers", f"manifests/{name}")
    filled: list[Obj] = tables.fill(found if isinstance(found, list) else [found], blanks or {})
    return filled
