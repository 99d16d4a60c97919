"""What Microsoft.Compute refuses of a new VM and of a change to one, with its codes and texts."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

from crdbmesh_simulator.azure import disks, nics, sets, sizes
from crdbmesh_simulator.azure.call import Call, not_here
from crdbmesh_simulator.azure.errors import Body, body, change_not_allowed, invalid_reference, not_provisioned, refusal
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.state import Resource, Subscription

CUSTOM_DATA_LIMIT = 87380
"""Characters of base64: 65535 bytes."""

_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) ([A-Za-z0-9+/]+={0,3})( .*)?")
_UNSUPPORTED = (
    "virtualMachineScaleSet",
    "proximityPlacementGroup",
    "host",
    "hostGroup",
    "capacityReservation",
    "applicationProfile",
    "userData",
)


@dataclass(slots=True)
class Accepted:
    """A VM that nothing speaks against."""

    size: sizes.Size
    image: sizes.Image
    primary: Resource
    zones: list[str] = field(default_factory=list)
    custom_data: bytes = b""
    fault_domain: int | None = None


def require_new(call: Call, identity: Identity, body: Body) -> Accepted:
    """Check a VM to be made. Raises ArmError: 400, 404 or 409."""
    given = body.get("properties", {})
    require_supported(call, body, given)
    size = require_size(given)
    zones = nics.require_zones(identity, body.get("zones")) or []
    require_offered(call.subscription, identity, size, zones)
    image = _require_image(given, size)
    _require_disk(given, image)
    disks.require_data_disks(call, identity, size, given["storageProfile"].get("dataDisks", []), [], zones)
    custom_data = _require_os_profile(given)
    primary = require_nics(call.subscription, identity, given)
    sizes.require_cores(call.subscription, identity.location, size, None)
    domain = sets.require_set(call.subscription, identity, given, zones)
    return Accepted(size, image, primary, zones, custom_data, domain)


def require_size(given: Body) -> sizes.Size:
    """The size asked for."""
    name = given.get("hardwareProfile", {}).get("vmSize")
    if not name:
        raise refusal("InvalidParameter, missing", name="vmSize", target="vmSize")
    size = sizes.find(name)
    if size is None:
        valid = ",".join(known.name for known in sizes.SIZES.values())
        raise refusal("InvalidParameter, size", name=name, valid=valid, target="vmSize")
    return size


def require_offered(subscription: Subscription, identity: Identity, size: sizes.Size, zones: list[str]) -> None:
    """Refuse a size that the subscription cannot have there."""
    more = subscription.restrictions
    restricted = set(sizes.restricted_zones(size, identity.location, more))
    faults, places = subscription.world.faults, (identity.location, identity.name)
    gone = faults.happens("arm.sku_not_available", places, identity.id.lower())
    if sizes.offered(size, identity.location, more) and not restricted & set(zones) and not gone:
        return
    raise refusal("SkuNotAvailable", identity=identity, zones=",".join(zones), subscription=subscription)


def require_nics(subscription: Subscription, identity: Identity, given: Body) -> Resource:
    """The VM's primary NIC; all of its NICs are free and ready."""
    references = given.get("networkProfile", {}).get("networkInterfaces", [])
    if not references:
        raise refusal("InvalidParameter, missing", name="networkProfile", target="networkProfile")
    marked = [bool(reference.get("properties", {}).get("primary")) for reference in references]
    attached = [_require_nic(subscription, identity, reference) for reference in references]
    return attached[marked.index(True) if any(marked) else 0]


def _require_nic(subscription: Subscription, identity: Identity, reference: Body) -> Resource:
    nic_id = str(reference.get("id") or "")
    nic = subscription.find(nic_id)
    if nic is None or nic.type != nics.Interfaces.type or nic.location != identity.location or nic.deletion is not None:
        raise invalid_reference(nic_id, identity.id)
    holder = nics.attached_to(subscription, nic)
    if holder is not None and holder.key != identity.id.lower():
        raise refusal("NicInUse", nic=nic, holder=holder, target=nic.id)
    nics.require_unreserved(subscription, nic, identity.id)
    operation = subscription.operations.holding(nic.id)
    if operation is not None:
        raise not_provisioned(nic.id, identity.id, nic.state, operation.kind)
    return nic


