"""Steps of `down`, each of which holds once a resource is gone.

Not the catalog reversed: these are made from what belongs to the mesh in Azure, whatever the spec says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.waiting import Say
from crdbmesh.engine.step import Gap, Step
from crdbmesh.observe.belongings import Belongings, Resource

_ORDER = (kinds.VM, kinds.DISK, kinds.NIC, kinds.PUBLIC_IP, kinds.VNET, kinds.NSG)
"""The order of deletion by type: a NIC, an address or a network that is in use cannot be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupGone(Step):
    """A resource group of the mesh is gone, with everything in it."""

    session: Session
    group: str
    wait: bool = True

    def check(self) -> Gap | None:
        """Look for the group."""
        found = arm.find_group(self.session, self.group)
        if found is None:
            return None
        if not self.wait and found.get("properties", {}).get("provisioningState") == "Deleting":
            return None
        return Gap(f"resource group {self.group} is there")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Delete it; Azure finds the order."""
        arm.delete_group(self.session, self.group, wait=self.wait, say=say)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGone(Step):
    """One resource of the mesh is gone; for a peering, only this direction of it."""

    session: Session
    resource_id: str

    def check(self) -> Gap | None:
        """Look for it."""
        if arm.find_resource(self.session, self.resource_id) is None:
            return None
        return Gap(f"{self.resource_id.rpartition('/')[2]} is there")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Delete it."""
        arm.delete_resource(self.session, self.resource_id, say=say)


def steps(session: Session, found: Belongings, *, wait: bool) -> list[Step]:
    """Make the steps that delete what belongs to a mesh.

    Without `wait` a group counts as gone once Azure has taken the order.
    """
    groups = [GroupGone(name=f"group/{group}", session=session, group=group, wait=wait) for group in found.groups]
    return [*groups, *_resource_steps(session, found.resources)]


def _resource_steps(session: Session, resources: Sequence[Resource]) -> list[Step]:
    """Resources one by one, in an order that Azure accepts.

    Peerings, which no list of resources shows, go before their VNets; the halves that lead to a VNet of the mesh are
    peerings of another VNet of the mesh, so they are among them.
    """
    peerings = [step for resource in resources for step in _peering_steps(session, resource)]
    made: list[Step] = [*peerings]
    before: frozenset[str] = frozenset()
    for rank in sorted({_rank(resource) for resource in resources}):
        is_vnet = rank == _ORDER.index(kinds.VNET)
        after = before | {step.name for step in peerings} if is_vnet else before
        gone = [
            ResourceGone(name=_name(resource), after=after, session=session, resource_id=str(resource["id"]))
            for resource in resources
            if _rank(resource) == rank
        ]
        made += gone
        before |= {step.name for step in gone}
    return made


def _peering_steps(session: Session, vnet: Resource) -> list[Step]:
    at = kinds.ResourceId.parse(str(vnet["id"]))
    if at.kind is not kinds.VNET:
        return []
    return [
        ResourceGone(
            name=f"{_name(vnet)}/{peering['name']}",
            # Azure wants one writer per VNet at a time, and a peering's deletion changes both of its VNets.
            exclusive=frozenset({str(vnet["id"]).lower(), _remote(peering)}),
            session=session,
            resource_id=str(peering["id"]),
        )
        for peering in kinds.PEERING.list(session, at.group, *at.names)
    ]


def _rank(resource: Resource) -> int:
    kind = kinds.ResourceId.parse(str(resource["id"])).kind
    return _ORDER.index(kind) if kind in _ORDER else -1


def _name(resource: Resource) -> str:
    at = kinds.ResourceId.parse(str(resource["id"]))
    return f"{at.group}/{at.type.rpartition('/')[2]}/{resource['name']}"


def _remote(peering: Resource) -> str:
    remote = (peering.get("properties") or {}).get("remoteVirtualNetwork") or {}
    return str(remote.get("id", "")).lower()
