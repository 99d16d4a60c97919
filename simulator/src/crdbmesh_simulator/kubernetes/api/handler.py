"""One cluster's API over HTTP: from a request's path to the function that answers it.

Paths and verbs as in the Kubernetes API conventions, the non-resource paths of the API server, and `/cacerts` and
`/ping` of k3s's supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import authority, faults, logs, portforward, resources, status, verbs, watch
from crdbmesh_simulator.kubernetes.api import exec as commands
from crdbmesh_simulator.kubernetes.api.authority import User
from crdbmesh_simulator.kubernetes.api.managed import DeleteOptions, Options
from crdbmesh_simulator.kubernetes.api.negotiation import (
    is_true,
    json_response,
    status_response,
    wants_table,
)
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import World

T = TypeVar("T")
_HEALTH = ("/livez", "/readyz", "/healthz")
_ON_COLLECTIONS = frozenset({"list", "create"})
_STREAMED = frozenset({"exec", "log", "portforward", "proxy"})
_UNSERVED = ("resourceVersionMatch", "sendInitialEvents")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a resource, understood.

    `as_table`: whether the client wants a Table rather than the objects. `name`: empty for the collection. `sub`:
    subresource, empty for the object itself. `rest`: what follows the subresource in the path (of a proxy).
    """

    request: web.Request
    as_table: bool
    resource: Resource
    namespace: str | None
    name: str
    sub: str
    rest: str
    verb: str


class Handler:
    """Answers the requests that arrive at one server of a cluster."""

    def __init__(self, world: World, cluster: Cluster, member: Member, executor: Executor) -> None:
        self.world = world
        self.cluster = cluster
        self.member = member
        self._executor = executor
        self.closing = asyncio.Event()

    @property
    def now(self) -> float:
        """Simulated seconds since the epoch."""
        return self.world.clock.now()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something that may block in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def write(self, options: Options | DeleteOptions, function: Callable[..., T], *arguments: Any) -> T:
        """Change the cluster in a thread, with the world locked; it counts as a write unless it is a dry run."""
        if not options.dry_run:
            self.world.wrote("kube")

        def locked() -> T:
            with self.world.lock:
                return function(*arguments)

        return await self.run(locked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        self.world.clock.hear(request.transport)
        try:
            return await self._route(request)
        except StatusError as error:
            return status_response(error)
        except ConnectionError:
            # The client has gone, as it may in the middle of a watch: nobody reads what is answered now.
            return web.Response()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever else is a gap of the simulator, and is recorded as one
            self.world.not_known("kube", f"{request.method} {request.path}: {type(error).__name__}: {error}")
            message = f"Internal error occurred: {error}"
            return status_response(StatusError(500, "InternalError", message))

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/ping":
            return web.Response(text="pong")
        if path == "/cacerts":
            return web.Response(text=self.cluster.authority.ca_pem)
        authority.check(self._user(request), request.method, path)
        parts = [part for part in path.split("/") if part]
        if parts[:1] in (["api"], ["apis"]) and len(parts) > (2 if parts[0] == "api" else 3):
            self._require_quorum()
            call = self._understand(request, parts)
            if call is not None:
                return await faults.answer(self, call, self._dispatch)
        else:
            if path in _HEALTH:
                return self._health(path)
            if parts != ["version"]:
                self._require_quorum()
            document = resources.document(self.cluster.store.resources, parts, self.cluster.version)
            if document is not None:
                return json_response(document)
        self.world.not_known("kube", f"{request.method} {path}")
        known = resources.is_served(self.cluster.store.resources, parts)
        raise status.unknown_resource() if known else status.unknown_path()

    def _require_quorum(self) -> None:
        if not self.cluster.has_quorum():
            raise StatusError(503, "ServiceUnavailable", "etcdserver: no leader")

    def _health(self, path: str) -> web.Response:
        if self.cluster.has_quorum():
            return web.Response(text="ok")
        text = f"[+]ping ok\n[-]etcd failed: reason withheld\n{path.strip('/')} check failed\n"
        return web.Response(status=500, text=text)

    def _user(self, request: web.Request) -> User:
        transport = request.transport
        certificate = None if transport is None else transport.get_extra_info("peercert")
        if certificate is None and "Authorization" in request.headers:
            self.world.not_known("kube", f"{request.method} {request.path} with a token")
        return authority.identify(self.cluster.authority, certificate, self.now)

    def _understand(self, request: web.Request, parts: list[str]) -> Call | None:
        """Read a path below an API version; None when nothing is served there."""
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        namespace: str | None = None
        catalogue = self.cluster.store.resources
        if rest[0] == "namespaces" and len(rest) > 2 and catalogue.find(group, version, rest[2]) is not None:
            namespace, rest = rest[1], rest[2:]
        resource = catalogue.find(group, version, rest[0])
        if resource is None or (namespace is not None) > resource.namespaced:
            return None
        name, sub = ([*rest[1:3], "", ""])[:2]
        if (name and resource.namespaced and namespace is None) or (sub and sub not in resource.subresources):
            return None
        if (len(rest) > 3 and sub != "proxy") or any(option in request.query for option in _UNSERVED):
            return None
        as_table = sub not in _STREAMED and wants_table(request.headers.get("Accept", ""))
        tail = "/".join(rest[3:])
        if request.path.endswith("/") and tail:
            tail += "/"
        verb = _verb(request, name=name)
        return Call(request, as_table, resource, namespace, name, sub, tail, verb)

    async def _dispatch(self, call: Call) -> web.StreamResponse:
        special = _BELOW.get(call.sub)
        if special is not None:
            return await special(self, call)
        if call.verb == "watch":
            return await watch.serve(self, call)
        answer = verbs.ANSWERS.get(call.verb)
        if answer is None:
            self.world.not_known("kube", f"{call.request.method} {call.request.path}")
        if answer is None or (call.verb in _ON_COLLECTIONS) == bool(call.name):
            raise status.method_not_allowed()
        return await answer(self, call)


def _verb(request: web.Request, *, name: str) -> str:
    verb = _VERBS.get(request.method, "")
    if verb == "get" and not name:
        return "watch" if is_true(request.query.get("watch")) else "list"
    return "deletecollection" if verb == "delete" and not name else verb


_BELOW: dict[str, Callable[[Handler, Call], Awaitable[web.StreamResponse]]] = {
    "exec": commands.execute,
    "log": logs.serve,
    "portforward": portforward.serve,
    "proxy": logs.serve_proxy,
}
"""The functions that answer for subresources which are not a part of the object itself."""
