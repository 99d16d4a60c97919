"""A VM's data disks: made empty or attached by a PUT of the VM, and detached by one that leaves them out.

Azure keeps what is on them; machines here mount none of them.
"""

from __future__ import annotations

from crdbmesh_simulator.azure.call import Call
from crdbmesh_simulator.azure.disks import DISKS
from crdbmesh_simulator.azure.errors import ArmError, Body, invalid_parameter
from crdbmesh_simulator.azure.kinds import Identity
from crdbmesh_simulator.azure.sizes import Size
from crdbmesh_simulator.azure.state import Resource, Subscription


def require(call: Call, identity: Identity, size: Size, given: list[Body], present: list[Body]) -> None:
    """Refuse data disks that cannot be.

    Args:
        call: the PUT of the VM.
        identity: of the VM.
        size: of the VM.
        given: the storage profile's `dataDisks` as they are asked for.
        present: those that the VM has.

    Raises:
        ArmError: 400, 404 or 409; 501, this world does not know it.
    """
    numbers = [entry["lun"] for entry in given]
    if len(set(numbers)) < len(numbers):
        raise invalid_parameter("The value of parameter dataDisk.lun is used more than once.", "dataDisk.lun")
    if len(given) > size.data_disks:
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"The maximum number of data disks allowed to be attached to a VM of this size is {size.data_disks}.",
            target="dataDisks",
        )
    for entry in given:
        if _same(entry, present) is not None:
            continue
        if entry["createOption"] == "Empty":
            if not entry.get("diskSizeGB"):
                raise invalid_parameter("Required parameter 'diskSizeGB' is missing (null).", "dataDisk.diskSizeGB")
            DISKS.require_free_name(call.subscription, identity, entry.get("name", ""))
        elif entry["createOption"] == "Attach":
            _require_unattached(call.subscription, entry)
        else:
            call.subscription.world.not_known("arm", f"a data disk by {entry['createOption']}")
            raise ArmError(501, "NotImplemented", "Data disks are made empty or attached here.")


def apply(call: Call, identity: Identity, given: list[Body], present: list[Body], zones: list[str]) -> list[Body]:
    """Make, attach and detach disks; return the storage profile's `dataDisks` as Azure shows them."""
    subscription = call.subscription
    shown: list[Body] = []
    for entry in given:
        old = _same(entry, present)
        if old is not None:
            shown.append(old | {name: entry[name] for name in ("caching", "deleteOption") if name in entry})
            continue
        disk = _find(subscription, entry) if entry["createOption"] == "Attach" else None
        sku = entry.get("managedDisk", {}).get("storageAccountType", "Premium_LRS")
        if disk is None:
            name = entry.get("name") or f"{identity.name}_disk{entry['lun'] + 2}_{subscription.guid().replace('-', '')}"
            disk = DISKS.create(call, identity, name, size_gib=entry["diskSizeGB"], sku=sku, zones=zones)
        else:
            DISKS.attach(subscription, disk, identity.id)
        shown.append(
            {
                "caching": "None",
                "deleteOption": "Detach",
                **entry,
                "name": disk.name,
                "diskSizeGB": disk.properties["diskSizeGB"],
                "toBeDetached": False,
                "managedDisk": {"storageAccountType": disk.body["sku"]["name"], "id": disk.id},
            }
        )
    kept = {entry["managedDisk"]["id"].lower() for entry in shown}
    for entry in present:
        if entry["managedDisk"]["id"].lower() not in kept:
            DISKS.let_go(subscription, _find(subscription, entry), "Detach")
    return shown


def let_go(subscription: Subscription, present: list[Body]) -> None:
    """The VM is gone: each data disk goes with it or stays, as its `deleteOption` says."""
    for entry in present:
        DISKS.let_go(subscription, _find(subscription, entry), entry["deleteOption"])


def _find(subscription: Subscription, entry: Body) -> Resource | None:
    return subscription.find(str(entry.get("managedDisk", {}).get("id") or ""))


def _same(entry: Body, present: list[Body]) -> Body | None:
    """The disk of this number and, where they are given, this name and id, that the VM has; or None."""
    named = str(entry.get("name") or "").lower(), str(entry.get("managedDisk", {}).get("id") or "").lower()
    for old in present:
        names = old["name"].lower(), old["managedDisk"]["id"].lower()
        if old["lun"] == entry["lun"] and all(not one or one == other for one, other in zip(named, names, strict=True)):
            return old
    return None


def _require_unattached(subscription: Subscription, entry: Body) -> None:
    disk = _find(subscription, entry)
    if disk is None or disk.type != DISKS.type:
        raise ArmError(404, "NotFound", f"Disk {entry.get('managedDisk', {}).get('id')} is not found.")
    if owner := disk.body.get("managedBy"):
        raise ArmError(
            409,
            "ConflictingUserInput",
            f"Disk '{disk.id}' cannot be attached as the disk is already owned by VM '{owner}'.",
        )
