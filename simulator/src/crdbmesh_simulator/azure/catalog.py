"""The types of resource there are, in the order in which a group's deletion takes them."""

from __future__ import annotations

from crdbmesh_simulator.azure.disks import DISKS
from crdbmesh_simulator.azure.kinds import Kind
from crdbmesh_simulator.azure.nsgs import GROUPS
from crdbmesh_simulator.azure.sets import AvailabilitySets
from crdbmesh_simulator.azure.vms import ADDRESSES, INTERFACES, VirtualMachines
from crdbmesh_simulator.azure.vnets import VirtualNetworks

MACHINES = VirtualMachines()
NETWORKS = VirtualNetworks()
KINDS: list[Kind] = [MACHINES, DISKS, INTERFACES, ADDRESSES, NETWORKS, GROUPS, AvailabilitySets()]

_BY_TYPE = {kind.type.lower(): kind for kind in KINDS}


def kind_of(resource_type: str) -> Kind:
    """The kind of a resource type."""
    return _BY_TYPE[resource_type.lower()]
