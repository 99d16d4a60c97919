"""Microsoft.Compute/disks: managed disks, empty ones and those of VMs.

A VM's OS disk is made with it. Its data disks are made empty or attached by a PUT of the VM, and detached by one that
leaves them out; what is on them is the disk's, whatever VM has it. Limits of Premium SSD v2, and what grows while its
VM runs: learn.microsoft.com, "Azure managed disk types" and "Expand virtual hard disks on a Linux VM".
"""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from crdbmesh_simulator.azure import errors, nics, schemas, sizes
from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, Tracking, accepted, not_here
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import Identity, Kind, open_group, require_tags, succeed
from crdbmesh_simulator.azure.sizes import Size
from crdbmesh_simulator.azure.state import Resource, Subscription
from crdbmesh_simulator.world import Disk


class Disks(Kind):
    """Managed disks."""

    type: ClassVar[str] = "Microsoft.Compute/disks"
    tracking: ClassVar[Tracking] = COMPUTE

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create an empty disk, or change what may be changed."""
        if existing is not None:
            return self._change(call, existing, body)
        given, sku = body.get("properties", {}), body.get("sku", {}).get("name", "Standard_LRS")
        if given.get("creationData", {}).get("createOption") != "Empty":
            raise not_here(call, "PUT of a managed disk that is not empty")
        if not given.get("diskSizeGB"):
            raise refusal("InvalidParameter, missing", name="diskSizeGB", target="disk.diskSizeGB")
        zones = nics.require_zones(identity, body.get("zones")) or []
        gib, shown = given["diskSizeGB"], {name: given[name] for name in ("diskSizeGB", *_ACCESS) if name in given}
        shown |= _performance(sku, gib, given, {})
        return self._begin(call, self._make(call.subscription, identity, sku, zones, shown, body))

    def patch(self, call: Call) -> Answer:
        """Change what the body names."""
        open_group(call.subscription, call.names["group"])
        resource = self.require(call)
        self.require_idle(call, resource)
        body = schemas.accept(f"{self.schema}.update", call.body())
        require_tags(body.get("tags"))
        return self._change(call, resource, body)

    def _change(self, call: Call, existing: Resource, body: Body) -> Answer:
        given, shown = body.get("properties", {}), existing.properties
        sku, old = existing.body["sku"]["name"], shown["diskSizeGB"]
        if (
            body.get("sku", {}).get("name", sku) != sku
            or body.get("zones", zones := existing.body.get("zones")) != zones
        ):
            raise not_here(call, "another type or zone of a managed disk")
        gib = given.get("diskSizeGB", old)
        if gib < old:
            raise refusal("OperationNotAllowed, smaller disk", disk=existing, old=old, new=gib)
        vm = call.subscription.find(str(existing.body.get("managedBy", "")))
        is_offline = "osType" in shown or (sku != V2 and old <= _ONLINE_GIB < gib)
        if is_offline and gib != old and vm is not None and vm.power != "deallocated":
            raise refusal("OperationNotAllowed, disk of running VM", disk=existing, vm=vm)
        speed = _performance(sku, gib, given, shown)
        if speed and speed != {name: shown.get(name) for name in speed}:
            now = call.subscription.now
            existing.changes = [at for at in existing.changes if at > now - _DAY_S]
            if len(existing.changes) >= _CHANGES_A_DAY:
                raise refusal("OperationNotAllowed, disk performance", disk=existing)
            existing.changes.append(now)
        shown |= {"diskSizeGB": gib, "diskSizeBytes": gib * 1024**3, **speed}
        shown |= {name: given[name] for name in _ACCESS if name in given}
        if "tags" in body:
            existing.body["tags"] = dict(body["tags"])
        if not given:
            touch(call.subscription, existing)
            return Answer(200, self.render(call, existing))
        if existing.disk is not None:
            existing.disk.gib = gib
        if vm is not None and gib != old:
            for entry in vm.properties["storageProfile"]["dataDisks"]:
                entry |= {"diskSizeGB": gib} if entry["managedDisk"]["id"].lower() == existing.key else {}
        return self._begin(call, existing)

    def _begin(self, call: Call, resource: Resource) -> Answer:
        subscription = call.subscription
        resource.state = "Updating"
        operation = subscription.start(
            "CreateOrUpdateDisk", self.tracking, resource.id, resource.location, lambda: succeed(subscription, resource)
        )
        return accepted(call, operation, 202, self.render(call, resource))

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
        properties: Body = {"diskSizeGB": size_gib}
        if image is not None:
            offer = f"Offers/{image.offer}/Skus/{image.sku}/Versions/{image.version}"
            publisher = f"/subscriptions/{subscription.id}/Providers/Microsoft.Compute/Locations/{vm.location}"
            source = f"{publisher}/Publishers/{sizes.PUBLISHER}/ArtifactTypes/VMImage/{offer}"
            properties |= {
                "osType": "Linux",
                "hyperVGeneration": image.generation,
                "supportedCapabilities": {"architecture": "Arm64" if image.arm64 else "x64"},
                "creationData": {"createOption": "FromImage", "imageReference": {"id": source}},
            }
        resource = self._make(subscription, identity, sku, zones, properties, {})
        self.attach(subscription, resource, vm.id)
        return resource

    def _make(
        self, subscription: Subscription, identity: Identity, sku: str, zones: list[str], properties: Body, given: Body
    ) -> Resource:
        now, guid, gib = timestamp(subscription.now), subscription.guid(), properties["diskSizeGB"]
        shown = errors.body("disk", gib=gib, bytes=gib * 1024**3, now=now, guid=guid)
        shown |= {"creationData": {"createOption": "Empty"}, "diskState": "Unattached", **properties}
        body: Body = {"sku": {"name": sku, "tier": "Premium" if sku.startswith("Premium") else "Standard"}}
        body |= {"properties": shown, **({"zones": zones} if zones else {})}
        resource = self.commit(subscription, identity, given, body, None)
        resource.disk = Disk(gib=gib)
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
        disk.body["managedBy"], disk.reserved = vm_id, None
        disk.properties["diskState"] = "Attached"
        touch(subscription, disk)

    def detach(self, subscription: Subscription, disk: Resource) -> None:
        """No VM has the disk any more; what is on it stays."""
        disk.reserved = (str(disk.body.pop("managedBy", "")), subscription.now)
        disk.properties["diskState"] = "Unattached"
        touch(subscription, disk)


DISKS = Disks()
V2 = "PremiumV2_LRS"
_ACCESS = ("networkAccessPolicy", "publicNetworkAccess")
_ONLINE_GIB, _CHANGES_A_DAY, _DAY_S = 4095, 4, 86400.0


def _performance(sku: str, gib: int, given: Body, present: Body) -> Body:
    """The IOPS and throughput of a disk that has them of its own; others have those of their size.

    Raises ArmError: 400, such a disk cannot have them.
    """
    names = ("diskIOPSReadWrite", "diskMBpsReadWrite")
    if sku != V2:
        if any(name in given for name in names):
            raise refusal("InvalidParameter, disk performance", sku=sku, target="disk.diskIOPSReadWrite")
        return {}
    iops, mbps = (int({name: least, **present, **given}[name]) for name, least in zip(names, (3000, 125), strict=True))
    most = min(80000, max(3000, 500 * gib))
    if not 3000 <= iops <= most or not 125 <= mbps <= min(1200, iops // 4):
        raise refusal("InvalidParameter, disk limits", iops=iops, mbps=mbps, most=most, target="disk.diskIOPSReadWrite")
    return dict(zip(names, (iops, mbps), strict=True))


def timestamp(at: float) -> str:
    """A time as Azure writes it."""
    return dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat()


def require_data_disks(
    call: Call, identity: Identity, size: Size, given: list[Body], present: list[Body], zones: list[str]
) -> None:
    """Refuse data disks that cannot be.

    `call`: the PUT of the VM. `identity`: of the VM. `size`: of the VM. `given`: the storage profile's `dataDisks` as
    they are asked for. `present`: those that the VM has. `zones`: of the VM. Raises ArmError: 400, 404 or 409; 501,
    this world does not know it.
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
            _require_attachable(call.subscription, identity, entry, zones)
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


