"""What is served below objects: scale and proxy here, and where log, eviction, binding and tokens are.

After `pkg/registry/core/pod/rest` and `pkg/registry/apps/*/storage` of Kubernetes 1.36.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import disruption, logs, patch, reads, reviews, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.negotiation import json_response, parse_yaml, read_bytes, read_options
from crdbmesh_simulator.kubernetes.api.resources import Resource
from crdbmesh_simulator.kubernetes.api.schema import ANY
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.programs import HttpAnswer

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_Answer = Callable[["Handler", "Call"], Awaitable[web.StreamResponse]]
_SCALE = Resource("autoscaling", "v1", "scales", "Scale", namespaced=True)


# Scale.


async def _scale(handler: Handler, call: Call) -> web.Response:
    if call.verb == "get":
        return json_response(_scale_of(reads.found(handler, call)))
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
        _check_scale(call, wanted)
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
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


def _check_scale(call: Call, wanted: Any) -> None:
    if not isinstance(wanted, dict):
        raise status.bad_request("couldn't get version/kind; json parse error: the body is no Scale")
    named = (wanted.get("metadata") or {}).get("name")
    if named not in (None, "", call.name):
        raise status.bad_request(f"the name of the object ({named}) does not match the name on the URL ({call.name})")
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        problem = "json: cannot unmarshal value into Go struct field ScaleSpec.spec.replicas of type int32"
        raise status.bad_request(f'Scale in version "v1" cannot be handled as a Scale: {problem}')
    if replicas < 0:
        refusal = status.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.unprocessable(_SCALE, call.name, [refusal])


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


# Proxies.


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


ANSWERS: dict[str, _Answer] = {
    "scale": _scale,
    "log": logs.serve,
    "proxy": _proxy,
    "eviction": disruption.evict,
    "binding": disruption.bind,
    "token": reviews.token,
}
"""Subresources that are not a part of the object itself."""
