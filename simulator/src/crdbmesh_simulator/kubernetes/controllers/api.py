"""The API server as the controllers use it: objects by kind.

What `find` and `list` return are the store's own objects, for reading only; `copy` gives a private copy.
Writes are last-writer-wins, since the controllers read and write under `world.lock`.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, clone
from crdbmesh_simulator.kubernetes.api.managed import DeleteOptions, Options
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.controllers import objects
from crdbmesh_simulator.kubernetes.controllers.objects import fill

if TYPE_CHECKING:
    from crdbmesh_simulator.clock import Clock
    from crdbmesh_simulator.kubernetes.api.resources import Resource
    from crdbmesh_simulator.kubernetes.api.store import Event, Store

_QUIET = {"Event", "Lease"}
_REPEAT_S = 20.0


class Api:
    """One cluster's objects."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._marks: collections.Counter[str] = collections.Counter()
        self._events: dict[tuple[str, ...], tuple[str, float, int]] = {}
        self._end = store.subscribe(self._note)

    def close(self) -> None:
        """Follow the store no longer."""
        self._end()

    def _note(self, event: Event) -> None:
        self._marks.update([event.resource.kind] if event.resource.kind in _QUIET else [event.resource.kind, "*"])

    # Reading.

    def mark(self, kinds: tuple[str, ...]) -> int:
        """A number that grows when an object of one of the kinds changes; `*` is every kind but Events and Leases."""
        return sum(self._marks[kind] for kind in kinds)

    def find(self, kind: str, namespace: str | None, name: str) -> Obj | None:
        """An object, for reading only."""
        resource = self._store.resources.find_kind(kind)
        return None if resource is None else self._store.peek(resource, namespace, name)

    def list(self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Obj]:
        """Objects of a kind in order of namespace and name, for reading only."""
        resource = self._store.resources.find_kind(kind)
        return [] if resource is None else self._store.peek_all(resource, namespace, labels)

    def everything(self) -> Iterator[Obj]:
        """Every object but Events and Leases, for reading only."""
        return (obj for resource, obj in self._store.everything() if resource.kind not in _QUIET)

    @staticmethod
    def copy(obj: Obj) -> Obj:
        """A private copy."""
        return clone(obj)  # type: ignore[no-any-return]

    # Writing.

    def _resource(self, obj: Obj) -> Resource:
        return self._store.resource(str(obj["kind"]), obj.get("apiVersion"))

    def create(self, obj: Obj, *, manager: str = "k3s") -> Obj:
        """Create an object. Raises StatusError: the API refuses it; LookupError: there is no such kind."""
        return self._store.create(self._resource(obj), obj, Options(manager))

    def bring(self, existing: Obj | None, obj: Obj) -> Obj:
        """Create an object, or give the existing one its labels and its other fields, when they differ.

        Raises StatusError: the API refuses it.
        """
        if existing is None:
            return self.create(obj)
        labels = obj["metadata"].get("labels", objects.labels(existing))
        content = {key: value for key, value in obj.items() if key != "metadata"}
        if labels == objects.labels(existing) and all(
            (existing.get(key) or []) == (value or []) for key, value in content.items()
        ):
            return existing
        changed = {**self.copy(existing), **content}
        return self.replace({**changed, "metadata": {**changed["metadata"], "labels": labels}})

    def replace(self, obj: Obj) -> Obj:
        """Put an object in place of the stored one (its status apart).

        Raises StatusError: it is gone, or the API refuses the change.
        """
        wanted = {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}}
        return self._store.replace(self._resource(obj), wanted)

    def modify(self, obj: Obj, change: Callable[[Obj], None], *, subresource: str | None = None) -> Obj | None:
        """Change the stored object; None when it is gone."""

        def changed(mine: Obj) -> Obj:
            change(mine)
            return mine

        try:
            return self._store.modify(
                self._resource(obj), objects.namespace(obj) or None, objects.name(obj), changed, subresource=subresource
            )
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    def set_status(self, obj: Obj, status: Obj) -> Obj | None:
        """Put a status in place of the stored one; None when the object is gone."""
        meta = {"name": objects.name(obj), "namespace": objects.namespace(obj) or None}
        wanted = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta, "status": status}
        try:
            return self._store.replace(self._resource(obj), wanted, subresource="status")
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    def annotate(self, obj: Obj, annotations: Mapping[str, str]) -> None:
        """Set annotations."""

        def change(mine: Obj) -> None:
            mine["metadata"]["annotations"] = {**(mine["metadata"].get("annotations") or {}), **annotations}

        self.modify(obj, change)

    def drop_finalizer(self, obj: Obj, finalizer: str) -> None:
        """Take a finalizer off; the object goes with the last one when it is being deleted."""

        def change(mine: Obj) -> None:
            kept = [each for each in mine["metadata"].get("finalizers") or [] if each != finalizer]
            if kept:
                mine["metadata"]["finalizers"] = kept
            else:
                mine["metadata"].pop("finalizers", None)

        if finalizer in (objects.meta(obj).get("finalizers") or []):
            self.modify(obj, change)

    def finish_namespace(self, namespace: Obj) -> None:
        """Let an emptied namespace go."""

        def change(mine: Obj) -> None:
            mine["spec"] = {**(mine.get("spec") or {}), "finalizers": []}

        self.modify(namespace, change, subresource="finalize")

    def delete(self, obj: Obj, *, propagation: str = "Background", grace_s: int | None = None) -> None:
        """Delete that very object; absent is fine."""
        options = DeleteOptions(propagation, grace_s, objects.uid(obj) or None)
        with contextlib.suppress(StatusError):
            self._store.delete(self._resource(obj), objects.namespace(obj) or None, objects.name(obj), options)

    def event(
        self, about: Obj, kind: str, reason: str, message: str, *, component: str, host: str | None = None
    ) -> None:
        """Record an event; one that repeats is counted."""
        space = objects.namespace(about) or "default"
        key = (objects.uid(about), kind, reason, message, component)
        now = self._clock.now()
        name, seen, count = self._events.get(key, ("", 0.0, 0))
        if name:
            self._events[key] = (name, seen, count + 1)
            if now - seen < _REPEAT_S:
                return
            existing = self.find("Event", space, name)
            if existing is not None:
                self._events[key] = (name, now, count + 1)
                self.modify(existing, lambda mine: mine.update(count=count + 1, lastTimestamp=objects.rfc3339(now)))
                return
        code = hashlib.sha256("".join(key).encode()).hexdigest()[:8] + f"{int(now * 1e6):x}"[-8:]
        self._events[key] = (f"{objects.name(about)}.{code}", now, count + 1)
        subject = {
            "apiVersion": about.get("apiVersion"),
            "kind": about.get("kind"),
            "name": objects.name(about),
            "uid": objects.uid(about),
            "resourceVersion": objects.meta(about).get("resourceVersion", ""),
        }
        if objects.namespace(about):
            subject["namespace"] = objects.namespace(about)
        [event] = fill(
            "event",
            {
                "name": f"{objects.name(about)}.{code}",
                "space": space,
                "about": subject,
                "reason": reason,
                "message": message,
                "kind": kind,
                "component": component,
                "host": host or "",
                "source": {"component": component, **({"host": host} if host else {})},
                "now": objects.rfc3339(now),
            },
        )
        with contextlib.suppress(StatusError):
            self.create(event)
