"""Waiting for objects of the Kubernetes API by watching them: list, then watch from there, list anew when told to.

After "Efficient detection of changes" in Kubernetes' API concepts, and client-go's reflector: bookmarks move the point
to resume from, 410 Gone means listing anew, a watch that ends or breaks is resumed. An API server that restarts is
waited for like anything else, until the deadline.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crdbmesh.clients import waiting
from crdbmesh.clients.kube import http as kube_http
from crdbmesh.errors import KubeError, StoppedError, WaitError

Object = dict[str, Any]
Judge = Callable[[list[Object]], str | None]
"""None when satisfied, else what is seen or missing."""

_WATCH_S = 15
"""How long a watch runs before it is asked for anew; also the longest silence believed, and waited out when stopped."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_PAGE = 500


@dataclass
class _State:
    """The objects as last seen, and the point in the server's history that this is."""

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

    Args:
        http: the API server.
        find_path: gives the collection's path, or None while the API does not know the kind; called before each list.
        forget: called when the API does not know the path after all.
        selectors: `fieldSelector` and `labelSelector`.
        awaited: what is waited for.
        deadline_s: how long at most.
        say: told whenever something else is seen.
        stop: once set, the wait ends at its next event or pause.
    """

    def __init__(
        self,
        http: kube_http.Http,
        *,
        find_path: Callable[[], str | None],
        forget: Callable[[], None],
        selectors: Mapping[str, str],
        awaited: str,
        deadline_s: float,
        say: waiting.Say,
        stop: threading.Event,
    ) -> None:
        self._http = http
        self._find_path = find_path
        self._forget = forget
        self._selectors = dict(selectors)
        self._awaited = awaited
        self._say = say
        self._stop = stop
        self._clock = http.clock
        self._started = self._clock.now()
        self._ends = self._clock.after(deadline_s)
        self._seen = "nothing"
        self._told: str | None = None
        self._failures = 0

    def until(self, judge: Judge) -> list[Object]:
        """Return the objects once `judge` is satisfied with them.

        Raises:
            WaitError: it was not in time.
            StoppedError: the operator interrupted.
            KubeError: the API server refused, in a way that waiting does not help.
        """
        while True:
            state = _State()
            try:
                path = self._find_path()
                if path is not None:
                    self._list(path, state)
            except kube_http.UntrustedError:
                raise
            except KubeError as error:
                if not _passing(error):
                    raise
                self._pause(str(error))
                continue
            if self._satisfied(judge, state):
                return state.objects()
            if path is None:
                self._pause(self._seen)
            elif self._watch(path, state, judge):
                return state.objects()

    def _list(self, path: str, state: _State) -> None:
        token = ""
        while True:
            query: dict[str, str | int | list[str]] = {**self._selectors, "limit": _PAGE}
            if token:
                query["continue"] = token
            timeout_s = max(1.0, min(kube_http.READ_TIMEOUT_S, self._left_s()))
            answer = self._http.request("GET", path, query=query, attempts=1, timeout_s=timeout_s)
            if answer.status == 404:
                self._forget()
            if not answer.ok:
                raise self._http.error(f"list {path}", answer)
            self._failures = 0
            document = answer.document()
            kind = str(document.get("kind", "")).removesuffix("List")
            for item in document.get("items") or []:
                item.setdefault("apiVersion", document.get("apiVersion"))
                item.setdefault("kind", kind)
                state.put("ADDED", item)
            metadata = document.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                state.version = metadata.get("resourceVersion")
                return

    def _watch(self, path: str, state: _State, judge: Judge) -> bool:
        """Follow changes; True once satisfied, False when it takes a new list to go on."""
        while True:
            left_s = self._left_s()
            if left_s <= 0:
                raise self._late()
            query: dict[str, str | int | list[str]] = {
                **self._selectors,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": state.version or "0",
                "timeoutSeconds": max(1, math.ceil(min(left_s, _WATCH_S))),
            }
            try:
                with self._http.stream(path, query=query, timeout_s=self._silence_s(left_s)) as (status, lines):
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
                        if self._left_s() <= 0:
                            raise self._late()
                        if self._stop.is_set():
                            raise StoppedError(self._awaited, last_seen=self._seen)
            except kube_http.UntrustedError:
                raise
            except (kube_http.NoAnswerError, ValueError):
                # Silent for too long, broken off, or cut in the middle of a line: nothing says what was missed.
                self._pause(self._seen)
                return False
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
        if self._left_s() <= 0:
            raise self._late()
        pause_s = min(_FIRST_PAUSE_S * 1.6**self._failures, _LONGEST_PAUSE_S)
        self._failures += counts
        if self._clock.wait(self._stop, min(waiting.jittered(pause_s), self._left_s())):
            raise StoppedError(self._awaited, last_seen=self._seen)

    def _left_s(self) -> float:
        return self._ends - self._clock.now()

    def _silence_s(self, left_s: float) -> float:
        """The longest silence of a watch, in real seconds: the server ends it before that."""
        return self._clock.real_s(min(left_s + 0.5, _WATCH_S + 5))

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


def _passing(error: KubeError) -> bool:
    """Whether waiting may help: no answer, overload, a server starting, a kind or page that is not there (any more)."""
    return error.status is None or error.status in kube_http.TRANSIENT or error.status in (404, 408, 409, 410)
