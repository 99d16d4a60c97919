"""The types of resource there are, in the order in which a group's deletion takes them."""

from __future__ import annotations

from crdbmesh.simulator.arm.kinds import Kind
from crdbmesh.simulator.arm.nsgs import GROUPS
from crdbmesh.simulator.arm.vms import ADDRESSES, DISKS, INTERFACES, VirtualMachines
from crdbmesh.simulator.arm.vnets import VirtualNetworks

MACHINES = VirtualMachines()
NETWORKS = VirtualNetworks()
KINDS: list[Kind] = [MACHINES, DISKS, INTERFACES, ADDRESSES, NETWORKS, GROUPS]

_BY_TYPE = {kind.type.lower(): kind for kind in KINDS}


def kind_of(resource_type: str) -> Kind:
    """The kind of a resource type."""
    return _BY_TYPE[resource_type.lower()]
