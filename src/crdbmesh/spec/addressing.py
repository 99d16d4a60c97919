"""The address plan: the ranges of each region's VNet, subnet, pods and services.

Everything is cut from one base range (default 10.0.0.0/8) into /16 blocks, in three families that can never meet:
VNets, pods, services. With a /8 base the numbers stay readable: region 1 has VNet 10.1.0.0/16, pods 10.101.0.0/16,
services 10.201.0.0/16. VNets must not overlap (Azure refuses to peer them), pod ranges must not overlap (Cilium
Cluster Mesh routes by them), and services do not overlap, so that an address tells its region.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

BLOCK = 16
"""Prefix length of a region's VNet, pod and service ranges."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """The address ranges of a region."""

    vnet: IPv4Network
    subnet: IPv4Network
    pods: IPv4Network
    services: IPv4Network

    def named(self) -> dict[str, IPv4Network]:
        """Return the ranges that must be disjoint from every other region's, by their spec field."""
        return {"vnet": self.vnet, "pods": self.pods, "services": self.services}


def capacity(base: IPv4Network) -> int:
    """Return the number of regions that `base` has room for."""
    blocks = 2 ** (BLOCK - base.prefixlen) if base.prefixlen <= BLOCK else 0
    stride = _stride(blocks)
    if blocks >= 256:
        # The last family starts at block 201 and ends with the base; no family may reach the next one.
        return min(stride, blocks - 2 * stride) - 1
    return stride


def derive(base: IPv4Network, index: int) -> Ranges:
    """Return the ranges of the region at `index` (from 0); raise ValueError when `base` has no room for that many."""
    if index >= capacity(base):
        raise ValueError(f"{base} has room for {capacity(base)} regions")
    blocks = list(base.subnets(new_prefix=BLOCK))
    stride = _stride(len(blocks))
    first = index + 1 if len(blocks) >= 256 else index
    vnet, pods, services = (blocks[first + family * stride] for family in range(3))
    return Ranges(vnet=vnet, subnet=default_subnet(vnet), pods=pods, services=services)


def default_subnet(vnet: IPv4Network) -> IPv4Network:
    """Return the second /24 of a VNet (10.1.1.0/24 of 10.1.0.0/16), or the whole VNet when it is too small."""
    if vnet.prefixlen > 23:
        return vnet
    subnets = vnet.subnets(new_prefix=24)
    next(subnets)
    return next(subnets)


def machine_address(subnet: IPv4Network, number: int) -> IPv4Address:
    """Return the private address of machine `number` (from 1); Azure keeps a subnet's first four addresses."""
    return subnet.network_address + 3 + number


def cluster_dns(services: IPv4Network) -> IPv4Address:
    """Return the address of a cluster's DNS service: the tenth of its service range, which is k3s's default."""
    return services.network_address + 10


def _stride(blocks: int) -> int:
    return 100 if blocks >= 256 else blocks // 3
