"""What `down` removes: steps that hold when something is gone.

Not the catalog reversed: these are made from what carries the mesh's tag in the world, whatever the spec says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.engine.step import Gap, Say, Step

ORDER = (
    "microsoft.compute/virtualmachines",
    "microsoft.compute/disks",
    "microsoft.network/networkinterfaces",
    "microsoft.network/publicipaddresses",
    "microsoft.network/virtualnetworks",
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


def resource_steps(session: Session, found: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Steps that delete resources one by one, in an order that Azure accepts; `found` as ARM lists resources."""
    ranked: dict[int, list[tuple[str, str]]] = {}
    for resource in found:
        kind = str(resource["type"]).lower()
        rank = ORDER.index(kind) if kind in ORDER else -1
        name = f"{kind.rpartition('/')[2]}/{resource['name']}"
        ranked.setdefault(rank, []).append((name, str(resource["id"])))
    steps: list[Step] = []
    before: frozenset[str] = frozenset()
    for rank in sorted(ranked):
        made = [
            ResourceGone(name=name, after=before, session=session, resource_id=resource_id)
            for name, resource_id in ranked[rank]
        ]
        steps += made
        before |= {step.name for step in made}
    return steps
