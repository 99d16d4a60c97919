"""Owners of an object's fields: `metadata.managedFields`, kept at every write.

After `staging/src/k8s.io/apimachinery/pkg/util/managedfields` of Kubernetes 1.36. How an applied configuration is
merged is in `apply.py`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import decode, fieldset, status
from crdbmesh_simulator.kubernetes.api.fieldset import FieldSet, Path, TypedError
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import Type, type_of

SYSTEM = "k3s"
"""The manager of what the cluster's own controllers write."""

_BOOKKEEPING: list[str] = tables.read_yaml("crdbmesh_simulator.kubernetes", "names-1.36")["bookkeeping"]
_UNMANAGED: tuple[Path, ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    *(("f:metadata", f"f:{name}") for name in _BOOKKEEPING),
)
_TEMPLATE: Obj = {"metadata": {}, "spec": {"containers": None}}
_EMPTY: dict[str, Obj] = {
    "Pod": {"containers": None},
    "Deployment": {"selector": None, "template": _TEMPLATE, "strategy": {}},
    "ReplicaSet": {"selector": None, "template": _TEMPLATE},
    "StatefulSet": {"selector": None, "template": _TEMPLATE, "serviceName": "", "updateStrategy": {}},
    "DaemonSet": {"selector": None, "template": _TEMPLATE, "updateStrategy": {}},
    "Job": {"template": _TEMPLATE},
    "CronJob": {"jobTemplate": {"metadata": {}, "spec": {"template": _TEMPLATE}}, "schedule": ""},
}
"""The fields that an object of a kind has before anything is set: they have no owner of their own."""


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry's identity; appliers own across API versions, updaters within one."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        text = json.dumps(self.name)
        if self.subresource:
            text = f"{text} with subresource {json.dumps(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class Entry:
    """The fields that one manager owns, and since when.

    `written`: the entry of `metadata.managedFields` that it was read from, if it was.
    """

    fields: FieldSet
    time: str
    api_version: str
    written: Obj | None = field(default=None, compare=False)


Entries = dict[Manager, Entry]


def read_entries(entries: Iterable[Obj]) -> Entries:
    """`metadata.managedFields` as a table. Raises ValueError: an entry is malformed."""
    found: Entries = {}
    for entry in entries:
        operation = entry.get("operation")
        version = str(entry.get("apiVersion") or "")
        name = str(entry.get("manager") or "unknown")
        identity = Manager(
            name, str(operation), "" if operation == "Apply" else version, str(entry.get("subresource") or "")
        )
        fields = fieldset.decode(entry.get("fieldsV1") or {})
        found[identity] = Entry(fields, str(entry.get("time") or ""), version, entry)
    return found


def write_entries(entries: Entries) -> list[Obj]:
    """The table as `metadata.managedFields`, in the order of the API server."""
    ordered = sorted(
        entries.items(),
        key=lambda pair: (pair[0].operation, pair[1].time, pair[0].name, pair[1].api_version, pair[0].subresource),
    )
    return [_write(manager, entry) for manager, entry in ordered]


def _write(manager: Manager, entry: Entry) -> Obj:
    if entry.written is not None:
        return entry.written
    written: Obj = {
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldset.encode(entry.fields),
        "manager": manager.name,
        "operation": manager.operation,
    }
    if manager.subresource:
        written["subresource"] = manager.subresource
    if entry.time:
        written["time"] = entry.time
    return written


@dataclass(slots=True)
class Options:
    """The options of a write. `warnings`: the list to which the write adds warnings for its client."""

    manager: str = SYSTEM
    validation: str = "Warn"
    dry_run: bool = False
    force: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """The options of a deletion.

    Pods on a node end gracefully (`grace_s` is 0 when their containers have stopped); finalizers, and a `propagation`
    other than Background, keep an object until whoever they name has done its part. `uid`, `version`: of the object
    that is meant.
    """

    propagation: str | None = "Background"
    grace_s: int | None = None
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False


DELETE = DeleteOptions()


class Workflow(ABC):
    """A way of writing that knows who writes."""

    def __init__(self, options: Options, subresource: str | None = None) -> None:
        self.options = options
        self.manager = options.manager[:128]
        self.subresource = subresource

    @abstractmethod
    def track(self, resource: Resource, old: Obj | None, new: Obj, now: str) -> None:
        """Set the new object's managedFields, given what it replaces."""

    def ignored(self, resource: Resource) -> tuple[Path, ...]:
        """Fields whose owners do not change by this way of writing."""
        if self.subresource == "status":
            return (*_UNMANAGED, ("f:spec",), ("f:metadata",))
        if self.subresource is None and "status" in resource.subresources:
            return (*_UNMANAGED, ("f:status",))
        return _UNMANAGED


