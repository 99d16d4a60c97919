"""Server-side apply: a configuration merged into an object, with an owner for each field.

After `structured-merge-diff/v6/merge/update.go` and `managedfields/internal/structuredmerge.go` of Kubernetes 1.36.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.api import decode, fieldset, managed, status
from crdbmesh_simulator.kubernetes.api.fieldset import TypedError
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.managed import Entries, Entry, Manager
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import Type, type_of


class Apply(managed.Workflow):
    """One manager's configuration on its way into an object.

    Call `merge`, let defaults and admission have their say on its result, then `track`.
    """

    def __init__(
        self, manager: str, subresource: str | None, config: Obj, *, force: bool, warnings: managed.Warnings | None
    ) -> None:
        super().__init__(manager, subresource, warnings)
        self._config = config
        self._force = force
        self._entries: Entries = {}
        self._identity = Manager(self.manager, "Apply", "", subresource or "")

    def merge(self, resource: Resource, live: Obj) -> Obj:
        """The live object with the configuration in it, less what this manager applied before and no longer does.

        Raises:
            StatusError: 409 when other managers own a field with another value; 400 or 500 for a configuration that
                cannot be applied.
        """
        type_ = type_of(resource)
        self._check(resource, type_)
        before = live["metadata"].get("managedFields") or []
        entries = managed.read_entries(before) if live.get("metadata") else {}
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
        found = managed.conflicts(entries, self._identity, difference)
        if found and not self._force:
            raise managed.conflict_error(found)
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
        managed.keep(new["metadata"], old, entries)

    def _check(self, resource: Resource, type_: Type) -> None:
        if (self._config.get("metadata") or {}).get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        problem = decode.find_mismatch(type_, self._config)
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


_BOOKKEEPING = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "selfLink", "managedFields", "generateName",
)  # fmt: skip


def _bookkeeping(live: Obj) -> Obj:
    return {key: value for key, value in live["metadata"].items() if key in _BOOKKEEPING}


def _without_bookkeeping(live: Obj) -> Obj:
    meta = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    return {**live, "metadata": meta}
