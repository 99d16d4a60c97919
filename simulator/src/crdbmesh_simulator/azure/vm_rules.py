"""What Microsoft.Compute refuses of a VM, with its codes and texts."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.azure import data_disks, images, nics, public_ips, quotas, sizes
from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.errors import (
    ArmError,
    Body,
    invalid_parameter,
    invalid_reference,
    not_provisioned,
)
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Resource, Subscription

CUSTOM_DATA_LIMIT = 87380
"""Characters of base64: 65535 bytes."""

_REFUSED_NAMES = {
    "1", "123", "a", "actuser", "adm", "admin", "admin1", "admin2", "administrator", "aspnet", "backup", "console",
    "david", "guest", "john", "owner", "root", "server", "sql", "support", "support_388945a0", "sys", "test", "test1",
    "test2", "test3", "user", "user1", "user2", "user3", "user4", "user5", "video",
}  # fmt: skip
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,63}", re.IGNORECASE)
_HOST = re.compile(r"(?!-)[A-Za-z0-9.-]{1,64}(?<![-.])")
_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) ([A-Za-z0-9+/]+={0,3})( .*)?")
_UNSUPPORTED = (
    "availabilitySet", "virtualMachineScaleSet", "proximityPlacementGroup", "host", "hostGroup", "capacityReservation",
    "applicationProfile", "userData",
)  # fmt: skip


@dataclass(slots=True)
class Accepted:
    """A VM that nothing speaks against."""

    size: sizes.Size
    image: images.Image
    primary: Resource
    zones: list[str] = field(default_factory=list)
    custom_data: bytes = b""


def require_new(call: Call, identity: Identity, body: Body) -> Accepted:
    """Check a VM to be made.

    Raises:
        ArmError: 400, 404 or 409.
    """
    given = body.get("properties", {})
    require_supported(call, body, given)
    size = require_size(given)
    zones = public_ips.require_zones(identity, body.get("zones")) or []
    if len(zones) > 1:
        raise ArmError(
            400,
            "ResourceMoreThanOneZone",
            f"The resource '{identity.type}/{identity.name}' cannot be in more than one availability zone.",
        )
    require_offered(call.subscription, identity, size, zones)
    image = _require_image(given, size)
    _require_disk(given, image, size)
    data_disks.require(call, identity, size, given["storageProfile"].get("dataDisks", []), [])
    custom_data = _require_os_profile(given)
    primary = require_nics(call.subscription, identity, given, size)
    quotas.require_cores(call.subscription, identity.location, size, None)
    return Accepted(size, image, primary, zones, custom_data)


def require_size(given: Body) -> sizes.Size:
    """The size asked for."""
    name = given.get("hardwareProfile", {}).get("vmSize")
    if not name:
        raise invalid_parameter("Required parameter 'vmSize' is missing (null).", "vmSize")
    size = sizes.find(name)
    if size is None:
        valid = ",".join(known.name for known in sizes.SIZES.values())
        raise invalid_parameter(
            f"The value {name} provided for the VM size is not valid. The valid sizes in the current region are: "
            f"{valid}. Find out more on the available VM sizes in each region at https://aka.ms/azure-regions.",
            "vmSize",
        )
    return size


def require_offered(subscription: Subscription, identity: Identity, size: sizes.Size, zones: list[str]) -> None:
    """Refuse a size that the subscription cannot have there."""
    more = subscription.restrictions
    restricted = set(sizes.restricted_zones(size, identity.location, more))
    faults, places = subscription.world.faults, (identity.location, identity.name)
    gone = faults.happens("arm.sku_not_available", places, identity.id.lower())
    if sizes.offered(size, identity.location, more) and not restricted & set(zones) and not gone:
        return
    raise ArmError(
        409,
        "SkuNotAvailable",
        f"The requested VM size for resource '{identity.id}' is currently not available in location "
        f"'{identity.location}' zones '{','.join(zones)}' for subscription '{subscription.id}'. Please try "
        "another size "
        "or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details.",
    )


def require_nics(subscription: Subscription, identity: Identity, given: Body, size: sizes.Size) -> Resource:
    """The VM's primary NIC; all of its NICs are free and ready."""
    references = given.get("networkProfile", {}).get("networkInterfaces", [])
    if not references:
        raise invalid_parameter("Required parameter 'networkProfile' is missing (null).", "networkProfile")
    marked = [bool(reference.get("properties", {}).get("primary")) for reference in references]
    if len(references) > 1 and sum(marked) != 1:
        raise ArmError(
            400,
            "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary",
            f"Virtual machine {identity.id} must have one network interface set as the primary.",
        )
    attached = [_require_nic(subscription, identity, reference, size) for reference in references]
    return attached[marked.index(True) if any(marked) else 0]