def _require_attachable(subscription: Subscription, identity: Identity, entry: Body, zones: list[str]) -> None:
    disk = _find_disk(subscription, entry)
    if disk is None or disk.type != DISKS.type:
        raise refusal("NotFound, disk", disk=entry.get("managedDisk", {}).get("id"))
    if owner := disk.body.get("managedBy"):
        raise refusal("ConflictingUserInput, attached", disk=disk, owner=owner)
    if disk.reserved is not None and subscription.operations.holding(disk.reserved[0]) is not None:
        raise refusal("AttachDiskWhileBeingDetached", disk=disk, vm=identity.name)
    if disk.location != identity.location:
        raise refusal("NotFound, disk", disk=disk.id)
    if disk.body["sku"]["name"] == V2 and not zones:
        raise refusal("BadRequest, zonal disks", sku=V2)
    if disk.body["sku"]["name"] == V2 and entry.get("caching", "None") != "None":
        raise refusal("BadRequest, caching", disk=disk, caching=entry["caching"])
    if disk.body.get("zones", zones) != zones:
        raise refusal("BadRequest, other zone", disk=disk, vm=identity.name, zone=",".join(zones))


def plugged(subscription: Subscription, shown: list[Body]) -> dict[int, Disk]:
    """What a machine finds of the disks in a storage profile, by LUN."""
    found = {entry["lun"]: _find_disk(subscription, entry) for entry in shown}
    return {lun: disk.disk for lun, disk in found.items() if disk is not None and disk.disk is not None}
