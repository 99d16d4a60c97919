"""How faults of Azure Resource Manager look from outside, and what they leave behind.

Codes and texts: Microsoft's documentation of request limits, throttling and allocation failures, and recordings and
logs of Azure's own clients. A reset or a server error may come after the change: then the change has happened.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from crdbmesh_simulator import resets
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, Tracking, status_url
from crdbmesh_simulator.azure.errors import ArmError, Body, not_provisioned, refusal, resource_not_found, superseded
from crdbmesh_simulator.azure.etags import children_of, touch
from crdbmesh_simulator.azure.operations import Operation, Stage

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.state import Resource, Subscription

_UNSEEN_S = (3.0, 90.0)
_LATE_S = (2.0, 15.0)
_BUSY_S = (3.0, 10.0)
_SLOW = (5.0, 10.0)
_WAIT_S = (1.0, 10.0)
_AFTER_THE_CHANGE = (False, True)
_GATEWAY = """\
<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">
<HTML><HEAD><TITLE>Service Unavailable</TITLE>
<META HTTP-EQUIV="Content-Type" Content="text/html; charset=us-ascii"></HEAD>
<BODY><h2>Service Unavailable</h2>
<hr><p>HTTP Error 503. The service is unavailable.</p>
</BODY></HTML>
"""


def answer(call: Call, handler: Callable[[Call], Answer]) -> Answer:
    """Let a handler answer a request, unless something goes wrong before, or after.

    Raises ArmError: what the handler raises, or what goes wrong instead.
    """
    faults = call.subscription.world.faults
    if not faults.active:
        return handler(call)
    key = f"{call.method} {call.path.lower()}"
    name = faults.pick(_possible(call), _places(call), key)
    if name == "arm.throttled":
        raise _throttled(call, faults.between(name, *_WAIT_S, key), computes=faults.choose(name, (False, True), key))
    if name == "arm.another_operation":
        raise _another_operation(call, faults.between(name, *_BUSY_S, key))
    if name == "arm.not_provisioned":
        raise _remote_not_provisioned(call, faults.choose(name, (400, 400, 409), key))
    if name == "arm.compute_conflict":
        raise refusal("Conflict")
    if name == "arm.server_error":
        if call.method not in ("GET", "HEAD") and faults.choose(name, _AFTER_THE_CHANGE, key):
            _carry_out(call, handler)
        raise _server_error(call)
    if name == "arm.unavailable":
        return _unavailable(call, handler, faults.choose(name, ("busy", "timeout", "late timeout", "gateway"), key))
    if name == "arm.reset":
        given = _carry_out(call, handler)
        given.cut = faults.choose(name, (resets.UNANSWERED, resets.MIDWAY), key)
        return given
    return _replicated(call, handler)


def hide_group(subscription: Subscription, name: str, location: str) -> None:
    """A group that was just made: the resource providers may not see it for some seconds."""
    faults, key = subscription.world.faults, name.lower()
    if faults.happens("arm.group_unseen", (location, name), key):
        subscription.unseen[key] = subscription.now + faults.between("arm.group_unseen", *_UNSEEN_S, key)


def stretch(subscription: Subscription, kind: str, target: str, location: str) -> float:
    """How many times as long as usual an operation takes."""
    faults, key = subscription.world.faults, f"{kind} {target.lower()}"
    if not faults.happens("arm.slow", (location, _name(target)), key):
        return 1.0
    return faults.between("arm.slow", *_SLOW, key)


def ending(subscription: Subscription, kind: str, tracking: Tracking, target: str, location: str, done: Stage) -> Stage:
    """How an operation ends: with `done`, or with a failure that leaves what it worked on in the state Failed."""
    faults, key, name = subscription.world.faults, f"{kind} {target.lower()}", "arm.network_operation_failed"
    if tracking is not NETWORK or not faults.happens(name, (location, _name(target)), key):
        return done
    text = f"Operation {kind} on resource {target} was canceled and superseded by another operation."
    error = faults.choose(name, (superseded(text), refusal("NetworkingInternalOperationError")), key)

    def fail() -> None:
        _leave_failed(subscription, target, kind)
        raise error

    return fail


def no_room(subscription: Subscription, vm: Resource) -> ArmError | None:
    """Why there is no room for a VM, or None."""
    zone = next(iter(vm.body.get("zones", [])), None)
    faults, places = subscription.world.faults, (vm.location, vm.name, f"{vm.location}-{zone}")
    if zone is not None and faults.happens("arm.zonal_allocation_failed", places, vm.key):
        return refusal("ZonalAllocationFailed")
    if faults.happens("arm.allocation_failed", places, vm.key):
        return refusal("AllocationFailed")
    return None


def preempted(subscription: Subscription, vm: Resource) -> ArmError | None:
    """Why a VM's creation ends although there is room, or None: the platform begins something else with it."""
    if not subscription.world.faults.happens("arm.operation_preempted", (vm.location, vm.name), vm.key):
        return None
    return refusal("OperationPreempted")


