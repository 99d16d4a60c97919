"""What is served below objects: scale, log, proxy, eviction, binding, tokens; and the reviews, which are never stored.

After `pkg/registry/core/pod/rest`, `pkg/registry/apps/*/storage` and `pkg/registry/authorization` of Kubernetes 1.36.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crdbmesh.simulator.kube import authorizer, patch, status
from crdbmesh.simulator.kube.authorizer import Action, User
from crdbmesh.simulator.kube.jsonvalue import Obj
from crdbmesh.simulator.kube.negotiation import (
    is_true,
    json_response,
    parse_yaml,
    read_body,
    read_bytes,
    read_delete_options,
    read_options,
)
from crdbmesh.simulator.kube.resources import Resource
from crdbmesh.simulator.kube.schema import ANY
from crdbmesh.simulator.kube.status import StatusError
from crdbmesh.simulator.programs.base import HttpAnswer

if TYPE_CHECKING:
    from crdbmesh.simulator.kube.handler import Call, Handler

_Answer = Callable[["Handler", "Call"], Awaitable[web.StreamResponse]]
_FOLLOW_S = 0.2


def _object(handler: Handler, call: Call) -> Obj:
    found = handler.cluster.store.peek(call.resource, call.namespace, call.name)
    if found is None:
        raise status.not_found(call.resource, call.name)
    return found


# Scale.


async def _scale(handler: Handler, call: Call) -> web.Response:
    if call.verb == "get":
        return json_response(_scale_of(_object(handler, call)))
    options = read_options(call.request)
    raw = await read_bytes(call.request)
    media = call.request.headers.get("Content-Type", "").partition(";")[0]
    document = parse_yaml(raw)
    if not options.dry_run:
        handler.count()

    def change(live: Obj) -> Obj:
        before = _scale_of(live)
        wanted: Any = document
        if call.verb == "patch":
            if media == patch.JSON:
                wanted = patch.json_patch(before, document)
            elif media == patch.STRATEGIC:
                wanted = patch.strategic(ANY, before, document)
            else:
                wanted = patch.merge_patch(before, document)
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            problem = status.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
            raise status.unprocessable(call.resource, call.name, [problem])
        version = (wanted.get("metadata") or {}).get("resourceVersion")
        if version and version != live["metadata"]["resourceVersion"]:
            raise status.conflict(call.resource, call.name)
        live["spec"]["replicas"] = replicas
        return live

    store = handler.cluster.store
    written = await handler.write(
        functools.partial(
            store.modify, call.resource, call.namespace, call.name, change, subresource="scale",
            manager=options.manager, dry_run=options.dry_run,
        )
    )  # fmt: skip
    return json_response(_scale_of(written))


def _scale_of(obj: Obj) -> Obj:
    meta, spec, state = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": state.get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


# Logs and proxies.


def container_of(pod: Obj, asked: str | None) -> str:
    """The container of a pod that a request means.

    Raises:
        StatusError: 400, there is no such container, or it could be any of several.
    """
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [each["name"] for kind in ("containers", "initContainers") for each in spec.get(kind) or []]
    if asked:
        if asked not in names:
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    main = [each["name"] for each in spec.get("containers") or []]
    if len(main) == 1:
        return str(main[0])
    listed = " ".join(main)
    message = f"a container name must be specified for pod {name}, choose one of: [{listed}]"
    init = [each["name"] for each in spec.get("initContainers") or []]
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise status.bad_request(message)


async def _log(handler: Handler, call: Call) -> web.StreamResponse:
    query = call.request.query
    pod = _object(handler, call)
    container = container_of(pod, query.get("container"))
    runtime = handler.cluster.runtime
    if not pod["spec"].get("nodeName") or runtime is None:
        raise status.bad_request(f"pod {call.name} does not have a host assigned")
    tail = query.get("tailLines")

    async def lines() -> list[str]:
        try:
            return await handler.run(runtime.logs, str(call.namespace), call.name, container)
        except LookupError as error:
            raise status.bad_request(_text(error)) from None

    found = await lines()
    shown = found if tail is None else found[len(found) - min(int(tail), len(found)) :]
    body = "".join(f"{line}\n" for line in shown)
    limit = query.get("limitBytes")
    if limit:
        body = body[: int(limit)]
    if not is_true(query.get("follow")):
        return web.Response(text=body)
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(call.request)
    await response.write(body.encode())
    at = len(found)
    while not handler.closing.is_set() and not _ended(handler, call):
        await asyncio.sleep(_FOLLOW_S)
        try:
            found = await lines()
        except StatusError:
            break
        fresh = found[at:] if len(found) >= at else found
        at = len(found)
        if fresh:
            await response.write("".join(f"{line}\n" for line in fresh).encode())
    return response


def _ended(handler: Handler, call: Call) -> bool:
    pod = handler.cluster.store.peek(call.resource, call.namespace, call.name)
    return pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


async def _proxy(handler: Handler, call: Call) -> web.Response:
    if call.resource.plural == "nodes" or call.request.method != "GET":
        handler.world.not_known("kube", f"{call.request.method} {call.request.path}")
        raise status.method_not_allowed()
    scheme, name, port = _target(call.name)
    path = "/" + call.rest
    if call.request.query_string:
        path += f"?{call.request.query_string}"
    pods = handler.cluster.store.resource("Pod", "v1")
    namespace = str(call.namespace)
    if call.resource.plural == "pods":
        pod = handler.cluster.store.peek(pods, namespace, name)
        if pod is None:
            raise status.not_found(pods, name)
        number = int(port) if port.isdigit() else _named_port(pod, port) or 80
        targets = [(name, number)]
    else:
        targets = _backends(handler, call.resource, namespace, name, port)
    answer: HttpAnswer | None = None
    runtime = handler.cluster.runtime
    for target, number in targets:
        if runtime is not None:
            answer = await handler.run(
                functools.partial(runtime.http_get, namespace, target, number, path, tls=scheme == "https")
            )
        if answer is not None:
            break
    if answer is None:
        where = f"{targets[0][0]}:{targets[0][1]}" if targets else f'no endpoints available for service "{name}"'
        message = f"error trying to reach service: dial tcp {where}: connect: connection refused" if targets else where
        raise StatusError(503, "ServiceUnavailable", message)
    return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})


def _target(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    if len(parts) == 2:
        return "http", parts[0], parts[1]
    return "http", text, ""


def _named_port(pod: Obj, name: str) -> int | None:
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == name or not name:
                return int(port["containerPort"])
    return None


def _backends(handler: Handler, resource: Resource, namespace: str, name: str, port: str) -> list[tuple[str, int]]:
    store = handler.cluster.store
    service = store.peek(resource, namespace, name)
    if service is None:
        raise status.not_found(resource, name)
    ports = service["spec"].get("ports") or []
    entry = next((each for each in ports if not port or port in (each.get("name"), str(each["port"]))), None)
    selector = service["spec"].get("selector")
    if entry is None or not selector:
        raise StatusError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')
    found: list[tuple[str, int]] = []
    for pod in store.peek_all(store.resource("Pod", "v1"), namespace, selector):
        conditions = (pod.get("status") or {}).get("conditions") or []
        if not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
            continue
        target = entry.get("targetPort", entry["port"])
        number = target if isinstance(target, int) else _named_port(pod, str(target))
        if number is not None:
            found.append((pod["metadata"]["name"], number))
    return found


# Pods: eviction and binding.


async def _evict(handler: Handler, call: Call) -> web.Response:
    if call.verb != "create":
        raise status.method_not_allowed()
    body = await read_body(call.request)
    options = read_delete_options(call.request, (body or {}).get("deleteOptions"))
    if not options.dry_run:
        handler.count()

    def evict() -> None:
        store = handler.cluster.store
        pod = _object(handler, call)
        budgets = store.resource("PodDisruptionBudget", "policy/v1")
        labels = pod["metadata"].get("labels") or {}
        for budget in store.peek_all(budgets, call.namespace):
            selector = ((budget.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
            covered = all(labels.get(key) == value for key, value in selector.items())
            if covered and not (budget.get("status") or {}).get("disruptionsAllowed"):
                message = "Cannot evict pod as it would violate the pod's disruption budget."
                cause = {
                    "reason": "DisruptionBudget",
                    "message": f"The disruption budget {budget['metadata']['name']} needs more healthy pods",
                }
                raise StatusError(429, "TooManyRequests", message, {"causes": [cause]})
        store.delete(call.resource, call.namespace, call.name, grace_s=options.grace_s, dry_run=options.dry_run)

    await handler.write(evict)
    return json_response(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, code=201
    )


async def _bind(handler: Handler, call: Call) -> web.Response:
    if call.verb != "create":
        raise status.method_not_allowed()
    body = await read_body(call.request)
    node = str((body.get("target") or {}).get("name") or "")
    handler.count()

    def change(pod: Obj) -> Obj:
        if pod["spec"].get("nodeName"):
            raise status.conflict(
                call.resource, call.name, f'pod {call.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            )
        pod["spec"]["nodeName"] = node
        return pod

    await handler.write(handler.cluster.store.modify, call.resource, call.namespace, call.name, change)
    return json_response(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, code=201
    )


# Tokens and reviews.


async def _token(handler: Handler, call: Call) -> web.Response:
    if call.verb != "create":
        raise status.method_not_allowed()
    account = _object(handler, call)
    body: Obj = await read_body(call.request) or {}
    spec = body.get("spec") or {}
    lifetime = int(spec.get("expirationSeconds") or 3600)
    if lifetime < 600:
        problem = status.invalid("spec.expirationSeconds", lifetime, "may not specify a duration less than 10 minutes")
        raise StatusError(422, "Invalid", f'TokenRequest.authentication.k8s.io "" is invalid: {problem}')
    now = handler.now
    token = handler.cluster.authority.service_account_token(
        str(call.namespace), call.name, account["metadata"]["uid"], now=now, lifetime_s=lifetime,
        audiences=spec.get("audiences") or (),
    )  # fmt: skip
    expires = dt.datetime.fromtimestamp(int(now + lifetime), tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.name, "namespace": call.namespace},
        "spec": {**spec, "expirationSeconds": lifetime},
        "status": {"token": token, "expirationTimestamp": expires},
    }
    return json_response(answer, code=201)


async def review(handler: Handler, call: Call) -> web.Response:
    """Answer a review: who the client is, or what it or another may do."""
    if call.verb != "create":
        raise status.method_not_allowed()
    body: Obj = await read_body(call.request) or {}
    spec = body.get("spec") or {}
    made = {
        "kind": call.resource.kind,
        "apiVersion": call.resource.api_version,
        "metadata": {"creationTimestamp": None},
    }
    return json_response({**made, "spec": spec, "status": _reviewed(handler, call, spec)}, code=201)


def _reviewed(handler: Handler, call: Call, spec: Obj) -> Obj:
    kind, store = call.resource.kind, handler.cluster.store
    if kind == "SelfSubjectReview":
        return {"userInfo": {"username": call.user.name, "groups": sorted(call.user.groups)}}
    if kind == "TokenReview":
        try:
            user = authorizer.identify(handler.cluster, None, f"Bearer {spec.get('token', '')}", handler.now)
        except StatusError:
            return {"authenticated": False, "error": "invalid bearer token"}
        info = {"username": user.name, "uid": user.uid, "groups": sorted(user.groups)}
        return {"authenticated": True, "user": info}
    if kind == "SelfSubjectRulesReview":
        allowed = "system:masters" in call.user.groups
        rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}] if allowed else []
        return {"resourceRules": rules, "nonResourceRules": [], "incomplete": not allowed}
    user = call.user
    if kind != "SelfSubjectAccessReview":
        user = User(str(spec.get("user", "")), frozenset(spec.get("groups") or []) | {"system:authenticated"})
    asked = spec.get("resourceAttributes")
    if asked is not None:
        sub = asked.get("subresource")
        plural = f"{asked.get('resource', '')}/{sub}" if sub else asked.get("resource", "")
        action = Action(
            asked.get("verb", ""), asked.get("group", ""), plural, asked.get("namespace", ""), asked.get("name", "")
        )
    else:
        asked = spec.get("nonResourceAttributes") or {}
        action = Action(asked.get("verb", ""), path=asked.get("path", ""))
    return {"allowed": authorizer.is_allowed(store, user, action)}


ANSWERS: dict[str, _Answer] = {
    "scale": _scale,
    "log": _log,
    "proxy": _proxy,
    "eviction": _evict,
    "binding": _bind,
    "token": _token,
}
"""Subresources that are not a part of the object itself."""


def _text(error: LookupError) -> str:
    return str(error.args[0]) if error.args else str(error)
