"""Microsoft.Compute/virtualMachines: made, powered on and off, changed, deleted with what is theirs.

A machine's operating system starts part-way through the VM's creation, as on Azure, where SSH may answer before the
operation has succeeded. `osProfile.customData` is never returned.
"""

from __future__ import annotations

import re
from typing import ClassVar

from crdbmesh_simulator.azure import faults, nics, public_ips, quotas, regions, vm_changes, vm_rules
from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, Tracking, accepted
from crdbmesh_simulator.azure.disks import Disks, timestamp
from crdbmesh_simulator.azure.errors import ArmError, Body, invalid_parameter
from crdbmesh_simulator.azure.kinds import Identity, Kind, find_group, open_group, page
from crdbmesh_simulator.azure.operations import Operation
from crdbmesh_simulator.azure.state import Resource, Subscription
from crdbmesh_simulator.azure.vm_parts import draw_mac, kept, merge, new_machine, nics_of, storage_profile
from crdbmesh_simulator.azure.vm_view import instance_view

_BOOTS_AT = 0.6
"""Of the creation's duration; the rest is Azure waiting for the agent's report."""

_FAILS_AT = 0.5
_HALTS_AT = 0.4
_RESERVED_S = 180.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?<![-.])")

DISKS = Disks()
INTERFACES = nics.Interfaces()
ADDRESSES = public_ips.PublicAddresses()