class Update(Workflow):
    """Any write but an apply: who changes a field owns it, alone."""

    def track(self, resource: Resource, old: Obj | None, new: Obj, now: str) -> None:
        """Give what changed to the manager, and take it from all others."""
        meta = new["metadata"]
        before = old["metadata"].get("managedFields") or [] if old is not None else []
        given = meta.pop("managedFields", None)
        if given and (old is None or given != before):
            before = given
        try:
            entries = read_entries(before)
        except ValueError:
            entries = read_entries(old["metadata"].get("managedFields") or []) if old is not None else {}
        if old is not None and _bare(old) == _bare(new):
            keep(meta, old, entries)
            return
        type_ = type_of(resource)
        lhs = _empty(resource) if old is None else old
        difference = fieldset.compare(type_, lhs, new).without(self.ignored(resource))
        identity = Manager(self.manager, "Update", resource.api_version, self.subresource or "")
        changed = difference.added | difference.modified
        result: Entries = {}
        for manager, entry in entries.items():
            lost = difference.removed if manager == identity else changed | difference.removed
            result[manager] = (
                Entry(entry.fields - lost, entry.time, entry.api_version) if entry.fields & lost else entry
            )
        mine = result.get(identity, Entry(frozenset(), now, resource.api_version))
        owned = mine.fields | changed
        result[identity] = mine if owned == mine.fields else Entry(owned, now, resource.api_version)
        result = {manager: entry for manager, entry in result.items() if entry.fields}
        keep(meta, old, result)


def conflicts(entries: Entries, mine: Manager, difference: fieldset.Comparison) -> list[tuple[Manager, Path]]:
    """Return the fields that a write would take from other managers."""
    touched = difference.added | difference.modified
    return [
        (manager, path)
        for manager, entry in sorted(entries.items(), key=lambda pair: str(pair[0]))
        if manager != mine
        for path in sorted(entry.fields & touched)
    ]


def conflict_error(found: list[tuple[Manager, Path]]) -> status.StatusError:
    """409 for an apply that would take fields from other managers."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": fieldset.show(path)}
        for manager, path in found
    ]
    if len(found) == 1:
        manager, path = found[0]
        message = f"Apply failed with 1 conflict: conflict with {manager}: {fieldset.show(path)}"
    else:
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(_listed(found))
    return status.StatusError(409, "Conflict", message, {"causes": causes})


def _listed(found: list[tuple[Manager, Path]]) -> Iterator[str]:
    for manager in sorted({str(manager) for manager, _ in found}):
        yield f"conflicts with {manager}:"
        yield from (f"- {fieldset.show(path)}" for owner, path in found if str(owner) == manager)


def keep(meta: Obj, old: Obj | None, entries: Entries) -> None:
    """Write the table into an object's metadata; unchanged tables keep their times."""
    before = (old["metadata"].get("managedFields") or []) if old is not None else []
    written = write_entries(entries)
    if written != before and _timeless(written) == _timeless(before):
        written = before
    meta.pop("managedFields", None)
    if written:
        meta["managedFields"] = written


def _timeless(entries: list[Obj]) -> list[Obj]:
    return sorted(
        ({key: value for key, value in entry.items() if key != "time"} for entry in entries),
        key=lambda entry: json.dumps([entry.get(key) for key in ("manager", "operation", "apiVersion", "subresource")]),
    )


def _bare(obj: Obj) -> Obj:
    skipped = ("managedFields", "resourceVersion", "generation")
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in skipped}}


def _empty(resource: Resource) -> Obj:
    base: Obj = {"apiVersion": "", "kind": "", "metadata": {}}
    if not resource.custom and "spec" in type_of(resource).fields:
        base["spec"] = _EMPTY.get(resource.kind, {})
    if not resource.custom and "status" in type_of(resource).fields:
        base["status"] = {}
    return base


