"""Microsoft.Compute/disks: the managed disks that VMs are made with."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from crdbmesh_simulator.azure import images
from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, Tracking, not_here
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.etags import touch
from crdbmesh_simulator.azure.kinds import Identity, Kind
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
        image: images.Image | None = None,
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
            source = f"{publisher}/Publishers/{images.PUBLISHER}/ArtifactTypes/VMImage/{offer}"
            properties = {
                "osType": "Linux",
                "hyperVGeneration": image.generation,
                "supportedCapabilities": {"architecture": "Arm64" if image.arm64 else "x64"},
                "creationData": {"createOption": "FromImage", "imageReference": {"id": source}},
            }
        properties |= {
            "diskSizeGB": size_gib,
            "diskSizeBytes": size_gib * 1024**3,
            "diskState": "Attached",
            "timeCreated": timestamp(subscription.now),
            "uniqueId": subscription.guid(),
            "provisioningState": "Succeeded",
            "encryption": {"type": "EncryptionAtRestWithPlatformKey"},
            "networkAccessPolicy": "AllowAll",
            "publicNetworkAccess": "Enabled",
        }
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
