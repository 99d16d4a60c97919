"""Watches: the changes of a collection, as lines of JSON.

After `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/watch.go` and `pkg/storage/cacher` of Kubernetes 1.36.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crdbmesh_simulator import resets
from crdbmesh_simulator.kubernetes.api import faults, reads, selectors, table
from crdbmesh_simulator.kubernetes.api.history import ADDED, DELETED, MODIFIED, Event
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.negotiation import is_true
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_BOOKMARK_S = 60.0
_LEAST_TIMEOUT_S = 1800.0


async def serve(handler: Handler, call: Call) -> web.StreamResponse:
    """Answer with what happens, until the client's timeout."""
    version = call.request.query.get("resourceVersion", "")
    chosen = reads.predicate(call)
    reads.number(call.request.query.get("timeoutSeconds"))
    if not version.isdigit():
        reads.check_version(handler.cluster.store.version, version)
    return await _Stream(handler, call, chosen).run(version)


class _Stream:
    def __init__(self, handler: Handler, call: Call, chosen: selectors.Predicate) -> None:
        self._handler = handler
        self._call = call
        self._chosen = chosen
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._response = web.StreamResponse(headers={"Cache-Control": "no-cache, private"})
        self._response.content_type = "application/json"
        self._bookmarks = is_true(call.request.query.get("allowWatchBookmarks"))
        self._headed = False
        self._seen = 0
        self._dropped = faults.dropped_watch(handler, call)

    async def run(self, version: str) -> web.StreamResponse:
        store = self._handler.cluster.store
        loop = asyncio.get_running_loop()
        resource = self._call.resource

        def note(event: Event) -> None:
            if event.resource.key == resource.key:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._queue.put_nowait, event)

        failure: StatusError | None = None
        with store.lock:
            end = store.subscribe(note)
            self._seen = store.version
            start: list[tuple[str, Obj]] = []
            if version in ("", "0"):
                found = store.peek_all(resource, self._call.namespace)
                start = [(ADDED, obj) for obj in found if self._chosen(obj)]
            else:
                try:
                    past = store.history(int(version), resource)
                    start = [pair for event in past if (pair := self._translate(event)) is not None]
                except StatusError as error:
                    failure = error
        try:
            await self._response.prepare(self._call.request)
            if failure is not None:
                await self._line("ERROR", failure.status())
                return self._response
            for kind, obj in start:
                await self._send(kind, obj)
            await self._follow()
        except faults.WatchDropped as dropped:
            if dropped.abrupt:
                resets.reset(self._call.request)
        finally:
            end()
        return self._response

    async def _follow(self) -> None:
        clock = self._handler.world.clock
        given = float(self._call.request.query.get("timeoutSeconds") or 0)
        deadline = clock.now() + (given or _LEAST_TIMEOUT_S * (1 + random.random()))  # noqa: S311 - spreads load
        early = self._dropped is not None and self._dropped.deadline < deadline
        deadline = self._dropped.deadline if self._dropped and early else deadline
        bookmark_at = clock.now() + _BOOKMARK_S if self._bookmarks else deadline
        closing = asyncio.ensure_future(self._handler.closing.wait())
        pending: asyncio.Future[Event] | None = None
        try:
            while not closing.done():
                now = clock.now()
                if now >= deadline:
                    break
                pending = pending or asyncio.ensure_future(self._queue.get())
                both: set[asyncio.Future[Any]] = {closing, pending}
                rest_s = clock.rest_s(min(deadline, bookmark_at) - now)
                await asyncio.wait(both, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
                if pending.done():
                    event, pending = pending.result(), None
                    await self._pass_on(event)
                elif self._bookmarks and clock.now() >= bookmark_at and not closing.done():
                    bookmark_at += _BOOKMARK_S
                    await self._bookmark()
        finally:
            for each in (closing, pending):
                if each is not None:
                    each.cancel()
        if self._dropped and early and not self._handler.closing.is_set():
            self._dropped.end()
        if self._bookmarks and not self._handler.closing.is_set():
            await self._bookmark()

    async def _pass_on(self, event: Event) -> None:
        if event.version <= self._seen:
            return
        self._seen = event.version
        if not self._handler.cluster.has_quorum():
            return
        pair = self._translate(event)
        if pair is not None:
            await self._send(*pair)

    def _translate(self, event: Event) -> tuple[str, Obj] | None:
        """Return a change as this watcher sees it: an object that no longer fits its selectors is deleted to it."""
        if self._call.namespace and event.namespace != self._call.namespace:
            return None
        before = event.old is not None and self._chosen(event.old)
        after = event.type != DELETED and self._chosen(event.obj)
        if after:
            return (MODIFIED if before else ADDED), event.obj
        if not before or event.old is None:
            return None
        if event.type == DELETED:
            return DELETED, event.obj
        meta = {**event.old["metadata"], "resourceVersion": str(event.version)}
        return DELETED, {**event.old, "metadata": meta}

    async def _send(self, kind: str, obj: Obj) -> None:
        if self._dropped:
            self._dropped.next_event()
        obj = {**obj, "apiVersion": self._call.resource.api_version}
        if self._call.as_table:
            include, version = reads.include_object(self._call), obj["metadata"]["resourceVersion"]
            obj = table.make(self._call.resource, [obj], now=self._handler.now, include=include, head=not self._headed)
            obj["metadata"] = {"resourceVersion": version}
            self._headed = True
        await self._line(kind, obj)

    async def _bookmark(self) -> None:
        # Everything up to `_seen` has been sent; the store may be ahead for other kinds only when nothing is queued.
        store = self._handler.cluster.store
        with store.lock, contextlib.suppress(StatusError):
            if self._queue.empty() and not store.history(self._seen, self._call.resource):
                self._seen = store.version
        resource = self._call.resource
        meta: Obj = {"resourceVersion": str(self._seen), "creationTimestamp": None}
        obj: Obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if self._call.as_table:
            obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "rows": None}
        await self._line("BOOKMARK", obj)

    async def _line(self, kind: str, obj: Obj) -> None:
        line = json.dumps({"type": kind, "object": obj}, separators=(",", ":")) + "\n"
        await self._response.write(line.encode())