class Apply(Workflow):
    """One manager's configuration on its way into an object.

    Call `merge`, let defaults and admission have their say on its result, then `track`.
    """

    def __init__(self, options: Options, subresource: str | None, config: Obj) -> None:
        super().__init__(options, subresource)
        self._config = config
        self._entries: Entries = {}
        self._identity = Manager(self.manager, "Apply", "", subresource or "")

    def merge(self, resource: Resource, live: Obj) -> Obj:
        """The live object with the configuration in it, less what this manager applied before and no longer does.

        Raises StatusError: 409 when other managers own a field with another value; 400 or 500 for a configuration that
        cannot be applied.
        """
        type_ = type_of(resource)
        self._check(resource)
        before = live["metadata"].get("managedFields") or []
        entries = read_entries(before) if live.get("metadata") else {}
        if not before and live["metadata"].get("uid"):
            entries = {_first(resource): Entry(frozenset(fieldset.fields_of(type_, live)), "", resource.api_version)}
        bare = _without_bookkeeping(live)
        try:
            merged = fieldset.merge(type_, bare, self._config)
            mine = fieldset.exclude(fieldset.fields_of(type_, self._config), self.ignored(resource))
        except TypedError as error:
            raise self._untyped(resource, str(error)) from None
        last = entries.get(self._identity)
        time = last.time if last is not None and last.fields == frozenset(mine) else ""
        entries[self._identity] = Entry(frozenset(mine), time, resource.api_version)
        if last is not None and last.fields:
            merged = _prune(type_, merged, entries, set(last.fields))
        difference = fieldset.compare(type_, bare, merged).without(self.ignored(resource))
        found = conflicts(entries, self._identity, difference)
        if found and not self.options.force:
            raise conflict_error(found)
        self._entries = _settled(entries, self._identity, difference)
        unreadable = decode.decode(resource, merged).mistyped
        if unreadable is not None:
            what = f"failed to convert new object ({self._where(resource)}) to proper version"
            raise status.StatusError(500, "", f"{what}: {unreadable}")
        result: Obj = clone(merged)
        result["metadata"] = {**(result.get("metadata") or {}), **_bookkeeping(live)}
        result["apiVersion"], result["kind"] = live.get("apiVersion"), live.get("kind")
        return result

    def track(self, resource: Resource, old: Obj | None, new: Obj, now: str) -> None:  # noqa: ARG002
        """Write down the owners that `merge` found; times move only when something did."""
        entries = {
            manager: entry if entry.time else Entry(entry.fields, now, entry.api_version)
            for manager, entry in self._entries.items()
        }
        keep(new["metadata"], old, entries)

    def _check(self, resource: Resource) -> None:
        if (self._config.get("metadata") or {}).get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        found = decode.decode(resource, self._config)
        problem = f".{found.unknown[0]}: field not declared in schema" if found.unknown else found.mistyped
        if problem is not None:
            raise self._untyped(resource, problem)

    def _untyped(self, resource: Resource, problem: str) -> status.StatusError:
        return status.StatusError(500, "", f"failed to create typed patch object ({self._where(resource)}): {problem}")

    def _where(self, resource: Resource) -> str:
        meta = self._config.get("metadata") or {}
        return f"{meta.get('namespace') or ''}/{meta.get('name')}; {resource.api_version}, Kind={resource.kind}"


def _prune(type_: Type, merged: Obj, entries: Entries, last: set[fieldset.Path]) -> Obj:
    everything = _named(type_, merged)
    owned = fieldset.with_named(type_, set().union(*(entry.fields for entry in entries.values())))
    pruned = fieldset.remove(type_, merged, fieldset.with_named(type_, last)) or {}
    restored = fieldset.remove(type_, merged, everything - (_named(type_, pruned) | owned)) or {}
    dropped = (everything - _named(type_, restored)) & fieldset.with_named(type_, last)
    result: Obj = fieldset.remove(type_, merged, dropped) or {}
    return result


def _named(type_: Type, value: Obj) -> set[fieldset.Path]:
    return fieldset.with_named(type_, fieldset.fields_of(type_, value))


def _settled(entries: Entries, mine: Manager, difference: fieldset.Comparison) -> Entries:
    touched = difference.added | difference.modified
    result: Entries = {}
    for manager, entry in entries.items():
        kept = entry.fields if manager == mine else entry.fields - touched - difference.removed
        if kept:
            result[manager] = entry if kept == entry.fields else Entry(kept, entry.time, entry.api_version)
    return result


def _first(resource: Resource) -> Manager:
    return Manager("before-first-apply", "Update", resource.api_version)


def _bookkeeping(live: Obj) -> Obj:
    return {key: value for key, value in live["metadata"].items() if key in (*_BOOKKEEPING, "generateName")}


def _without_bookkeeping(live: Obj) -> Obj:
    meta = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    return {**live, "metadata": meta}
