"""Microsoft.Network/networkInterfaces: addresses from the subnet, one public address each, one VM at most.

Microsoft.Network/publicIPAddresses: Standard, static, IPv4.
"""

from __future__ import annotations

import copy
import ipaddress
from typing import Any, ClassVar

from crdbmesh_simulator.azure import errors, nsgs, regions, sizes, subnets, vnets
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, Tracking, accepted, not_here
from crdbmesh_simulator.azure.children import find, find_reference, require_names, require_provisioned
from crdbmesh_simulator.azure.errors import Body, invalid_reference, missing_reference, refusal
from crdbmesh_simulator.azure.kinds import Identity, Kind, succeed
from crdbmesh_simulator.azure.state import Resource, Subscription

_RESERVED = 4
"""Azure keeps the first four addresses of a subnet, and the last."""


class Interfaces(Kind):
    """Network interfaces."""

    type: ClassVar[str] = "Microsoft.Network/networkInterfaces"
    tracking: ClassVar[Tracking] = NETWORK

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create or replace a NIC, at once: the answer says Succeeded, and no operation follows."""
        subscription = call.subscription
        given = body.get("properties", {})
        configurations = _read_configurations(call, identity, given, existing)
        properties = {
            **errors.body("nic"),
            **{name: value for name, value in given.items() if name != "ipConfigurations"},
            **errors.body("nic_fixed"),
            "provisioningState": "Succeeded",
            "resourceGuid": existing.properties["resourceGuid"] if existing else subscription.guid(),
            "ipConfigurations": configurations,
        }
        if "networkSecurityGroup" in given:
            reference = given["networkSecurityGroup"]
            path = "properties.networkSecurityGroup"
            nsg = find_reference(subscription, identity, identity.id, reference, nsgs.NSGS, path)
            properties["networkSecurityGroup"] = {"id": nsg.id}
        dns = given.get("dnsSettings", {})
        suffix = existing.properties["dnsSettings"]["internalDomainNameSuffix"] if existing else _suffix(subscription)
        properties["dnsSettings"] = {
            "dnsServers": [],
            "appliedDnsServers": [],
            **dns,
            "internalDomainNameSuffix": suffix,
        }
        if existing is not None and "macAddress" in existing.properties:
            properties["macAddress"] = existing.properties["macAddress"]
        stored = {"kind": "Regular", "properties": properties}
        resource = self.commit(subscription, identity, body, stored, existing)
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
            raise refusal("NicInUse, deletion", resource=resource, vm=vm)
        require_unreserved(subscription, resource, None)
        self.require_idle(call, resource)
        answer = self.begin_deletion(call, resource, "DeleteNicOperation")
        assert resource.deletion is not None
        return accepted(call, resource.deletion, 200, None) if int(resource.deletion.id[0], 16) % 2 else answer

    def render(self, call: Call, resource: Resource) -> Body:
        """The NIC, with its VM."""
        body = super().render(call, resource)
        vm = attached_to(call.subscription, resource)
        if vm is not None:
            body["properties"]["virtualMachine"] = {"id": vm.id}
            body["properties"]["primary"] = _is_primary(vm, resource)
        return body


def _read_configurations(call: Call, identity: Identity, given: Body, existing: Resource | None) -> list[Body]:
    entries = given.get("ipConfigurations", [])
    if not entries:
        raise refusal("IpConfigurationsMissing", identity=identity)
    require_names([str(entry.get("name") or "") for entry in entries])
    primary = [at for at, entry in enumerate(entries) if entry.get("properties", {}).get("primary")]
    read: list[Body] = []
    for at, entry in enumerate(entries):
        configuration = _Configuration(call, identity, entry, existing, read)
        read.append(configuration.read(is_primary=at == (primary or [0])[0]))
    return read


class _Configuration:
    """An IP configuration of a NIC being read, after `siblings`: IPv4."""

    def __init__(
        self, call: Call, identity: Identity, entry: Body, existing: Resource | None, siblings: list[Body]
    ) -> None:
        self._subscription = call.subscription
        self._identity = identity
        self._name = str(entry["name"])
        self._given: dict[str, Any] = copy.deepcopy(entry.get("properties", {}))
        self._id = f"{identity.id}/ipConfigurations/{self._name}"
        self._siblings = siblings
        before = existing.properties["ipConfigurations"] if existing else []
        self._old = (find(before, self._name) or {}).get("properties")
        self._others = [one for one in before if one["name"].lower() != self._name.lower()]

    def read(self, *, is_primary: bool) -> Body:
        subnet = self._read_subnet()
        properties: dict[str, Any] = {
            **self._given,
            "provisioningState": "Succeeded",
            "privateIPAllocationMethod": self._given.get("privateIPAllocationMethod", "Dynamic"),
            "privateIPAddressVersion": "IPv4",
            "subnet": {"id": subnet["id"]},
            "primary": is_primary,
        }
        if "publicIPAddress" in self._given:
            properties["publicIPAddress"] = self._read_public_address()
        properties["privateIPAddress"] = self._read_address(subnet)
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
            raise missing_reference("properties.ipConfigurations[0].properties.subnet")
        vnet_id, _, name = subnet_id.rpartition("/")
        vnet = self._subscription.find(vnet_id.rpartition("/")[0])
        if vnet is None or vnet.location != self._identity.location or vnet.deletion is not None:
            raise invalid_reference(subnet_id, self._identity.id)
        subnet = find(vnet.properties["subnets"], name)
        if subnet is None:
            raise invalid_reference(subnet_id, self._identity.id)
        require_provisioned(self._subscription, self._identity.id, vnet, vnets.busy_with(self._subscription, vnet))
        return subnet

    def _read_public_address(self) -> Body:
        given = self._given["publicIPAddress"]
        path = "properties.ipConfigurations[0].properties.publicIPAddress"
        address = find_reference(
            self._subscription, self._identity, self._identity.id, given, PublicAddresses.type, path
        )
        user = used_by(self._subscription, address)
        if user is not None and user.lower() != self._id.lower():
            raise refusal("PublicIPAddressInUse", id=self._id, address=address, user=user)
        option = given.get("properties", {}).get("deleteOption")
        return {"id": address.id, **({"properties": {"deleteOption": option}} if option else {})}

    def _read_address(self, subnet: Body) -> str:
        network = next(prefix for prefix in subnets.ranges(subnet) if prefix.version == 4)
        key = subnet["id"].lower()
        others = [one for nic, one in self._subscription.ip_configurations() if nic.key != self._identity.id.lower()]
        used = {
            one["properties"]["privateIPAddress"]: str(one["id"])
            for one in (*others, *self._others, *self._siblings)
            if one["properties"]["subnet"]["id"].lower() == key
        }
        if self._given.get("privateIPAllocationMethod") == "Static":
            return self._read_static(network, used)
        if self._old is not None and self._old["subnet"]["id"].lower() == key:
            return str(self._old["privateIPAddress"])
        for number in range(_RESERVED, network.num_addresses - 1):
            if (address := str(network[number])) not in used:
                return address
        raise refusal("SubnetIsFull", subnet=subnet, network=network)

    def _read_static(self, network: subnets.Prefix, used: dict[str, str]) -> str:
        text = str(self._given.get("privateIPAddress") or "")
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise refusal("InvalidIPAddressFormat", text=text, id=self._id) from None
        if address not in network:
            raise refusal("PrivateIPAddressNotInSubnet", text=text, network=network)
        if int(address) - int(network.network_address) < _RESERVED or address == network.broadcast_address:
            raise refusal("PrivateIPAddressInReservedRange", text=text, network=network)
        if text in used:
            raise refusal("PrivateIPAddressIsAllocated", id=self._id, text=text, user=used[text])
        return text


def attached_to(subscription: Subscription, nic: Resource) -> Resource | None:
    """The VM that a NIC is attached to, or None."""
    for vm in subscription.of_type("Microsoft.Compute/virtualMachines"):
        for reference in vm.properties["networkProfile"]["networkInterfaces"]:
            if reference["id"].lower() == nic.key:
                return vm
    return None


def require_unreserved(subscription: Subscription, nic: Resource, vm_id: str | None) -> None:
    """Refuse a NIC that is kept for a VM whose creation failed. Raises ArmError: 400."""
    if nic.reserved is None or nic.reserved[1] <= subscription.now:
        return
    if vm_id is not None and nic.reserved[0].lower() == vm_id.lower():
        return
    raise refusal("NicReservedForAnotherVm", nic=nic)


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


_UNSUPPORTED = ("publicIPPrefix", "natGateway", "servicePublicIPAddress", "linkedPublicIPAddress")


class PublicAddresses(Kind):
    """Public IP addresses. The address is drawn at once and shown when the operation has succeeded."""

    type: ClassVar[str] = "Microsoft.Network/publicIPAddresses"
    tracking: ClassVar[Tracking] = NETWORK

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create or replace a public IP; its address stays."""
        subscription = call.subscription
        given = body.get("properties", {})
        sku = {"name": "Basic", "tier": "Regional", **body.get("sku", {})}
        if existing is None:
            sizes.require_public_address(subscription, identity.location)
        else:
            sku = existing.body["sku"]
            given = {"publicIPAllocationMethod": "Static", **given}
        _require_rules(call, identity, sku, given)
        zones = require_zones(identity, body.get("zones"))
        address = existing.properties.get("ipAddress") if existing else None
        drawn = (existing.address if existing else None) or subscription.take_address()
        properties = {
            **{name: value for name, value in given.items() if name != "ipAddress"},
            "provisioningState": "Updating",
            "resourceGuid": existing.properties["resourceGuid"] if existing else subscription.guid(),
            "publicIPAddressVersion": "IPv4",
            "publicIPAllocationMethod": "Static",
            "idleTimeoutInMinutes": given.get("idleTimeoutInMinutes", 4),
            "ipTags": given.get("ipTags", []),
            "ddosSettings": given.get("ddosSettings", {"protectionMode": "VirtualNetworkInherited"}),
        }
        properties.update({"ipAddress": address} if address else {})
        if label := given.get("dnsSettings", {}).get("domainNameLabel"):
            properties["dnsSettings"] = {
                "domainNameLabel": label,
                "fqdn": f"{label}.{identity.location}.cloudapp.azure.com",
            }
        kept_zones = zones or (existing.body.get("zones") if existing else None)
        stored: Body = {"properties": properties, "sku": sku, **({"zones": kept_zones} if kept_zones else {})}
        resource = self.commit(subscription, identity, body, stored, existing)
        resource.address = drawn

        def done() -> None:
            resource.properties["ipAddress"] = drawn
            succeed(subscription, resource)

        return self.begin(call, "PutPublicIpAddressOperation", resource, existing, done)

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete an address that no NIC has."""
        self.require_idle(call, resource)
        user = used_by(call.subscription, resource)
        if user is not None:
            raise refusal("PublicIPAddressCannotBeDeleted", resource=resource, user=user)
        return self.begin_deletion(call, resource, "DeletePublicIpAddressOperation")

    def vanish(self, subscription: Subscription, resource: Resource) -> None:
        """The address is free again."""
        super().vanish(subscription, resource)
        if resource.address is not None:
            subscription.give_back_address(resource.address)

    def render(self, call: Call, resource: Resource) -> Body:
        """The address, with what has it."""
        body = super().render(call, resource)
        user = used_by(call.subscription, resource)
        if user is not None:
            body["properties"]["ipConfiguration"] = {"id": user}
        return body


def used_by(subscription: Subscription, address: Resource) -> str | None:
    """Id of the IP configuration that has a public address, or None."""
    for _, configuration in subscription.ip_configurations():
        if configuration["properties"].get("publicIPAddress", {}).get("id", "").lower() == address.key:
            return str(configuration["id"])
    return None


def require_zones(identity: Identity, zones: list[str] | None) -> list[str] | None:
    """Refuse zones that the region does not have. Raises ArmError: 400."""
    if not zones:
        return None
    names = regions.REGIONS[identity.location].zone_names
    resource = f"{identity.type}/{identity.name}"
    if not names:
        raise refusal("LocationNotSupportAvailabilityZones", resource=resource, identity=identity)
    if not set(zones) <= set(names):
        raise refusal(
            "InvalidAvailabilityZone",
            zones=",".join(zones),
            resource=resource,
            identity=identity,
            names=",".join(names),
        )
    return list(zones)


def _require_rules(call: Call, identity: Identity, sku: Body, given: Body) -> None:
    unsupported = [name for name in _UNSUPPORTED if given.get(name)]
    if unsupported:
        raise not_here(call, f"a public IP address with {', '.join(unsupported)}")
    if sku["name"] == "Basic":
        raise refusal("IPv4BasicSkuPublicIpCountLimitReached")
    if given.get("publicIPAllocationMethod", "Dynamic") != "Static":
        raise refusal("StandardSkuPublicIPAddressesMustBeStatic", identity=identity)
