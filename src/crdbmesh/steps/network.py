"""The Azure side of the network: providers, resource group, VNets, firewalls, peerings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from crdbmesh.clients.azure import compare, network
from crdbmesh.clients.azure import resources as arm
from crdbmesh.desired import azure as resources
from crdbmesh.engine.step import Gap, Say
from crdbmesh.errors import RefusedError
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Region
from crdbmesh.steps.base import MeshStep, ResourceStep

PROVIDERS = ("Microsoft.Network", "Microsoft.Compute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers(MeshStep):
    """The subscription is registered for the resource providers we use."""

    leased: ClassVar[bool] = False

    def check(self) -> Gap | None:
        """Ask for each provider's registration."""
        missing = [namespace for namespace in PROVIDERS if not self._registered(namespace)]
        return Gap(f"not registered: {', '.join(missing)}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Register them; the SDK's own attempt does not work for long-running operations."""
        for namespace in PROVIDERS:
            if not self._registered(namespace):
                arm.register_provider(self.world.session, namespace, say=say)

    def _registered(self, namespace: str) -> bool:
        found = arm.find_provider(self.world.session, namespace) or {}
        return str(found.get("registrationState", "")).lower() == "registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(MeshStep):
    """The resource group. One that exists is used only if it is ours, or if the spec names it.

    The mesh's lease is in it, so making it needs none.
    """

    leased: ClassVar[bool] = False

    def check(self) -> Gap | None:
        """Look for the group and whose it is."""
        mesh = self.world.mesh
        found = arm.find_group(self.world.session, mesh.group_name)
        if found is None:
            return Gap(f"resource group {mesh.group_name} is absent")
        state = found.get("properties", {}).get("provisioningState")
        owner = (found.get("tags") or {}).get(names.TAG)
        if state != "Succeeded":
            if owner != mesh.name:
                # Writing it would make somebody else's group ours, for `down` to delete.
                raise RefusedError(
                    f"the resource group {mesh.group_name}, which is not the mesh's own, is {state}",
                    hint="wait until it is ready, or gone",
                ).as_retryable()
            return Gap(f"resource group {mesh.group_name} is {state}")
        if mesh.group is None and owner != mesh.name:
            whose = f"belongs to the mesh {owner}" if owner else "is not crdbmesh's"
            raise RefusedError(
                f"the resource group {mesh.group_name} exists and {whose}",
                hint="choose another --name, or name the group in the spec's `group` field to share it",
            )
        return None

    def apply(self, gap: Gap, say: Say) -> None:
        """Create it, in the first region."""
        mesh = self.world.mesh
        say(gap.summary)
        if arm.find_group(self.world.session, mesh.group_name) is None:
            self.world.forget_world()
        arm.ensure_group(self.world.session, mesh.group_name, mesh.regions[0].name, resources.tags(mesh))


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall(ResourceStep):
    """A region's network security group: our three rules and no other."""

    def resource(self) -> str:
        """What it is, for messages."""
        return f"network security group {self._name}"

    def wanted(self) -> Mapping[str, Any]:
        """The group with its rules."""
        return resources.firewall(self.world.mesh, self.region)

    def find(self) -> dict[str, Any] | None:
        """The group as it is."""
        return network.find_nsg(self.world.session, self.world.group, self._name)

    def ensure(self, body: dict[str, Any], say: Say) -> None:
        """Send it whole: the rules are in the same PUT, so there is no moment with half of them."""
        network.ensure_nsg(self.world.session, self.world.group, self._name, body, say=say)

    def check(self) -> Gap | None:
        """Also notice rules that are not ours: nothing else may be open."""
        gap = ResourceStep.check(self)
        if gap is not None:
            return gap
        ours = {rule["name"] for rule in self.wanted()["properties"]["securityRules"]}
        found = (self.find() or {}).get("properties", {}).get("securityRules") or []
        foreign = sorted(str(rule.get("name")) for rule in found if rule.get("name") not in ours)
        return Gap(f"{self.resource()} has rules that are not ours: {', '.join(foreign)}") if foreign else None

    @property
    def _name(self) -> str:
        return names.firewall(self.world.mesh.name, self.region.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(ResourceStep):
    """A region's VNet with its subnet."""

    def resource(self) -> str:
        """What it is, for messages."""
        return f"VNet {self._name}"

    def wanted(self) -> Mapping[str, Any]:
        """The VNet with its subnet."""
        return resources.network(self.world.mesh, self.region)

    def find(self) -> dict[str, Any] | None:
        """The VNet as it is."""
        return network.find_vnet(self.world.session, self.world.group, self._name)

    def ensure(self, body: dict[str, Any], say: Say) -> None:
        """Send it with the subnets and peerings it has: a PUT that leaves them out may remove them."""
        found = self.find()
        if found is not None:
            have = found.get("properties", {})
            ours = {subnet["name"] for subnet in body["properties"]["subnets"]}
            others = [subnet for subnet in have.get("subnets") or [] if subnet.get("name") not in ours]
            peerings = have.get("virtualNetworkPeerings") or []
            body["properties"] = {
                **body["properties"],
                "subnets": [*body["properties"]["subnets"], *others],
                "virtualNetworkPeerings": peerings,
            }
        network.ensure_vnet(self.world.session, self.world.group, self._name, body, say=say)

    def fixed(self) -> Mapping[str, Any]:
        """Its ranges too: machines live in them."""
        return {**ResourceStep.fixed(self), "address space": _address_space, "subnet range": _subnet_range}

    @property
    def _name(self) -> str:
        return names.network(self.world.mesh.name, self.region.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peerings(MeshStep):
    """Both directions of a pair of VNets, Connected and in sync."""

    pair: tuple[Region, Region]

    def check(self) -> Gap | None:
        """Look at both directions."""
        for region, remote in self._directions():
            found = self._find(region, remote)
            what = f"peering {region.name} -> {remote.name}"
            if found is None:
                return Gap(f"{what} is absent")
            properties = found.get("properties", {})
            wanted = resources.peering(self.world.mesh, remote, self.world.session.subscription_id)
            if differences := compare.differences(wanted, found):
                return Gap(f"{what}: {'; '.join(differences)}")
            state = (properties.get("peeringState"), properties.get("peeringSyncLevel", "FullyInSync"))
            if state != ("Connected", "FullyInSync"):
                return Gap(f"{what} is {state[0]}, {state[1]}")
        return None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Put both, one after the other.

        A direction whose other half was deleted is Disconnected, and Azure refuses to pair with it again: it is
        deleted first.
        """
        world = self.world
        for region, remote in self._directions():
            found = self._find(region, remote)
            if found is not None and found.get("properties", {}).get("peeringState") == "Disconnected":
                network.delete_peering(world.session, world.group, *self._name(region, remote), say=say)
        for region, remote in self._directions():
            body = resources.peering(world.mesh, remote, world.session.subscription_id)
            network.ensure_peering(world.session, world.group, *self._name(region, remote), body, say=say)

    def _directions(self) -> list[tuple[Region, Region]]:
        one, other = self.pair
        return [(one, other), (other, one)]

    def _name(self, region: Region, remote: Region) -> tuple[str, str]:
        mesh = self.world.mesh.name
        return names.network(mesh, region.name), names.peering(mesh, region.name, remote.name)

    def _find(self, region: Region, remote: Region) -> dict[str, Any] | None:
        return network.find_peering(self.world.session, self.world.group, *self._name(region, remote))


def _address_space(body: Mapping[str, Any]) -> object:
    return sorted(body.get("properties", {}).get("addressSpace", {}).get("addressPrefixes") or [])


def _subnet_range(body: Mapping[str, Any]) -> object:
    for subnet in body.get("properties", {}).get("subnets") or []:
        if subnet.get("name") == names.SUBNET:
            properties = subnet.get("properties", {})
            return properties.get("addressPrefix") or (properties.get("addressPrefixes") or [None])[0]
    return None
