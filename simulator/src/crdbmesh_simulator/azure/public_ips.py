"""Microsoft.Network/publicIPAddresses: Standard, static, IPv4."""

from __future__ import annotations

from typing import ClassVar

from crdbmesh_simulator.azure import quotas, regions
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, Tracking, not_here
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.kinds import Identity, Kind, succeed
from crdbmesh_simulator.azure.state import Resource, Subscription

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
            quotas.require_public_address(subscription, identity.location)
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
