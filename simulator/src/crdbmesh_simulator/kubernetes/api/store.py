"""The objects of one cluster, with the semantics of the Kubernetes API machinery.

Versions, generations, finalizers, graceful deletion, optimistic concurrency and a history for watches, after
`staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go` of Kubernetes 1.36. What is particular to a kind
(defaults, allocation, validation, admission) is in `strategy.py`; who owns which field in `managed.py` and `apply.py`.
"""

from __future__ import annotations

import collections
import datetime as dt
import random
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.api import managed, status, strategy
from crdbmesh_simulator.kubernetes.api.allocation import Allocations
from crdbmesh_simulator.kubernetes.api.history import ADDED, DELETED, MODIFIED, Event, History, Listener
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs, clone
from crdbmesh_simulator.kubernetes.api.managed import Apply, DeleteOptions, Options
from crdbmesh_simulator.kubernetes.api.resources import Catalogue, Resource

if TYPE_CHECKING:
    from crdbmesh_simulator.clock import Clock

__all__ = ["ADDED", "DELETED", "MODIFIED", "Event", "Store"]

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED_BASE = 58
_HISTORY_LIMIT = 1_000
_HEAD = ("apiVersion", "kind", "metadata")


class Store:
    """The objects of one cluster.

    What the writing methods return is shared, never changed in place, and for reading only.

    Thread-safe. Whoever reads, decides and writes holds `world.lock` around all three, as everywhere in the world; the
    store's own lock is taken inside and never held while waiting. `admission`: the configuration of each plugin, from
    the API server's file. `clock`: the time of creation and deletion stamps.
    `history_limit`: how many events of its kind a watch can go back; older versions are answered with 410 Expired.
    """

    def __init__(self, clock: Clock, *, history_limit: int = _HISTORY_LIMIT) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.resources = Catalogue()
        self.admission: dict[str, Obj] = {}
        self.allocations = Allocations()
        self._random = random.Random()  # noqa: S311 - suffixes of names, not secrets
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Obj]] = collections.defaultdict(dict)
        self._sorted: dict[tuple[str, str], Objs] = {}
        self._version = 1
        self._history = History(self.lock, history_limit)

    def configure(self, *, service_cidr: str) -> None:
        """Say from which range Services get their addresses."""
        self.allocations.configure(service_cidr)

    def resource(self, kind: str, api_version: str | None = None) -> Resource:
        """The resource of a kind, by its name. Raises LookupError: the cluster serves no such kind."""
        found = self.resources.find_kind(kind, api_version)
        if found is None:
            where = f' in version "{api_version}"' if api_version else ""
            raise LookupError(f'no matches for kind "{kind}"{where}')
        return found

    # Reading.

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def find(self, resource: Resource, namespace: str | None, name: str) -> Obj | None:
        """A private copy of an object, or None."""
        found = self.peek(resource, namespace, name)
        return None if found is None else clone(found)

    def peek(self, resource: Resource, namespace: str | None, name: str) -> Obj | None:
        """An object as stored, shared and never changed in place: for reading only."""
        with self.lock:
            return self._objects[resource.key].get(((namespace or "") if resource.namespaced else "", name))

    def peek_all(
        self, resource: Resource, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Objs:
        """As `list`, but shared objects for reading only."""
        with self.lock:
            found = self._sorted.get(resource.key)
            if found is None:
                held = self._objects[resource.key]
                found = self._sorted[resource.key] = [held[key] for key in sorted(held)]
        return [obj for obj in found if (not namespace or _key(obj)[0] == namespace) and _carries(obj, labels)]

    def everything(self) -> Iterator[tuple[Resource, Obj]]:
        """Every object of every kind, shared, for reading only."""
        with self.lock:
            kinds = {resource.key: resource for resource in self.resources}
            found = [
                (kinds[key], obj) for key, objects in self._objects.items() if key in kinds for obj in objects.values()
            ]
        yield from found

    # Watching.

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` at each change, with the store locked: it must only take note. Returns how to end it."""
        return self._history.subscribe(listener)

    def history(self, after: int, resource: Resource) -> Sequence[Event]:
        """Return the changes of the objects of a kind after a version, oldest first.

        Raises StatusError: 410, the history does not reach that far back.
        """
        return self._history.since(after, resource)

    def compact(self) -> None:
        """Forget the history so far, as etcd's compaction does."""
        self._history.compact(self._version)

    # Writing.

    def create(self, resource: Resource, obj: Obj, options: Options | None = None) -> Obj:
        """Store a new object.

        Raises StatusError: 409 when its name is taken, 404 when its namespace does not exist, 422 when it is not valid.
        """
        return self._create(resource, clone(obj), managed.Update(options or Options()))

    def replace(self, resource: Resource, obj: Obj, subresource: str | None = None) -> Obj:
        """Put an object in place of the stored one (or only the part that `subresource` names).

        Raises StatusError: 404; 409 when `metadata.resourceVersion` is given and not the stored one; 422.
        """
        meta = obj.get("metadata") or {}
        name = str(meta.get("name", ""))
        return self.modify(resource, meta.get("namespace"), name, lambda _old: dict(clone(obj)), subresource)

    def modify(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        change: Callable[[Obj], Obj],
        subresource: str | None = None,
        options: Options | None = None,
    ) -> Obj:
        """Put what `change` makes of a private copy in place of the stored object. Raises StatusError: as `replace`."""
        with self.lock:
            old = self.peek(resource, namespace, name)
            if old is None:
                raise status.not_found(resource, name)
            return self._update(resource, old, change(clone(old)), managed.Update(options or Options(), subresource))

    def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        config: Obj,
        subresource: str | None,
        options: Options,
    ) -> tuple[Obj, bool]:
        """Apply a configuration server-side; returns the object and whether it was created.

        Raises StatusError: 409 with the conflicting fields; 400 for a configuration that cannot be applied; 422.
        """
        workflow = Apply(options, subresource, clone(config))
        with self.lock:
            old = self.peek(resource, namespace, name)
            if old is not None:
                strategy.check_update(resource, old, config)
                return self._update(resource, old, workflow.merge(resource, old), workflow), False
            if subresource:
                raise status.not_found(resource, name)
            strategy.check_absent(resource, name, config)
            new = workflow.merge(resource, {"apiVersion": "", "kind": "", "metadata": {}})
            new["metadata"] = {**(new.get("metadata") or {}), "name": name, "namespace": namespace}
            return self._create(resource, new, workflow), True

    def delete(
        self, resource: Resource, namespace: str | None, name: str, options: DeleteOptions = managed.DELETE
    ) -> Obj:
        """Delete an object, or mark it as being deleted when something must happen first.

        Returns the object, as marked or as it last was (see `is_gone`). Raises StatusError: 404; 409 when `uid` or
        `version` is given and is not the object's.
        """
        with self.lock:
            old = self.peek(resource, namespace, name)
            if old is None:
                raise status.not_found(resource, name)
            strategy.check_delete(resource, old, options)
            new: Obj = clone(old)
            stays = strategy.mark_deleted(resource, new, options, self.clock.now())
            if options.dry_run:
                return new
            if not stays:
                self._drop(resource, new)
            elif new != old:
                self._commit(resource, old, new)
            return new

    def is_gone(self, resource: Resource, obj: Obj) -> bool:
        """Tell whether that very object is stored no longer."""
        meta = obj["metadata"]
        found = self.peek(resource, meta.get("namespace"), meta["name"])
        return found is None or found["metadata"]["uid"] != meta["uid"]

    def timestamp(self) -> str:
        """The simulated time as the API writes it."""
        moment = dt.datetime.fromtimestamp(int(self.clock.now()), tz=dt.UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    # How.

    def _create(self, resource: Resource, obj: Obj, workflow: managed.Workflow) -> Obj:
        meta: Obj = dict(obj.get("metadata") or {})
        for key in strategy.NEVER_GIVEN:
            meta.pop(key, None)
        if not resource.namespaced:
            meta.pop("namespace", None)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = self._generated(str(meta["generateName"]))
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = self.timestamp()
        head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
        new: Obj = {**head, **{key: value for key, value in obj.items() if key not in _HEAD}}
        with self.lock:
            new = strategy.prepare_create(self, resource, new)
            workflow.track(resource, None, new, self.timestamp())
            strategy.admit_create(self, resource, new, workflow.options.warnings)
            if self.peek(resource, meta.get("namespace"), str(meta["name"])) is not None:
                raise status.already_exists(resource, str(meta["name"]))
            if not workflow.options.dry_run:
                self._commit(resource, None, new)
        return new

    def _update(self, resource: Resource, old: Obj, new: Obj, workflow: managed.Workflow) -> Obj:
        strategy.check_update(resource, old, new)
        new = strategy.prepare_update(resource, old, new, workflow.subresource)
        workflow.track(resource, old, new, self.timestamp())
        strategy.admit_update(self, resource, old, new, workflow.subresource, workflow.options.warnings)
        if new != old:
            strategy.raise_generation(old, new)
            if not workflow.options.dry_run and strategy.ends_with_update(resource, new):
                self._drop(resource, new)
            elif not workflow.options.dry_run:
                self._commit(resource, old, new)
        return new

    def _commit(self, resource: Resource, old: Obj | None, new: Obj) -> None:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        self._objects[resource.key][_key(new)] = new
        self._happened(resource, ADDED if old is None else MODIFIED, new, old)

    def _drop(self, resource: Resource, last: Obj) -> None:
        old = self._objects[resource.key].pop(_key(last))
        self._version += 1
        last["metadata"]["resourceVersion"] = str(self._version)
        self._happened(resource, DELETED, last, old)

    def _happened(self, resource: Resource, kind: str, obj: Obj, old: Obj | None) -> None:
        namespace, name = _key(obj)
        self._sorted.pop(resource.key, None)
        event = Event(self._version, kind, resource, namespace, name, obj, old)
        strategy.follow(self, event)
        self._history.add(event)

    def _generated(self, base: str) -> str:
        suffix = "".join(self._random.choice(_SUFFIX_LETTERS) for _ in range(5))
        return f"{base[:_MAX_GENERATED_BASE]}{suffix}"


def _key(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return (str(meta.get("namespace") or ""), str(meta["name"]))


def _carries(obj: Obj, labels: Mapping[str, str] | None) -> bool:
    if not labels:
        return True
    own = obj["metadata"].get("labels") or {}
    return all(own.get(key) == value for key, value in labels.items())
