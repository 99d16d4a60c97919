"""Reading Kubernetes objects as plain dicts: selectors, owners, conditions, quantities, times, hashes.

After the API conventions of Kubernetes 1.36 (`staging/src/k8s.io/apimachinery`).
"""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

Obj = dict[str, Any]

_SUFFIX = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 1024.0, "Mi": 1024.0**2, "Gi": 1024.0**3, "Ti": 1024.0**4, "Pi": 1024.0**5,
}  # fmt: skip
_QUANTITY = re.compile(r"^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)$")
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


def matches(selector: Mapping[str, Any] | None, of: Mapping[str, str]) -> bool:
    """Return whether labels `of` satisfy a LabelSelector: a missing one matches nothing, an empty one everything."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if of.get(key) != value:
            return False
    return all(matches_expression(rule, of) for rule in selector.get("matchExpressions") or [])


def matches_expression(rule: Mapping[str, Any], of: Mapping[str, str]) -> bool:
    """Return whether labels `of` satisfy one requirement of a label or node selector."""
    key, operator, values = rule["key"], rule["operator"], rule.get("values") or []
    if operator == "In":
        return of.get(key) in values
    if operator == "NotIn":
        return of.get(key) not in values
    if operator == "Exists":
        return key in of
    if operator == "DoesNotExist":
        return key not in of
    try:
        have, wanted = int(of[key]), int(values[0])
    except (KeyError, ValueError, IndexError):
        return False
    return have > wanted if operator == "Gt" else have < wanted


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


def quantity(value: Any) -> float:
    """A resource quantity as a number: `500m` is 0.5, `1Gi` is 1073741824."""
    if isinstance(value, int | float):
        return float(value)
    found = _QUANTITY.match(str(value).strip())
    if found is None or found[2] not in _SUFFIX:
        raise ValueError(f"not a quantity: {value!r}")
    return float(found[1]) * _SUFFIX[found[2]]


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
    return {resource: quantity(value) for resource, value in wanted.items()}


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
    if meta.get("finalizers"):
        wanted["finalizers"] = list(meta["finalizers"])
    if name is not None:
        wanted["name"] = name
    if generate is not None:
        wanted["generateName"] = generate
    spec = copy.deepcopy(template["spec"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": wanted, "spec": spec, "status": {"phase": "Pending"}}
