"""What Microsoft.Compute refuses to change of a VM that is there, with its codes and texts."""

from __future__ import annotations

from typing import Any

from crdbmesh_simulator.azure import vm_rules
from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.errors import Body, change_not_allowed, refusal
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Resource, Subscription

_IMMUTABLE = (
    ("storageProfile", "imageReference", "publisher"),
    ("storageProfile", "imageReference", "offer"),
    ("storageProfile", "imageReference", "sku"),
    ("storageProfile", "osDisk", "name"),
    ("storageProfile", "osDisk", "createOption"),
    ("storageProfile", "osDisk", "managedDisk", "id"),
    ("storageProfile", "osDisk", "managedDisk", "storageAccountType"),
    ("osProfile", "computerName"),
    ("osProfile", "adminUsername"),
    ("osProfile", "linuxConfiguration", "disablePasswordAuthentication"),
    ("osProfile", "linuxConfiguration", "ssh", "publicKeys"),
    ("priority",),
)


def require_change(call: Call, existing: Resource, body: Body) -> None:
    """Refuse to change what is fixed at creation, or while the machine has its place.

    Raises ArmError: 400, 409; 501, this world does not know it.
    """
    given = body.get("properties", {})
    vm_rules.require_supported(call, body, given)
    custom_data = given.get("osProfile", {}).get("customData")
    given_before = existing.machine.custom_data if existing.machine is not None else b""
    if custom_data is not None and vm_rules.read_custom_data(custom_data) != given_before:
        raise change_not_allowed("osProfile.customData")
    for path in _IMMUTABLE:
        wanted, present = _follow(given, path), _follow(existing.properties, path)
        if wanted is not None and not _same(wanted, present, path[-1]):
            raise change_not_allowed(_named(path))
    _require_disk_size(existing, given)


def require_nics(subscription: Subscription, identity: Identity, existing: Resource, given: Body) -> Resource:
    """The VM's primary NIC after a change; the set of its NICs changes while it is deallocated only.

    Raises ArmError: 400, 409.
    """
    wanted = {"networkProfile": given.get("networkProfile", existing.properties["networkProfile"])}
    if _nic_ids(wanted) != _nic_ids(existing.properties) and existing.power != "deallocated":
        raise refusal("AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported", existing=existing)
    return vm_rules.require_nics(subscription, identity, wanted)


def _nic_ids(properties: Body) -> set[str]:
    return {str(one.get("id", "")).lower() for one in properties["networkProfile"].get("networkInterfaces", [])}


def _require_disk_size(existing: Resource, given: Body) -> None:
    path = ("storageProfile", "osDisk", "diskSizeGB")
    wanted, present = _follow(given, path), _follow(existing.properties, path)
    if wanted is None or wanted == present:
        return
    disk_id = existing.properties["storageProfile"]["osDisk"]["managedDisk"]["id"]
    raise refusal("ResizeDiskError", existing=existing, disk_id=disk_id, target="disk.diskSizeGB")


def _named(path: tuple[str, ...]) -> str:
    """A property as the refusal names it: storage and Linux settings by what is below the profile."""
    below = path[1:] if path[0] == "storageProfile" or path[1:2] == ("linuxConfiguration",) else path
    return ".".join(below)


def _same(wanted: Any, present: Any, name: str) -> bool:
    if name == "id":
        return str(wanted).lower() == str(present).lower()
    return bool(wanted == present)


def _follow(body: Body, path: tuple[str, ...]) -> Any:
    value: Any = body
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value
