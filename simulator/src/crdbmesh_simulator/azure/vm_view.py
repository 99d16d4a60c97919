"""A VM's instance view: provisioning and power state, and what its agent reports."""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator.azure import images
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import Body
from crdbmesh_simulator.azure.state import Resource, Subscription


def instance_view(subscription: Subscription, vm: Resource) -> Body:
    """The view."""
    at = timestamp(vm.changed_at)
    statuses = [_status(f"ProvisioningState/{vm.state.lower()}", f"Provisioning {vm.state.lower()}", at)]
    if vm.power != "creating":
        statuses.append(_status(f"PowerState/{vm.power}", f"VM {vm.power}"))
    reference = vm.properties["storageProfile"]["imageReference"]
    image = images.find(reference["publisher"], reference["offer"], reference["sku"], reference["version"])
    disk = vm.properties["storageProfile"]["osDisk"]["name"]
    view: Body = {
        "hyperVGeneration": image.generation if image else "V2",
        "bootDiagnostics": {},
        "disks": [{"name": disk, "statuses": [_status("ProvisioningState/succeeded", "Provisioning succeeded", at)]}],
        "statuses": statuses,
    }
    if vm.power == "running" and vm.state == "Succeeded":
        now = timestamp(subscription.now)
        ready = _status("ProvisioningState/succeeded", "Ready", now, message="Guest Agent is running")
        view |= {
            "computerName": vm.properties["osProfile"]["computerName"],
            "osName": "ubuntu",
            "osVersion": image.os_version if image else "",
            "vmAgent": {"vmAgentVersion": "2.14.0.1", "statuses": [ready], "extensionHandlers": []},
        }
    return view


def _status(code: str, text: str, at: str | None = None, *, message: str | None = None) -> dict[str, Any]:
    more = {"message": message, "time": at}
    return {"code": code, "level": "Info", "displayStatus": text, **{k: v for k, v in more.items() if v is not None}}
