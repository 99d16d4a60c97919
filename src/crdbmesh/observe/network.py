"""Judges the Azure side of the network: providers, resource group, VNets, firewalls, peerings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crdbmesh.clients.azure import compare, kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.desired import Body
from crdbmesh.desired import azure as desired
from crdbmesh.errors import RefusedError
from crdbmesh.observe import belongings, firewall, resource
from crdbmesh.observe.belongings import Ownership
from crdbmesh.observe.health import Layer
from crdbmesh.observe.resource import Observed
from crdbmesh.run.world import World
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region

_IN_SYNC = "FullyInSync"


def read_unregistered(session: Session) -> dict[str, str]:
    """Read the resource providers that the subscription is not registered for: namespace to registration state."""
    found = {namespace: arm.find_provider(session, namespace) or {} for namespace in desired.PROVIDERS}
    states = {namespace: str(body.get("registrationState", "absent")) for namespace, body in found.items()}
    return {namespace: state for namespace, state in states.items() if state.lower() != "registered"}


def group(world: World) -> Observed:
    """Judge the resource group: one that exists is used only if it is the mesh's own, or if the spec names it."""
    mesh = world.mesh
    title = f"resource group {mesh.group_name}"
    found = arm.find_group(world.session, mesh.group_name)
    if found is None:
        return Observed(title, None, f"{title} is absent")
    ownership = belongings.of(world)
    state = found.get("properties", {}).get("provisioningState")
    if state != "Succeeded":
        if ownership.is_own(found):
            return Observed(title, found, f"{title} is {state}")
        # Writing it would make somebody else's group ours, for `down` to delete.
        reason = f"the {title}, which is not the mesh's own, is {state}"
        refusal = RefusedError(reason, hint="wait until it is ready, or gone").as_retryable()
        return Observed(title, found, refusal=refusal)
    if (whose := foreign_group(ownership, mesh, found)) is not None:
        hint = "choose another --name, or name the group in the spec's `group` field to share it"
        return Observed(title, found, refusal=RefusedError(f"the {title} exists and {whose}", hint=hint))
    differences = compare.differences({"tags": group_tags(ownership)}, found) if ownership.is_own(found) else []
    return Observed(title, found, f"{title}: {'; '.join(differences)}" if differences else None)


def foreign_group(ownership: Ownership, mesh: Mesh, found: Body) -> str | None:
    """Say whose a resource group is that the mesh may not use; None when it may."""
    if mesh.group is not None or ownership.is_own(found):
        return None
    return f"is not this mesh's own ({belongings.describe_owner(belongings.owner_of(found))})"


def group_tags(ownership: Ownership) -> dict[str, str]:
    """Return the tags by which the mesh's own resource group is known."""
    return {names.TAG: ownership.mesh, **({names.TAG_ID: ownership.mesh_id} if ownership.mesh_id else {})}


def vnet(world: World, region: Region) -> Observed:
    """Judge a region's VNet with its subnet; subnets and ranges that others added to it are theirs."""
    name = names.network(world.mesh.name, region.name)
    found = kinds.VNET.find(world.session, world.group, name)
    seen = resource.judge(world, kinds.VNET, name, found, desired.network(world.mesh, region))
    for moved in find_moved_ranges(found, region) if found is not None and seen.refusal is None else ():
        return replace(seen, refusal=resource.unchangeable(seen.title, f"the {moved[0]}'s range", *moved[1:]))
    return seen


def find_moved_ranges(vnet: Mapping[str, Any], region: Region) -> list[tuple[str, str, str]]:
    """Find a VNet's ranges that are not the spec's, and cannot be: `VNet` or `subnet`, its range, and the spec's."""
    prefixes, subnet = prefixes_of(vnet), subnet_of(vnet)
    moved = []
    if prefixes and str(region.ranges.vnet) not in prefixes:
        moved.append(("VNet", ", ".join(prefixes), str(region.ranges.vnet)))
    if subnet is not None and subnet != str(region.ranges.subnet):
        moved.append(("subnet", subnet, str(region.ranges.subnet)))
    return moved


def peering(world: World, region: Region, remote: Region) -> Observed:
    """Judge a directed peering: as the spec says, Connected, and in sync with the remote VNet's address space."""
    path = peering_path(world.mesh, region, remote)
    title = f"peering {region.name} -> {remote.name}"
    found = kinds.PEERING.find(world.session, world.group, *path)
    wanted = desired.peering(world.mesh, remote, world.session.subscription_id)
    if found is None:
        return Observed(title, None, f"{title} is absent", wanted=wanted)
    differences = compare.differences(wanted, found)
    seen = Observed(title, found, f"{title}: {'; '.join(differences)}" if differences else None, wanted=wanted)
    state = str(found["properties"].get("peeringState"))
    seen = seen.with_missing(None if state == "Connected" else f"{title} is {state}")
    return seen.with_missing(None if is_in_sync(found) else f"{title} is {found['properties']['peeringSyncLevel']}")


def can_pair(world: World, remote: Region, peering: Mapping[str, Any]) -> bool:
    """Return True when a peering leads to `remote`'s VNet, and its other half was not deleted."""
    properties = peering["properties"]
    wanted = desired.peering(world.mesh, remote, world.session.subscription_id)["properties"]
    leads_there = not compare.differences(wanted["remoteVirtualNetwork"], properties["remoteVirtualNetwork"])
    return leads_there and properties.get("peeringState") != "Disconnected"


def is_in_sync(peering: Mapping[str, Any]) -> bool:
    """Return True when a peering knows its remote VNet's address space as it is now."""
    return bool(peering.get("properties", {}).get("peeringSyncLevel", _IN_SYNC) == _IN_SYNC)


def peering_path(mesh: Mesh, region: Region, remote: Region) -> tuple[str, str]:
    """Return the names of a peering's VNet and of the peering itself."""
    return names.network(mesh.name, region.name), names.peering(mesh.name, region.name, remote.name)


def read_network(world: World, region: Region) -> Layer:
    """Read how a region's VNet and firewall are doing."""
    return layer("network", [vnet(world, region), firewall.firewall(world, region)])


def read_peerings(world: World, region: Region) -> Layer:
    """Read how the peerings that go out from a region's VNet are doing."""
    return layer("peerings", [peering(world, region, remote) for remote in world.mesh.others(region)])


def layer(name: str, seen: list[Observed]) -> Layer:
    """Sum up what was observed of a region's resources."""
    causes = [one.cause for one in seen if one.cause is not None]
    absent = bool(seen) and all(one.found is None for one in seen)
    return Layer.of(name, len(seen) - len(causes), len(seen), causes, absent=absent)


def prefixes_of(vnet: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a VNet's IPv4 address ranges."""
    found = vnet.get("properties", {}).get("addressSpace", {}).get("addressPrefixes") or []
    return tuple(str(prefix) for prefix in found if ":" not in str(prefix))


def subnet_of(vnet: Mapping[str, Any]) -> str | None:
    """Return the IPv4 range of a VNet's subnet for machines, or None."""
    for subnet in vnet.get("properties", {}).get("subnets") or []:
        if subnet.get("name") == names.SUBNET:
            prefixes = firewall.both(subnet.get("properties", {}), "addressPrefix", "addressPrefixes")
            return next((prefix for prefix in prefixes if ":" not in prefix), None)
    return None