def _require_nic(subscription: Subscription, identity: Identity, reference: Body, size: sizes.Size) -> Resource:
    nic_id = str(reference.get("id") or "")
    nic = subscription.find(nic_id)
    if nic is None or nic.type != nics.Interfaces.type or nic.location != identity.location or nic.deletion is not None:
        raise invalid_reference(nic_id, identity.id)
    holder = nics.attached_to(subscription, nic)
    if holder is not None and holder.key != identity.id.lower():
        raise ArmError(
            400, "NicInUse", f"Network Interface {nic.id} is used by existing resource {holder.id}.", target=nic.id
        )
    nics.require_unreserved(subscription, nic, identity.id)
    operation = subscription.operations.holding(nic.id)
    if operation is not None:
        raise not_provisioned(nic.id, identity.id, nic.state, operation.kind)
    if nic.properties.get("enableAcceleratedNetworking") and not size.accelerated:
        raise ArmError(
            400,
            "VMSizeIsNotPermittedToEnableAcceleratedNetworking",
            f"The specified VM size {size.name} is not permitted to enable accelerated networking on network interface "
            f"{nic.id}.",
        )
    return nic


def require_supported(call: Call, body: Body, given: Body) -> None:
    """Refuse what this world does not know of machines.

    Raises:
        ArmError: 501.
    """
    unsupported = [name for name in _UNSUPPORTED if given.get(name)]
    unsupported += [name for name in ("plan", "extendedLocation", "placement") if body.get(name)]
    if given.get("storageProfile", {}).get("osDisk", {}).get("createOption", "FromImage") != "FromImage":
        unsupported.append("an OS disk that is not made from an image")
    if given.get("networkProfile", {}).get("networkInterfaceConfigurations"):
        unsupported.append("networkInterfaceConfigurations")
    unsupported += [name for name in ("windowsConfiguration", "adminPassword") if given.get("osProfile", {}).get(name)]
    if not unsupported:
        return
    call.subscription.world.not_known("arm", f"a virtual machine with {', '.join(unsupported)}")
    raise ArmError(501, "NotImplemented", f"Virtual machines with {', '.join(unsupported)} are not implemented here.")


def _require_image(given: Body, size: sizes.Size) -> images.Image:
    reference = given.get("storageProfile", {}).get("imageReference")
    if not reference:
        raise invalid_parameter("Required parameter 'imageReference' is missing (null).", "imageReference")
    parts = [str(reference.get(name) or "") for name in ("publisher", "offer", "sku", "version")]
    image = images.find(*parts)
    if image is None:
        raise ArmError(
            404,
            "PlatformImageNotFound",
            f"The platform image '{':'.join(parts)}' is not available. Verify that all fields in the storage "
            "profile are "
            "correct. For more details about storage profile information, please refer to "
            "https://aka.ms/storageprofile",
            target="imageReference",
        )
    if image.arm64 != size.arm64:
        raise ArmError(
            400,
            "BadRequest",
            f"Cannot create a VM of size '{size.name}' because this VM size only supports a CPU Architecture of "
            f"'{size.architecture}', but an image or disk given has CPU Architecture "
            f"'{'Arm64' if image.arm64 else 'x64'}'. Retry with an architecture-compatible VM size or image/disk.",
        )
    if image.generation == "V1" and not size.gen1:
        raise ArmError(
            400,
            "BadRequest",
            f"The selected VM size '{size.name}' cannot boot Hypervisor Generation '1'. If this was a Create operation "
            "please check that the Hypervisor Generation of the Image matches the Hypervisor Generation of the "
            "selected "
            "VM Size.",
        )
    return image


