"""What `down` removes: steps that hold when something is gone.

Not the catalog reversed: these are made from what carries the mesh's tag in the world, whatever the spec says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients.azure import network
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.engine.step import Gap, Say, Step

VNET = "microsoft.network/virtualnetworks"
ORDER = (
    "microsoft.compute/virtualmachines",
    "microsoft.compute/disks",
    "microsoft.network/networkinterfaces",
    "microsoft.network/publicipaddresses",
    VNET,
    "microsoft.network/networksecuritygroups",
)
"""What must go before what: a NIC in use, an address in use, a network in use cannot be deleted."""


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
    """One resource of the mesh is gone."""

    session: Session
    resource_id: str

    def check(self) -> Gap | None:
        """Look for it."""
        if arm.find_resource_by_id(self.session, self.resource_id) is None:
            return None
        return Gap(f"{self.resource_id.rpartition('/')[2]} is there")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Delete it."""
        arm.delete_resource_by_id(self.session, self.resource_id, say=say)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeeringGone(Step):
    """One directed peering of a VNet of the mesh is gone."""

    session: Session
    group: str
    vnet: str
    peering: str

    def check(self) -> Gap | None:
        """Look for it."""
        if network.find_peering(self.session, self.group, self.vnet, self.peering) is None:
            return None
        return Gap(f"{self.peering} is there")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Delete it."""
        network.delete_peering(self.session, self.group, self.vnet, self.peering, say=say)


def resource_steps(session: Session, found: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Steps that delete resources one by one, in an order that Azure accepts; `found` as ARM lists resources.

    Peerings, which no list of resources shows, go before their VNets; the halves that lead to a VNet of the mesh are
    peerings of another VNet of the mesh, so they are among them.
    """
    resources = list(found)
    peerings = [step for resource in resources for step in _peering_steps(session, resource)]
    steps: list[Step] = [*peerings]
    before: frozenset[str] = frozenset()
    for rank in sorted({_rank(resource) for resource in resources}):
        at_rank = [resource for resource in resources if _rank(resource) == rank]
        is_vnet = rank == ORDER.index(VNET)
        after = before | {step.name for step in peerings} if is_vnet else before
        made = [
            ResourceGone(name=_name(resource), after=after, session=session, resource_id=str(resource["id"]))
            for resource in at_rank
        ]
        steps += made
        before |= {step.name for step in made}
    return steps


def _peering_steps(session: Session, resource: Mapping[str, Any]) -> list[Step]:
    if str(resource["type"]).lower() != VNET:
        return []
    group, vnet = _group(resource), str(resource["name"])
    return [
        PeeringGone(
            name=f"{_name(resource)}/{peering['name']}",
            # Azure wants one writer per VNet at a time, and a peering's deletion changes both of its VNets.
            exclusive=frozenset({str(resource["id"]).lower(), _remote(peering)}),
            session=session,
            group=group,
            vnet=vnet,
            peering=str(peering["name"]),
        )
        for peering in network.list_peerings(session, group, vnet)
    ]


def _rank(resource: Mapping[str, Any]) -> int:
    kind = str(resource["type"]).lower()
    return ORDER.index(kind) if kind in ORDER else -1


def _name(resource: Mapping[str, Any]) -> str:
    kind = str(resource["type"]).rpartition("/")[2]
    return f"{_group(resource)}/{kind}/{resource['name']}"


def _group(resource: Mapping[str, Any]) -> str:
    return str(resource["id"]).strip("/").split("/")[3]


def _remote(peering: Mapping[str, Any]) -> str:
    remote = (peering.get("properties") or {}).get("remoteVirtualNetwork") or {}
    return str(remote.get("id", "")).lower()
