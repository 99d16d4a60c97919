"""What moves a pod: eviction, as far as disruption budgets let it, and binding to a node.

After `pkg/registry/core/pod/storage/{eviction,storage}.go` of Kubernetes 1.36.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from crdbmesh_simulator.kubernetes.api import reads, status
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj, Objs
from crdbmesh_simulator.kubernetes.api.negotiation import (
    json_response,
    read_body,
    read_delete_options,
    read_options,
)
from crdbmesh_simulator.kubernetes.api.selectors import matches_selector
from crdbmesh_simulator.kubernetes.api.status import StatusError

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.handler import Call, Handler

_DONE: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def evict(handler: Handler, call: Call) -> web.Response:
    """Delete a pod, unless a disruption budget needs it."""
    if call.verb != "create":
        raise status.method_not_allowed()
    body = await read_body(call.request)
    if not isinstance(body, dict):
        raise status.bad_request("the object provided is unrecognized (must be of type Object)")
    named = (body.get("metadata") or {}).get("name")
    if named != call.name:
        raise status.bad_request("name in URL does not match name in Eviction object")
    options = read_delete_options(call.request, body.get("deleteOptions"))
    dry_run = options.dry_run or read_options(call.request).dry_run
    if not dry_run:
        handler.count()
    store = handler.cluster.store

    def run() -> None:
        pod = reads.found(handler, call)
        if not _is_free(pod):
            _ask_budgets(handler, call, pod, dry_run=dry_run)
        store.delete(
            call.resource, call.namespace, call.name, grace_s=options.grace_s, uid=options.uid,
            version=options.version, dry_run=dry_run,
        )  # fmt: skip

    await handler.write(run)
    return json_response(_DONE, code=201)


def _is_free(pod: Obj) -> bool:
    """Whether budgets do not count: the pod has not begun, has ended, or is already on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _ask_budgets(handler: Handler, call: Call, pod: Obj, *, dry_run: bool) -> None:
    store = handler.cluster.store
    resource = store.resource("PodDisruptionBudget", "policy/v1")
    labels = pod["metadata"].get("labels") or {}
    budgets: Objs = [
        budget
        for budget in store.peek_all(resource, call.namespace)
        if matches_selector((budget.get("spec") or {}).get("selector"), labels)
    ]
    if not budgets:
        return
    if len(budgets) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", message)
    budget = budgets[0]
    name, spec, state = budget["metadata"]["name"], budget.get("spec") or {}, budget.get("status") or {}
    ready = any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in (pod.get("status") or {}).get("conditions") or []
    )
    healthy, wanted = int(state.get("currentHealthy") or 0), int(state.get("desiredHealthy") or 0)
    if not ready and (spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow" or (healthy >= wanted > 0)):
        return
    allowed = int(state.get("disruptionsAllowed") or 0)
    if allowed <= 0:
        cause = {
            "reason": "DisruptionBudget",
            "message": f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently",
        }
        message = "Cannot evict pod as it would violate the pod's disruption budget."
        raise StatusError(429, "TooManyRequests", message, {"causes": [cause]})
    if not dry_run:
        store.patch_status(resource, call.namespace, name, {"disruptionsAllowed": allowed - 1})


async def bind(handler: Handler, call: Call) -> web.Response:
    """Assign a pod to a node."""
    if call.verb != "create":
        raise status.method_not_allowed()
    body: Obj = await read_body(call.request) or {}
    node = str((body.get("target") or {}).get("name") or "")
    if not node:
        raise status.unprocessable(call.resource, call.name, [status.required("target.name")])
    dry_run = read_options(call.request).dry_run
    if not dry_run:
        handler.count()

    def change(pod: Obj) -> Obj:
        if pod["metadata"].get("deletionTimestamp"):
            raise status.conflict(
                call.resource, call.name, f"pod {call.name} is being deleted, cannot be assigned to a host"
            )
        if pod["spec"].get("nodeName"):
            raise status.conflict(
                call.resource, call.name, f'pod {call.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            )
        pod["spec"]["nodeName"] = node
        return pod

    def run() -> None:
        handler.cluster.store.modify(call.resource, call.namespace, call.name, change, dry_run=dry_run)

    await handler.write(run)
    return json_response(_DONE, code=201)
