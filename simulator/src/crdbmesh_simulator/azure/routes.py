"""Which request goes where: every path of Azure Resource Manager that this world answers.

Paths match without regard to case; `{name}` stands for one segment.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from crdbmesh_simulator.azure import (
    about,
    deployments,
    extensions,
    gallery,
    groups,
    inventory,
    locks,
    nsgs,
    peerings,
    policies,
    providers,
)
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.catalog import KINDS, MACHINES

Handler = Callable[[Call], Answer]

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}"
_NETWORK = f"{_GROUP}/providers/Microsoft.Network"
_COMPUTE_PLACE = f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
_NETWORK_PLACE = f"{_SUBSCRIPTION}/providers/Microsoft.Network/locations/{{location}}"
_PUBLISHERS = f"{_COMPUTE_PLACE}/publishers"
_OFFERS = f"{_PUBLISHERS}/{{publisher}}/artifacttypes/vmimage/offers"
_VM = f"{_GROUP}/providers/Microsoft.Compute/virtualMachines/{{name}}"


@dataclass(frozen=True, slots=True)
class Route:
    """A path and what answers it.

    Attributes:
        changes: whether the request asks to change state.
    """

    method: str
    segments: tuple[str, ...]
    handler: Handler
    changes: bool

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """What stands in the variable parts, or None when the path is another."""
        if len(segments) != len(self.segments):
            return None
        names = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            if pattern.startswith("{"):
                names[pattern[1:-1]] = segment
            elif pattern != segment.lower():
                return None
        return names


def find(method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a request and its names, or None."""
    segments = [urllib.parse.unquote(segment) for segment in raw_path.split("/") if segment]
    for route in _BY_LENGTH.get((method, len(segments)), ()):
        names = route.match(segments)
        if names is not None:
            return route, names
    return None


def _route(method: str, template: str, handler: Handler, *, changes: bool | None = None) -> Route:
    segments = tuple(
        segment if segment.startswith("{") else segment.lower() for segment in template.split("/") if segment
    )
    return Route(method, segments, handler, method not in ("GET", "HEAD") if changes is None else changes)


def _platform() -> list[Route]:
    permissions = "providers/Microsoft.Authorization/permissions"
    provider = f"{_SUBSCRIPTION}/providers/{{namespace}}"
    routes = [
        _route("GET", "/subscriptions", about.list_subscriptions),
        _route("GET", _SUBSCRIPTION, about.get_subscription),
        _route("GET", f"{_SUBSCRIPTION}/locations", about.list_locations),
        _route("GET", provider, providers.get_provider),
        _route("POST", f"{provider}/register", providers.register),
        _route("GET", f"{_SUBSCRIPTION}/{permissions}", about.list_permissions),
        _route("GET", f"{_GROUP}/{permissions}", about.list_permissions),
        _route("GET", f"{_SUBSCRIPTION}/providers/Microsoft.Authorization/policyAssignments", policies.list_all),
        _route("GET", f"{_SUBSCRIPTION}/providers/Microsoft.Compute/skus", about.list_skus),
        _route("GET", f"{_COMPUTE_PLACE}/usages", about.list_compute_usages),
        _route("GET", f"{_NETWORK_PLACE}/usages", about.list_network_usages),
        _route("GET", f"{_OFFERS}/{{offer}}/skus/{{sku}}/versions", gallery.list_versions),
        _route("GET", f"{_OFFERS}/{{offer}}/skus/{{sku}}/versions/{{version}}", gallery.get_version),
        _route("GET", f"{_SUBSCRIPTION}/operationresults/{{token}}", groups.job),
    ]
    for place in (_COMPUTE_PLACE, _NETWORK_PLACE):
        routes.append(_route("GET", f"{place}/operations/{{operation}}", about.operation_status))
        routes.append(_route("GET", f"{place}/operationResults/{{operation}}", about.operation_result))
    return routes


