"""Evaluation of network security groups, as Microsoft documents it.

Rules of one direction in order of priority, the first match decides; default rules come last. Prefixes, ranges and
service tags match as in the documentation of security rules. Source ports are taken to be ephemeral.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crdbmesh_simulator import tables

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

parse_address = functools.lru_cache(maxsize=4096)(ipaddress.ip_address)
parse_network = functools.lru_cache(maxsize=1024)(ipaddress.ip_network)

EPHEMERAL_PORT = 49152
LOAD_BALANCER = ipaddress.ip_address("168.63.129.16")
"""The address that the tag AzureLoadBalancer stands for on a machine."""

TAGS = frozenset(tables.read(__package__, "offers")["tags"]["foreign"])
"""Service tags that no address of this world belongs to."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What is judged: the first packet of a flow. `protocol` is `Tcp`, `Udp` or `Icmp`."""

    source: Address
    destination: Address
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a group says of a packet, and by which rule."""

    allowed: bool
    rule: str


def judge(rules: Iterable[dict[str, Any]], packet: Packet, direction: str, virtual_network: list[Network]) -> Verdict:
    """The verdict of a group's rules, default ones included.

    `virtual_network` is what the tag VirtualNetwork stands for; `direction` is `Inbound` or `Outbound`.
    """
    ordered = sorted(
        (rule for rule in rules if rule["properties"]["direction"] == direction),
        key=lambda rule: int(rule["properties"]["priority"]),
    )
    for rule in ordered:
        if _matches(rule["properties"], packet, virtual_network):
            return Verdict(rule["properties"]["access"] == "Allow", str(rule["name"]))
    return Verdict(allowed=False, rule="no rule")


@functools.lru_cache(maxsize=1024)
def is_tag(text: str) -> bool:
    """Whether this is a service tag, a regional one included."""
    name = text.lower()
    known = {tag.lower() for tag in TAGS} | {"virtualnetwork", "azureloadbalancer", "internet"}
    return name in known or name.partition(".")[0] in known


def _matches(rule: dict[str, Any], packet: Packet, virtual_network: list[Network]) -> bool:
    if rule["protocol"] not in ("*", packet.protocol):
        return False
    sources = _listed(rule, "sourceAddressPrefix", "sourceAddressPrefixes")
    destinations = _listed(rule, "destinationAddressPrefix", "destinationAddressPrefixes")
    if not any(_has_address(prefix, packet.source, virtual_network) for prefix in sources):
        return False
    if not any(_has_address(prefix, packet.destination, virtual_network) for prefix in destinations):
        return False
    source_ports = _listed(rule, "sourcePortRange", "sourcePortRanges")
    ports = _listed(rule, "destinationPortRange", "destinationPortRanges")
    return any(_has_port(ports_, EPHEMERAL_PORT) for ports_ in source_ports) and any(
        _has_port(ports_, packet.port) for ports_ in ports
    )


def _listed(rule: dict[str, Any], single: str, several: str) -> list[str]:
    found = [str(entry) for entry in rule.get(several) or []]
    return [str(rule[single]), *found] if rule.get(single) else found


def _has_address(prefix: str, address: Address, virtual_network: list[Network]) -> bool:
    name = prefix.lower()
    if name in ("*", "any"):
        return True
    if name == "virtualnetwork":
        return _inside(address, virtual_network)
    if name == "azureloadbalancer":
        return address == LOAD_BALANCER
    if name == "internet":
        return address != LOAD_BALANCER and not _inside(address, virtual_network)
    if is_tag(prefix):
        return False
    if "-" in prefix:
        low, _, high = prefix.partition("-")
        return int(ipaddress.ip_address(low.strip())) <= int(address) <= int(ipaddress.ip_address(high.strip()))
    return _inside(address, [parse_network(prefix, strict=False)])


def _inside(address: Address, networks: Iterable[Network]) -> bool:
    return any(network.version == address.version and address in network for network in networks)


def _has_port(ports: str, port: int) -> bool:
    if ports == "*":
        return True
    low, _, high = ports.partition("-")
    return int(low) <= port <= int(high or low)
