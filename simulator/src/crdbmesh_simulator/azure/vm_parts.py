"""What a VM is made of, and how a change is laid over what is there."""

from __future__ import annotations

import copy
import uuid
from typing import Any

from crdbmesh_simulator.azure import errors, sizes, vm_rules
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import Body
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Resource, Subscription
from crdbmesh_simulator.world import Disk, Machine


def new_machine(identity: Identity, given: Body, checked: vm_rules.Accepted, disk: Disk) -> Machine:
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
        disk=disk,
    )


def kept(given: Body) -> dict[str, Any]:
    """What of a new VM's properties is kept and shown: no secret, and the defaults."""
    properties = copy.deepcopy(given)
    profile = properties["osProfile"]
    profile.pop("customData", None)
    profile.setdefault("secrets", [])
    profile.setdefault("allowExtensionOperations", True)
    profile.setdefault("requireGuestProvisionSignal", True)
    linux = profile.setdefault("linuxConfiguration", {})
    linux.setdefault("provisionVMAgent", True)
    linux.setdefault("patchSettings", {"patchMode": "ImageDefault", "assessmentMode": "ImageDefault"})
    return dict(properties)


def storage_profile(given: Body, checked: vm_rules.Accepted, disk: Resource, data: list[Body]) -> Body:
    """A new VM's storage profile, with its image, its OS disk and its data disks."""
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
        "dataDisks": data,
        "diskControllerType": given["storageProfile"].get(
            "diskControllerType", "SCSI" if checked.size.controllers.startswith("SCSI") else "NVMe"
        ),
    }


def nics_of(subscription: Subscription, vm: Resource) -> list[Resource]:
    """A VM's NICs."""
    references = vm.properties["networkProfile"]["networkInterfaces"]
    found = (subscription.find(reference["id"]) for reference in references)
    return [nic for nic in found if nic is not None]


def replaced(existing: Resource, given: Body, vm_size: str) -> Body:
    """What a PUT leaves of a VM's properties: what it gives, and what is fixed at the creation; the rest is lost."""
    present = existing.properties
    fixed = ("vmId", "timeCreated", "osProfile", "storageProfile")
    properties = {
        **{name: copy.deepcopy(value) for name, value in given.items() if name not in fixed},
        **{name: copy.deepcopy(present[name]) for name in fixed},
        "hardwareProfile": {**given.get("hardwareProfile", {}), "vmSize": vm_size},
        "networkProfile": copy.deepcopy(given.get("networkProfile", present["networkProfile"])),
    }
    asked = given.get("storageProfile", {}).get("osDisk", {})
    properties["storageProfile"]["osDisk"] |= {
        name: asked[name] for name in ("deleteOption", "caching") if name in asked
    }
    return properties


def identity_of(subscription: Subscription, given: Body | None, present: Body | None) -> Body:
    """`{"identity": ...}` as Azure shows the managed identity that is asked for; empty when none is."""
    kind = (given or {}).get("type", "None")
    if given is None or kind == "None":
        return {}
    shown: Body = {"type": kind}
    if "SystemAssigned" in kind:
        principal = (present or {}).get("principalId") or subscription.guid()
        shown |= {"principalId": principal, "tenantId": subscription.tenant_id}
    if given.get("userAssignedIdentities"):
        shown["userAssignedIdentities"] = {
            name: {
                use: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{use} of {name.lower()}"))
                for use in ("principalId", "clientId")
            }
            for name in given["userAssignedIdentities"]
        }
    return {"identity": shown}


def merge(present: Body, change: Body) -> Body:
    """`present` with `change` laid over it, object by object."""
    merged = copy.deepcopy(present)
    for name, value in change.items():
        inner = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if inner else copy.deepcopy(value)
    return merged


def draw_mac(subscription: Subscription) -> str:
    """A MAC address of Azure's."""
    tail = subscription.world.random.getrandbits(24).to_bytes(3, "big")
    return "-".join(["00", "0D", "3A", *(f"{byte:02X}" for byte in tail)])


def instance_view(subscription: Subscription, vm: Resource) -> Body:
    """The view."""
    at = timestamp(vm.changed_at)
    statuses = [_status(f"ProvisioningState/{vm.state.lower()}", f"Provisioning {vm.state.lower()}", at)]
    if vm.power != "creating":
        statuses.append(_status(f"PowerState/{vm.power}", f"VM {vm.power}"))
    reference = vm.properties["storageProfile"]["imageReference"]
    image = sizes.find_image(reference["publisher"], reference["offer"], reference["sku"], reference["version"])
    disk, generation = vm.properties["storageProfile"]["osDisk"]["name"], image.generation if image else "V2"
    view: Body = errors.body("instance_view", generation=generation, disk=disk, at=at, statuses=statuses)
    if vm.fault_domain is not None:
        view |= {"platformFaultDomain": vm.fault_domain, "platformUpdateDomain": vm.fault_domain}
    if vm.power == "running" and vm.state == "Succeeded":
        computer, os_version = vm.properties["osProfile"]["computerName"], image.os_version if image else ""
        now = timestamp(subscription.now)
        view |= errors.body("agent_view", computer=computer, os_version=os_version, now=now)
    return view


def _status(code: str, text: str, at: str | None = None) -> dict[str, Any]:
    return {"code": code, "level": "Info", "displayStatus": text, **({"time": at} if at else {})}