def not_provisioned_in_time(subscription: Subscription, vm: Resource) -> ArmError | None:
    """Why a VM's creation ends Failed although its machine runs, or None: its agent did not report in time."""
    if not subscription.world.faults.happens("arm.os_provisioning_timed_out", (vm.location, vm.name), vm.key):
        return None
    return refusal("OSProvisioningTimedOut", vm=vm)


def require_in_cluster(subscription: Subscription, vm: Resource, size: str) -> None:
    """Refuse a new size that the hardware under a VM does not have; one that is deallocated is placed anew.

    Raises ArmError: 409.
    """
    if vm.power == "deallocated":
        return
    if subscription.world.faults.happens("arm.size_not_in_cluster", (vm.location, vm.name), f"{vm.key} {size}"):
        raise refusal("OperationNotAllowed, cluster", vm=vm, size=size)


def _possible(call: Call) -> list[str]:
    names = ["arm.throttled", "arm.server_error", "arm.unavailable", "arm.reset"]
    path = call.path.lower()
    if "/providers/microsoft.network/" in path and call.method in ("PUT", "DELETE"):
        names.append("arm.another_operation")
        if "/virtualnetworkpeerings/" in path and call.method == "PUT":
            names.append("arm.not_provisioned")
    if "/microsoft.compute/virtualmachines/" in path and call.method in ("PUT", "POST", "DELETE"):
        names.append("arm.compute_conflict")
    return names


def _places(call: Call) -> tuple[str, ...]:
    """The region that a request is about, as far as it can be told, and the name of its resource."""
    name, location = call.names.get("name", ""), call.names.get("location", "")
    resource = call.subscription.find(_parent_id(call)) if name else None
    if resource is not None:
        location = resource.location
    elif isinstance(call.content, dict):
        location = str(call.content.get("location") or location).replace(" ", "")
    return (location, name)


def _parent_id(call: Call) -> str:
    """The id, in lower case, of the top-level resource in a request's path; empty when there is none."""
    parts = call.path.lower().split("/")
    return "/".join(parts[:9]) if len(parts) >= 9 and parts[5:6] == ["providers"] else ""


def _carry_out(call: Call, handler: Callable[[Call], Answer]) -> Answer:
    try:
        return _replicated(call, handler)
    except ArmError as error:
        return Answer(error.status, {"error": error.error()}, dict(error.headers), error.retry_after_s)


def _replicated(call: Call, handler: Callable[[Call], Answer]) -> Answer:
    """Answer from what has been replicated so far: a new resource may be late."""
    subscription, target = call.subscription, _parent_id(call)
    late, now = subscription.late, subscription.now
    if call.method in ("GET", "HEAD"):
        if late.get(target, 0.0) > now:
            kind = "/".join(call.path.split("/")[6:8])
            raise resource_not_found(kind, call.names["name"], call.names["group"])
        given = handler(call)
        if late and isinstance(given.body, dict) and isinstance(given.body.get("value"), list):
            listed = [entry for entry in given.body["value"] if late.get(_id(entry), 0.0) <= now]
            given.body = {**given.body, "value": listed}
        return given
    given = handler(call)
    is_new = call.method == "PUT" and given.status == 201 and call.path.lower() == target
    faults = subscription.world.faults
    if is_new and faults.happens("arm.late_read", _places(call), target):
        late[target] = now + faults.between("arm.late_read", *_LATE_S, target)
    return given


def _id(entry: object) -> str:
    return str(entry.get("id", "")).lower() if isinstance(entry, dict) else ""


