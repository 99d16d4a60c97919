"""The types of Azure resource that crdbmesh works with, each a value: `VNET.find(session, group, name)`.

Azure wants one writer per VNet at a time, and a peering writes both its ends; the refusals this leads to are waited
out (`failures.Tries`), which is no substitute for not causing them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.waiting import Say, unsaid
from crdbmesh.desired import Body
from crdbmesh.errors import CloudError


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of Azure resource, and what can be done with resources of it.

    A resource is named by its resource group and its name; a child, such as a peering, by its parent's name and its
    own. Bodies have the shape of ARM's REST API.

    Attributes:
        type: as Azure calls it: `Microsoft.Network/virtualNetworks`.
        title: for people: `VNet`.
        operations: the SDK's operations on it.
        deadline_s: how long one operation may take.
    """

    type: str
    title: str
    operations: Callable[[Session], Any]
    deadline_s: float = 600.0

    def find(self, session: Session, group: str, *names: str, **options: Any) -> Body | None:
        """Return a resource, or None when it does not exist; raise CloudError when Azure refused, or does not answer.

        A child's name comes after its parent's. `options` are the SDK operation's own, such as `expand`.
        """
        return session.find(self._doing("GET", names), lambda: self.operations(session).get(group, *names, **options))

    def ensure(self, session: Session, group: str, *names: str, body: Mapping[str, Any], **options: Any) -> Body:
        """Create a resource, or make it what `body` says, and wait; return it as it is then.

        `body` is the whole of it: what it leaves out may be removed. `options` are those of `Session.run_operation`,
        which raises, and the SDK operation's own, such as `headers`.
        """
        operations, options = self.operations(session), {"deadline_s": self.deadline_s, **options}
        begin = getattr(operations, "begin_create_or_update", None) or operations.create_or_update
        return session.run_operation(self._doing("PUT", names), begin, group, *names, dict(body), **options)

    def update(self, session: Session, group: str, *names: str, body: Mapping[str, Any], **options: Any) -> Body:
        """Change what `body` names of a resource that exists, and leave the rest of it; raises as `ensure` does."""
        begin, options = self.operations(session).begin_update, {"deadline_s": self.deadline_s, **options}
        return session.run_operation(self._doing("PATCH", names), begin, group, *names, dict(body), **options)

    def delete(self, session: Session, group: str, *names: str, say: Say = unsaid) -> None:
        """Delete a resource and wait; one that does not exist is done. Raises as `ensure` does."""
        operations = self.operations(session)
        begin = getattr(operations, "begin_delete", None) or operations.delete
        session.remove(self._doing("DELETE", names), begin, group, *names, say=say, deadline_s=self.deadline_s)

    def list(self, session: Session, group: str | None = None, *names: str) -> list[Body]:
        """List the resources of a group (or of a parent in it), or of the whole subscription.

        The list is empty when there is no such group or parent.
        """
        operations = self.operations(session)
        every = operations.list_all if group is None else functools.partial(operations.list, group, *names)
        return session.list_all(self._doing("GET", names), every)

    def _doing(self, method: str, names: tuple[str, ...]) -> str:
        return " ".join([method, "/".join([self.type.rpartition("/")[2], *names[-1:]])])


VNET = Kind("Microsoft.Network/virtualNetworks", "VNet", lambda session: session.network.virtual_networks)
_PEERINGS = f"{VNET.type}/virtualNetworkPeerings"
PEERING = Kind(_PEERINGS, "peering", lambda session: session.network.virtual_network_peerings)
"""One directed peering: Initiated until the other VNet has its own, then both are Connected."""
_NSGS, _NICS = "Microsoft.Network/networkSecurityGroups", "Microsoft.Network/networkInterfaces"
NSG = Kind(_NSGS, "network security group", lambda session: session.network.network_security_groups)
PUBLIC_IP = Kind("Microsoft.Network/publicIPAddresses", "public IP", lambda of: of.network.public_ip_addresses)
NIC = Kind(_NICS, "network interface", lambda session: session.network.network_interfaces)
VM = Kind("Microsoft.Compute/virtualMachines", "VM", lambda session: session.compute.virtual_machines, 1200.0)
_SETS = "Microsoft.Compute/availabilitySets"
AVAILABILITY_SET = Kind(_SETS, "availability set", lambda session: session.compute.availability_sets)
DISK = Kind("Microsoft.Compute/disks", "disk", lambda session: session.compute.disks, 900.0)

_BY_TYPE = {kind.type.lower(): kind for kind in (VNET, PEERING, NSG, PUBLIC_IP, NIC, VM, DISK, AVAILABILITY_SET)}


def unless_changed(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the option of a write that Azure refuses with 412 when somebody has written since `found` was read."""
    etag = (found or {}).get("etag")
    return {"headers": {"If-Match": etag}} if etag else {}


def start_vm(session: Session, group: str, name: str, *, say: Say = unsaid) -> None:
    """Power a virtual machine on and wait; one that runs stays as it is."""
    begin = session.compute.virtual_machines.begin_start
    session.run_operation(f"POST virtualMachines/{name}/start", begin, group, name, say=say, deadline_s=VM.deadline_s)


def cut_power(session: Session, group: str, name: str, *, say: Say = unsaid) -> None:
    """Cut a virtual machine's power, without a shutdown, and wait; it keeps its place, disk and addresses."""
    begin, doing = session.compute.virtual_machines.begin_power_off, f"POST virtualMachines/{name}/powerOff"
    session.run_operation(doing, begin, group, name, skip_shutdown=True, say=say, deadline_s=VM.deadline_s)


@dataclass(frozen=True, slots=True)
class ResourceId:
    """A resource's id in parts.

    Attributes:
        type: as Azure calls it, its parents' first: `Microsoft.Network/virtualNetworks/subnets`.
        group: its resource group.
        names: its parents' names, then its own.
    """

    type: str
    group: str
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an id apart; raise CloudError unless it is the id of a resource in a resource group."""
        from azure.mgmt.core.tools import parse_resource_id

        parts = parse_resource_id(text.rstrip("/"))
        if "type" not in parts or "resource_group" not in parts:
            raise CloudError(f"{text} is not the id of a resource")
        levels = range(1, int(parts.get("last_child_num", 0)) + 1)
        types = [parts["namespace"], parts["type"], *(parts[f"child_type_{level}"] for level in levels)]
        names = [parts["name"], *(parts[f"child_name_{level}"] for level in levels)]
        return cls("/".join(map(str, types)), str(parts["resource_group"]), tuple(map(str, names)))

    @property
    def kind(self) -> Kind | None:
        """Its kind, or None for a type that crdbmesh makes nothing of."""
        return _BY_TYPE.get(self.type.lower())
