"""Waiting for objects of the Kubernetes API by watching them: list, then watch from there, list anew when told to.

After "Efficient detection of changes" in Kubernetes' API concepts, and client-go's reflector: bookmarks move the point
to resume from, 410 Gone means listing anew, a watch that ends or breaks is resumed. An API server that restarts is
waited for like anything else, until the deadline; so is a kind that the API does not know yet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crdbmesh.clients import waiting
from crdbmesh.clients.kube.connection import READ_TIMEOUT_S, TRANSIENT, Connection
from crdbmesh.clients.kube.failures import NoAnswerError, UntrustedError
from crdbmesh.desired import Object
from crdbmesh.errors import KubeError, StoppedError, WaitError

Judge = Callable[[list[Object]], str | None]
"""Returns None when satisfied, else what is seen or missing."""

_WATCH_S = 15
"""The time a watch runs before it is begun anew; also the longest silence that is believed."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_PAGE = 500


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


class Wait:
    """One wait for a collection, or a part of it, to be as wanted.

    `selectors` are `fieldSelector` and `labelSelector`; `say` is told whenever something else is seen.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        selectors: Mapping[str, str],
        *,
        awaited: str,
        deadline_s: float,
        say: waiting.Say,
    ) -> None:
        self._connection = connection
        self._path = path
        self._selectors = selectors
        self._awaited = awaited
        self._say = say
        self._clock = connection.clock
        self._started = self._clock.now()
        self._ends = self._clock.after(deadline_s)
        self._seen = "nothing"
        self._told: str | None = None
        self._failures = 0

    def until(self, judge: Judge) -> list[Object]:
        """Return the objects once `judge` is satisfied with them; raises as `Kube.wait` does."""
        while True:
            try:
                state = self._list()
            except UntrustedError:
                raise
            except KubeError as error:
                if not _may_help(error):
                    raise
                self._pause(str(error))
                continue
            if self._satisfied(judge, state):
                return state.objects()
            if state.version is None:
                self._pause(self._seen)
            elif self._watch(state, judge):
                return state.objects()

    def _list(self) -> _State:
        state = _State()
        query: dict[str, str | int] = {**self._selectors, "limit": _PAGE}
        while True:
            timeout_s = max(1.0, min(READ_TIMEOUT_S, self._left_s()))
            answer = self._connection.request("GET", self._path, query=query, attempts=1, timeout_s=timeout_s)
            if answer.status == 404:
                return _State()
            document = answer.checked(f"{self._connection.name}: list {self._path}")
            self._failures = 0
            header = {
                "apiVersion": document.get("apiVersion"),
                "kind": str(document.get("kind", "")).removesuffix("List"),
            }
            for item in document.get("items") or []:
                state.put("ADDED", {**header, **item})
            metadata = document.get("metadata") or {}
            if not metadata.get("continue"):
                state.version = metadata.get("resourceVersion") or "0"
                return state
            query["continue"] = metadata["continue"]

    def _watch(self, state: _State, judge: Judge) -> bool:
        """Follow changes; True once satisfied, False when it takes a new list to go on."""
        while True:
            left_s = self._left_s()
            if left_s <= 0:
                raise self._late()
            query: dict[str, str | int] = {
                **self._selectors,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": state.version or "0",
                "timeoutSeconds": max(1, math.ceil(min(left_s, _WATCH_S))),
            }
            # In real seconds: the server ends the watch before that.
            silence_s = self._clock.real_s(min(left_s + 0.5, _WATCH_S + 5))
            try:
                with self._connection.stream(self._path, query=query, timeout_s=silence_s) as (status, lines):
                    if status != 200:
                        self._pause(f"{self._seen} (a watch is refused: HTTP {status})")
                        return False
                    for line in lines:
                        if not _apply(line, state):
                            self._pause(self._seen)
                            return False
                        self._failures = 0
                        if self._satisfied(judge, state):
                            return True
                        self._check_time()
            except (NoAnswerError, ValueError):
                # Silent for too long, broken off, or cut in the middle of a line: nothing says what was missed.
                self._pause(self._seen)
                return False
            # What is judged may hang on more than the objects watched.
            if self._satisfied(judge, state):
                return True
            self._failures += 1
            self._pause(self._seen, counts=False)

    def _satisfied(self, judge: Judge, state: _State) -> bool:
        seen = judge(state.objects())
        if seen is None:
            return True
        self._see(seen)
        return False

    def _see(self, seen: str) -> None:
        self._seen = seen
        if seen != self._told:
            self._told = seen
            self._say(f"{self._awaited} (last: {seen})")

    def _pause(self, seen: str, *, counts: bool = True) -> None:
        self._see(seen)
        self._check_time()
        pause_s = min(_FIRST_PAUSE_S * 1.6**self._failures, _LONGEST_PAUSE_S)
        self._failures += counts
        if self._clock.wait(self._connection.stop, min(waiting.jittered(pause_s), self._left_s())):
            raise StoppedError(self._awaited, last_seen=self._seen)

    def _check_time(self) -> None:
        if self._left_s() <= 0:
            raise self._late()
        if self._connection.stop.is_set():
            raise StoppedError(self._awaited, last_seen=self._seen)

    def _left_s(self) -> float:
        return self._ends - self._clock.now()

    def _late(self) -> WaitError:
        return WaitError(self._awaited, seconds=self._clock.now() - self._started, last_seen=self._seen)


def _apply(line: bytes, state: _State) -> bool:
    """Take one event in; False when the watch cannot be resumed."""
    event = json.loads(line)
    kind, item = event.get("type"), event.get("object")
    if kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or not isinstance(item, dict):
        return False
    state.put(kind, item)
    return True


def _may_help(error: KubeError) -> bool:
    """Return True when waiting may help: no answer, overload, a server that starts, a page that has expired."""
    return error.status is None or error.status in TRANSIENT or error.status in (408, 409, 410)