def _deployments() -> list[Route]:
    deployment = f"{_GROUP}/providers/Microsoft.Resources/deployments/{{name}}"
    return [
        _route("PUT", deployment, deployments.put),
        _route("GET", deployment, deployments.get),
        _route("GET", f"{deployment}/operationStatuses/{{operation}}", deployments.operation_status),
    ]


def _groups() -> list[Route]:
    routes = [
        _route("GET", f"{_SUBSCRIPTION}/resourcegroups", groups.list_all),
        _route("PUT", _GROUP, groups.put),
        _route("GET", _GROUP, groups.get),
        _route("HEAD", _GROUP, groups.exists),
        _route("DELETE", _GROUP, groups.delete),
        _route("GET", f"{_GROUP}/resources", inventory.list_all),
        _route("GET", f"{_SUBSCRIPTION}/resources", inventory.list_all),
    ]
    for scope in (_SUBSCRIPTION, _GROUP, f"{_GROUP}/providers/{{namespace}}/{{plural}}/{{name}}"):
        lock = f"{scope}/providers/Microsoft.Authorization/locks"
        routes += [
            _route("GET", lock, locks.list_all),
            _route("PUT", f"{lock}/{{lock}}", locks.put),
            _route("DELETE", f"{lock}/{{lock}}", locks.delete),
        ]
        tags = f"{scope}/providers/Microsoft.Resources/tags/default"
        routes += [
            _route("GET", tags, inventory.get_tags),
            _route("PUT", tags, inventory.put_tags),
            _route("PATCH", tags, inventory.patch_tags),
            _route("DELETE", tags, inventory.delete_tags),
        ]
    return routes


def _resources() -> list[Route]:
    routes = []
    for kind in KINDS:
        collection = f"{_GROUP}/providers/{kind.type}"
        routes += [
            _route("GET", f"{_SUBSCRIPTION}/providers/{kind.type}", kind.list_all),
            _route("GET", collection, kind.list_all),
            _route("GET", f"{collection}/{{name}}", kind.get),
            _route("PUT", f"{collection}/{{name}}", kind.put),
            _route("PATCH", f"{collection}/{{name}}", kind.patch),
            _route("DELETE", f"{collection}/{{name}}", kind.delete),
        ]
    return routes


def _children() -> list[Route]:
    vnet = f"{_NETWORK}/virtualNetworks/{{name}}"
    nsg = f"{_NETWORK}/networkSecurityGroups/{{name}}"
    halves = f"{vnet}/virtualNetworkPeerings"
    return [
        _route("GET", halves, peerings.list_all),
        _route("GET", f"{halves}/{{child}}", peerings.get),
        _route("PUT", f"{halves}/{{child}}", peerings.put),
        _route("DELETE", f"{halves}/{{child}}", peerings.delete),
        _route("GET", f"{nsg}/securityRules/{{child}}", nsgs.get_rule),
        _route("PUT", f"{nsg}/securityRules/{{child}}", nsgs.put_rule),
        _route("DELETE", f"{nsg}/securityRules/{{child}}", nsgs.delete_rule),
        _route("GET", f"{_VM}/instanceView", MACHINES.view),
        _route("GET", f"{_VM}/extensions", extensions.list_all),
        _route("GET", f"{_VM}/extensions/{{child}}", extensions.get),
        _route("PUT", f"{_VM}/extensions/{{child}}", extensions.put),
        _route("DELETE", f"{_VM}/extensions/{{child}}", extensions.delete),
        _route("POST", f"{_VM}/powerOff", MACHINES.power_off),
        _route("POST", f"{_VM}/deallocate", MACHINES.deallocate),
        _route("POST", f"{_VM}/start", MACHINES.start),
        _route("POST", f"{_VM}/restart", MACHINES.restart),
    ]


def _indexed(routes: list[Route]) -> dict[tuple[str, int], list[Route]]:
    index: dict[tuple[str, int], list[Route]] = {}
    for route in routes:
        index.setdefault((route.method, len(route.segments)), []).append(route)
    return index


_BY_LENGTH = _indexed([*_platform(), *_deployments(), *_groups(), *_resources(), *_children()])
