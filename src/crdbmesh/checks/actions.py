"""The Azure actions that crdbmesh needs, and how roles allow them.

`examples/azure-role.json` is a role with exactly these. The names and the rules for wildcards are those of Microsoft's
documentation of Azure RBAC.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_RESOURCES = "Microsoft.Resources/subscriptions"
_IMAGES = "publishers/artifacttypes/offers/skus/versions/read"
_OPERATIONS = {
    _RESOURCES: ("read",),
    f"{_RESOURCES}/locations": ("read",),
    f"{_RESOURCES}/providers": ("read",),
    f"{_RESOURCES}/resources": ("read",),
    f"{_RESOURCES}/resourceGroups": ("read", "write", "delete"),
    f"{_RESOURCES}/resourceGroups/resources": ("read",),
    f"{_RESOURCES}/operationresults": ("read",),
    "Microsoft.Authorization/permissions": ("read",),
    "Microsoft.Authorization/locks": ("read",),
    "Microsoft.Authorization/policyAssignments": ("read",),
    "Microsoft.Network/register": ("action",),
    "Microsoft.Network/locations": ("operations/read", "operationResults/read", "usages/read"),
    "Microsoft.Network/virtualNetworks": ("read", "write", "delete", "peer/action"),
    "Microsoft.Network/virtualNetworks/subnets": ("read", "write", "join/action"),
    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings": ("read", "write", "delete"),
    "Microsoft.Network/networkSecurityGroups": ("read", "write", "delete", "join/action"),
    "Microsoft.Network/networkSecurityGroups/securityRules": ("read", "write"),
    "Microsoft.Network/publicIPAddresses": ("read", "write", "delete", "join/action"),
    "Microsoft.Network/networkInterfaces": ("read", "write", "delete", "join/action"),
    "Microsoft.Compute/register": ("action",),
    "Microsoft.Compute/skus": ("read",),
    "Microsoft.Compute/locations": ("operations/read", "usages/read", _IMAGES),
    "Microsoft.Compute/virtualMachines": (
        "read",
        "write",
        "delete",
        "start/action",
        "powerOff/action",
        "instanceView/read",
    ),
    "Microsoft.Compute/disks": ("read", "write", "delete"),
    "Microsoft.Compute/availabilitySets": ("read", "write", "delete"),
}
ACTIONS = tuple(f"{kind}/{operation}" for kind, operations in _OPERATIONS.items() for operation in operations)

ASSIGN = "Microsoft.Authorization/roleAssignments/write"
"""The action with which the identity of backups gets its role, once; somebody else may do that."""

LOOKING = frozenset(
    {
        *(f"Microsoft.Authorization/{kind}/read" for kind in ("permissions", "locks", "policyAssignments")),
        *(f"Microsoft.{provider}/locations/usages/read" for provider in ("Network", "Compute")),
        f"Microsoft.Compute/locations/{_IMAGES}",
        "Microsoft.Compute/virtualMachines/powerOff/action",
    }
)
"""Actions that only checks and `drill` need: without one of them a check is a warning, and `up` continues."""

OF_THE_GROUP = frozenset({f"{_RESOURCES}/resourceGroups/write", f"{_RESOURCES}/resourceGroups/delete"})
"""Actions that are not needed when the mesh shares an existing resource group."""

_GROUP_KINDS = tuple(f"{kind}/" for kind, operations in _OPERATIONS.items() if "delete" in operations)


def is_in_group(action: str) -> bool:
    """Return True when a role on the group is enough for an action, once it exists: what can be deleted is in it."""
    return action.startswith(_GROUP_KINDS)


def allowed(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Return True when any role allows an action: a role allows its `actions` less its own `notActions`."""
    return any(
        _matches(role.get("actions"), action) and not _matches(role.get("notActions"), action) for role in permissions
    )


def _matches(patterns: Iterable[str] | None, action: str) -> bool:
    return any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), action, re.IGNORECASE) for one in patterns or ())
