"""Steps of `down`, each of which holds once a resource is gone.

Not the catalog reversed: these are made from what belongs to the mesh in Azure, whatever the spec says.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.waiting import Say
from crdbmesh.desired import Body
from crdbmesh.engine.step import Gap, Step
from crdbmesh.errors import CloudError
from crdbmesh.observe import belongings
from crdbmesh.observe.belongings import Belongings, Resource
from crdbmesh.spec import names

_ID = re.compile(r"/subscriptions/[^\s,'\"()]+[^\s,'\"().]")


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
        return Gap(f"resource group {self.group} still exists")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Delete it; Azure finds the order."""
        try:
            arm.delete_group(self.session, self.group, wait=self.wait, say=say)
        except CloudError as error:
            left = arm.list_group_resources(self.session, self.group)
            raise _explained(self.session, error, [str(one["id"]) for one in left]) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGone(Step):
    """One resource of the mesh is gone; for a peering, only this direction of it."""

    session: Session
    resource_id: str

    def check(self) -> Gap | None:
        """Look for it."""
        if arm.find_resource(self.session, self.resource_id) is None:
            return None
        return Gap(f"{self.resource_id.rpartition('/')[2]} still exists")

    def apply(self, gap: Gap, say: Say) -> None:  # noqa: ARG002
        """Delete it."""
        try:
            arm.delete_resource(self.session, self.resource_id, say=say)
        except CloudError as error:
            raise _explained(self.session, error, [self.resource_id]) from error


def steps(session: Session, mesh: str, found: Belongings, *, wait: bool) -> list[Step]:
    """Make the steps that delete what belongs to a mesh.

    Without `wait` a group counts as gone once Azure has taken the order.
    """
    groups = [GroupGone(name=f"group/{group}", session=session, group=group, wait=wait) for group in found.groups]
    return [*groups, *_resource_steps(session, mesh, found.resources)]


def _resource_steps(session: Session, mesh: str, resources: Sequence[Resource]) -> list[Step]:
    """Resources one by one, each after those of the mesh that use it; so one that is stuck keeps only what it uses.

    Peerings, which no list of resources shows, go before their VNets; the halves that lead to a VNet of the mesh are
    peerings of another VNet of the mesh, so they are among them.
    """
    peerings = [step for resource in resources for step in _peering_steps(session, resource)]
    made: list[Step] = [*peerings]
    for resource in resources:
        users = {_name(other) for other in resources if _uses(mesh, other, resource)}
        users |= {step.name for step in peerings if str(resource["id"]).lower() in step.exclusive}
        # Somebody may have put a security group on a subnet.
        nsg = arm.find_resource(session, str(resource["id"])) if _kind(resource) is kinds.NSG else None
        for subnet in (nsg or {}).get("properties", {}).get("subnets") or []:
            users |= {_name(other) for other in resources if subnet["id"].lower().startswith(f"{other['id']}/".lower())}
        at = str(resource["id"])
        made.append(ResourceGone(name=_name(resource), after=frozenset(users), session=session, resource_id=at))
    return made


def _uses(mesh: str, user: Resource, used: Resource) -> bool:
    """Return True when a resource of the mesh uses another, by their names, or when the other is the mesh's lease."""
    if used["name"] == names.lease(mesh):
        return user is not used
    kind, of = _kind(used), (belongings.place_of(user, mesh), belongings.place_of(used, mesh))
    if kind in {kinds.NIC, kinds.DISK}:
        return _kind(user) is kinds.VM and of[0] == of[1]
    if kind is kinds.PUBLIC_IP:
        return _kind(user) is kinds.NIC and of[0] == of[1]
    if kind is kinds.AVAILABILITY_SET:
        return _kind(user) is kinds.VM and user["name"].startswith(str(used["name"]).removesuffix("set"))
    region = str(used["name"]).removesuffix("-nsg")
    return kind in {kinds.VNET, kinds.NSG} and _kind(user) is kinds.NIC and user["name"].startswith(f"{region}-")


def _explained(session: Session, error: CloudError, ids: Sequence[str]) -> CloudError:
    """Return a refusal to delete resources with what is in the way, and the remedy."""
    ours = [one.lower() for one in ids]
    if error.code.lower() == "scopelocked":
        locks = [str(lock["id"]) for lock in arm.list_locks(session)]
        scopes = {lock: lock.lower().partition("/providers/microsoft.authorization/")[0] for lock in locks}
        above = [lock for lock, scope in scopes.items() if any(one.startswith(scope) for one in ours)]
        error.hint = f"remove the lock: az lock delete --ids {' '.join(above or locks)}"
        return error
    users = set(_ID.findall(str(error)))
    for one in ids if "deletionblocked" in error.code.lower() else ():
        users |= _users(arm.find_resource(session, one) or {})
    strangers = sorted(user for user in users if not any(f"{user.lower()}/".startswith(f"{one}/") for one in ours))
    if strangers:
        error.hint = f"in use by {', '.join(strangers)}: detach or delete that, then run `crdbmesh down` again"
    return error


def _users(body: Body) -> set[str]:
    """Return the ids of what a resource shows as using it."""
    properties = body.get("properties", {})
    found = [properties.get("ipConfiguration"), properties.get("virtualMachine"), {"id": body.get("managedBy")}]
    found += properties.get("networkInterfaces") or []
    for subnet in properties.get("subnets") or []:
        found += subnet.get("properties", {}).get("ipConfigurations") or []
    return {str(one["id"]) for one in found if one and one.get("id")}


def _peering_steps(session: Session, vnet: Resource) -> list[Step]:
    at = kinds.ResourceId.parse(str(vnet["id"]))
    if at.kind is not kinds.VNET:
        return []
    return [
        ResourceGone(
            name=f"{_name(vnet)}/{peering['name']}",
            # Azure wants one writer per VNet at a time, and a peering's deletion changes both of its VNets.
            exclusive=frozenset({str(vnet["id"]).lower(), belongings.remote_of(peering)}),
            session=session,
            resource_id=str(peering["id"]),
        )
        for peering in kinds.PEERING.list(session, at.group, *at.names)
    ]


def _kind(resource: Resource) -> kinds.Kind | None:
    return kinds.ResourceId.parse(str(resource["id"])).kind


def _name(resource: Resource) -> str:
    at = kinds.ResourceId.parse(str(resource["id"]))
    return f"{at.group}/{at.type.rpartition('/')[2]}/{resource['name']}"