class VirtualMachines(Kind):
    """Virtual machines."""

    type: ClassVar[str] = "Microsoft.Compute/virtualMachines"
    tracking: ClassVar[Tracking] = COMPUTE

    def get(self, call: Call) -> Answer:
        """The VM; with `$expand` its run-time view, or its user data, too."""
        answer = super().get(call)
        resource = self.require(call)
        expanded = call.query.get("$expand", "").lower()
        if "instanceview" in expanded:
            answer.body["properties"]["instanceView"] = instance_view(call.subscription, resource)
        if "userdata" in expanded and resource.user_data:
            answer.body["properties"]["userData"] = resource.user_data
        return answer

    def list_all(self, call: Call) -> Answer:
        """The VMs of a group, of a region or of the subscription, with their run-time view when it is asked for."""
        subscription = call.subscription
        group = find_group(subscription, call.names["group"]).name if "group" in call.names else None
        vms = subscription.of_type(self.type, group)
        if "location" in call.names:
            vms = [vm for vm in vms if vm.location == regions.normal(call.names["location"])]
        if text := call.query.get("$filter", ""):
            if "virtualmachinescaleset/id" not in text.lower():
                raise ArmError(400, "BadRequest", f"The filter '{text}' is not supported.", target="$filter")
            vms = []
        entries = [self.render(call, vm) for vm in vms]
        if call.flag("statusOnly") or "instanceview" in call.query.get("$expand", "").lower():
            for entry, vm in zip(entries, vms, strict=True):
                entry["properties"]["instanceView"] = instance_view(subscription, vm)
        return page(call, entries)

    def view(self, call: Call) -> Answer:
        """`GET .../instanceView`."""
        return Answer(200, instance_view(call.subscription, self.require(call)))

    def require_name(self, name: str) -> None:
        """Refuse a name that no Linux machine may have."""
        if not _NAME.fullmatch(name):
            raise invalid_parameter(
                "The entity name 'vmName' is invalid according to its validation rule: "
                r"^[^_\W][\w-._]{0,63}(?<![-.])$.",
                "vmName",
            )

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create a VM, or change what may be changed."""
        if existing is not None:
            return self._change(call, identity, body, existing)
        checked = vm_rules.require_new(call, identity, body)
        subscription = call.subscription
        given = body["properties"]
        disk = self._make_disk(call, identity, given, checked)
        properties = kept(given)
        properties["provisioningState"] = "Creating"
        properties["vmId"] = subscription.guid()
        properties["timeCreated"] = timestamp(subscription.now)
        properties["storageProfile"] = storage_profile(given, checked, disk)
        properties["hardwareProfile"]["vmSize"] = checked.size.name
        stored: Body = {"properties": properties, **({"tags": body["tags"]} if "tags" in body else {})}
        stored.update({"zones": checked.zones} if checked.zones else {})
        resource = self.commit(subscription, identity, stored, None)
        resource.power = "creating"
        resource.user_data = given.get("userData", "")
        resource.machine = new_machine(identity, given, checked, int(disk.properties["diskSizeGB"]))
        operation = self._begin_creation(subscription, resource)
        return accepted(call, operation, 201, self.render(call, resource))

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a VM, and the disk, NICs and addresses that go with it; a running creation is preempted."""
        subscription = call.subscription
        running = subscription.operations.holding(resource.id)
        if running is not None:
            preempted = ArmError(
                409, "OperationPreempted", "The operation has been preempted by a more recent operation."
            )
            subscription.operations.fail(running, preempted, subscription.now)
        forced = call.flag("forceDeletion")
        resource.state = "Deleting"
        self.touch(subscription, resource)
        resource.deletion = subscription.start(
            "DeleteVirtualMachine",
            self.tracking,
            resource.id,
            resource.location,
            lambda: self.vanish(subscription, resource),
            stages=[(_HALTS_AT, lambda: self._halt(subscription, resource))],
            latency="ForceDeleteVirtualMachine" if forced else None,
        )
        return accepted(call, resource.deletion, 202, None)

    def vanish(self, subscription: Subscription, resource: Resource) -> None:
        """The VM is gone, and with it what was to go with it."""
        self._halt(subscription, resource)
        super().vanish(subscription, resource)
        disk_profile = resource.properties["storageProfile"]["osDisk"]
        disk = subscription.find(disk_profile["managedDisk"]["id"])
        if disk is not None and disk_profile["deleteOption"] == "Delete":
            DISKS.vanish(subscription, disk)
        elif disk is not None:
            DISKS.detach(subscription, disk)
        for reference in resource.properties["networkProfile"]["networkInterfaces"]:
            nic = subscription.find(reference["id"])
            if nic is None:
                continue
            nic.properties.pop("macAddress", None)
            if reference.get("properties", {}).get("deleteOption") == "Delete":
                _remove_nic(subscription, nic)

    def power_off(self, call: Call) -> Answer:
        """Stop the machine; it keeps its place."""
        return self._power(call, "StopVirtualMachine", "stopping", "stopped", halts=True, boots=False)

    def deallocate(self, call: Call) -> Answer:
        """Stop the machine and give up its place."""
        return self._power(call, "DeallocateVirtualMachine", "deallocating", "deallocated", halts=True, boots=False)

    def start(self, call: Call) -> Answer:
        """Start the machine."""
        return self._power(call, "StartVirtualMachine", "starting", "running", halts=False, boots=True)

    def restart(self, call: Call) -> Answer:
        """Stop and start the machine."""
        return self._power(call, "RestartVirtualMachine", "stopping", "running", halts=True, boots=True)

    def require_idle(self, call: Call, resource: Resource) -> None:
        """One operation at a time."""
        if call.subscription.operations.holding(resource.id) is not None:
            raise ArmError(
                409,
                "Conflict",
                "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
                "https://aka.ms/activitylog to get more details on the conflicting requests.",
            )

    def _begin_creation(self, subscription: Subscription, resource: Resource) -> Operation:
        def fail_without_room() -> None:
            error = faults.no_room(subscription, resource)
            if error is None:
                return
            resource.state = "Failed"
            resource.power = "stopped"
            for nic in nics_of(subscription, resource):
                nic.reserved = (resource.id, subscription.now + _RESERVED_S)
            raise error

        def boot() -> None:
            self._boot(subscription, resource)

        def done() -> None:
            resource.state = "Succeeded"
            self.touch(subscription, resource)

        return subscription.start(
            "CreateVirtualMachine",
            self.tracking,
            resource.id,
            resource.location,
            done,
            stages=[(_FAILS_AT, fail_without_room), (_BOOTS_AT, boot)],
        )

    def _change(self, call: Call, identity: Identity, body: Body, existing: Resource) -> Answer:
        subscription = call.subscription
        vm_changes.require_change(call, existing, body)
        given = body.get("properties", {})
        existing.user_data = given.get("userData", existing.user_data)
        size = vm_rules.require_size({**existing.properties, **given})
        resized = size.name != existing.properties["hardwareProfile"]["vmSize"]
        if resized:
            vm_rules.require_offered(subscription, identity, size, existing.body.get("zones", []))
            quotas.require_cores(subscription, existing.location, size, existing)
        if "networkProfile" in given:
            self._require_same_nics(call, existing, given)
        fixed = ("storageProfile", "osProfile", "userData")
        properties = merge(existing.properties, {name: value for name, value in given.items() if name not in fixed})
        for option in ("deleteOption", "caching"):
            if option in given.get("storageProfile", {}).get("osDisk", {}):
                properties["storageProfile"]["osDisk"][option] = given["storageProfile"]["osDisk"][option]
        properties["hardwareProfile"]["vmSize"] = size.name
        properties["provisioningState"] = "Updating"
        stored = {**{name: value for name, value in existing.body.items() if name in ("zones", "tags")}}
        stored.update({"tags": body["tags"]} if "tags" in body else {})
        resource = self.commit(subscription, identity, {**stored, "properties": properties}, existing)
        machine = resource.machine
        if resized and machine is not None:
            machine.size, machine.vcpus, machine.memory_gib = size.name, size.vcpus, size.memory_gib
        if machine is not None and not machine.booted_at:
            # Its creation failed; writing it again is another try.
            operation = self._begin_creation(subscription, resource)
            return accepted(call, operation, 200, self.render(call, resource))

        def done() -> None:
            resource.state = "Succeeded"
            self.touch(subscription, resource)

        running = resource.power == "running"
        stages = [
            (0.2, lambda: self._halt(subscription, resource)),
            (0.6, lambda: self._boot(subscription, resource)),
        ]
        operation = subscription.start(
            "UpdateVirtualMachine",
            self.tracking,
            resource.id,
            resource.location,
            done,
            stages=stages if resized and running else [],
            latency="RestartVirtualMachine" if resized else None,
        )
        return accepted(call, operation, 200, self.render(call, resource))

    def _require_same_nics(self, call: Call, existing: Resource, given: Body) -> None:
        present = {reference["id"].lower() for reference in existing.properties["networkProfile"]["networkInterfaces"]}
        wanted = {
            str(reference.get("id", "")).lower() for reference in given["networkProfile"].get("networkInterfaces", [])
        }
        if wanted == present:
            return
        call.subscription.world.not_known("arm", "another set of network interfaces for an existing virtual machine")
        raise ArmError(501, "NotImplemented", "Network interfaces of a VM cannot be changed here.")

    def _power(self, call: Call, kind: str, during: str, after: str, *, halts: bool, boots: bool) -> Answer:
        subscription = call.subscription
        open_group(subscription, call.names["group"])
        resource = self.require(call)
        self.require_idle(call, resource)
        if boots and halts and resource.power != "running":
            verb = kind.removesuffix("VirtualMachine").lower()
            raise ArmError(
                409, "OperationNotAllowed", f"The VM '{resource.name}' cannot be {verb}ed because it is not running."
            )
        resource.state = "Updating"
        resource.power = during

        def halt() -> None:
            if halts:
                self._halt(subscription, resource)
            resource.power = during

        def boot() -> None:
            if boots:
                self._boot(subscription, resource)

        def done() -> None:
            resource.state = "Succeeded"
            resource.power = after
            disk = subscription.find(resource.properties["storageProfile"]["osDisk"]["managedDisk"]["id"])
            if disk is not None:
                DISKS.set_state(disk, "Reserved" if after == "deallocated" else "Attached")

        operation = subscription.start(
            kind, self.tracking, resource.id, resource.location, done, stages=[(0.3, halt), (0.6, boot)]
        )
        return accepted(call, operation, 202, None)

    def _boot(self, subscription: Subscription, resource: Resource) -> None:
        if resource.machine is None or resource.machine.key in subscription.world.machines:
            return
        resource.power = "running"
        for nic in nics_of(subscription, resource):
            nic.properties.setdefault("macAddress", draw_mac(subscription))
        subscription.power_on(resource.machine, subscription.now)

    def _halt(self, subscription: Subscription, resource: Resource) -> None:
        resource.power = "stopped"
        if resource.machine is not None:
            subscription.power_off(resource.machine)

    def _make_disk(self, call: Call, identity: Identity, given: Body, checked: vm_rules.Accepted) -> Resource:
        profile = given["storageProfile"].get("osDisk", {})
        tail = call.subscription.guid().replace("-", "")
        return DISKS.create(
            call,
            identity,
            profile.get("name") or f"{identity.name}_OsDisk_1_{tail}",
            image=checked.image,
            size_gib=profile.get("diskSizeGB", checked.image.disk_gib),
            sku=profile.get("managedDisk", {}).get("storageAccountType", "Premium_LRS"),
            zones=checked.zones,
        )


def _remove_nic(subscription: Subscription, nic: Resource) -> None:
    INTERFACES.vanish(subscription, nic)
    for configuration in nic.properties["ipConfigurations"]:
        reference = configuration["properties"].get("publicIPAddress", {})
        address = subscription.find(str(reference.get("id", "")))
        if address is None:
            continue
        own_option = address.properties.get("deleteOption")
        if reference.get("properties", {}).get("deleteOption", own_option) == "Delete":
            ADDRESSES.vanish(subscription, address)
