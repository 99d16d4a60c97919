"""One cluster's API over HTTP: from a request's path to whoever answers it.

Paths and verbs as in the Kubernetes API conventions, the non-resource paths of the API server, and `/cacerts` and
`/ping` of k3s's supervisor.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import (
    authorizer,
    discovery,
    faults,
    health,
    openapi,
    openapi_v2,
    reviews,
    status,
    subresources,
    verbs,
    watch,
)
from crdbmesh_simulator.kubernetes.api import exec as commands
from crdbmesh_simulator.kubernetes.api.authorizer import Action, User
from crdbmesh_simulator.kubernetes.api.negotiation import (
    UnreadableBody,
    Wish,
    is_true,
    json_response,
    read_accept,
    status_response,
)
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
    from crdbmesh_simulator.world import World

T = TypeVar("T")
_HEALTH = ("/livez", "/readyz", "/healthz")
_ON_COLLECTIONS = frozenset({"list", "create", "deletecollection"})
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a resource, understood.

    Attributes:
        name: empty for the collection.
        sub: subresource, empty for the object itself.
        rest: what follows the subresource in the path (of a proxy).
    """

    request: web.Request
    user: User
    wish: Wish
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

    async def write(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something that changes the cluster in a thread, with the world locked."""

        def locked() -> T:
            with self.world.lock:
                return function(*arguments)

        return await self.run(locked)

    def count(self) -> None:
        """Count a write."""
        self.world.wrote("kube")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        try:
            return await self._route(request)
        except UnreadableBody as error:
            self.world.not_known("kube", f"{request.method} {request.path}: {error.message}")
            return status_response(error)
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
        user = self._user(request)
        if health.names(path):
            authorizer.check(self.cluster.store, user, Action("get", path=path))
            return health.answer(self.cluster, self.member, request)
        if path.rstrip("/") == "/version":
            authorizer.check(self.cluster.store, user, Action("get", path="/version"))
            return json_response(discovery.version(self.cluster.version))
        if not self.cluster.has_quorum():
            raise StatusError(503, "ServiceUnavailable", "etcdserver: no leader")
        parts = [part for part in path.split("/") if part]
        if parts[:1] in (["api"], ["apis"]) and len(parts) > (2 if parts[0] == "api" else 3):
            call = self._understand(request, parts, user)
            if call is not None:
                return await self._perform(call)
        else:
            verb = _VERBS.get(request.method, request.method.lower())
            authorizer.check(self.cluster.store, user, Action(verb, path=path))
            document = self._document(request, parts)
            if document is not None:
                return document
        self.world.not_known("kube", f"{request.method} {path}")
        known = discovery.is_served(self.cluster.store.resources, parts)
        raise status.unknown_resource() if known else status.unknown_path()

    def _user(self, request: web.Request) -> User:
        transport = request.transport
        certificate = None if transport is None else transport.get_extra_info("peercert")
        user = authorizer.identify(self.cluster, certificate, request.headers.get("Authorization", ""), self.now)
        return authorizer.impersonate(self.cluster.store, user, request.headers)

    def _document(self, request: web.Request, parts: list[str]) -> web.Response | None:
        """Discovery and schemas; None for any other path."""
        catalogue = self.cluster.store.resources
        found: Any = None
        if parts in (["api"], ["apis"]):
            return self._root(request, core=parts == ["api"])
        if parts[:2] == ["openapi", "v3"]:
            where = "/".join(parts[2:])
            found = openapi.document(catalogue, where) if where else openapi.index(catalogue)
        elif parts == ["openapi", "v2"]:
            return openapi_v2.answer(catalogue, request)
        elif parts == ["api", "v1"]:
            found = discovery.resources(catalogue, "", "v1")
        elif len(parts) == 2 and parts[0] == "apis":
            found = discovery.group(catalogue, parts[1])
        elif len(parts) == 3 and parts[0] == "apis":
            found = discovery.resources(catalogue, parts[1], parts[2])
        elif not parts:
            found = {"paths": discovery.paths(catalogue)}
        return None if found is None else json_response(found)

    def _root(self, request: web.Request, *, core: bool) -> web.Response:
        catalogue = self.cluster.store.resources
        accept = request.headers.get("Accept", "")
        if "APIGroupDiscoveryList" in accept and "v=v2;" in f"{accept.replace(',', ';')};":
            media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            body = json.dumps(discovery.aggregated(catalogue, core=core))
            return web.Response(body=body.encode(), headers={"Content-Type": media, "Vary": "Accept"})
        if core:
            return json_response(discovery.core_versions(str(request.host)))
        return json_response(discovery.groups(catalogue))

    def _understand(self, request: web.Request, parts: list[str], user: User) -> Call | None:
        if len(parts) > 2 and parts[:2] == ["api", "v1"]:
            group, version, rest = "", "v1", parts[2:]
        elif len(parts) > 3 and parts[0] == "apis":
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        namespace: str | None = None
        catalogue = self.cluster.store.resources
        # Deprecated, and still served: `/api/v1/watch/…`, with the same answer as `?watch=true`.
        watched = rest[0] == "watch" and len(rest) > 1 and request.method == "GET"
        rest = rest[1:] if watched else rest
        if rest[0] == "namespaces" and len(rest) > 2 and catalogue.find(group, version, rest[2]) is not None:
            namespace, rest = rest[1], rest[2:]
        resource = catalogue.find(group, version, rest[0])
        if resource is None or (namespace is not None) > resource.namespaced:
            return None
        name = rest[1] if len(rest) > 1 else ""
        sub = rest[2] if len(rest) > 2 else ""
        if name and resource.namespaced and namespace is None:
            return None
        if sub and sub not in resource.subresources:
            return None
        if len(rest) > 3 and sub not in ("proxy", "portforward"):
            return None
        verb = _VERBS.get(request.method, "")
        if watched:
            verb = "watch"
        elif verb == "get" and not name:
            verb = "watch" if "watch" in request.query and is_true(request.query["watch"]) else "list"
        elif verb == "get" and not sub and "watch" in request.query and is_true(request.query["watch"]):
            verb = "watch"
        elif verb == "delete" and not name:
            verb = "deletecollection"
        wish = Wish() if sub in ("log", "exec", "attach", "proxy") else read_accept(request.headers.get("Accept", ""))
        tail = "/".join(rest[3:])
        if request.path.endswith("/") and tail:
            tail += "/"
        return Call(request, user, wish, resource, namespace, name, sub, tail, verb)

    async def _perform(self, call: Call) -> web.StreamResponse:
        verb = call.verb
        if call.sub in ("exec", "attach", "portforward"):
            verb = "create"
        authorizer.check(
            self.cluster.store,
            call.user,
            authorizer.action_of(verb, call.resource, call.namespace, call.name, call.sub),
        )
        answer = await faults.answer(self, call, self._dispatch)
        deprecated = _DEPRECATED.get(call.resource.key)
        if deprecated and not answer.prepared:
            answer.headers.add("Warning", f'299 - "{deprecated}"')
        return answer

    async def _dispatch(self, call: Call) -> web.StreamResponse:
        if call.sub:
            special = _BELOW.get(call.sub)
            if special is not None:
                return await special(self, call)
        if not call.resource.stored:
            return await reviews.answer(self, call)
        if call.verb == "watch" and call.verb in call.resource.verbs:
            return await watch.serve(self, call)
        answer = verbs.ANSWERS.get(call.verb) if call.verb in call.resource.verbs else None
        if answer is None or (call.verb in _ON_COLLECTIONS) == bool(call.name):
            raise status.method_not_allowed()
        return await answer(self, call)


_DEPRECATED = {
    ("", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}
_BELOW: dict[str, Callable[[Handler, Call], Awaitable[web.StreamResponse]]] = {
    "exec": commands.execute,
    "attach": commands.refuse,
    "portforward": commands.refuse,
    "ephemeralcontainers": commands.refuse,
    "resize": commands.refuse,
    **subresources.ANSWERS,
}
"""Who answers for a subresource that is not a part of the object itself."""
