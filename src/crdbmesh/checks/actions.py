"""The Azure actions that crdbmesh needs, and how roles allow them.

`examples/azure-role.json` is a role with exactly these. The names and the rules for wildcards are those of Microsoft's
documentation of Azure RBAC.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_RESOURCES = "Microsoft.Resources/subscriptions"

ACTIONS = (
    f"{_RESOURCES}/read",
    f"{_RESOURCES}/locations/read",
    f"{_RESOURCES}/providers/read",
    f"{_RESOURCES}/resources/read",
    f"{_RESOURCES}/resourceGroups/read",
    f"{_RESOURCES}/resourceGroups/write",
    f"{_RESOURCES}/resourceGroups/delete",
    f"{_RESOURCES}/resourceGroups/resources/read",
    f"{_RESOURCES}/operationresults/read",
    "Microsoft.Authorization/permissions/read",
    "Microsoft.Authorization/locks/read",
    "Microsoft.Authorization/policyAssignments/read",
    "Microsoft.Network/register/action",
    "Microsoft.Network/locations/operations/read",
    "Microsoft.Network/locations/operationResults/read",
    "Microsoft.Network/locations/usages/read",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/virtualNetworks/delete",
    "Microsoft.Network/virtualNetworks/peer/action",
    "Microsoft.Network/virtualNetworks/subnets/read",
    "Microsoft.Network/virtualNetworks/subnets/write",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings/read",
    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings/write",
    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings/delete",
    "Microsoft.Network/networkSecurityGroups/read",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Network/networkSecurityGroups/delete",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/networkSecurityGroups/securityRules/read",
    "Microsoft.Network/networkSecurityGroups/securityRules/write",
    "Microsoft.Network/publicIPAddresses/read",
    "Microsoft.Network/publicIPAddresses/write",
    "Microsoft.Network/publicIPAddresses/delete",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/networkInterfaces/delete",
    "Microsoft.Network/networkInterfaces/join/action",
    "Microsoft.Compute/register/action",
    "Microsoft.Compute/skus/read",
    "Microsoft.Compute/locations/operations/read",
    "Microsoft.Compute/locations/usages/read",
    "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Compute/virtualMachines/delete",
    "Microsoft.Compute/virtualMachines/start/action",
    "Microsoft.Compute/virtualMachines/instanceView/read",
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/disks/delete",
)

LOOKING = frozenset(
    {
        "Microsoft.Authorization/permissions/read",
        "Microsoft.Authorization/locks/read",
        "Microsoft.Authorization/policyAssignments/read",
        "Microsoft.Network/locations/usages/read",
        "Microsoft.Compute/locations/usages/read",
        "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read",
    }
)
"""Actions that only checks need: without one of them a check is a warning, and `up` continues."""

OF_THE_GROUP = frozenset({f"{_RESOURCES}/resourceGroups/write", f"{_RESOURCES}/resourceGroups/delete"})
"""Actions that are not needed when the mesh shares an existing resource group."""

_GROUP_KINDS = (
    f"{_RESOURCES}/resourceGroups/",
    "Microsoft.Network/virtualNetworks/",
    "Microsoft.Network/networkSecurityGroups/",
    "Microsoft.Network/publicIPAddresses/",
    "Microsoft.Network/networkInterfaces/",
    "Microsoft.Compute/virtualMachines/",
    "Microsoft.Compute/disks/",
)


def is_in_group(action: str) -> bool:
    """Return True when a role on the resource group is enough for an action, once the group exists."""
    return action.startswith(_GROUP_KINDS)


def allowed(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Return True when any role allows an action: a role allows its `actions` less its own `notActions`."""
    return any(
        _matches(role.get("actions"), action) and not _matches(role.get("notActions"), action) for role in permissions
    )


def _matches(patterns: Iterable[str] | None, action: str) -> bool:
    return any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), action, re.IGNORECASE) for one in patterns or ())
