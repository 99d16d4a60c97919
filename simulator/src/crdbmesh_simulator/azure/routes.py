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
    gallery,
    groups,
    inventory,
    locks,
    nics,
    nsgs,
    peerings,
    providers,
    subnets,
)
from crdbmesh_simulator.azure.call import NETWORK, Answer, Call
from crdbmesh_simulator.azure.catalog import KINDS, MACHINES
from crdbmesh_simulator.azure.expand import expanding
from crdbmesh_simulator.azure.kinds import page

Handler = Callable[[Call], Answer]

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}"
_NETWORK = f"{_GROUP}/providers/Microsoft.Network"
_COMPUTE_PLACE = f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
_NETWORK_PLACE = f"{_SUBSCRIPTION}/providers/Microsoft.Network/locations/{{location}}"
_PUBLISHERS = f"{_COMPUTE_PLACE}/publishers"
_OFFERS = f"{_PUBLISHERS}/{{publisher}}/artifacttypes/vmimage/offers"
_NIC = f"{_NETWORK}/networkInterfaces/{{name}}"
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
        _route("GET", "/tenants", about.list_tenants),
        _route("GET", _SUBSCRIPTION, about.get_subscription),
        _route("GET", f"{_SUBSCRIPTION}/locations", about.list_locations),
        _route("GET", f"{_SUBSCRIPTION}/providers", providers.list_providers),
        _route("GET", provider, providers.get_provider),
        _route("GET", f"{provider}/resourceTypes", providers.list_types),
        _route("POST", f"{provider}/register", providers.register),
        _route("POST", f"{provider}/unregister", providers.unregister),
        _route("GET", f"{_SUBSCRIPTION}/{permissions}", about.list_permissions),
        _route("GET", f"{_GROUP}/{permissions}", about.list_permissions),
        _route("GET", f"{_SUBSCRIPTION}/providers/Microsoft.Compute/skus", about.list_skus),
        _route("GET", f"{_COMPUTE_PLACE}/usages", about.list_compute_usages),
        _route("GET", f"{_COMPUTE_PLACE}/vmSizes", about.list_sizes),
        _route("GET", f"{_NETWORK_PLACE}/usages", about.list_network_usages),
        _route("GET", _PUBLISHERS, gallery.list_publishers),
        _route("GET", _OFFERS, gallery.list_offers),
        _route("GET", f"{_OFFERS}/{{offer}}/skus", gallery.list_skus),
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
        _route("GET", f"{_GROUP}/providers/Microsoft.Resources/deployments", deployments.list_all),
        _route("PUT", deployment, deployments.put),
        _route("GET", deployment, deployments.get),
        _route("HEAD", deployment, deployments.exists),
        _route("DELETE", deployment, deployments.delete),
        _route("POST", f"{deployment}/cancel", deployments.cancel),
        _route("POST", f"{deployment}/validate", deployments.validate, changes=False),
        _route("GET", f"{deployment}/operations", deployments.operations),
        _route("GET", f"{deployment}/operationStatuses/{{operation}}", deployments.operation_status),
        _route("GET", f"{_GROUP}/deployments/{{name}}/operations", deployments.operations),
    ]


def _groups() -> list[Route]:
    routes = [
        _route("GET", f"{_SUBSCRIPTION}/resourcegroups", groups.list_all),
        _route("PUT", _GROUP, groups.put),
        _route("GET", _GROUP, groups.get),
        _route("HEAD", _GROUP, groups.exists),
        _route("PATCH", _GROUP, groups.patch),
        _route("DELETE", _GROUP, groups.delete),
        _route("GET", f"{_GROUP}/resources", inventory.list_all),
        _route("GET", f"{_SUBSCRIPTION}/resources", inventory.list_all),
        _route("GET", f"{_SUBSCRIPTION}/tagNames", inventory.tag_names),
        _route("HEAD", f"{_GROUP}/providers/{{namespace}}/{{plural}}/{{name}}", inventory.exists),
    ]
    for scope in (_SUBSCRIPTION, _GROUP, f"{_GROUP}/providers/{{namespace}}/{{plural}}/{{name}}"):
        lock = f"{scope}/providers/Microsoft.Authorization/locks"
        routes += [
            _route("GET", lock, locks.list_all),
            _route("GET", f"{lock}/{{lock}}", locks.get),
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
            _route("GET", f"{collection}/{{name}}", expanding(kind.get) if kind.tracking is NETWORK else kind.get),
            _route("PUT", f"{collection}/{{name}}", kind.put),
            _route("PATCH", f"{collection}/{{name}}", kind.patch),
            _route("DELETE", f"{collection}/{{name}}", kind.delete),
        ]
    return routes


def _children() -> list[Route]:
    vnet = f"{_NETWORK}/virtualNetworks/{{name}}"
    nsg = f"{_NETWORK}/networkSecurityGroups/{{name}}"
    routes = []
    for collection, module in ((f"{vnet}/subnets", subnets), (f"{vnet}/virtualNetworkPeerings", peerings)):
        routes += [
            _route("GET", collection, module.list_all),
            _route("GET", f"{collection}/{{child}}", expanding(module.get)),
            _route("PUT", f"{collection}/{{child}}", module.put),
            _route("DELETE", f"{collection}/{{child}}", module.delete),
        ]
    return [
        *routes,
        _route("GET", f"{vnet}/usages", about.list_vnet_usages),
        _route("GET", f"{vnet}/CheckIPAddressAvailability", about.check_address),
        _route("GET", f"{nsg}/securityRules", nsgs.list_rules),
        _route("GET", f"{nsg}/securityRules/{{child}}", nsgs.get_rule),
        _route("PUT", f"{nsg}/securityRules/{{child}}", nsgs.put_rule),
        _route("DELETE", f"{nsg}/securityRules/{{child}}", nsgs.delete_rule),
        _route("GET", f"{nsg}/defaultSecurityRules", nsgs.list_default_rules),
        _route("GET", f"{nsg}/defaultSecurityRules/{{child}}", nsgs.get_default_rule),
        _route(
            "GET",
            f"{_NIC}/ipConfigurations",
            lambda call: page(call, nics.list_configurations(call)),
        ),
        _route("GET", f"{_NIC}/ipConfigurations/{{child}}", nics.get_configuration),
        _route("GET", f"{_VM}/instanceView", MACHINES.view),
        _route("GET", f"{_VM}/vmSizes", about.list_resizes),
        _route("GET", f"{_COMPUTE_PLACE}/virtualMachines", MACHINES.list_all),
        _route("GET", f"{_VM}/extensions", about.list_extensions),
        _route("POST", f"{_VM}/powerOff", MACHINES.power_off),
        _route("POST", f"{_VM}/deallocate", MACHINES.deallocate),
        _route("POST", f"{_VM}/start", MACHINES.start),
        _route("POST", f"{_VM}/restart", MACHINES.restart),
        _route("POST", f"{_VM}/redeploy", MACHINES.redeploy),
        _route("POST", f"{_VM}/reapply", MACHINES.reapply),
    ]


def _indexed(routes: list[Route]) -> dict[tuple[str, int], list[Route]]:
    index: dict[tuple[str, int], list[Route]] = {}
    for route in routes:
        index.setdefault((route.method, len(route.segments)), []).append(route)
    return index


_BY_LENGTH = _indexed([*_platform(), *_deployments(), *_groups(), *_resources(), *_children()])