def _require_disk(given: Body, image: images.Image, size: sizes.Size) -> None:
    disk = given.get("storageProfile", {}).get("osDisk", {"createOption": "FromImage"})
    asked = disk.get("diskSizeGB", image.disk_gib)
    if asked < image.disk_gib:
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"The specified disk size {asked} GB is smaller than the size of the corresponding disk in the VM image: "
            f"{image.disk_gib} GB. This is not allowed. Please choose equal or greater size or do not specify an "
            "explicit "
            "size.",
            target="osDisk.diskSizeGB",
        )
    sku = disk.get("managedDisk", {}).get("storageAccountType", "")
    if sku.startswith("Premium") and not size.premium:
        raise invalid_parameter(
            f"Requested operation cannot be performed because the VM size {size.name} does not support the storage "
            f"account type {sku} of disk '{disk.get('name', '')}'. Consider updating the VM to a size that supports "
            "Premium storage.",
            "osDisk.managedDisk.storageAccountType",
        )


def _require_os_profile(given: Body) -> bytes:
    profile: dict[str, Any] = given.get("osProfile") or {}
    if not profile:
        raise invalid_parameter("Required parameter 'osProfile' is missing (null).", "osProfile")
    host = profile.get("computerName")
    if not host:
        raise invalid_parameter("Required parameter 'osProfile.computerName' is missing (null).", "computerName")
    if not _HOST.fullmatch(host):
        raise invalid_parameter(
            "Linux host name cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ "
            "# $ % ^ "
            "& * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?.",
            "computerName",
        )
    admin = profile.get("adminUsername")
    if not admin:
        raise invalid_parameter("Required parameter 'adminUsername' is missing (null).", "adminUsername")
    if admin.lower() in _REFUSED_NAMES or not _USER.fullmatch(admin):
        raise invalid_parameter("The Admin Username specified is not allowed.", "adminUsername")
    _require_login(profile, admin)
    return read_custom_data(profile.get("customData"))


def _require_login(profile: dict[str, Any], admin: str) -> None:
    linux = profile.get("linuxConfiguration", {})
    keys = linux.get("ssh", {}).get("publicKeys", [])
    if linux.get("disablePasswordAuthentication"):
        if not keys:
            raise invalid_parameter(
                "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
                "linuxConfiguration",
            )
    else:
        raise invalid_parameter("Required parameter 'adminPassword' is missing (null).", "adminPassword")
    default = f"/home/{admin}/.ssh/authorized_keys"
    for key in keys:
        if key.get("path", default) != default:
            raise invalid_parameter(
                f"Destination path for SSH public keys is currently limited to its default value {default} due to a "
                "known issue in Linux provisioning agent.",
                "linuxConfiguration.ssh.publicKeys.path",
            )
        if not _valid_key(str(key.get("keyData") or "").strip()):
            raise invalid_parameter(
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
                "linuxConfiguration.ssh.publicKeys.keyData",
            )


def _valid_key(line: str) -> bool:
    match = _KEY.fullmatch(line)
    if match is None:
        return False
    try:
        blob = base64.b64decode(match[2] + "=" * (-len(match[2]) % 4))
    except binascii.Error:
        return False
    kind = match[1].encode()
    return blob.startswith(len(kind).to_bytes(4, "big") + kind)


def read_custom_data(text: str | None) -> bytes:
    """The bytes of `customData`.

    Raises:
        ArmError: 400.
    """
    if not text:
        return b""
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        decoded = None
    if decoded is None or len(text) > CUSTOM_DATA_LIMIT:
        raise invalid_parameter(
            "Custom data in OSProfile must be in Base64 encoding and with a maximum length of "
            f"{CUSTOM_DATA_LIMIT} characters.",
            "customData",
        )
    return decoded