def require_supported(call: Call, body: Body, given: Body) -> None:
    """Refuse what this world does not know of machines. Raises ArmError: 501."""
    unsupported = [name for name in _UNSUPPORTED if given.get(name)]
    unsupported += [name for name in ("plan", "extendedLocation", "placement") if body.get(name)]
    unsupported += [name for name in ("windowsConfiguration", "adminPassword") if given.get("osProfile", {}).get(name)]
    if unsupported:
        raise not_here(call, f"a virtual machine with {', '.join(unsupported)}")


def _require_image(given: Body, size: sizes.Size) -> sizes.Image:
    reference = given.get("storageProfile", {}).get("imageReference")
    if not reference:
        raise refusal("InvalidParameter, missing", name="imageReference", target="imageReference")
    parts = [str(reference.get(name) or "") for name in ("publisher", "offer", "sku", "version")]
    image = sizes.find_image(*parts)
    if image is None:
        raise refusal("PlatformImageNotFound", image=":".join(parts), target="imageReference")
    if image.arm64 != size.arm64:
        raise refusal("BadRequest, architecture", size=size, other="Arm64" if image.arm64 else "x64")
    return image


def _require_disk(given: Body, image: sizes.Image) -> None:
    disk = given.get("storageProfile", {}).get("osDisk", {"createOption": "FromImage"})
    asked = disk.get("diskSizeGB", image.disk_gib)
    if asked < image.disk_gib:
        raise refusal("OperationNotAllowed, disk size", asked=asked, image=image, target="osDisk.diskSizeGB")


def _require_os_profile(given: Body) -> bytes:
    profile: dict[str, Any] = given.get("osProfile") or {}
    if not profile:
        raise refusal("InvalidParameter, missing", name="osProfile", target="osProfile")
    if not profile.get("computerName"):
        raise refusal("InvalidParameter, missing", name="osProfile.computerName", target="computerName")
    if not profile.get("adminUsername"):
        raise refusal("InvalidParameter, missing", name="adminUsername", target="adminUsername")
    _require_login(profile)
    return read_custom_data(profile.get("customData"))


def _require_login(profile: dict[str, Any]) -> None:
    linux = profile.get("linuxConfiguration", {})
    keys = linux.get("ssh", {}).get("publicKeys", [])
    if linux.get("disablePasswordAuthentication"):
        if not keys:
            raise refusal("InvalidParameter, login", target="linuxConfiguration")
    else:
        raise refusal("InvalidParameter, missing", name="adminPassword", target="adminPassword")
    for key in keys:
        if not _valid_key(str(key.get("keyData") or "").strip()):
            raise refusal("InvalidParameter, key data", target="linuxConfiguration.ssh.publicKeys.keyData")


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
    """The bytes of `customData`. Raises ArmError: 400."""
    if not text:
        return b""
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        decoded = None
    if decoded is None or len(text) > CUSTOM_DATA_LIMIT:
        raise refusal("InvalidParameter, custom data", limit=CUSTOM_DATA_LIMIT, target="customData")
    return decoded


_IMMUTABLE: list[tuple[str, ...]] = [tuple(path) for path in body("immutable")]


def require_change(call: Call, existing: Resource, body: Body) -> None:
    """Refuse to change what is fixed at creation, or while the machine has its place.

    Raises ArmError: 400, 409; 501, this world does not know it.
    """
    given = body.get("properties", {})
    require_supported(call, body, given)
    custom_data = given.get("osProfile", {}).get("customData")
    given_before = existing.machine.custom_data if existing.machine is not None else b""
    if custom_data is not None and read_custom_data(custom_data) != given_before:
        raise change_not_allowed("osProfile.customData")
    for path in _IMMUTABLE:
        wanted, present = _follow(given, path), _follow(existing.properties, path)
        if wanted is not None and not _same(wanted, present, path[-1]):
            raise change_not_allowed(_named(path))
    _require_disk_size(existing, given)


def require_changed_nics(subscription: Subscription, identity: Identity, existing: Resource, given: Body) -> Resource:
    """The VM's primary NIC after a change; the set of its NICs changes while it is deallocated only.

    Raises ArmError: 400, 409.
    """
    wanted = {"networkProfile": given.get("networkProfile", existing.properties["networkProfile"])}
    if _nic_ids(wanted) != _nic_ids(existing.properties) and existing.power != "deallocated":
        raise refusal("AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported", existing=existing)
    return require_nics(subscription, identity, wanted)


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
