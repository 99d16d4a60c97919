"""Waiting for objects of the Kubernetes API by watching them: list, then watch from there, list anew when told to.

After "Efficient detection of changes" in Kubernetes' API concepts, and client-go's reflector: bookmarks move the point
to resume from, 410 Gone means listing anew, a watch that ends or breaks is resumed. An API server that restarts is
waited for like anything else, until the deadline; so is a kind that the API does not know yet.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crdbmesh.clients.kube.connection import READ_TIMEOUT_S, TRANSIENT, Connection
from crdbmesh.clients.kube.failures import NoAnswerError, UntrustedError
from crdbmesh.clients.waiting import Wait
from crdbmesh.desired import Object
from crdbmesh.errors import KubeError
from crdbmesh.spec import documents

Judge = Callable[[list[Object]], str | None]
"""Returns None when satisfied, else what is seen or missing."""

_WATCH_S = 15
"""The time a watch runs before it is begun anew; also the longest silence that is believed."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_PAGE = "500"


@dataclass
class _State:
    """The objects as last seen, and where in the server's history; None where nothing can be watched."""

    items: dict[tuple[str, str], Object] = field(default_factory=dict)
    version: str | None = None

    def objects(self) -> list[Object]:
        return [self.items[key] for key in sorted(self.items)]

    def put(self, kind: str, item: Object) -> None:
        metadata = item.get("metadata") or {}
        self.version = metadata.get("resourceVersion") or self.version
        key = (metadata.get("namespace") or "", metadata.get("name") or "")
        if kind == "DELETED":
            self.items.pop(key, None)
        elif kind in ("ADDED", "MODIFIED"):
            self.items[key] = item


class Watch:
    """A watch of a collection, or of the part of it that `selectors` select, a field or a label selector."""

    def __init__(self, connection: Connection, path: str, selectors: Mapping[str, str], wait: Wait) -> None:
        self._connection = connection
        self._path = path
        self._selectors = selectors
        self._wait = wait
        self._failures = 0

    def until(self, judge: Judge) -> list[Object]:
        """Return the objects once `judge` is satisfied with them; raises as `Kube.wait` does."""
        while True:
            try:
                state = self._list()
            except UntrustedError:
                raise
            except KubeError as error:
                # Waiting may help: no answer, overload, a server that starts, a page that has expired.
                if error.status is not None and error.status not in {*TRANSIENT, 408, 409, 410}:
                    raise
                self._wait.see(str(error))
                self._pause()
                continue
            if self._satisfied(judge, state):
                return state.objects()
            if state.version is None:
                self._pause()
            elif self._follow(state, judge):
                return state.objects()

    def _list(self) -> _State:
        timeout_s = max(1.0, min(READ_TIMEOUT_S, self._wait.left_s()))
        query, doing = {**self._selectors, "limit": _PAGE}, f"{self._connection.name}: list {self._path}"
        found = self._connection.list(self._path, query, doing, attempts=1, timeout_s=timeout_s)
        self._failures = 0
        state = _State()
        if found is not None:
            for item in found[0]:
                state.put("ADDED", item)
            state.version = found[1]
        return state

    def _follow(self, state: _State, judge: Judge) -> bool:
        """Follow changes; True once satisfied, False when it takes a new list to go on."""
        while True:
            self._wait.check()
            left_s = self._wait.left_s()
            query: dict[str, str | int] = {
                **self._selectors,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": state.version or "0",
                "timeoutSeconds": max(1, math.ceil(min(left_s, _WATCH_S))),
            }
            # In real seconds: the server ends the watch before that.
            silence_s = self._wait.clock.real_s(max(0.5, min(left_s + 0.5, _WATCH_S + 5)))
            try:
                with self._connection.stream(self._path, query=query, timeout_s=silence_s) as (status, lines):
                    for line in lines if status == 200 else [b"{}"]:
                        if not _apply(line, state):
                            self._pause()
                            return False
                        self._failures = 0
                        if self._satisfied(judge, state):
                            return True
                        self._wait.check()
            except (NoAnswerError, ValueError):
                # Silent for too long, broken off, or cut in the middle of a line: nothing says what was missed.
                self._pause()
                return False
            # What is judged may hang on more than the objects watched.
            if self._satisfied(judge, state):
                return True
            self._pause()

    def _satisfied(self, judge: Judge, state: _State) -> bool:
        seen = judge(state.objects())
        if seen is not None:
            self._wait.see(seen)
        return seen is None

    def _pause(self) -> None:
        self._wait.pause(min(_FIRST_PAUSE_S * 1.6**self._failures, _LONGEST_PAUSE_S))
        self._failures += 1


def _apply(line: bytes, state: _State) -> bool:
    """Take one event in; False when the watch cannot be resumed."""
    event = documents.read_json(line)
    if not isinstance(event, dict):
        return False
    kind, item = event.get("type"), event.get("object")
    if kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or not isinstance(item, dict):
        return False
    state.put(kind, item)
    return True
