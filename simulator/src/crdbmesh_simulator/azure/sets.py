"""Microsoft.Compute/availabilitySets, whose writes end at once; a VM joins one at its creation, and stays in it."""

from __future__ import annotations

from typing import ClassVar

from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.call import COMPUTE, Answer, Call, Tracking, not_here
from crdbmesh_simulator.azure.errors import Body, invalid_reference, refusal
from crdbmesh_simulator.azure.kinds import Identity, Kind
from crdbmesh_simulator.azure.state import Resource, Subscription

_VM = "Microsoft.Compute/virtualMachines"


class AvailabilitySets(Kind):
    """Availability sets, aligned with managed disks."""

    type: ClassVar[str] = "Microsoft.Compute/availabilitySets"
    tracking: ClassVar[Tracking] = COMPUTE

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create a set, or change its tags."""
        given, most = body.get("properties", {}), int(regions.REGIONS[identity.location].fault_domains)
        if body.get("sku", {}).get("name") != "Aligned":
            raise not_here(call, "an availability set that is not aligned")
        if not 1 <= (domains := given.get("platformFaultDomainCount", 2)) <= most:
            raise refusal("InvalidParameter, fault domains", most=most, target="platformFaultDomainCount")
        stored: Body = {"sku": body["sku"], "properties": {"platformFaultDomainCount": domains, **given}}
        return Answer(200, self.render(call, self.commit(call.subscription, identity, body, stored, existing)))

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a set that no VM is in."""
        if _domains(call.subscription, resource):
            raise refusal("OperationNotAllowed, availability set", resource=resource)
        self.vanish(call.subscription, resource)
        return Answer(200)


def _domains(subscription: Subscription, of: Resource) -> list[int | None]:
    """The fault domains of the VMs in a set."""
    vms = [vm for vm in subscription.of_type(_VM) if "availabilitySet" in vm.properties]
    return [vm.fault_domain for vm in vms if vm.properties["availabilitySet"]["id"].lower() == of.key]


def require_set(subscription: Subscription, identity: Identity, given: Body, zones: list[str]) -> int | None:
    """The fault domain that a new VM gets in the set it names, the emptiest; None when it names none."""
    set_id = (given.get("availabilitySet") or {}).get("id")
    found = subscription.find(set_id) if set_id else None
    if set_id and (found is None or found.location != identity.location):
        raise invalid_reference(set_id, identity.id)
    if found is None:
        return None
    if zones:
        raise refusal("BadRequest, zone and set", name=identity.name)
    return min(range(found.properties["platformFaultDomainCount"]), key=_domains(subscription, found).count)
