"""Finds the likely cause of a claim that failed: only what was looked at, and is not as it must be."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from crdbmesh.clients.azure import kinds
from crdbmesh.desired import dns
from crdbmesh.errors import CrdbmeshError
from crdbmesh.observe import certificates, firewall, machines, network, placement, rollouts
from crdbmesh.observe.proof import Claim
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

TUNNEL = ("udp", 8472)
"""Cilium's VXLAN tunnels (docs.cilium.io, "Firewall Rules")."""
LINK_MTU, FITTING = 1500, 1450
"""The largest packet between Azure VMs, and what of it VXLAN leaves to a packet between pods."""


def find_cause(world: World, claim: Claim) -> str | None:
    """Say what was found that explains a failed claim; None when nothing was."""
    for look, *about in _looks(world.mesh, claim):
        key = "/".join(["evidence", look.__name__, *(str(getattr(one, "name", one)) for one in about)])
        with contextlib.suppress(CrdbmeshError):
            if found := world.once(key, partial(_causes, look, world, about)):
                return "; ".join(found)
    return None


def _causes(look: Callable[..., Iterator[str | None]], world: World, about: list[Any]) -> list[str]:
    return [cause for cause in look(world, *about) if cause]


def _looks(mesh: Mesh, claim: Claim) -> Iterator[tuple[Any, ...]]:
    """Give each thing to look at with what it is about: what is peculiar to the claim, then the way between regions."""
    everyone, kind = mesh.all_regions(), claim.kind
    ends = [region for region in everyone if region.name in (claim.source, claim.target)] or [*everyone]
    if kind == "placement":
        yield (_drift,)
    if kind == "payload":
        yield _mtu, *ends
    if kind.startswith("dns"):
        yield _forwarders, mesh.region(claim.source), mesh.region(claim.target)
    if kind == "clustermesh":
        yield _cilium_ca, *everyone
    for region in ends:
        yield _machines, region
    ways = [(mesh.region(claim.source), mesh.region(claim.target))] if claim.target else mesh.pairs()
    for one, other in ways:
        if one != other:
            ports = {"dns-udp": ("udp", other.dns_port), "dns-tcp": ("tcp", other.dns_port)}
            flow = {**ports, "clustermesh": ("tcp", names.CLUSTERMESH_PORT)}.get(kind, TUNNEL)
            yield _peerings, *sorted((one, other), key=everyone.index)
            yield _firewalls, one, other, *flow
            yield _firewalls, one, other, *TUNNEL
            yield _firewalls, other, one, *TUNNEL
    yield _cilium_ca, *ends


def _machines(world: World, region: Region) -> Iterator[str | None]:
    yield from (machines.vm(world, machine).cause for machine in region.machines)


def _peerings(world: World, one: Region, other: Region) -> Iterator[str | None]:
    yield from (network.peering(world, *way).cause for way in ((one, other), (other, one)))


def _cilium_ca(world: World, *regions: Region) -> Iterator[str | None]:
    yield from (certificates.foreign_cilium_ca(world, region) for region in regions)


def _drift(world: World) -> Iterator[str | None]:
    yield from (said for said, _ in placement.find_drift(world).values())


def _mtu(world: World, *regions: Region) -> Iterator[str | None]:
    """Look at the MTU that Cilium was told to give to pods; told nothing, it finds out what fits."""
    for region in regions:
        config = world.kube(region.name).find("v1", "ConfigMap", names.CILIUM_CONFIG, names.KUBE_SYSTEM) or {}
        mtu = str((config.get("data") or {}).get("mtu") or "0")
        if mtu.isdigit() and int(mtu) > FITTING:
            fits = f"{FITTING} fit into a VXLAN tunnel between machines with an MTU of {LINK_MTU}"
            yield f"Cilium in {region.name} gives pods an MTU of {mtu}, and {fits}"


def _forwarders(world: World, source: Region, target: Region) -> Iterator[str | None]:
    """Look for the DNS block that forwards the target's zone, and for CoreDNS on both sides."""
    custom = world.kube(source.name).find("v1", "ConfigMap", names.COREDNS_CUSTOM, names.KUBE_SYSTEM) or {}
    block = (custom.get("data") or {}).get(dns.key(target))
    if source != target and block != dns.block(target):
        which = "has no block" if block is None else "has another block than crdbmesh's"
        yield f"ConfigMap {names.COREDNS_CUSTOM} in {source.name} {which} for the zone {names.zone(target.name)}"
    for region in dict.fromkeys((source, target)):
        why = rollouts.read_missing(world.kube(region.name), "Deployment", names.COREDNS, names.KUBE_SYSTEM)
        yield f"CoreDNS in {region.name}: {why}" if why else None


def _firewalls(world: World, source: Region, target: Region, protocol: str, port: int) -> Iterator[str | None]:
    """Follow a packet from a machine of one region to one of another through the rules that Azure would match."""
    ends = str(source.machines[0].address), str(target.machines[0].address)
    for region, direction in ((source, "outbound"), (target, "inbound")):
        for group in _groups(world, region):
            rule = firewall.match(group, direction, *ends, protocol, port)
            if rule is not None and rule["properties"]["access"].lower() == "deny":
                flow = f"{protocol.upper()} {port} from {source.name} to {target.name}"
                yield f"rule {rule['name']} of network security group {group['name']} denies {flow}"


def _groups(world: World, region: Region) -> Iterator[Mapping[str, Any]]:
    """Give the network security groups that a region's packets pass: the mesh's, and what is on its subnet."""
    session, group, mesh = world.session, world.group, world.mesh.name
    found = [kinds.NSG.find(session, group, names.firewall(mesh, region.name))]
    vnet = kinds.VNET.find(session, group, names.network(mesh, region.name)) or {}
    for subnet in vnet.get("properties", {}).get("subnets") or []:
        if subnet["name"] == names.SUBNET and (on_subnet := subnet["properties"].get("networkSecurityGroup")):
            at = kinds.ResourceId.parse(str(on_subnet["id"]))
            found.append(kinds.NSG.find(session, at.group, *at.names))
    yield from (nsg for nsg in found if nsg is not None)
