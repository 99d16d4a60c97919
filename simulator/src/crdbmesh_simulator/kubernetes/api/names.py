"""Validation of names, labels, annotations and finalizers, and the forms of words that it knows.

After `staging/src/k8s.io/apimachinery/pkg/util/validation` of Kubernetes 1.36; the forms are in `validation-1.36.yaml`.
"""

from __future__ import annotations

import re
from typing import Any

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource
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
