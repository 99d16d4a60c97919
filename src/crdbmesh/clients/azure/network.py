"""Microsoft.Network: VNets, peerings, network security groups, public IPs, network interfaces.

Azure wants one writer per VNet at a time, and a peering writes both its ends; the refusals this leads to are waited
out (`failures.retrying`), which is no substitute for not causing them.
"""

from __future__ import annotations

from typing import Any, cast

from crdbmesh.clients.azure.session import Body, Session
from crdbmesh.clients.waiting import Say, unsaid

DEADLINE_S = 600.0


def find_vnet(session: Session, group: str, name: str) -> Body | None:
    """A VNet with its subnets and peerings, or None."""
    return session.find(f"GET virtualNetworks/{name}", lambda: session.network.virtual_networks.get(group, name))


def ensure_vnet(
    session: Session, group: str, name: str, body: Body, *, say: Say = unsaid, deadline_s: float = DEADLINE_S
) -> Body:
    """Create a VNet, or make it what `body` says."""
    return session.run_operation(
        f"PUT virtualNetworks/{name}",
        lambda following: session.network.virtual_networks.begin_create_or_update(
            group, name, cast("Any", body), polling=following
        ),
        say=say,
        deadline_s=deadline_s,
    )


def list_vnets(session: Session, group: str | None = None) -> list[Body]:
    """The VNets of a resource group, or of the whole subscription."""
    vnets = session.network.virtual_networks
    return session.list_all("GET virtualNetworks", lambda: vnets.list(group) if group else vnets.list_all())


def find_peering(session: Session, group: str, vnet: str, name: str) -> Body | None:
    """The peering `name` of `vnet`, or None; its other half is a peering of the other VNet."""
    return session.find(
        f"GET virtualNetworkPeerings/{name}",
        lambda: session.network.virtual_network_peerings.get(group, vnet, name),
    )


def ensure_peering(
    session: Session,
    group: str,
    vnet: str,
    name: str,
    body: Body,
    *,
    sync: bool = False,
    say: Say = unsaid,
    deadline_s: float = DEADLINE_S,
) -> Body:
    """Create one directed peering, or make it what `body` says.

    It is Initiated until the other VNet has its own; then both are Connected.

    Args:
        session: Azure.
        group: of the VNet.
        vnet: from which the peering goes out.
        name: of the peering.
        body: REST body.
        sync: take over the remote VNet's address space as it is now, for one that changed after peering.
        say: told what is waited for.
        deadline_s: for all of it.
    """
    return session.run_operation(
        f"PUT virtualNetworkPeerings/{name}",
        lambda following: session.network.virtual_network_peerings.begin_create_or_update(
            group,
            vnet,
            name,
            cast("Any", body),
            sync_remote_address_space="true" if sync else None,
            polling=following,
        ),
        say=say,
        deadline_s=deadline_s,
    )


def delete_peering(
    session: Session,
    group: str,
    vnet: str,
    name: str,
    *,
    say: Say = unsaid,
    deadline_s: float = DEADLINE_S,
) -> None:
    """Delete one directed peering. Absent is done. The other half stays, Disconnected."""
    session.remove(
        f"DELETE virtualNetworkPeerings/{name}",
        lambda following: session.network.virtual_network_peerings.begin_delete(group, vnet, name, polling=following),
        say=say,
        deadline_s=deadline_s,
    )


def list_peerings(session: Session, group: str, vnet: str) -> list[Body]:
    """The peerings that go out from a VNet; none when there is no such VNet."""
    return session.list_all(
        f"GET virtualNetworks/{vnet}/virtualNetworkPeerings",
        lambda: session.network.virtual_network_peerings.list(group, vnet),
    )


def find_nsg(session: Session, group: str, name: str) -> Body | None:
    """A network security group with its rules, or None."""
    return session.find(
        f"GET networkSecurityGroups/{name}", lambda: session.network.network_security_groups.get(group, name)
    )


def ensure_nsg(
    session: Session,
    group: str,
    name: str,
    body: Body,
    *,
    condition: dict[str, str] | None = None,
    say: Say = unsaid,
    deadline_s: float = DEADLINE_S,
) -> Body:
    """Create a network security group, or make it, rules and all, what `body` says.

    Args:
        session: Azure.
        group: its resource group.
        name: its name.
        body: REST body.
        condition: `{"If-Match": etag}` or `{"If-None-Match": "*"}`, which Microsoft.Network honours.
        say: told what is waited for.
        deadline_s: for all of it.

    Raises:
        CloudError: with status 412 when the condition does not hold.
    """
    return session.run_operation(
        f"PUT networkSecurityGroups/{name}",
        lambda following: session.network.network_security_groups.begin_create_or_update(
            group, name, cast("Any", body), headers=dict(condition or {}), polling=following
        ),
        say=say,
        deadline_s=deadline_s,
    )


def find_public_ip(session: Session, group: str, name: str) -> Body | None:
    """A public IP, or None. It has `properties.ipAddress` once it is made."""
    return session.find(f"GET publicIPAddresses/{name}", lambda: session.network.public_ip_addresses.get(group, name))


def ensure_public_ip(
    session: Session, group: str, name: str, body: Body, *, say: Say = unsaid, deadline_s: float = DEADLINE_S
) -> Body:
    """Create a public IP, or make it what `body` says."""
    return session.run_operation(
        f"PUT publicIPAddresses/{name}",
        lambda following: session.network.public_ip_addresses.begin_create_or_update(
            group, name, cast("Any", body), polling=following
        ),
        say=say,
        deadline_s=deadline_s,
    )


def find_nic(session: Session, group: str, name: str) -> Body | None:
    """A network interface, or None."""
    return session.find(f"GET networkInterfaces/{name}", lambda: session.network.network_interfaces.get(group, name))


def ensure_nic(
    session: Session, group: str, name: str, body: Body, *, say: Say = unsaid, deadline_s: float = DEADLINE_S
) -> Body:
    """Create a network interface, or make it what `body` says."""
    return session.run_operation(
        f"PUT networkInterfaces/{name}",
        lambda following: session.network.network_interfaces.begin_create_or_update(
            group, name, cast("Any", body), polling=following
        ),
        say=say,
        deadline_s=deadline_s,
    )


def list_usages(session: Session, location: str) -> list[Body]:
    """How much of each network quota a location has left: `name.value`, `currentValue`, `limit`."""
    return session.list_all(
        f"GET locations/{location}/usages of Microsoft.Network", lambda: session.network.usages.list(location)
    )
