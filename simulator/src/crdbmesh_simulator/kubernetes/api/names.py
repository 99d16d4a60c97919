"""Validation of names, labels, annotations and finalizers.

After `staging/src/k8s.io/apimachinery/pkg/util/validation` of Kubernetes 1.36.
"""

from __future__ import annotations

import re
from typing import Any

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import FieldError

ANNOTATIONS_LIMIT = 256 * 1024
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_KEY = "[-._a-zA-Z0-9]+"

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    rf"'{_LABEL}(\.{_LABEL})*')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'(({_QUALIFIED})?)')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)

_LABEL_KINDS = frozenset({"Namespace"})
_FREE_KINDS = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def check_finalizers(new: Obj, old: Obj) -> list[FieldError]:
    """Check the finalizers that an update leaves: an object that is being deleted gets no new ones."""
    if not old.get("deletionTimestamp"):
        return []
    added = [str(each) for each in new.get("finalizers") or [] if each not in (old.get("finalizers") or [])]
    if not added:
        return []
    listed = ", ".join(f'"{each}"' for each in sorted(added))
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [status.forbidden_field("metadata.finalizers", why)]


def check_metadata(resource: Resource, meta: Obj) -> list[FieldError]:
    """Check an object's metadata."""
    errors: list[FieldError] = []
    name = str(meta.get("name") or "")
    if not name:
        return [status.required("metadata.name", "name or generateName is required")]
    errors += check_name(resource, name)
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
    owners = meta.get("ownerReferences") or []
    for at, owner in enumerate(owners):
        where = f"metadata.ownerReferences[{at}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                errors.append(status.invalid(f"{where}.{field}", owner.get(field) or "", f"{field} must not be empty"))
    if sum(1 for owner in owners if owner.get("controller")) > 1:
        why = "Only one reference can have Controller set to true"
        errors.append(status.invalid("metadata.ownerReferences", [owner.get("name") for owner in owners], why))
    return errors


def check_name(resource: Resource, name: str) -> list[FieldError]:
    """Check an object's name."""
    field = "metadata.name"
    if resource.kind in _FREE_KINDS:
        if name in (".", "..") or "/" in name or "%" in name:
            return [status.invalid(field, name, "may not contain '/'")]
        return []
    if resource.kind == "Service":
        return check_dns_1035(name, field)
    if resource.kind in _LABEL_KINDS:
        return check_label(name, field)
    return check_subdomain(name, field)


def check_dns_1035(name: str, field: str) -> list[FieldError]:
    """Check that a word is a DNS-1035 label."""
    if len(name) > 63:
        return [status.invalid(field, name, "must be no more than 63 characters")]
    if not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name):
        return [status.invalid(field, name, _SERVICE_TEXT)]
    return []


def check_label(name: str, field: str) -> list[FieldError]:
    """Check that a word is an RFC 1123 label."""
    if len(name) > 63:
        return [status.invalid(field, name, "must be no more than 63 characters")]
    if not re.fullmatch(_LABEL, name):
        return [status.invalid(field, name, _LABEL_TEXT)]
    return []


def check_subdomain(name: str, field: str) -> list[FieldError]:
    """Check that a word is an RFC 1123 subdomain."""
    if len(name) > 253:
        return [status.invalid(field, name, "must be no more than 253 characters")]
    if not re.fullmatch(_SUBDOMAIN, name):
        return [status.invalid(field, name, _SUBDOMAIN_TEXT)]
    return []


def check_labels(labels: Any, field: str) -> list[FieldError]:
    """Check a set of labels."""
    errors: list[FieldError] = []
    for key, value in (labels or {}).items():
        errors += _check_qualified(str(key), field, key)
        if len(str(value)) > 63:
            errors.append(status.invalid(field, value, "must be no more than 63 bytes"))
        elif not re.fullmatch(_VALUE, str(value)):
            errors.append(status.invalid(field, value, _VALUE_TEXT))
    return errors


def check_data_keys(data: Any, field: str) -> list[FieldError]:
    """Check the keys of a ConfigMap's or Secret's data."""
    errors: list[FieldError] = []
    for key in data or {}:
        if not re.fullmatch(_KEY, str(key)) or key in (".", ".."):
            errors.append(status.invalid(f"{field}[{key}]", key, _KEY_TEXT))
        elif len(str(key)) > 253:
            errors.append(status.invalid(f"{field}[{key}]", key, "must be no more than 253 characters"))
    return errors


def _check_qualified(word: str, field: str, shown: Any) -> list[FieldError]:
    prefix, slash, name = word.rpartition("/")
    if slash and not prefix:
        return [status.invalid(field, shown, "prefix part must be non-empty")]
    if prefix and not re.fullmatch(_SUBDOMAIN, prefix):
        return [status.invalid(field, shown, f"prefix part {_SUBDOMAIN_TEXT}")]
    if not name:
        return [status.invalid(field, shown, "name part must be non-empty")]
    if len(name) > 63:
        return [status.invalid(field, shown, "name part must be no more than 63 characters")]
    if not re.fullmatch(_QUALIFIED, name):
        return [status.invalid(field, shown, _QUALIFIED_TEXT)]
    return []