def _throttled(call: Call, wait_s: float, *, computes: bool) -> ArmError:
    seconds = max(1, round(wait_s))
    if computes and "/providers/microsoft.compute/" in call.path.lower():
        group = {"PUT": "PutVM3Min", "PATCH": "PutVM3Min", "DELETE": "DeleteVM3Min"}.get(call.method, "LowCostGet3Min")
        now = call.subscription.world.clock.utc()
        counted = (
            f'{{"operationGroup":"{group}","startTime":"{now.isoformat()}","endTime":"{now.isoformat()}",'
            '"allowedRequestCount":36,"measuredRequestCount":41}'
        )
        return refusal(
            "OperationNotAllowed, throttled",
            details=[{"code": "TooManyRequests", "target": group, "message": counted}],
            retry_after_s=seconds,
            headers={"x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/{group};0"},
        )
    kind = {"GET": "read", "HEAD": "read", "DELETE": "delete"}.get(call.method, "write")
    actor = uuid.uuid5(uuid.NAMESPACE_OID, call.subscription.id)
    return refusal(
        "SubscriptionRequestsThrottled, actor",
        kind=kind,
        call=call,
        actor=actor,
        seconds=seconds,
        retry_after_s=seconds,
    )


def _another_operation(call: Call, lasts_s: float) -> ArmError:
    """An operation of the platform itself is at work on the resource: it can be followed, and changes nothing."""
    subscription, now = call.subscription, call.subscription.now
    location = next((place for place in _places(call) if place), "eastus")
    operation = Operation(
        id=subscription.guid(),
        kind="PutSubnetOperation",
        tracking=NETWORK,
        location=location,
        target="",
        locks=frozenset(),
        started_at=now,
        ends_at=now + lasts_s,
    )
    subscription.operations.begin(operation, [], lambda: None)
    return refusal("AnotherOperationInProgress", uri=status_url(call, operation))


def _remote_not_provisioned(call: Call, status: int) -> ArmError:
    given = call.content if isinstance(call.content, dict) else {}
    properties = given.get("properties") or {}
    remote = str((properties.get("remoteVirtualNetwork") or {}).get("id") or _parent_id(call))
    found = call.subscription.find(remote)
    error = not_provisioned(found.id if found else remote, call.path, "Updating", "PutSubnetOperation")
    error.status = status
    return error


def _diagnostics(call: Call) -> str:
    now = call.subscription.world.clock.utc()
    return (
        f"Diagnostic information: timestamp '{now:%Y%m%dT%H%M%SZ}', subscription id '{call.subscription.id}', tracking "
        f"id '{uuid.uuid4()}', request correlation id '{uuid.uuid4()}'."
    )


def _server_error(call: Call) -> ArmError:
    if "/providers/microsoft.network/" in call.path.lower():
        return refusal("InternalServerError, network")
    return refusal("InternalServerError", diagnostics=_diagnostics(call))


def _unavailable(call: Call, handler: Callable[[Call], Answer], form: str) -> Answer:
    if form == "gateway":
        return Answer(503, html=_GATEWAY)
    if form == "busy":
        raise refusal("ServiceUnavailable", retry_after_s=5.0)
    if form == "late timeout" and call.method not in ("GET", "HEAD"):
        _carry_out(call, handler)
    raise refusal("ServerTimeout", diagnostics=_diagnostics(call))


def _leave_failed(subscription: Subscription, target: str, kind: str) -> None:
    """What an operation that failed leaves: a resource, or a child of one, that is there and in the state Failed."""
    resource = subscription.find(target)
    if resource is not None:
        resource.state, resource.deletion, resource.failed_by = "Failed", None, kind
    parent = resource or subscription.find("/".join(target.split("/")[:9]))
    if parent is None:
        return
    for child in children_of(parent):
        _fail_child(child, target, whole=resource is not None)
    touch(subscription, parent)


def _fail_child(child: Body, target: str, *, whole: bool) -> None:
    properties = child["properties"]
    theirs = str(child.get("id", "")).lower() == target.lower()
    if theirs or (whole and properties.get("provisioningState") == "Updating"):
        properties["provisioningState"] = "Failed"


def _name(resource_id: str) -> str:
    return resource_id.rpartition("/")[2]
