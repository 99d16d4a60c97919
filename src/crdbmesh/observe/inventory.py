"""What of a mesh is in Azure, by its tags and names: VNets and machines in full, everything else as ARM lists it.

It needs nothing but the mesh's name, so it works when the local folder is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients.azure import compute, network
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.local.contents import Place
from crdbmesh.spec import names

Body = Mapping[str, Any]

_REGION = r"(?P<region>[a-z][a-z0-9]*)"
_OF_MACHINE = re.compile(rf"{_REGION}-(?P<number>[1-9][0-9]?)(-ip|-nic|-os)?")


@dataclass(frozen=True, slots=True)
class Inventory:
    """What there is of one mesh.

    Attributes:
        mesh: its name.
        vnets: its VNets by region, as ARM shows them.
        machines: its VMs by region and number, as ARM shows them.
        places: every machine of which there is a VM, an interface, an address or a disk.
        resources: everything that carries its tag, as ARM lists resources.
        groups: the resource groups that these are in, the one with the most first.
    """

    mesh: str
    vnets: Mapping[str, Body]
    machines: Mapping[Place, Body]
    places: frozenset[Place]
    resources: tuple[Body, ...]
    groups: tuple[str, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions in which it has anything."""
        tagged = {(resource.get("tags") or {}).get(names.TAG_REGION) for resource in self.resources}
        found = {*self.vnets, *(region for region, _ in self.places), *(region for region in tagged if region)}
        return tuple(sorted(found))

    def numbers(self, region: str) -> tuple[int, ...]:
        """The numbers of a region's VMs."""
        return tuple(sorted(number for at, number in self.machines if at == region))


def find(session: Session, mesh: str, group: str | None = None) -> Inventory:
    """What there is of a mesh.

    Args:
        session: Azure.
        mesh: its name.
        group: the resource group in which things that bear its names are its own even without its tag.

    Raises:
        CloudError: Azure cannot be read.
    """
    tagged = tuple(arm.list_tagged(session, names.TAG, mesh))
    groups = [name for name, _ in Counter(group_of(resource) for resource in tagged).most_common()]
    known = {name.lower() for name in groups} | ({group.lower()} if group else set())

    def ours(bodies: Iterable[Body]) -> list[Body]:
        return [body for body in bodies if _is_ours(body, mesh, known)]

    vnets = {region: vnet for vnet in ours(network.list_vnets(session)) if (region := _region_of(vnet, mesh))}
    machines = {place: vm for vm in ours(compute.list_vms(session)) if (place := place_of(vm, mesh))}
    places = {place for resource in tagged if (place := place_of(resource, mesh))}
    return Inventory(mesh, vnets, machines, frozenset({*places, *machines}), tagged, tuple(groups))


def list_machines(session: Session, mesh: str, group: str) -> frozenset[Place]:
    """The machines of a mesh that have a VM: those with its tag, and in `group` those with its names."""
    vms = [vm for vm in compute.list_vms(session) if _is_ours(vm, mesh, {group.lower()})]
    return frozenset(place for vm in vms if (place := place_of(vm, mesh)))


def list_meshes(session: Session) -> dict[str, tuple[str, ...]]:
    """The meshes of the subscription by their tags: name to regions."""
    found: dict[str, set[str]] = {}
    for body in [*network.list_vnets(session), *compute.list_vms(session)]:
        tags = body.get("tags") or {}
        if name := tags.get(names.TAG):
            found.setdefault(str(name), set()).add(str(tags.get(names.TAG_REGION) or body.get("location")))
    return {name: tuple(sorted(regions)) for name, regions in sorted(found.items())}


def group_of(resource: Body) -> str:
    """The resource group that a resource is in."""
    return str(resource["id"]).strip("/").split("/")[3]


def place_of(resource: Body, mesh: str) -> Place | None:
    """Which machine of the mesh a resource is, or is part of, by its name."""
    head, _, tail = str(resource.get("name", "")).lower().partition(f"{mesh}-")
    found = _OF_MACHINE.fullmatch(tail) if not head else None
    return (found["region"], int(found["number"])) if found else None


def prefixes_of(vnet: Body) -> tuple[str, ...]:
    """A VNet's address ranges, IPv4 ones."""
    found = vnet.get("properties", {}).get("addressSpace", {}).get("addressPrefixes") or []
    return tuple(str(prefix) for prefix in found if ":" not in str(prefix))


def subnet_of(vnet: Body) -> str | None:
    """The range of a VNet's subnet for machines."""
    for subnet in vnet.get("properties", {}).get("subnets") or []:
        if subnet.get("name") == names.SUBNET:
            properties = subnet.get("properties", {})
            found = [properties.get("addressPrefix"), *(properties.get("addressPrefixes") or [])]
            return next((str(prefix) for prefix in found if prefix and ":" not in str(prefix)), None)
    return None


@dataclass(frozen=True, slots=True)
class SSHRule:
    """What a region's firewall lets in by SSH."""

    port: int
    sources: tuple[str, ...]


def ssh_rule(nsg: Body | None) -> SSHRule | None:
    """The firewall's rule for SSH, or None."""
    for rule in (nsg or {}).get("properties", {}).get("securityRules") or []:
        properties = rule.get("properties", {})
        ports = [properties.get("destinationPortRange"), *(properties.get("destinationPortRanges") or [])]
        port = next((str(port) for port in ports if port), "")
        sources = [properties.get("sourceAddressPrefix"), *(properties.get("sourceAddressPrefixes") or [])]
        if rule.get("name") == "ssh" and port.isdigit():
            return SSHRule(int(port), tuple(str(source) for source in sources if source))
    return None


def _region_of(vnet: Body, mesh: str) -> str | None:
    head, _, tail = str(vnet.get("name", "")).lower().partition(f"{mesh}-")
    return tail if not head and re.fullmatch(_REGION, tail) else None


def _is_ours(body: Body, mesh: str, groups: set[str]) -> bool:
    owner = (body.get("tags") or {}).get(names.TAG)
    return owner == mesh or (owner is None and group_of(body).lower() in groups)
