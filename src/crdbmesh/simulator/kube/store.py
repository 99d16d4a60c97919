"""The objects of one cluster, with the semantics of the Kubernetes API machinery.

Versions, generations, finalizers, graceful deletion, optimistic concurrency and a history for watches, after
`staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go` of Kubernetes 1.36. What is particular to a kind
(defaults, allocation, validation, admission) is in `strategy.py`; who owns which field in `managed.py`.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import random
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crdbmesh.simulator.kube import managed, status, strategy
from crdbmesh.simulator.kube.allocation import Allocations
from crdbmesh.simulator.kube.apply import Apply
from crdbmesh.simulator.kube.jsonvalue import Obj, clone
from crdbmesh.simulator.kube.resources import Catalogue, Resource

if TYPE_CHECKING:
    from crdbmesh.simulator.clock import Clock

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED_BASE = 58


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object.

    Attributes:
        obj: the object after the change (for DELETED, as it last was, with the version of its deletion). Read only.
        old: the object before the change, or None when it was created. Read only.
    """

    version: int
    type: str
    resource: Resource
    namespace: str
    name: str
    obj: Obj
    old: Obj | None


class Store:
    """The objects of one cluster.

    Thread-safe. Whoever reads, decides and writes holds `world.lock` around all three, as everywhere in the world;
    the store's own lock is taken inside and never held while waiting.

    Args:
        clock: the time of creation and deletion stamps.
        history_limit: how many events a watch can go back; older versions are answered with 410 Expired.
    """

    def __init__(self, clock: Clock, *, history_limit: int = 20_000) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.resources = Catalogue()
        self.allocations = Allocations()
        self._random = random.Random()  # noqa: S311 - suffixes of names, not secrets
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Obj]] = collections.defaultdict(dict)
        self._version = 1
        self._compacted = 1
        self._history: collections.deque[Event] = collections.deque()
        self._history_limit = history_limit
        self._listeners: list[Callable[[Event], None]] = []

    def configure(self, *, service_cidr: str) -> None:
        """Say from which range Services get their addresses."""
        self.allocations.configure(service_cidr)

    # Kinds.

    def resource(self, kind: str, api_version: str | None = None) -> Resource:
        """The resource of a kind, by its name.

        Raises:
            LookupError: the cluster serves no such kind.
        """
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

    def read(self, resource: Resource, namespace: str | None, name: str) -> Obj:
        """A private copy of an object.

        Raises:
            StatusError: 404.
        """
        found = self.find(resource, namespace, name)
        if found is None:
            raise status.not_found(resource, name)
        return found

    def peek(self, resource: Resource, namespace: str | None, name: str) -> Obj | None:
        """An object as stored, shared and never changed in place: for reading only."""
        with self.lock:
            return self._objects[resource.key].get((namespace or "" if resource.namespaced else "", name))

    def list(
        self, resource: Resource, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Obj]:
        """Private copies of the objects of a kind, in order of namespace and name."""
        return [clone(obj) for obj in self.peek_all(resource, namespace, labels)]

    def peek_all(
        self, resource: Resource, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Obj]:
        """As `list`, but shared objects for reading only."""
        with self.lock:
            chosen = [
                (key, obj)
                for key, obj in self._objects[resource.key].items()
                if (not namespace or key[0] == namespace) and _carries(obj, labels)
            ]
        return [obj for _, obj in sorted(chosen, key=lambda pair: pair[0])]

    def everything(self) -> Iterator[tuple[Resource, Obj]]:
        """Every object of every kind, shared, for reading only."""
        with self.lock:
            kinds = {resource.key: resource for resource in self.resources}
            found = [
                (kinds[key], obj) for key, objects in self._objects.items() if key in kinds for obj in objects.values()
            ]
        yield from found

    # Watching.

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` at each change, with the store locked: it must only take note. Returns how to end it."""
        with self.lock:
            self._listeners.append(listener)

        def end() -> None:
            with self.lock, contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def history(self, after: int, resource: Resource | None = None) -> list[Event]:
        """What changed after a version, oldest first.

        Raises:
            StatusError: 410, the history does not reach that far back.
        """
        with self.lock:
            if after < self._compacted - 1:
                raise status.expired(after, self._compacted)
            found: list[Event] = []
            for event in reversed(self._history):
                if event.version <= after:
                    break
                if resource is None or event.resource.key == resource.key:
                    found.append(event)
        found.reverse()
        return found

    def compact(self, before: int | None = None) -> None:
        """Forget the history before a version (all of it when None)."""
        with self.lock:
            limit = self._version + 1 if before is None else before
            while self._history and self._history[0].version < limit:
                self._history.popleft()
            self._compacted = max(self._compacted, limit)

    # Writing.

    def create(self, resource: Resource, obj: Obj, *, manager: str = managed.SYSTEM, dry_run: bool = False) -> Obj:
        """Store a new object.

        Raises:
            StatusError: 409 when its name is taken, 404 when its namespace does not exist, 422 when it is not valid.
        """
        return self._create(resource, clone(obj), managed.Update(manager), dry_run=dry_run)

    def replace(
        self,
        resource: Resource,
        obj: Obj,
        *,
        subresource: str | None = None,
        manager: str = managed.SYSTEM,
        dry_run: bool = False,
    ) -> Obj:
        """Put an object in place of the stored one (or only the part that `subresource` names).

        Raises:
            StatusError: 404; 409 when `metadata.resourceVersion` is given and not the stored one; 422.
        """
        meta = obj.get("metadata") or {}

        def change(_old: Obj) -> Obj:
            return clone(obj)

        name = str(meta.get("name", ""))
        return self.modify(
            resource, meta.get("namespace"), name, change, subresource=subresource, manager=manager, dry_run=dry_run
        )

    def modify(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        change: Callable[[Obj], Obj],
        *,
        subresource: str | None = None,
        manager: str = managed.SYSTEM,
        dry_run: bool = False,
    ) -> Obj:
        """Put what `change` makes of a private copy in place of the stored object.

        Raises:
            StatusError: as `replace`.
        """
        with self.lock:
            old = self.peek(resource, namespace, name)
            if old is None:
                raise status.not_found(resource, name)
            new = change(clone(old))
            return self._update(resource, old, new, managed.Update(manager, subresource), dry_run=dry_run)

    def patch_status(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        status: Obj,  # noqa: A002 - the field's name
        *,
        manager: str = managed.SYSTEM,
    ) -> Obj:
        """Set the top-level fields of an object's status that are given; the others stay.

        Raises:
            StatusError: 404.
        """

        def change(obj: Obj) -> Obj:
            obj["status"] = {**(obj.get("status") or {}), **clone(status)}
            return obj

        return self.modify(resource, namespace, name, change, subresource="status", manager=manager)

    def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        config: Obj,
        *,
        manager: str,
        force: bool = False,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> tuple[Obj, bool]:
        """Apply a configuration server-side; returns the object and whether it was created.

        Raises:
            StatusError: 409 with the conflicting fields; 400 for a configuration that cannot be applied; 422.
        """
        workflow = managed.Apply(manager, subresource, clone(config), force=force)
        with self.lock:
            old = self.peek(resource, namespace, name)
            if old is not None:
                return self._update(
                    resource, old, workflow.merge(self.resources, resource, old), workflow, dry_run=dry_run
                ), False
            if subresource:
                raise status.not_found(resource, name)
            empty: Obj = {"apiVersion": config.get("apiVersion"), "kind": config.get("kind"), "metadata": {}}
            new = workflow.merge(resource, empty)
            meta = new.setdefault("metadata", {})
            meta["name"] = name
            if resource.namespaced:
                meta["namespace"] = namespace
            return self._create(resource, new, workflow, dry_run=dry_run), True

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str | None = "Background",
        grace_s: int | None = None,
        uid: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
    ) -> Obj:
        """Delete an object, or mark it as being deleted when something must happen first.

        Pods on a node end gracefully (pass `grace_s=0` when their containers have stopped); finalizers, and
        `propagation` other than Background, keep an object until whoever they name has done its part.
        Returns the object, as marked or as it last was (see `is_gone`).

        Raises:
            StatusError: 404; 409 when `uid` or `version` is given and is not the object's.
        """
        with self.lock:
            old = self.peek(resource, namespace, name)
            if old is None:
                raise status.not_found(resource, name)
            strategy.check_preconditions(resource, old, uid=uid, version=version)
            strategy.check_delete(resource, old)
            new = clone(old)
            keep = strategy.mark_deleted(resource, new, propagation, grace_s, self.clock.now())
            if dry_run:
                return new
            if keep:
                return clone(self._commit(resource, old, new) if new != old else old)
            return clone(self._drop(resource, new))

    def remove(self, resource: Resource, namespace: str | None, name: str) -> None:
        """Delete an object without a grace period; absent is fine."""
        with contextlib.suppress(status.StatusError):
            self.delete(resource, namespace, name, grace_s=0)

    def is_gone(self, resource: Resource, obj: Obj) -> bool:
        """Whether that very object is stored no longer."""
        meta = obj["metadata"]
        found = self.peek(resource, meta.get("namespace"), meta["name"])
        return found is None or found["metadata"]["uid"] != meta["uid"]

    # How.

    def _create(self, resource: Resource, obj: Obj, workflow: managed.Workflow, *, dry_run: bool) -> Obj:
        with self.lock:
            obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
            meta = obj["metadata"] = dict(obj.get("metadata") or {})
            if not resource.namespaced:
                meta.pop("namespace", None)
            if not meta.get("name") and meta.get("generateName"):
                meta["name"] = self._generated(str(meta["generateName"]))
            for key in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"):
                meta.pop(key, None)
            meta["uid"] = str(uuid.uuid4())
            meta["creationTimestamp"] = self.timestamp()
            with self.allocations.trying(self):
                obj = strategy.prepare_create(self, resource, obj)
                if self.peek(resource, meta.get("namespace"), obj["metadata"]["name"]) is not None:
                    raise status.already_exists(resource, obj["metadata"]["name"])
                workflow.track(resource, None, obj, self.timestamp())
                if dry_run:
                    return obj
                return clone(self._commit(resource, None, obj))

    def _update(self, resource: Resource, old: Obj, new: Obj, workflow: managed.Workflow, *, dry_run: bool) -> Obj:
        with self.lock:
            strategy.check_update(resource, old, new)
            with self.allocations.trying(self):
                new = strategy.prepare_update(self, resource, old, new, workflow.subresource)
                workflow.track(resource, old, new, self.timestamp())
                if new == old:
                    return clone(old)
                strategy.raise_generation(resource, old, new)
                if dry_run:
                    return new
                if strategy.ends_with_update(resource, new):
                    return clone(self._drop(resource, new))
                return clone(self._commit(resource, old, new))

    def _commit(self, resource: Resource, old: Obj | None, new: Obj) -> Obj:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        self._objects[resource.key][_key(new)] = new
        self._happened(resource, ADDED if old is None else MODIFIED, new, old)
        return new

    def _drop(self, resource: Resource, last: Obj) -> Obj:
        old = self._objects[resource.key].pop(_key(last))
        self._version += 1
        last["metadata"]["resourceVersion"] = str(self._version)
        self._happened(resource, DELETED, last, old)
        return last

    def _happened(self, resource: Resource, kind: str, obj: Obj, old: Obj | None) -> None:
        namespace, name = _key(obj)
        event = Event(self._version, kind, resource, namespace, name, obj, old)
        self._history.append(event)
        while len(self._history) > self._history_limit:
            self._compacted = self._history.popleft().version + 1
        strategy.follow(self, event)
        for listener in list(self._listeners):
            listener(event)

    def drop_all(self, resources: Iterable[Resource]) -> None:
        """Delete every object of kinds that are served no longer."""
        with self.lock:
            for resource in resources:
                for obj in list(self._objects[resource.key].values()):
                    self._drop(resource, clone(obj))

    def timestamp(self) -> str:
        """The simulated time as the API writes it."""
        moment = datetime.datetime.fromtimestamp(int(self.clock.now()), tz=datetime.UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

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
