"""Changes of a cluster's objects, kept for a while for watches."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.resources import Resource

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object.

    `obj`: the object after the change (for DELETED, as it last was, with the version of its deletion). Read only.
    `old`: the object before the change, or None when it was created. Read only.
    """

    version: int
    type: str
    resource: Resource
    namespace: str
    name: str
    obj: Obj
    old: Obj | None


Listener = Callable[[Event], None]


class History:
    """The last events of each kind, and who wants to know of new ones.

    `lock`: the store's; held whenever events are added or read. `limit`: how many events of a kind are kept.
    """

    def __init__(self, lock: threading.RLock, limit: int) -> None:
        self._lock = lock
        self._limit = limit
        self._events: dict[tuple[str, str], collections.deque[Event]] = collections.defaultdict(collections.deque)
        self._forgotten: dict[tuple[str, str], int] = {}
        self._compacted = 0
        self._listeners: list[Listener] = []

    def add(self, event: Event) -> None:
        """Keep an event, and tell of it."""
        events = self._events[event.resource.key]
        events.append(event)
        if len(events) > self._limit:
            self._forgotten[event.resource.key] = events.popleft().version
        for listener in list(self._listeners):
            listener(event)

    def since(self, after: int, resource: Resource) -> list[Event]:
        """The events of one kind after a version. Raises StatusError: 410, they are not all kept any more."""
        with self._lock:
            oldest = max(self._compacted, self._forgotten.get(resource.key, 0))
            if after < oldest:
                raise status.expired(after, oldest + 1)
            found: list[Event] = []
            for event in reversed(self._events[resource.key]):
                if event.version <= after:
                    break
                found.append(event)
        found.reverse()
        return found

    def compact(self, through: int) -> None:
        """Forget the events up to and including a version."""
        with self._lock:
            for events in self._events.values():
                while events and events[0].version <= through:
                    events.popleft()
            self._compacted = max(self._compacted, through)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` at each event, with the lock held; returns how to end it."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return end
