"""Microsoft.Compute/disks: the managed disks of VMs.

A VM's OS disk is made with it. Its data disks are made empty or attached by a PUT of the VM, and detached by one that
leaves them out; Azure keeps what is on them, and machines here mount none of them.
"""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from crdbmesh_simulator.azure import errors, sizes
from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, Tracking, not_here
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import Identity, Kind
from crdbmesh_simulator.azure.sizes import Size
from crdbmesh_simulator.azure.state import Resource, Subscription
from crdbmesh_simulator.world import Disk


class Disks(Kind):
    """Managed disks."""

    type: ClassVar[str] = "Microsoft.Compute/disks"
    tracking: ClassVar[Tracking] = COMPUTE

    def put(self, call: Call) -> Answer:
        """Refuse: here disks are made by VMs only."""
        return self.write(call)

    def write(self, call: Call, *_: object) -> Answer:
        """Refuse, and record that somebody asked."""
        raise not_here(call, "PUT of a managed disk")

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a disk that is attached to nothing."""
        owner = resource.body.get("managedBy")
        if owner:
            raise refusal("OperationNotAllowed, disk attached", resource=resource, owner=owner, target="disk")
        return self.begin_deletion(call, resource, "DeleteDisk")

    def create(
        self,
        call: Call,
        vm: Identity,
        name: str,
        *,
        size_gib: int,
        sku: str,
        zones: list[str],
        image: sizes.Image | None = None,
    ) -> Resource:
        """A disk of a VM, attached to it: its OS disk, made from an image, or an empty one.

        Raises ArmError: 409, there is a disk of this name.
        """
        subscription = call.subscription
        self.require_free_name(subscription, vm, name)
        identity = Identity(self.identify(subscription, vm.group, name), self.type, name, vm.group, vm.location)
        properties: Body = {"creationData": {"createOption": "Empty"}}
        if image is not None:
            offer = f"Offers/{image.offer}/Skus/{image.sku}/Versions/{image.version}"
            publisher = f"/subscriptions/{subscription.id}/Providers/Microsoft.Compute/Locations/{vm.location}"
            source = f"{publisher}/Publishers/{sizes.PUBLISHER}/ArtifactTypes/VMImage/{offer}"
            properties = {
                "osType": "Linux",
                "hyperVGeneration": image.generation,
                "supportedCapabilities": {"architecture": "Arm64" if image.arm64 else "x64"},
                "creationData": {"createOption": "FromImage", "imageReference": {"id": source}},
            }
        now, guid = timestamp(subscription.now), subscription.guid()
        properties |= errors.body("disk", gib=size_gib, bytes=size_gib * 1024**3, now=now, guid=guid)
        body: Body = {
            "managedBy": vm.id,
            "sku": {"name": sku, "tier": "Premium" if sku.startswith("Premium") else "Standard"},
            "properties": properties,
        }
        if zones:
            body["zones"] = zones
        resource = self.commit(subscription, identity, {}, body, None)
        resource.disk = Disk(gib=size_gib)
        return resource

    def require_free_name(self, subscription: Subscription, vm: Identity, name: str) -> None:
        """Refuse to make a disk of a VM when its group has one of this name. Raises ArmError: 409."""
        existing = self.find(subscription, vm.group, name) if name else None
        if existing is not None:
            raise refusal(
                "ConflictingUserInput, name",
                name=name,
                group=vm.group.upper(),
                target=f"/subscriptions/{subscription.id}/resourceGroups/{vm.group}/providers/{self.type}/{name}",
            )

    def let_go(self, subscription: Subscription, disk: Resource | None, option: str) -> None:
        """A disk's VM is gone, or has it no more: it goes too, or stays with what is on it, as `deleteOption` says."""
        if disk is not None and option == "Delete":
            self.vanish(subscription, disk)
        elif disk is not None:
            self.detach(subscription, disk)

    def attach(self, subscription: Subscription, disk: Resource, vm_id: str) -> None:
        """A VM has the disk from now on."""
        disk.body["managedBy"] = vm_id
        disk.properties["diskState"] = "Attached"
        touch(subscription, disk)

    def detach(self, subscription: Subscription, disk: Resource) -> None:
        """No VM has the disk any more; what is on it stays."""
        disk.body.pop("managedBy", None)
        disk.properties["diskState"] = "Unattached"
        touch(subscription, disk)


DISKS = Disks()


def timestamp(at: float) -> str:
    """A time as Azure writes it."""
    return dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat()


def require_data_disks(call: Call, identity: Identity, size: Size, given: list[Body], present: list[Body]) -> None:
    """Refuse data disks that cannot be.

    `call`: the PUT of the VM. `identity`: of the VM. `size`: of the VM. `given`: the storage profile's `dataDisks` as
    they are asked for. `present`: those that the VM has. Raises ArmError: 400, 404 or 409; 501, this world does not
    know it.
    """
    numbers = [entry["lun"] for entry in given]
    if len(set(numbers)) < len(numbers):
        raise refusal("InvalidParameter, lun", target="dataDisk.lun")
    if len(given) > size.data_disks:
        raise refusal("OperationNotAllowed, data disks", size=size, target="dataDisks")
    for entry in given:
        if _same_disk(entry, present) is not None:
            continue
        if entry["createOption"] == "Empty":
            if not entry.get("diskSizeGB"):
                raise refusal("InvalidParameter, missing", name="diskSizeGB", target="dataDisk.diskSizeGB")
            DISKS.require_free_name(call.subscription, identity, entry.get("name", ""))
        elif entry["createOption"] == "Attach":
            _require_unattached(call.subscription, entry)
        else:
            raise not_here(call, f"a data disk by {entry['createOption']}")


def apply_data_disks(
    call: Call, identity: Identity, given: list[Body], present: list[Body], zones: list[str]
) -> list[Body]:
    """Make, attach and detach disks; return the storage profile's `dataDisks` as Azure shows them."""
    subscription = call.subscription
    shown: list[Body] = []
    for entry in given:
        old = _same_disk(entry, present)
        if old is not None:
            shown.append(old | {name: entry[name] for name in ("caching", "deleteOption") if name in entry})
            continue
        disk = _find_disk(subscription, entry) if entry["createOption"] == "Attach" else None
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
            DISKS.let_go(subscription, _find_disk(subscription, entry), "Detach")
    return shown


def let_data_disks_go(subscription: Subscription, present: list[Body]) -> None:
    """The VM is gone: each data disk goes with it or stays, as its `deleteOption` says."""
    for entry in present:
        DISKS.let_go(subscription, _find_disk(subscription, entry), entry["deleteOption"])


def _find_disk(subscription: Subscription, entry: Body) -> Resource | None:
    return subscription.find(str(entry.get("managedDisk", {}).get("id") or ""))


def _same_disk(entry: Body, present: list[Body]) -> Body | None:
    """The disk of this number and, where they are given, this name and id, that the VM has; or None."""
    named = str(entry.get("name") or "").lower(), str(entry.get("managedDisk", {}).get("id") or "").lower()
    for old in present:
        names = old["name"].lower(), old["managedDisk"]["id"].lower()
        if old["lun"] == entry["lun"] and all(not one or one == other for one, other in zip(named, names, strict=True)):
            return old
    return None


def _require_unattached(subscription: Subscription, entry: Body) -> None:
    disk = _find_disk(subscription, entry)
    if disk is None or disk.type != DISKS.type:
        raise refusal("NotFound, disk", disk=entry.get("managedDisk", {}).get("id"))
    if owner := disk.body.get("managedBy"):
        raise refusal("ConflictingUserInput, attached", disk=disk, owner=owner)
