"""HTTPS door: Azure Resource Manager.

Checks what the front end of Azure Resource Manager checks (token, api-version, subscription, throttling), lets the
rules answer, and writes answers with the headers of the real service. What it asks clients to
wait (`Retry-After`) is in the world's time, like everything it says.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from crdbmesh_simulator import resets
from crdbmesh_simulator.azure import about, authorization, faults, routes
from crdbmesh_simulator.azure.call import Answer, Call, not_here
from crdbmesh_simulator.azure.errors import ArmError, body, refusal
from crdbmesh_simulator.azure.state import Subscription
from crdbmesh_simulator.world import World

_UNREADABLE = "Unexpected character encountered while parsing value. Path '', line 0, position 0."


@dataclass(frozen=True, slots=True)
class Content:
    """A request's content.

    `value`: the JSON value; None when there is none, or none that can be read. `error`: why it cannot be read, or None.
    """

    value: Any = None
    error: ArmError | None = None

    def require_readable(self) -> None:
        """Refuse content that cannot be read. Raises ArmError: 400, 413 or 415."""
        if self.error is not None:
            raise self.error


async def read(request: web.Request) -> Content:
    """The content of a request."""
    try:
        raw = await request.read()
    except ConnectionError as error:
        raise web.HTTPBadRequest(text="The client went away.") from error
    except web.HTTPRequestEntityTooLarge:
        return Content(error=refusal("RequestContentTooLarge"))
    if not raw:
        return Content()
    given = request.headers.get("Content-Type")
    if (given or "").partition(";")[0].strip().lower() not in ("application/json", "text/json"):
        return Content(error=refusal("UnsupportedMediaType", kind=given or "<null>"))
    try:
        return Content(json.loads(raw, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return Content(error=refusal("InvalidRequestContent", problem=_UNREADABLE))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_API_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2})(-preview|-privatepreview|-alpha|-beta)?")
_FIRST_API = "2014-01-01"
_LOG = logging.getLogger(__name__)
_UNAUTHENTICATED = "/metadata/endpoints"
_TICK_S = 1.0
_JOIN_REAL_S = 0.01
_ARM_VERSIONS = "2025-04-01,2025-03-01,2024-11-01,2024-07-01,2024-03-01,2023-07-01,2022-12-01,2022-09-01,2021-04-01"
_FRONT_END = frozenset(body("front end"))
"""Codes of Azure Resource Manager itself, before a provider is asked: it says that it is the cause."""


def create_app(world: World, *, token: str, tenant_id: str | None = None) -> web.Application:
    """The application.

    While it is served a thread of its own carries operations out, whether or not anyone asks for them. `world`: its
    subscription is served; without one it gets one whose providers are registered. `token`: the one bearer token that
    is accepted. `tenant_id`: of the subscription that is made when the world has none.
    """
    if not hasattr(world, "subscription"):
        registered = ("Microsoft.Compute", "Microsoft.Network")
        world.subscription = Subscription(world, tenant_id=tenant_id, registered=registered)
    door = _Door(world, token)
    app = web.Application(client_max_size=4 * 1024**2)
    app.router.add_route("*", "/{path:.*}", door.handle)
    app.cleanup_ctx.append(door.run)
    return app


class _Door:
    def __init__(self, world: World, token: str) -> None:
        self._world = world
        self._subscription = world.subscription
        self._token = token

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Carry operations out while the application is served."""
        stop = threading.Event()
        thread = threading.Thread(target=self._tick_until, args=(stop,), name="arm-operations", daemon=True)
        thread.start()
        yield
        stop.set()
        while thread.is_alive():
            await asyncio.sleep(_JOIN_REAL_S)

    def _tick_until(self, stop: threading.Event) -> None:
        while not self._world.clock.wait(stop, _TICK_S, coarse=True):
            try:
                self._subscription.tick()
            except Exception:  # noqa: BLE001 - the other machines go on
                _LOG.exception("an operation, or a machine powered on or off, failed")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self._world.clock.hear(request.transport)
        headers: dict[str, str] = {}
        try:
            answer = self._answer(request, await read(request), headers)
        except ArmError as error:
            answer = _told(error, request.path)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - a broken rule breaks one answer, not the door
            _LOG.exception("%s %s broke the simulation of Azure", request.method, request.rel_url.raw_path)
            broken = refusal("InternalServerError, door")
            answer = _told(broken, request.path)
        if answer.delay_s:
            await self._world.clock.pause(answer.delay_s)
        response = self._respond(request, answer, headers)
        return await resets.cut(request, response, answer.cut) if answer.cut else response

    def _answer(self, request: web.Request, given: Content, headers: dict[str, str]) -> Answer:
        call = Call(
            subscription=self._subscription,
            method=request.method,
            path=request.rel_url.raw_path,
            names={},
            query={name.lower(): value for name, value in request.query.items()},
            headers={name.lower(): value for name, value in request.headers.items()},
            base_url=f"https://{request.host}" if request.secure else f"http://{request.host}",
            content=given.value,
        )
        if call.path.lower().rstrip("/") == _UNAUTHENTICATED and request.method == "GET":
            return about.cloud_endpoints(call)
        authorization_header = call.headers.get("authorization", "")
        authorization.require_token(authorization_header, token=self._token, tenant_id=self._subscription.tenant_id)
        _require_api_version(call)
        found = routes.find(request.method, call.path)
        if found is None:
            return self._unknown(call)
        route, call.names = found
        with self._world.lock:
            if route.changes:
                self._world.wrote("arm")
            self._subscription.settle()
            self._require_subscription(call)
            headers.update(self._subscription.throttle.take(call.method, self._subscription.now))
            given.require_readable()
            if (recorded := self._subscription.recordings.find(call)) is not None:
                return recorded
            authorization.require_allowed(call)
            if route.changes:
                self._require_enabled(call)
                authorization.require_unlocked(call)
                authorization.require_place(call)
            return faults.answer(call, route.handler)

    def _require_subscription(self, call: Call) -> None:
        given = call.names.get("subscription")
        if given is None or given.lower() == self._subscription.id.lower():
            return
        try:
            uuid.UUID(given)
        except ValueError:
            raise refusal("InvalidSubscriptionId", given=given) from None
        raise refusal("SubscriptionNotFound", given=given)

    def _require_enabled(self, call: Call) -> None:
        if self._subscription.state in ("Enabled", "Warned", "PastDue") or call.method == "DELETE":
            return
        raise refusal("ReadOnlyDisabledSubscription", subscription=self._subscription)

    def _unknown(self, call: Call) -> Answer:
        raise not_here(call, f"{call.method} {call.path}")

    def _respond(self, request: web.Request, answer: Answer, more: dict[str, str]) -> web.Response:
        clock = self._world.clock
        request_id = str(uuid.uuid4())
        correlation = request.headers.get("x-ms-correlation-request-id", request_id)
        headers = {
            **body("headers"),
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": correlation,
            "x-ms-routing-request-id": f"EASTUS:{clock.utc():%Y%m%dT%H%M%SZ}:{request_id}",
            **more,
            **answer.headers,
        }
        if ahead_s := self._subscription.clock_ahead_s:
            headers["Date"] = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
        headers.update(self._waiting(answer.retry_after_s))
        if answer.html is not None:
            return web.Response(status=answer.status, text=answer.html, content_type="text/html", charset="us-ascii")
        if answer.body is None or request.method == "HEAD":
            return web.Response(status=answer.status, headers=headers)
        text = json.dumps(answer.body)
        return web.Response(status=answer.status, headers=headers, text=text, content_type="application/json")

    def _waiting(self, retry_after_s: float | None) -> dict[str, str]:
        if retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, round(retry_after_s)))}


def _require_api_version(call: Call) -> None:
    if not call.api_version:
        raise refusal("MissingApiVersionParameter")
    match = _API_VERSION.fullmatch(call.api_version)
    if match is not None and _plausible(match[1]):
        return
    raise refusal("InvalidApiVersionParameter", call=call, known=_ARM_VERSIONS)


def _plausible(date: str) -> bool:
    try:
        dt.date.fromisoformat(date)
    except ValueError:
        return False
    latest = f"{dt.datetime.now(dt.UTC).year + 1}-12-31"
    return _FIRST_API <= date <= latest


def _told(error: ArmError, path: str) -> Answer:
    """The answer that an error is; the network provider lists details even when there are none, nobody else does."""
    body, headers = error.error(), dict(error.headers)
    if error.code in _FRONT_END:
        headers["x-ms-failure-cause"] = "gateway"
    if not error.details and (error.code in _FRONT_END or "/providers/microsoft.network/" not in path.lower()):
        del body["details"]
    return Answer(error.status, {"error": body}, headers, error.retry_after_s)
