"""A VM's data disks: made empty or attached by a PUT of the VM, and detached by one that leaves them out.

Azure keeps what is on them; machines here mount none of them.
"""

from __future__ import annotations

from crdbmesh_simulator.azure.call import Call, not_here
from crdbmesh_simulator.azure.disks import DISKS
from crdbmesh_simulator.azure.errors import Body, refusal
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
        raise refusal("InvalidParameter, lun", target="dataDisk.lun")
    if len(given) > size.data_disks:
        raise refusal("OperationNotAllowed, data disks", size=size, target="dataDisks")
    for entry in given:
        if _same(entry, present) is not None:
            continue
        if entry["createOption"] == "Empty":
            if not entry.get("diskSizeGB"):
                raise refusal("InvalidParameter, missing", name="diskSizeGB", target="dataDisk.diskSizeGB")
            DISKS.require_free_name(call.subscription, identity, entry.get("name", ""))
        elif entry["createOption"] == "Attach":
            _require_unattached(call.subscription, entry)
        else:
            raise not_here(call, f"a data disk by {entry['createOption']}")


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
        raise refusal("NotFound, disk", disk=entry.get("managedDisk", {}).get("id"))
    if owner := disk.body.get("managedBy"):
        raise refusal("ConflictingUserInput, attached", disk=disk, owner=owner)
