"""Microsoft.Compute/virtualMachines: made, powered on and off, changed, deleted with what is theirs.

A machine's operating system starts part-way through the VM's creation, as on Azure, where SSH may answer before the
operation has succeeded. `osProfile.customData` is never returned.
"""

from __future__ import annotations

import re
from typing import ClassVar

from crdbmesh_simulator.azure import disks, faults, nics, sizes, vm_parts, vm_rules
from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, Tracking, accepted
from crdbmesh_simulator.azure.disks import DISKS, timestamp
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.kinds import Identity, Kind, find_group, open_group, page, succeed
from crdbmesh_simulator.azure.state import Resource, Subscription
from crdbmesh_simulator.azure.vm_parts import instance_view
from crdbmesh_simulator.world import Disk

_BOOTS_AT = 0.6
"""Of the creation's duration; the rest is Azure waiting for the agent's report."""

_FAILS_AT = 0.5
_HALTS_AT = 0.4
_RESERVED_S = 180.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?<![-.])")

_ACTIONS = {
    "powerOff": ("Stop", "stopping", "stopped", True, False),
    "deallocate": ("Deallocate", "deallocating", "deallocated", True, False),
    "start": ("Start", "starting", "running", False, True),
    "restart": ("Restart", "stopping", "running", True, True),
}
"""By the action: operation, power state during it and after it, whether the machine halts, whether it boots."""

INTERFACES = nics.Interfaces()
ADDRESSES = nics.PublicAddresses()


