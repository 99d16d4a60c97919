"""The network between machines: routes, peerings and firewalls, computed from ARM state at each question.

Nothing is remembered between questions, so whatever is changed through ARM counts at once. Follows Microsoft's
documentation of virtual network routing, peering and network security groups. A machine's own firewall is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.azure import firewall, vnets

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.state import Resource, Subscription
    from crdbmesh_simulator.world import Machine, World

_HTTPS = 443
_ANYWHERE = "1.1.1.1"
"""An address of the internet, to ask whether a machine may reach it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The attachment of a machine to its VNet."""

    nic: Resource
    configuration: dict[str, Any]
    vnet: Resource
    subnet: dict[str, Any]

    @property
    def address(self) -> str:
        return str(self.configuration["privateIPAddress"])


class Network:
    """The network of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def _subscription(self) -> Subscription:
        return self._world.subscription

    def public_ip(self, machine: Machine) -> str | None:
        """The machine's public address, or None."""
        with self._world.lock:
            self._subscription.settle()
            place = self._find_place(machine)
            return self._public_address(place) if place is not None else None

    def private_ip(self, machine: Machine) -> str | None:
        """The machine's address in its VNet, or None when its NIC is gone."""
        with self._world.lock:
            place = self._find_place(machine)
            return place.address if place is not None else None

    def machine_at_private(self, ip: str, seen_from: Machine) -> Machine | None:
        """The running machine that packets from `seen_from` to `ip` are routed to, firewalls apart, or None."""
        with self._world.lock:
            self._subscription.settle()
            place = self._find_place(seen_from)
            if place is None:
                return None
            target = self._route(place, ip)
            return self._machine_in(target, ip) if not isinstance(target, str) else None

    def inbound_from_internet(self, machine: Machine, source_ip: str, port: int, protocol: str = "Tcp") -> bool:
        """Return whether a packet from the internet to the machine's public address reaches the machine.

        A loopback caller counts as the internet. A Standard public address without any network security group, on the
        NIC or its subnet, is closed.
        """
        with self._world.lock:
            self._subscription.settle()
            place = self._find_place(machine)
            if place is None or self._public_address(place) is None or machine.key not in self._world.machines:
                return False
            if not any(True for _ in self._groups(place)):
                return False
            packet = _packet(source_ip, place.address, port, protocol)
            return self._drop_reason(place, packet, "Inbound") is None

    def between(self, src: Machine, dst_private_ip: str, port: int, protocol: str = "Tcp") -> str | None:
        """Return why a packet from `src` does not arrive at a private address, in a few words; None when it arrives."""
        with self._world.lock:
            self._subscription.settle()
            place = self._find_place(src)
            if place is None:
                return f"{src.name} has no network interface"
            if dst_private_ip == place.address:
                return None
            target = self._route(place, dst_private_ip)
            if isinstance(target, str):
                return target
            machine = self._machine_in(target, dst_private_ip)
            there = self._find_place(machine) if machine is not None else None
            if there is None:
                return f"no running machine has {dst_private_ip} in VNet {target.name}"
            packet = _packet(place.address, dst_private_ip, port, protocol)
            return self._drop_reason(place, packet, "Outbound") or self._drop_reason(there, packet, "Inbound")

    def has_egress(self, machine: Machine) -> bool:
        """Return whether the machine reaches the internet.

        It needs a public address or a subnet with default outbound access, and a firewall that lets HTTPS out.
        """
        with self._world.lock:
            self._subscription.settle()
            place = self._find_place(machine)
            if place is None:
                return False
            if self._public_address(place) is None and place.subnet.get("defaultOutboundAccess") is False:
                return False
            packet = _packet(place.address, _ANYWHERE, _HTTPS, "Tcp")
            return self._drop_reason(place, packet, "Outbound") is None

    def _find_place(self, machine: Machine) -> _Place | None:
        nic = self._subscription.find(machine.nic_id)
        if nic is None:
            return None
        configurations = [one["properties"] for one in nic.properties["ipConfigurations"]]
        configuration = next((one for one in configurations if one.get("primary")), configurations[0])
        subnet_id = str(configuration["subnet"]["id"])
        vnet = self._subscription.find(subnet_id.rpartition("/subnets/")[0])
        if vnet is None:
            return None
        subnets = (one for one in vnet.properties["subnets"] if str(one["id"]).lower() == subnet_id.lower())
        subnet = next(subnets, None)
        return _Place(nic, configuration, vnet, subnet["properties"]) if subnet is not None else None

    def _public_address(self, place: _Place) -> str | None:
        reference = place.configuration.get("publicIPAddress")
        resource = self._subscription.find(str(reference["id"])) if reference else None
        address = resource.properties.get("ipAddress") if resource is not None else None
        return str(address) if address else None

    def _route(self, place: _Place, ip: str) -> Resource | str:
        """The VNet that packets to `ip` go to, or why they go nowhere."""
        if _inside(ip, place.vnet.properties["addressSpace"]):
            return place.vnet
        reason = "no route: VNets not peered"
        for peering in place.vnet.properties["virtualNetworkPeerings"]:
            properties = peering["properties"]
            if not _inside(ip, properties["remoteAddressSpace"]):
                continue
            remote = self._subscription.find(str(properties["remoteVirtualNetwork"]["id"]))
            problem = self._peering_problem(place, peering, remote)
            if problem is None and remote is not None:
                return remote
            reason = problem or reason
        return reason

    def _peering_problem(self, place: _Place, peering: dict[str, Any], remote: Resource | None) -> str | None:
        name, properties = peering["name"], peering["properties"]
        if remote is None or properties["peeringState"] != "Connected":
            state = properties["peeringState"] if remote is not None else "Disconnected"
            return f"peering {name} {state}"
        back = vnets.counterpart(remote, place.vnet)
        if back is None or back["properties"]["peeringState"] != "Connected":
            return f"no route back: VNet {remote.name} has no connected peering to {place.vnet.name}"
        for half in (peering, back):
            if not half["properties"]["allowVirtualNetworkAccess"]:
                return f"peering {half['name']} does not allow virtual network access"
        if not _inside(place.address, back["properties"]["remoteAddressSpace"]):
            return f"no route back: peering {back['name']} is not in sync with the address space of {place.vnet.name}"
        return None

    def _machine_in(self, vnet: Resource, ip: str) -> Machine | None:
        for machine in self._world.machines.values():
            place = self._find_place(machine)
            if place is not None and place.vnet is vnet and place.address == ip:
                return machine
        return None

    def _groups(self, place: _Place) -> Iterator[Resource]:
        """The network security groups of a NIC and its subnet."""
        for holder in (place.nic.properties, place.subnet):
            reference = holder.get("networkSecurityGroup")
            group = self._subscription.find(str(reference["id"])) if reference else None
            if group is not None:
                yield group

    def _drop_reason(self, place: _Place, packet: firewall.Packet, direction: str) -> str | None:
        """Return why a group of this place drops the packet, or None; all of them must let it pass."""
        tag = self._virtual_network_tag(place)
        for group in self._groups(place):
            rules = [*group.properties["securityRules"], *group.properties["defaultSecurityRules"]]
            verdict = firewall.judge(rules, packet, direction, tag)
            if not verdict.allowed:
                return f"dropped by NSG rule {verdict.rule} of {group.name} ({direction.lower()})"
        return None

    def _virtual_network_tag(self, place: _Place) -> list[firewall.Network]:
        """Return the ranges of tag VirtualNetwork: the VNet, those peered with it, and the host's address."""
        texts = list(place.vnet.properties["addressSpace"]["addressPrefixes"])
        for peering in place.vnet.properties["virtualNetworkPeerings"]:
            properties = peering["properties"]
            if properties["peeringState"] == "Connected" and properties["allowVirtualNetworkAccess"]:
                texts += properties["remoteAddressSpace"]["addressPrefixes"]
        networks: list[firewall.Network] = [firewall.parse_network(text) for text in texts]
        return [*networks, firewall.parse_network(str(firewall.LOAD_BALANCER))]


def _packet(source: str, destination: str, port: int, protocol: str) -> firewall.Packet:
    return firewall.Packet(
        firewall.parse_address(source), firewall.parse_address(destination), port, protocol.capitalize()
    )


def _inside(ip: str, space: dict[str, Any]) -> bool:
    address = firewall.parse_address(ip)
    return any(address in firewall.parse_network(prefix) for prefix in space["addressPrefixes"])
