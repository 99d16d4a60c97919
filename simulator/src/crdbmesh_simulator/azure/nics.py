"""Microsoft.Network/networkInterfaces: addresses from the subnet, one public address each, one VM at most."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any, ClassVar

from crdbmesh_simulator.azure import nsgs, public_ips, subnets, vnets
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, Tracking, accepted
from crdbmesh_simulator.azure.children import find, require_names
from crdbmesh_simulator.azure.errors import (
    ArmError,
    Body,
    invalid_reference,
    missing_reference,
    not_provisioned,
    retryable,
)
from crdbmesh_simulator.azure.kinds import Identity, Kind
from crdbmesh_simulator.azure.state import Resource, Subscription

_RESERVED = 4
"""Azure keeps the first four addresses of a subnet, and the last."""

_DEFAULTS: dict[str, Any] = {
    "enableAcceleratedNetworking": False,
    "enableIPForwarding": False,
    "disableTcpStateTracking": False,
    "auxiliaryMode": "None",
    "auxiliarySku": "None",
}
_FIXED: dict[str, Any] = {
    "vnetEncryptionSupported": False,
    "hostedWorkloads": [],
    "tapConfigurations": [],
    "nicType": "Standard",
    "allowPort25Out": False,
}


class Interfaces(Kind):
    """Network interfaces."""

    type: ClassVar[str] = "Microsoft.Network/networkInterfaces"
    tracking: ClassVar[Tracking] = NETWORK

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create or replace a NIC, at once: the answer says Succeeded, and no operation follows."""
        subscription = call.subscription
        given = body.get("properties", {})
        configurations = self._read_configurations(call, identity, given, existing)
        properties = {
            **_DEFAULTS,
            **{name: value for name, value in given.items() if name != "ipConfigurations"},
            **_FIXED,
            "provisioningState": "Succeeded",
            "resourceGuid": existing.properties["resourceGuid"] if existing else subscription.guid(),
            "ipConfigurations": configurations,
        }
        if "networkSecurityGroup" in given:
            reference = given["networkSecurityGroup"]
            nsg = _resolve(call, identity, reference, nsgs.NSGS, "properties.networkSecurityGroup")
            properties["networkSecurityGroup"] = {"id": nsg.id}
        dns = given.get("dnsSettings", {})
        suffix = existing.properties["dnsSettings"]["internalDomainNameSuffix"] if existing else _suffix(subscription)
        properties["dnsSettings"] = {
            "dnsServers": [], "appliedDnsServers": [], **dns, "internalDomainNameSuffix": suffix
        }  # fmt: skip
        if existing is not None and "macAddress" in existing.properties:
            properties["macAddress"] = existing.properties["macAddress"]
        stored = {"kind": "Regular", "properties": properties, **({"tags": body["tags"]} if "tags" in body else {})}
        resource = self.commit(subscription, identity, stored, existing)
        return Answer(
            200 if existing else 201,
            self.render(call, resource),
            {"azure-asyncnotification": "Enabled", "x-ms-arm-service-request-id": subscription.guid()},
            delay_s=subscription.latency.draw("PutNicOperation", resource.id),
        )

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a NIC that no VM has; 200 or 202, both with an operation to follow."""
        subscription = call.subscription
        vm = attached_to(subscription, resource)
        if vm is not None:
            raise ArmError(
                400,
                "NicInUse",
                f"Network Interface {resource.id} is used by existing resource {vm.id}. In order to delete the network "
                "interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
            )
        require_unreserved(subscription, resource, None)
        self.require_idle(call, resource)
        operation = self.begin_deletion(call, resource, "DeleteNicOperation")
        return accepted(call, operation, 200 if int(operation.id[0], 16) % 2 else 202, None)

    def render(self, call: Call, resource: Resource) -> Body:
        """The NIC, with its VM."""
        body = super().render(call, resource)
        vm = attached_to(call.subscription, resource)
        if vm is not None:
            body["properties"]["virtualMachine"] = {"id": vm.id}
            body["properties"]["primary"] = _is_primary(vm, resource)
        return body

    def _read_configurations(
        self, call: Call, identity: Identity, given: Body, existing: Resource | None
    ) -> list[Body]:
        entries = given.get("ipConfigurations", [])
        if not entries:
            raise ArmError(
                400,
                "IpConfigurationsMissing",
                f"Network interface {identity.id} must have one or more IP configurations.",
            )
        marked = [bool(entry.get("properties", {}).get("primary")) for entry in entries]
        if len(entries) > 1 and sum(marked) != 1:
            raise ArmError(
                400,
                "PrimaryIpConfigurationMissing",
                f"Network interface {identity.id} with several IP configurations must have one primary.",
            )
        require_names(identity.id, [entry["name"] for entry in entries if entry.get("name")])
        before = existing.properties["ipConfigurations"] if existing else []
        taken: list[Body] = []
        for index, entry in enumerate(entries):
            path = f"properties.ipConfigurations[{index}]"
            old = next((one for one in before if one["name"].lower() == str(entry.get("name", "")).lower()), None)
            one = _Configuration(call, identity, entry, path, old).read(taken)
            one["properties"]["primary"] = marked[index] or len(entries) == 1
            taken.append(one)
        return taken


class _Configuration:
    """One IP configuration being read."""

    def __init__(self, call: Call, identity: Identity, entry: Body, path: str, old: Body | None) -> None:
        self._call = call
        self._subscription = call.subscription
        self._identity = identity
        self._path = path
        self._old = old
        self._name = str(entry.get("name") or "")
        self._given: dict[str, Any] = copy.deepcopy(entry.get("properties", {}))
        self._id = f"{identity.id}/ipConfigurations/{self._name}"

    def read(self, siblings: list[Body]) -> Body:
        if not self._name:
            raise ArmError(400, "InvalidRequestFormat", f"Cannot parse the request. {self._path}.name is missing.")
        if self._given.get("privateIPAddressVersion", "IPv4") != "IPv4":
            self._subscription.world.not_known("arm", "an IPv6 configuration of a network interface")
            raise ArmError(501, "NotImplemented", "IPv6 is not implemented here.")
        subnet = self._read_subnet()
        properties: dict[str, Any] = {
            **self._given,
            "provisioningState": "Succeeded",
            "privateIPAllocationMethod": self._given.get("privateIPAllocationMethod", "Dynamic"),
            "privateIPAddressVersion": "IPv4",
            "subnet": {"id": subnet["id"]},
        }
        if "publicIPAddress" in self._given:
            properties["publicIPAddress"] = self._read_public_address()
        properties["privateIPAddress"] = self._read_address(subnet, siblings)
        return {
            "name": self._name,
            "id": self._id,
            "etag": self._subscription.etag(),
            "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
            "properties": properties,
        }

    def _read_subnet(self) -> Body:
        subnet_id = str(self._given.get("subnet", {}).get("id") or "")
        if not subnet_id:
            raise missing_reference(f"{self._path}.properties.subnet")
        vnet_id, _, name = subnet_id.rpartition("/")
        vnet = self._subscription.find(vnet_id.rpartition("/")[0])
        if vnet is None or vnet.location != self._identity.location or vnet.deletion is not None:
            raise invalid_reference(subnet_id, self._identity.id)
        subnet = find(vnet.properties["subnets"], name)
        if subnet is None or subnet["properties"]["provisioningState"] == "Deleting":
            raise invalid_reference(subnet_id, self._identity.id)
        operation = vnets.busy_with(self._subscription, vnet)
        if operation is not None:
            left_s = max(1.0, operation.ends_at - self._subscription.now)
            raise retryable(
                not_provisioned(vnet.id, self._identity.id, "Updating", operation.kind), retry_after_s=left_s
            )
        if vnet.state == "Failed":
            raise not_provisioned(vnet.id, self._identity.id, vnet.state, vnet.failed_by)
        return subnet

    def _read_public_address(self) -> Body:
        given = self._given["publicIPAddress"]
        path = f"{self._path}.properties.publicIPAddress"
        address = _resolve(self._call, self._identity, given, public_ips.PublicAddresses.type, path)
        user = public_ips.used_by(self._subscription, address)
        if user is not None and user.lower() != self._id.lower():
            raise ArmError(
                400,
                "PublicIPAddressInUse",
                f"Resource {self._id} is referencing public IP address {address.id} that is already allocated to "
                f"resource {user}.",
            )
        option = given.get("properties", {}).get("deleteOption")
        return {"id": address.id, **({"properties": {"deleteOption": option}} if option else {})}

    def _read_address(self, subnet: Body, siblings: list[Body]) -> str:
        network = next((prefix for prefix in subnets.ranges(subnet) if prefix.version == 4), None)
        if network is None:
            raise ArmError(
                400,
                "SubnetHasNoIPv4AddressPrefix",
                f"IP configuration {self._id} needs an IPv4 address, and subnet {subnet['id']} has no IPv4 prefix.",
            )
        used = {
            configuration["properties"]["privateIPAddress"]: str(configuration["id"])
            for configuration in self._others(subnet, siblings)
        }
        if self._given.get("privateIPAllocationMethod") == "Static":
            return self._read_static(ipaddress.IPv4Network(str(network)), used)
        if self._old is not None and self._old["properties"]["subnet"]["id"].lower() == subnet["id"].lower():
            return str(self._old["properties"]["privateIPAddress"])
        for number in range(_RESERVED, network.num_addresses - 1):
            address = str(network[number])
            if address not in used:
                return address
        raise ArmError(
            400,
            "SubnetIsFull",
            f"Subnet {subnet['name']} with address prefix {network} does not have enough capacity for 1 IP addresses.",
        )

    def _read_static(self, network: ipaddress.IPv4Network, used: dict[str, str]) -> str:
        text = str(self._given.get("privateIPAddress") or "")
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            raise ArmError(
                400, "InvalidIPAddressFormat", f"Private static IP address {text!r} of {self._id} is not valid."
            ) from None
        if address not in network:
            raise ArmError(
                400,
                "PrivateIPAddressNotInSubnet",
                f"Private static IP address {text} does not belong to the range of subnet prefix {network}.",
            )
        if int(address) - int(network.network_address) < _RESERVED or address == network.broadcast_address:
            raise ArmError(
                400,
                "PrivateIPAddressInReservedRange",
                f"Private static IP address {text} falls within reserved IP range of subnet prefix {network}.",
            )
        if text in used:
            raise ArmError(
                400,
                "PrivateIPAddressIsAllocated",
                f"IP configuration {self._id} is using the private IP address {text} which is already allocated to "
                f"resource {used[text]}.",
            )
        return text

    def _others(self, subnet: Body, siblings: list[Body]) -> list[Body]:
        mine = self._identity.id.lower()
        others = [one for nic, one in self._subscription.ip_configurations() if nic.key != mine]
        key = subnet["id"].lower()
        return [one for one in [*others, *siblings] if one["properties"]["subnet"]["id"].lower() == key]


def attached_to(subscription: Subscription, nic: Resource) -> Resource | None:
    """The VM that a NIC is attached to, or None."""
    for vm in subscription.of_type("Microsoft.Compute/virtualMachines"):
        for reference in vm.properties["networkProfile"]["networkInterfaces"]:
            if reference["id"].lower() == nic.key:
                return vm
    return None


def require_unreserved(subscription: Subscription, nic: Resource, vm_id: str | None) -> None:
    """Refuse a NIC that is kept for a VM whose creation failed.

    Raises:
        ArmError: 400.
    """
    if nic.reserved is None or nic.reserved[1] <= subscription.now:
        return
    if vm_id is not None and nic.reserved[0].lower() == vm_id.lower():
        return
    raise ArmError(
        400,
        "NicReservedForAnotherVm",
        "Nic(s) in request is reserved for another Virtual Machine for 180 seconds. Please provide another nic(s) or "
        f"retry after 180 seconds. Reserved VM: {nic.reserved[0]}",
    )


def _is_primary(vm: Resource, nic: Resource) -> bool:
    references = vm.properties["networkProfile"]["networkInterfaces"]
    if len(references) == 1:
        return True
    return any(
        reference["id"].lower() == nic.key and reference.get("properties", {}).get("primary")
        for reference in references
    )


def _suffix(subscription: Subscription) -> str:
    label = subscription.guid().replace("-", "")[:26]
    return f"{label}.bx.internal.cloudapp.net"


def _resolve(call: Call, identity: Identity, given: Body, kind: str, path: str) -> Resource:
    """The resource that a NIC refers to: in its region, and ready."""
    referenced = given.get("id")
    if not referenced:
        raise missing_reference(path)
    found = call.subscription.find(str(referenced))
    if found is None or found.type != kind or found.location != identity.location or found.deletion is not None:
        raise invalid_reference(str(referenced), identity.id)
    operation = call.subscription.operations.holding(found.id)
    if operation is not None:
        left_s = max(1.0, operation.ends_at - call.subscription.now)
        raise retryable(not_provisioned(found.id, identity.id, found.state, operation.kind), retry_after_s=left_s)
    if found.state == "Failed":
        raise not_provisioned(found.id, identity.id, found.state, found.failed_by)
    return found