class VirtualMachines(Kind):
    """Virtual machines."""

    type: ClassVar[str] = "Microsoft.Compute/virtualMachines"
    tracking: ClassVar[Tracking] = COMPUTE

    def get(self, call: Call) -> Answer:
        """The VM; with `$expand=instanceView` its run-time view too."""
        answer = super().get(call)
        if "instanceview" in call.query.get("$expand", "").lower():
            answer.body["properties"]["instanceView"] = instance_view(call.subscription, self.require(call))
        return answer

    def list_all(self, call: Call) -> Answer:
        """The VMs of a group or of the subscription; `statusOnly=true` shows the run-time view of all of them.

        `$expand=instanceView` is for lists that are filtered by a scale set only, and there is none here.
        """
        subscription = call.subscription
        group = find_group(subscription, call.names["group"]).name if "group" in call.names else None
        vms = subscription.of_type(self.type, group)
        entries = [self.render(call, vm) for vm in vms]
        return page(call, entries)

    def render(self, call: Call, resource: Resource) -> Body:
        """The VM, with its extensions."""
        body = super().render(call, resource)
        return body | ({"resources": list(resource.extensions.values())} if resource.extensions else {})

    def view(self, call: Call) -> Answer:
        """`GET .../instanceView`."""
        return Answer(200, instance_view(call.subscription, self.require(call)))

    def require_name(self, name: str) -> None:
        """Refuse a name that no Linux machine may have."""
        if not _NAME.fullmatch(name):
            raise refusal("InvalidParameter, VM name", target="vmName")

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create a VM, or change what may be changed."""
        if existing is not None:
            return self._change(call, identity, body, existing)
        checked = vm_rules.require_new(call, identity, body)
        subscription = call.subscription
        given = body["properties"]
        disk = self._make_disk(call, identity, given, checked)
        properties = vm_parts.kept(given)
        properties["provisioningState"] = "Creating"
        properties["vmId"] = subscription.guid()
        properties["timeCreated"] = timestamp(subscription.now)
        data = disks.apply_data_disks(call, identity, given["storageProfile"].get("dataDisks", []), [], checked.zones)
        properties["storageProfile"] = vm_parts.storage_profile(given, checked, disk, data)
        properties["hardwareProfile"]["vmSize"] = checked.size.name
        stored: Body = {"properties": properties, **vm_parts.identity_of(subscription, body.get("identity"), None)}
        stored |= {"zones": checked.zones} if checked.zones else {}
        resource = self.commit(subscription, identity, body, stored, None)
        resource.power, resource.fault_domain = "creating", checked.fault_domain
        resource.machine = vm_parts.new_machine(identity, given, checked, disk.disk or Disk())
        resource.machine.data = disks.plugged(subscription, data)
        resource.machine.nvme = properties["storageProfile"]["diskControllerType"] == "NVMe"
        return self._begin_creation(call, resource, None)

    def patch(self, call: Call) -> Answer:
        """Change what the body names, and leave the rest as it is."""
        open_group(call.subscription, call.names["group"])
        resource = self.require(call)
        body = call.body()
        shared = ("location", "tags", "zones", "identity")
        merged: Body = {name: resource.body[name] for name in shared if name in resource.body} | body
        merged["properties"] = vm_parts.merge(resource.properties, body.get("properties") or {})
        call.content = merged
        return self.put(call)

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a VM, and the disk, NICs and addresses that go with it; a running creation is preempted."""
        subscription = call.subscription
        running = subscription.operations.holding(resource.id)
        if running is not None:
            preempted = refusal("OperationPreempted")
            subscription.operations.fail(running, preempted, subscription.now)
        return self.begin_deletion(
            call,
            resource,
            "DeleteVirtualMachine",
            stages=[(_HALTS_AT, lambda: self._halt(subscription, resource))],
            latency="ForceDeleteVirtualMachine" if call.flag("forceDeletion") else None,
        )

    def vanish(self, subscription: Subscription, resource: Resource) -> None:
        """The VM is gone, and with it what was to go with it."""
        self._halt(subscription, resource)
        super().vanish(subscription, resource)
        profile = resource.properties["storageProfile"]
        os_disk = subscription.find(profile["osDisk"]["managedDisk"]["id"])
        DISKS.let_go(subscription, os_disk, profile["osDisk"]["deleteOption"])
        disks.let_data_disks_go(subscription, profile["dataDisks"])
        for reference in resource.properties["networkProfile"]["networkInterfaces"]:
            nic = subscription.find(reference["id"])
            if nic is None:
                continue
            nic.properties.pop("macAddress", None)
            if reference.get("properties", {}).get("deleteOption") == "Delete":
                _remove_nic(subscription, nic)

    def require_idle(self, call: Call, resource: Resource) -> None:
        """One operation at a time, and none but the deletion once that has begun."""
        if resource.deletion is not None:
            raise refusal("OperationNotAllowed, marked for deletion", resource=resource)
        if call.subscription.operations.holding(resource.id) is not None:
            raise refusal("Conflict")

    def _begin_creation(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        subscription = call.subscription

        def fail_midway() -> None:
            error = faults.no_room(subscription, resource)
            for nic in vm_parts.nics_of(subscription, resource) if error is not None else []:
                nic.reserved = (resource.id, subscription.now + _RESERVED_S)
            if (error := error or faults.preempted(subscription, resource)) is not None:
                resource.state, resource.power = "Failed", "stopped"
                raise error

        def done() -> None:
            succeed(subscription, resource)
            if (error := faults.not_provisioned_in_time(subscription, resource)) is not None:
                resource.state = "Failed"
                raise error

        stages = [(_FAILS_AT, fail_midway), (_BOOTS_AT, lambda: self._boot(subscription, resource))]
        return self.begin(call, "CreateVirtualMachine", resource, existing, done, stages=stages)

    def _change(self, call: Call, identity: Identity, body: Body, existing: Resource) -> Answer:
        subscription = call.subscription
        vm_rules.require_change(call, existing, body)
        given = body.get("properties", {})
        size = vm_rules.require_size({**existing.properties, **given})
        resized = size.name != existing.properties["hardwareProfile"]["vmSize"]
        if resized:
            vm_rules.require_offered(subscription, identity, size, existing.body.get("zones", []))
            sizes.require_cores(subscription, existing.location, size, existing)
            faults.require_in_cluster(subscription, existing, size.name)
        nic = vm_rules.require_changed_nics(subscription, identity, existing, given)
        data, present = (
            given.get("storageProfile", {}).get("dataDisks", []),
            existing.properties["storageProfile"]["dataDisks"],
        )
        zones = existing.body.get("zones", [])
        disks.require_data_disks(call, identity, size, data, present, zones)
        properties = vm_parts.replaced(existing, given, size.name)
        properties["storageProfile"]["dataDisks"] = disks.apply_data_disks(call, identity, data, present, zones)
        properties["provisioningState"] = "Updating"
        stored = {**vm_parts.identity_of(subscription, body.get("identity"), existing.body.get("identity"))}
        stored |= {"properties": properties, **({"zones": zones} if zones else {})}
        resource = self.commit(subscription, identity, body, stored, existing)
        machine = resource.machine
        if machine is not None:
            machine.nic_id = nic.id
            machine.data = disks.plugged(subscription, properties["storageProfile"]["dataDisks"])
            if machine.os is not None:
                machine.os.devices.refresh()
            if resized:
                machine.size, machine.vcpus, machine.memory_gib = size.name, size.vcpus, size.memory_gib
            if not machine.booted_at:
                # Its creation failed; writing it again is another try.
                return self._begin_creation(call, resource, existing)
        stages = [(0.2, lambda: self._halt(subscription, resource)), (0.6, lambda: self._boot(subscription, resource))]
        restarts = resized and resource.power == "running"
        return self.begin(
            call,
            "UpdateVirtualMachine",
            resource,
            existing,
            stages=stages if restarts else [],
            latency="RestartVirtualMachine" if resized else None,
        )

    def power(self, action: str, call: Call) -> Answer:
        """`powerOff` (the machine keeps its place), `deallocate`, `start` or `restart`."""
        kind, during, after, halts, boots = _ACTIONS[action]
        subscription = call.subscription
        open_group(subscription, call.names["group"])
        resource = self.require(call)
        self.require_idle(call, resource)
        if boots and halts and resource.power != "running":
            raise refusal("OperationNotAllowed, not running", resource=resource, verb=action)
        resource.state, resource.power = "Updating", during

        def halt() -> None:
            if halts:
                self._halt(subscription, resource)
            resource.power = during

        def boot() -> None:
            if boots:
                self._boot(subscription, resource)

        def done() -> None:
            resource.state, resource.power = "Succeeded", after
            disk = subscription.find(resource.properties["storageProfile"]["osDisk"]["managedDisk"]["id"])
            if disk is not None:
                disk.properties["diskState"] = "Reserved" if after == "deallocated" else "Attached"

        operation = subscription.start(
            f"{kind}VirtualMachine",
            self.tracking,
            resource.id,
            resource.location,
            done,
            stages=[(0.3, halt), (0.6, boot)],
        )
        return accepted(call, operation, 202, None)

    def _boot(self, subscription: Subscription, resource: Resource) -> None:
        if resource.machine is None or resource.machine.key in subscription.world.machines:
            return
        resource.power = "running"
        for nic in vm_parts.nics_of(subscription, resource):
            nic.properties.setdefault("macAddress", vm_parts.draw_mac(subscription))
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
