"""What a VM is made of, and how a change is laid over what is there."""

from __future__ import annotations

import copy
from typing import Any

from crdbmesh_simulator.azure import vm_rules
from crdbmesh_simulator.azure.errors import Body
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Resource, Subscription
from crdbmesh_simulator.world import Disk, Machine


def new_machine(identity: Identity, given: Body, checked: vm_rules.Accepted, disk_gib: int) -> Machine:
    """The hardware of a new VM."""
    profile = given["osProfile"]
    keys = profile.get("linuxConfiguration", {}).get("ssh", {}).get("publicKeys", [])
    return Machine(
        vm_id=identity.id,
        name=identity.name,
        location=identity.location,
        zone=checked.zones[0] if checked.zones else None,
        size=checked.size.name,
        vcpus=checked.size.vcpus,
        memory_gib=checked.size.memory_gib,
        computer_name=profile["computerName"],
        admin=profile["adminUsername"],
        authorized_keys=[str(key["keyData"]).strip() for key in keys],
        custom_data=checked.custom_data,
        nic_id=checked.primary.id,
        disk=Disk(gib=disk_gib),
    )


def kept(given: Body) -> dict[str, Any]:
    """What of a new VM's properties is kept and shown: no secret, and the defaults."""
    properties = copy.deepcopy(given)
    profile = properties["osProfile"]
    for secret in ("customData", "adminPassword"):
        profile.pop(secret, None)
    properties.pop("userData", None)
    profile.setdefault("secrets", [])
    profile.setdefault("allowExtensionOperations", True)
    profile.setdefault("requireGuestProvisionSignal", True)
    linux = profile.setdefault("linuxConfiguration", {})
    linux.setdefault("provisionVMAgent", True)
    linux.setdefault("patchSettings", {"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"})
    return dict(properties)


def storage_profile(given: Body, checked: vm_rules.Accepted, disk: Resource) -> Body:
    """A new VM's storage profile, with its image and its disk."""
    profile = given["storageProfile"].get("osDisk", {})
    managed = profile.get("managedDisk", {})
    return {
        **copy.deepcopy(given["storageProfile"]),
        "imageReference": {**given["storageProfile"]["imageReference"], "exactVersion": checked.image.version},
        "osDisk": {
            "caching": "ReadWrite",
            "createOption": "FromImage",
            "deleteOption": "Detach",
            **profile,
            "osType": "Linux",
            "name": disk.name,
            "diskSizeGB": disk.properties["diskSizeGB"],
            "managedDisk": {**managed, "storageAccountType": disk.body["sku"]["name"], "id": disk.id},
        },
        "dataDisks": [],
        "diskControllerType": given["storageProfile"].get(
            "diskControllerType", "SCSI" if checked.size.controllers.startswith("SCSI") else "NVMe"
        ),
    }


def nics_of(subscription: Subscription, vm: Resource) -> list[Resource]:
    """A VM's NICs."""
    references = vm.properties["networkProfile"]["networkInterfaces"]
    found = (subscription.find(reference["id"]) for reference in references)
    return [nic for nic in found if nic is not None]


def merge(present: Body, change: Body) -> Body:
    """`present` with `change` laid over it, object by object."""
    merged = copy.deepcopy(present)
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = copy.deepcopy(value)
    return merged


def draw_mac(subscription: Subscription) -> str:
    """A MAC address of Azure's."""
    tail = subscription.world.random.getrandbits(24).to_bytes(3, "big")
    return "-".join(["00", "0D", "3A", *(f"{byte:02X}" for byte in tail)])
