"""The Azure side of the network: providers, resource group, VNets, firewalls, peerings."""

from dataclasses import dataclass
from typing import ClassVar

from crdbmesh.clients.azure import compare, kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import azure as desired
from crdbmesh.engine.step import Gap
from crdbmesh.local import contents
from crdbmesh.observe import belongings, firewall, network
from crdbmesh.observe.resource import Observed
from crdbmesh.spec.mesh import Region
from crdbmesh.steps.base import MeshStep, ResourceStep


class Providers(MeshStep):
    """The subscription is registered for the resource providers we use."""

    leased: ClassVar[bool] = False

    def check(self) -> Gap | None:
        """Read each provider's registration."""
        missing = network.read_unregistered(self.world.session)
        return Gap(f"not registered: {', '.join(missing)}") if missing else None

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Register them; the SDK's own attempt does not work for long-running operations."""
        for namespace in network.read_unregistered(self.world.session):
            arm.register_provider(self.world.session, namespace, say=say)


class Group(MeshStep):
    """The resource group. The mesh's lease is in it, so that making it needs none."""

    leased: ClassVar[bool] = False

    def check(self) -> Gap | None:
        """Judge the group as it is."""
        return network.group(self.world).gap()

    def apply(self, gap: Gap, say: Say) -> None:
        """Create it in the first region, or give the mesh's own its tags again."""
        mesh, session = self.world.mesh, self.world.session
        say(f"writing the resource group: {gap.summary}")
        seen = network.group(self.world)
        if seen.refusal is not None:
            raise seen.refusal
        if seen.found is None:
            self.world.forget_world()
            self.world.folder.append(contents.CREATED, desired.group_id(session.subscription_id, mesh.group_name))
        found = seen.found or {"location": mesh.regions[0].name}
        tags = {**desired.tags(mesh), **network.group_tags(belongings.of(self.world))}
        merged = compare.merge(found.get("tags"), tags, "tags")
        arm.ensure_group(session, mesh.group_name, str(found["location"]), merged)


class Firewall(ResourceStep):
    """A region's network security group with our rules.

    The rules are in the same PUT as the group, so that there is no moment with half of them.
    """

    kind = kinds.NSG

    def observe(self) -> Observed:
        """Judge the security group as it is."""
        return firewall.firewall(self.world, self.region)


class Network(ResourceStep):
    """A region's VNet with its subnet."""

    kind = kinds.VNET

    def observe(self) -> Observed:
        """Judge the VNet as it is."""
        return network.vnet(self.world, self.region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peerings(MeshStep):
    """Both directions of a pair of VNets, Connected and in sync."""

    pair: tuple[Region, Region]

    def check(self) -> Gap | None:
        """Judge both directions."""
        gaps = (network.peering(self.world, region, remote).gap() for region, remote in self._directions())
        return next((gap for gap in gaps if gap is not None), None)

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Put both, one after the other, over what is there.

        What Azure cannot pair again is deleted first: a direction whose other half was deleted is Disconnected, and one
        that leads elsewhere cannot be led back.
        """
        paths = {pair: network.peering_path(self.world.mesh, *pair) for pair in self._directions()}
        for (region, remote), path in paths.items():
            found = network.peering(self.world, region, remote).found
            if found is not None and not network.can_pair(self.world, remote, found):
                kinds.PEERING.delete(self.world.session, self.world.group, *path, say=say)
        for (region, remote), path in paths.items():
            seen = network.peering(self.world, region, remote)
            if seen.gap() is None:
                continue
            body, options = compare.merge(seen.found, seen.wanted), kinds.unless_changed(seen.found)
            if seen.found is not None and not network.is_in_sync(seen.found):
                options["sync_remote_address_space"] = "true"
            kinds.PEERING.ensure(self.world.session, self.world.group, *path, body=body, say=say, **options)

    def _directions(self) -> list[tuple[Region, Region]]:
        one, other = self.pair
        return [(one, other), (other, one)]
