"""`Microsoft.Compute/virtualMachines/extensions`: stored, shown with their VM, and without effect here."""

from __future__ import annotations

import copy

from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, accepted
from crdbmesh_simulator.azure.catalog import MACHINES
from crdbmesh_simulator.azure.errors import Body, child_not_found, refusal
from crdbmesh_simulator.azure.kinds import open_group
from crdbmesh_simulator.azure.state import Resource

_REQUIRED = ("publisher", "type", "typeHandlerVersion")


def get(call: Call) -> Answer:
    """One extension."""
    vm = MACHINES.require(call)
    found = vm.extensions.get(call.names["child"].lower())
    if found is None:
        raise child_not_found(f"{vm.id}/extensions/{call.names['child']}")
    return Answer(200, copy.deepcopy(found))


def list_all(call: Call) -> Answer:
    """The extensions of a VM."""
    return Answer(200, {"value": copy.deepcopy(list(MACHINES.require(call).extensions.values()))})


def put(call: Call) -> Answer:
    """Create or replace an extension of a running VM; what is protected in it is not shown again."""
    open_group(call.subscription, call.names["group"])
    vm = _require_running(call)
    properties = dict(call.body().get("properties") or {})
    for name in _REQUIRED:
        if not properties.get(name):
            raise refusal("InvalidParameter, missing", name=name, target=f"extension.{name}")
    properties.pop("protectedSettings", None)
    name = call.names["child"]
    existed = name.lower() in vm.extensions
    extension: Body = {"name": name, "id": f"{vm.id}/extensions/{name}", "type": f"{vm.type}/extensions"}
    properties = {"autoUpgradeMinorVersion": False, **properties, "provisioningState": "Creating"}
    extension |= {"location": vm.location, "properties": properties}
    vm.extensions[name.lower()] = extension

    def done() -> None:
        extension["properties"]["provisioningState"] = "Succeeded"

    operation = call.subscription.start(
        "PutVirtualMachineExtension", COMPUTE, extension["id"], vm.location, done, locks=[vm.id]
    )
    return accepted(call, operation, 200 if existed else 201, copy.deepcopy(extension))


def delete(call: Call) -> Answer:
    """Remove an extension of a running VM; absent is done."""
    name = call.names["child"].lower()
    if name not in MACHINES.require(call).extensions:
        return Answer(204)
    vm = _require_running(call)
    vm.extensions[name]["properties"]["provisioningState"] = "Deleting"
    target = vm.extensions[name]["id"]

    def done() -> None:
        vm.extensions.pop(name, None)

    operation = call.subscription.start(
        "DeleteVirtualMachineExtension", COMPUTE, target, vm.location, done, locks=[vm.id]
    )
    return accepted(call, operation, 202, None)


def _require_running(call: Call) -> Resource:
    vm = MACHINES.require(call)
    MACHINES.require_idle(call, vm)
    if vm.power != "running":
        raise refusal("OperationNotAllowed, extension")
    return vm
