"""What reaches what: each rule allowed and denied, decided by what was written through ARM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

INTERNET = "127.0.0.1"


class Site:
    """Three running machines: two in VNet `a`, one in `b`; a group on the NIC of the first, one on its subnet."""

    def __init__(self, arm: Any, bodies: Any) -> None:
        self.arm = arm
        self.bodies = bodies
        self.group = arm.group("site")
        self.on_nic = arm.nsg(self.group, "on-nic")
        self.on_subnet = arm.nsg(self.group, "on-subnet")
        self.a = arm.vnet(self.group, "a", "10.1.0.0/16", networkSecurityGroup={"id": self.on_subnet["id"]})
        self.b = arm.vnet(self.group, "b", "10.2.0.0/16", location="westus")
        self.first = arm.machine(self.group, "first", self.a, nsg=self.on_nic)
        self.second = arm.machine(self.group, "second", self.a)
        self.far = arm.machine(self.group, "far", self.b, public=False)
        self.net = arm.world.network
        self.first_ip = self.net.private_ip(self.first)
        self.second_ip = self.net.private_ip(self.second)
        self.far_ip = self.net.private_ip(self.far)

    def rules(self, *nic: dict[str, Any], subnet: tuple[dict[str, Any], ...] = ()) -> None:
        self.arm.nsg(self.group, "on-nic", *nic)
        self.arm.nsg(self.group, "on-subnet", *subnet)

    def peer(self, one: Any, other: Any, **more: Any) -> str:
        path = f"{one['id']}/virtualNetworkPeerings/to-{other['name']}"
        self.arm.done("PUT", path, self.bodies.peering(other, **more))
        return path

    def unpeer(self) -> None:
        for one, other in ((self.a, self.b), (self.b, self.a)):
            self.arm.done("DELETE", f"{one['id']}/virtualNetworkPeerings/to-{other['name']}")


@pytest.fixture(scope="module")
def site(shared: Any, bodies: Any) -> Site:
    return Site(shared, bodies)


@pytest.fixture
def peered(site: Site) -> Iterator[Site]:
    site.rules()
    site.peer(site.a, site.b)
    site.peer(site.b, site.a)
    yield site
    site.unpeer()


def test_machines_have_the_addresses_that_arm_says(site: Site) -> None:
    assert (site.first_ip, site.second_ip, site.far_ip) == ("10.1.0.4", "10.1.0.5", "10.2.0.4")
    address = site.arm.ask("GET", f"{site.group}/providers/Microsoft.Network/publicIPAddresses/first-ip").body
    assert site.net.public_ip(site.first) == address["properties"]["ipAddress"]
    assert site.net.public_ip(site.far) is None


def test_the_internet_gets_in_where_both_groups_let_it(site: Site) -> None:
    allow = site.bodies.rule(port="22")
    for nic, subnet, open_ in (
        ((), (), False),
        ((allow,), (), False),
        ((), (allow,), False),
        ((allow,), (allow,), True),
    ):
        site.rules(*nic, subnet=subnet)
        assert site.net.inbound_from_internet(site.first, INTERNET, 22) is open_
    assert not site.net.inbound_from_internet(site.first, INTERNET, 23)


@pytest.mark.parametrize(
    ("rule", "open_"),
    [
        ({}, True),
        ({"source": "Internet"}, True),
        ({"source": "VirtualNetwork"}, False),
        ({"source": "AzureLoadBalancer"}, False),
        ({"source": "Storage.EastUS"}, False),
        ({"source": "127.0.0.1"}, True),
        ({"source": "127.0.0.0/8"}, True),
        ({"source": "127.0.0.2"}, False),
        ({"source": "10.0.0.0/8"}, False),
        ({"source": ["203.0.113.7", "127.0.0.1/32"]}, True),
        ({"source": ["203.0.113.7", "203.0.113.8"]}, False),
        ({"source": "127.0.0.0-127.0.0.9"}, True),
        ({"destination": "10.1.0.4"}, True),
        ({"destination": "10.1.0.0/24"}, True),
        ({"destination": "10.1.0.5"}, False),
        ({"destination": "VirtualNetwork"}, True),
        ({"destination": "Internet"}, False),
        ({"protocol": "*"}, True),
        ({"protocol": "Udp"}, False),
        ({"port": "22"}, True),
        ({"port": "20-30"}, True),
        ({"port": "23-30"}, False),
        ({"port": ["80", "20-22"]}, True),
        ({"port": ["80", "443"]}, False),
        ({"direction": "Outbound"}, False),
        ({"access": "Deny"}, False),
    ],
)
def test_a_rule_matches_as_documented(site: Site, rule: dict[str, Any], open_: bool) -> None:
    site.rules(site.bodies.rule(**{"port": "22", **rule}), subnet=(site.bodies.rule(port="22"),))
    assert site.net.inbound_from_internet(site.first, INTERNET, 22) is open_


def test_the_first_matching_rule_by_priority_decides(site: Site) -> None:
    rule = site.bodies.rule
    site.rules(rule(200, access="Deny"), rule(100, port="22"), subnet=(rule(),))
    assert site.net.inbound_from_internet(site.first, INTERNET, 22)
    site.rules(rule(100, access="Deny"), rule(200, port="22"), subnet=(rule(),))
    assert not site.net.inbound_from_internet(site.first, INTERNET, 22)


def test_source_ports_are_ephemeral(site: Site) -> None:
    for ports, open_ in (("*", True), ("1024-65535", True), ("22", False)):
        rule = {**site.bodies.rule(port="22"), "sourcePortRange": ports}
        site.rules(rule, subnet=(site.bodies.rule(),))
        assert site.net.inbound_from_internet(site.first, INTERNET, 22) is open_


def test_a_public_address_without_any_group_is_closed(shared: Any, group: str, bodies: Any) -> None:
    vnet = shared.vnet(group, "v", "10.9.0.0/16")
    bare = shared.machine(group, "bare", vnet)
    assert not shared.world.network.inbound_from_internet(bare, INTERNET, 22)
    nsg = shared.nsg(group, "n", bodies.rule(port="22"))
    nic_path = f"{group}/providers/Microsoft.Network/networkInterfaces/bare-nic"
    nic = shared.ask("GET", nic_path).body
    nic["properties"]["networkSecurityGroup"] = {"id": nsg["id"]}
    shared.done("PUT", nic_path, nic)
    assert shared.world.network.inbound_from_internet(bare, INTERNET, 22)
    shared.done("POST", f"{group}/providers/Microsoft.Compute/virtualMachines/bare/powerOff")
    assert not shared.world.network.inbound_from_internet(bare, INTERNET, 22)


def test_without_a_public_address_nothing_comes_in(site: Site) -> None:
    assert not site.net.inbound_from_internet(site.far, INTERNET, 22)


def test_machines_of_one_vnet_reach_each_other_unless_a_rule_says_no(site: Site) -> None:
    site.rules()
    assert site.net.between(site.first, site.second_ip, 8472, "Udp") is None
    assert site.net.between(site.second, site.first_ip, 6443, "Tcp") is None
    assert site.net.machine_at_private(site.second_ip, site.first) is site.second
    site.rules(site.bodies.rule(access="Deny", port="6443"))
    assert site.net.between(site.second, site.first_ip, 6443, "Tcp") == "dropped by NSG rule rule0 of on-nic (inbound)"
    assert site.net.between(site.second, site.first_ip, 6444, "Tcp") is None
    site.rules(subnet=(site.bodies.rule(access="Deny", direction="Outbound", destination="10.1.0.5"),))
    assert site.net.between(site.first, site.second_ip, 22) == "dropped by NSG rule rule0 of on-subnet (outbound)"


def test_icmp_has_no_ports(site: Site) -> None:
    site.rules(site.bodies.rule(100, access="Deny", protocol="Icmp"))
    assert site.net.between(site.second, site.first_ip, 0, "Icmp") is not None
    assert site.net.between(site.second, site.first_ip, 22, "Tcp") is None


def test_nobody_answers_at_an_address_that_no_machine_has(site: Site) -> None:
    assert "10.1.0.99" in str(site.net.between(site.first, "10.1.0.99", 22))
    assert site.net.machine_at_private("10.1.0.99", site.first) is None
    assert site.net.between(site.first, site.first_ip, 22) is None


def test_vnets_reach_each_other_only_when_both_halves_are_connected(site: Site) -> None:
    site.rules()
    assert site.net.between(site.first, site.far_ip, 22) == "no route: VNets not peered"
    assert site.net.machine_at_private(site.far_ip, site.first) is None
    site.peer(site.a, site.b)
    assert site.net.between(site.first, site.far_ip, 22) == "peering to-b Initiated"
    assert site.net.between(site.far, site.first_ip, 22) == "no route: VNets not peered"
    site.peer(site.b, site.a)
    assert site.net.between(site.first, site.far_ip, 22) is None
    assert site.net.between(site.far, site.first_ip, 22) is None
    assert site.net.machine_at_private(site.far_ip, site.first) is site.far
    site.arm.done("DELETE", f"{site.b['id']}/virtualNetworkPeerings/to-a")
    assert site.net.between(site.first, site.far_ip, 22) == "peering to-b Disconnected"
    site.unpeer()


@pytest.mark.parametrize("closed", ["a", "b"])
def test_a_half_without_access_closes_both_ways(peered: Site, closed: str) -> None:
    one, other = (peered.a, peered.b) if closed == "a" else (peered.b, peered.a)
    path = peered.peer(one, other, allowVirtualNetworkAccess=False)
    reason = f"peering {path.rpartition('/')[2]} does not allow virtual network access"
    assert peered.net.between(peered.first, peered.far_ip, 22) == reason
    assert peered.net.between(peered.far, peered.first_ip, 22) == reason


def test_peered_vnets_count_as_the_virtual_network(peered: Site) -> None:
    deny_rest = peered.bodies.rule(4000, access="Deny", protocol="*")
    peered.rules(peered.bodies.rule(100, source="VirtualNetwork", port="26257"), deny_rest)
    assert peered.net.between(peered.far, peered.first_ip, 26257) is None
    assert peered.net.between(peered.far, peered.first_ip, 8080) == "dropped by NSG rule rule1 of on-nic (inbound)"
    peered.rules(peered.bodies.rule(100, source="10.1.0.0/16", port="26257"), deny_rest)
    assert peered.net.between(peered.far, peered.first_ip, 26257) is not None
    assert peered.net.between(peered.second, peered.first_ip, 26257) is None


def test_a_peered_network_is_kept_out_by_tag_while_ranges_named_before_are_let_in(peered: Site) -> None:
    own = peered.bodies.rule(400, source=["10.1.0.0/24", "168.63.129.16/32"], protocol="*")
    rest = peered.bodies.rule(4000, access="Deny", source="VirtualNetwork", protocol="*")
    reached = [(22, "Tcp"), (6443, "Tcp"), (2379, "Tcp"), (10250, "Tcp"), (8472, "Udp"), (0, "Icmp")]
    peered.rules(own, rest)
    for port, protocol in reached:
        assert peered.net.between(peered.second, peered.first_ip, port, protocol) is None
        said = str(peered.net.between(peered.far, peered.first_ip, port, protocol))
        assert said == "dropped by NSG rule rule1 of on-nic (inbound)"
    peered.rules(peered.bodies.rule(3000, source="10.2.0.0/16", port="30257"), own, rest)
    assert peered.net.between(peered.far, peered.first_ip, 30257) is None
    assert peered.net.between(peered.far, peered.first_ip, 22) is not None
    peered.rules(own)
    for port, protocol in reached:
        assert peered.net.between(peered.far, peered.first_ip, port, protocol) is None


def test_a_range_added_later_is_reached_once_it_is_synchronised(peered: Site) -> None:
    arm, subnet = peered.arm, {"name": "late", "properties": {"addressPrefix": "10.7.0.0/24"}}
    body = arm.ask("GET", peered.b["id"]).body
    body["properties"]["addressSpace"]["addressPrefixes"].append("10.7.0.0/16")
    body["properties"]["subnets"].append(subnet)
    wider = arm.done("PUT", peered.b["id"], body).body
    wider["properties"]["subnets"].reverse()
    late = arm.machine(peered.group, "late", wider, public=False)
    assert peered.net.between(late, peered.first_ip, 22) is not None
    assert peered.net.between(peered.first, "10.7.0.4", 22) == "no route: VNets not peered"
    path = f"{peered.a['id']}/virtualNetworkPeerings/to-b?syncRemoteAddressSpace=true"
    arm.wait(arm.ask("PUT", path, peered.bodies.peering(peered.b)))
    assert peered.net.between(late, peered.first_ip, 22) is None
    assert peered.net.between(peered.first, "10.7.0.4", 22) is None


def test_the_way_out_needs_an_address_and_no_rule_against_it(site: Site) -> None:
    site.rules()
    assert site.net.has_egress(site.first)
    site.rules(site.bodies.rule(access="Deny", direction="Outbound", destination="Internet"))
    assert not site.net.has_egress(site.first)
    assert site.net.has_egress(site.second)


def test_a_private_subnet_has_no_way_out_and_an_older_one_has(shared: Any, group: str) -> None:
    private = shared.vnet(group, "private", "10.1.0.0/16", defaultOutboundAccess=False)
    assert not shared.world.network.has_egress(shared.machine(group, "in", private, public=False))
    assert shared.world.network.has_egress(shared.machine(group, "out", private))
    older = shared.vnet(group, "older", "10.2.0.0/16")
    assert shared.world.network.has_egress(shared.machine(group, "default", older, public=False))


def test_a_machine_whose_vm_is_gone_reaches_nothing(shared: Any, group: str) -> None:
    vnet = shared.vnet(group, "v", "10.1.0.0/16")
    gone, left = shared.machine(group, "gone", vnet), shared.machine(group, "left", vnet)
    shared.done("DELETE", f"{group}/providers/Microsoft.Compute/virtualMachines/gone")
    network = shared.world.network
    assert network.public_ip(gone) is None
    assert network.private_ip(gone) is None
    assert network.between(gone, "10.1.0.5", 22) == "gone has no network interface"
    assert network.between(left, "10.1.0.4", 22) == "no running machine has 10.1.0.4 in VNet v"
    assert not network.has_egress(gone)
