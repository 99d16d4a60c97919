"""Microsoft.Network/networkSecurityGroups, and their security rules as resources of their own."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any, ClassVar

from crdbmesh_simulator.azure import errors, firewall
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call, Tracking, not_here
from crdbmesh_simulator.azure.children import ChildKind, require_names
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.etags import etag_header
from crdbmesh_simulator.azure.kinds import Identity, Kind, unchanged
from crdbmesh_simulator.azure.state import Resource, Subscription

NSGS = "Microsoft.Network/networkSecurityGroups"

_PARTS = (
    ("sourceAddressPrefix", "sourceAddressPrefixes", "sourceApplicationSecurityGroups"),
    ("destinationAddressPrefix", "destinationAddressPrefixes", "destinationApplicationSecurityGroups"),
    ("sourcePortRange", "sourcePortRanges", ""),
    ("destinationPortRange", "destinationPortRanges", ""),
)


class SecurityGroups(Kind):
    """Network security groups."""

    type: ClassVar[str] = NSGS
    tracking: ClassVar[Tracking] = NETWORK

    def write(self, call: Call, identity: Identity, body: Body, existing: Resource | None) -> Answer:
        """Create or replace a group with all its rules."""
        subscription = call.subscription
        rules: list[Body] = []
        entries = body.get("properties", {}).get("securityRules", [])
        require_names([entry["name"] for entry in entries if entry.get("name")])
        for entry in entries:
            rules.append(prepare(call, identity.id, entry, rules))
        properties = {
            "provisioningState": "Updating",
            "resourceGuid": existing.properties["resourceGuid"] if existing else subscription.guid(),
            "securityRules": rules,
            "defaultSecurityRules": _default_rules(subscription, identity.id),
        }
        if existing is not None and unchanged(existing, properties, body):
            return Answer(200, self.render(call, existing), etag_header(existing.body))
        resource = self.commit(subscription, identity, body, {"properties": properties}, existing)
        return self.begin(call, "PutNetworkSecurityGroupOperation", resource, existing)

    def erase(self, call: Call, resource: Resource) -> Answer:
        """Delete a group that nothing uses."""
        self.require_idle(call, resource)
        users = used_by(call.subscription, resource)
        if users:
            raise refusal("InUseNetworkSecurityGroupCannotBeDeleted", resource=resource, users=", ".join(users))
        return self.begin_deletion(call, resource, "DeleteNetworkSecurityGroupOperation")

    def render(self, call: Call, resource: Resource) -> Body:
        """The group, with what uses it."""
        body = super().render(call, resource)
        users = used_by(call.subscription, resource)
        interfaces = [{"id": user} for user in users if "/networkinterfaces/" in user.lower()]
        nets = [{"id": user} for user in users if "/subnets/" in user.lower()]
        body["properties"].update({"networkInterfaces": interfaces} if interfaces else {})
        body["properties"].update({"subnets": nets} if nets else {})
        return body


GROUPS = SecurityGroups()


class SecurityRules(ChildKind):
    """Security rules as resources of their own."""

    parent: ClassVar[str] = NSGS
    collection: ClassVar[str] = "securityRules"
    operation: ClassVar[str] = "SecurityRuleOperation"

    def write(self, call: Call, parent: Resource, name: str, body: Body, old: Body | None) -> Answer:
        """Create or replace one rule."""
        GROUPS.require_idle(call, parent)
        others = [other for other in parent.properties[self.collection] if other is not old]
        rule = prepare(call, parent.id, {**body, "name": name}, others)
        return self.begin(call, parent, rule, old, [parent.id])

    def require_deletable(self, call: Call, parent: Resource, child: Body) -> list[str]:  # noqa: ARG002
        """One writer of a group at a time."""
        GROUPS.require_idle(call, parent)
        return [parent.id]


RULES = SecurityRules()


def used_by(subscription: Subscription, nsg: Resource) -> list[str]:
    """Ids of the NICs and subnets that a group is attached to."""
    users = [
        nic.id
        for nic in subscription.of_type("Microsoft.Network/networkInterfaces")
        if nic.properties.get("networkSecurityGroup", {}).get("id", "").lower() == nsg.key
    ]
    for vnet in subscription.of_type("Microsoft.Network/virtualNetworks"):
        users += [
            subnet["id"]
            for subnet in vnet.properties["subnets"]
            if subnet["properties"].get("networkSecurityGroup", {}).get("id", "").lower() == nsg.key
        ]
    return users


def prepare(call: Call, nsg_id: str, entry: Body, others: list[Body]) -> Body:
    """A rule to store, checked by itself and against the group's other rules. Raises ArmError: 400."""
    name = str(entry.get("name") or "")
    properties: dict[str, Any] = copy.deepcopy(entry.get("properties", {}))
    rule_id = f"{nsg_id}/securityRules/{name}"
    _require_parts(call, rule_id, properties)
    priority = properties["priority"]
    if not 100 <= priority <= 4096:
        raise refusal("SecurityRuleInvalidPriority", priority=priority)
    for other in others:
        theirs = other["properties"]
        if (theirs["priority"], theirs["direction"]) == (priority, properties["direction"]):
            raise refusal("SecurityRuleConflict", other=other, name=name)
    properties["provisioningState"] = "Updating"
    for _, several, _ in _PARTS:
        properties.setdefault(several, [])
    return {
        "name": name,
        "id": rule_id,
        "etag": call.subscription.etag(),
        "type": f"{NSGS}/securityRules",
        "properties": properties,
    }


def _require_parts(call: Call, rule_id: str, properties: dict[str, Any]) -> None:
    for single, several, groups in _PARTS:
        if groups and properties.get(groups):
            raise not_here(call, f"application security groups in {rule_id}")
        listed = properties.get(several) or []
        if not properties.get(single) and not listed:
            choice = f"{single[0].upper()}{single[1:]} or {several[0].upper()}{several[1:]}"
            raise refusal("RequiredSecurityRuleParametersMissing", rule_id=rule_id, choice=choice)
        is_port = "Port" in single
        for value in [properties[single]] if properties.get(single) else listed:
            valid = _valid_ports(value, alone=not listed) if is_port else _valid_prefix(value, alone=not listed)
            if valid:
                continue
            if is_port:
                raise refusal("SecurityRuleInvalidPortRange", value=value)
            raise refusal("SecurityRuleInvalidAddressPrefix", value=value)


def _valid_ports(value: str, *, alone: bool) -> bool:
    if value == "*":
        return alone
    low, dash, high = value.partition("-")
    bounds = [low, high] if dash else [low]
    if not all(bound.isdigit() and int(bound) <= 65535 for bound in bounds):
        return False
    return int(bounds[0]) <= int(bounds[-1])


def _valid_prefix(value: str, *, alone: bool) -> bool:
    if value in ("*", "Any") or firewall.is_tag(value):
        return alone
    low, dash, high = value.partition("-")
    try:
        if dash:
            return int(ipaddress.ip_address(low.strip())) <= int(ipaddress.ip_address(high.strip()))
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _default_rules(subscription: Subscription, nsg_id: str) -> list[Body]:
    return [
        {
            **rule,
            "id": f"{nsg_id}/defaultSecurityRules/{rule['name']}",
            "etag": subscription.etag(),
            "type": f"{NSGS}/defaultSecurityRules",
        }
        for rule in errors.body("default_rules")
    ]
