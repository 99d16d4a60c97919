"""Which request goes where: every path of Azure Resource Manager that this world answers.

Paths match without regard to case; `{name}` stands for one segment.
"""

from __future__ import annotations

import functools
import itertools
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from crdbmesh_simulator.azure import about, authorization, deployments, extensions, groups, inventory, storage
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.catalog import KINDS, MACHINES
from crdbmesh_simulator.azure.nsgs import RULES
from crdbmesh_simulator.azure.peerings import PEERINGS

Handler = Callable[[Call], Answer]

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}"
_COMPUTE_PLACE = f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
_NETWORK_PLACE = f"{_SUBSCRIPTION}/providers/Microsoft.Network/locations/{{location}}"
_PUBLISHERS = f"{_COMPUTE_PLACE}/publishers"
_OFFERS = f"{_PUBLISHERS}/{{publisher}}/artifacttypes/vmimage/offers"
_VM = f"{_GROUP}/providers/Microsoft.Compute/virtualMachines/{{name}}"


@dataclass(frozen=True, slots=True)
class Route:
    """A path and what answers it."""

    method: str
    segments: tuple[str, ...]
    handler: Handler

    @property
    def changes(self) -> bool:
        """Whether the request asks to change state."""
        return self.method not in ("GET", "HEAD")

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """What stands in the variable parts, or None when the path is another."""
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


def _at(template: str, **handlers: Handler) -> list[Route]:
    """The routes of a path, by their methods."""
    segments = tuple(part if part.startswith("{") else part.lower() for part in template.split("/") if part)
    return [Route(method, segments, handler) for method, handler in handlers.items()]


def _platform() -> Iterator[list[Route]]:
    provider = f"{_SUBSCRIPTION}/providers/{{namespace}}"
    versions = f"{_OFFERS}/{{offer}}/skus/{{sku}}/versions"
    yield _at("/subscriptions", GET=about.list_subscriptions)
    yield _at(_SUBSCRIPTION, GET=about.get_subscription)
    yield _at(f"{_SUBSCRIPTION}/locations", GET=about.list_locations)
    yield _at(provider, GET=about.get_provider)
    yield _at(f"{provider}/register", POST=about.register)
    for scope in (_SUBSCRIPTION, _GROUP):
        yield _at(f"{scope}/providers/Microsoft.Authorization/permissions", GET=about.list_permissions)
        yield _at(f"{scope}/resources", GET=inventory.list_all)
    yield _at(f"{_SUBSCRIPTION}/providers/Microsoft.Authorization/policyAssignments", GET=authorization.list_policies)
    yield _at(f"{_SUBSCRIPTION}/providers/Microsoft.Compute/skus", GET=about.list_skus)
    yield _at(f"{_COMPUTE_PLACE}/usages", GET=about.list_compute_usages)
    yield _at(f"{_NETWORK_PLACE}/usages", GET=about.list_network_usages)
    yield _at(versions, GET=about.list_versions)
    yield _at(f"{versions}/{{version}}", GET=about.get_version)
    yield _at(f"{_SUBSCRIPTION}/operationresults/{{token}}", GET=groups.job)
    for place in (_COMPUTE_PLACE, _NETWORK_PLACE):
        yield _at(f"{place}/operations/{{operation}}", GET=about.operation_status)
        yield _at(f"{place}/operationResults/{{operation}}", GET=about.operation_result)


def _groups() -> Iterator[list[Route]]:
    deployment = f"{_GROUP}/providers/Microsoft.Resources/deployments/{{name}}"
    yield _at(f"{_SUBSCRIPTION}/resourcegroups", GET=groups.list_all)
    yield _at(_GROUP, PUT=groups.put, GET=groups.get, HEAD=groups.exists, DELETE=groups.delete)
    yield _at(deployment, PUT=deployments.put, GET=deployments.get)
    yield _at(f"{deployment}/operationStatuses/{{operation}}", GET=deployments.operation_status)
    for scope in (_SUBSCRIPTION, _GROUP, f"{_GROUP}/providers/{{namespace}}/{{plural}}/{{name}}"):
        lock = f"{scope}/providers/Microsoft.Authorization/locks"
        yield _at(lock, GET=authorization.list_locks)
        yield _at(f"{lock}/{{lock}}", PUT=authorization.put_lock, DELETE=authorization.delete_lock)
        yield _at(
            f"{scope}/providers/Microsoft.Resources/tags/default",
            GET=inventory.get_tags,
            PUT=inventory.put_tags,
            PATCH=inventory.patch_tags,
            DELETE=inventory.delete_tags,
        )


def _resources() -> Iterator[list[Route]]:
    for kind in KINDS:
        collection = f"{_GROUP}/providers/{kind.type}"
        yield _at(f"{_SUBSCRIPTION}/providers/{kind.type}", GET=kind.list_all)
        yield _at(collection, GET=kind.list_all)
        yield _at(f"{collection}/{{name}}", GET=kind.get, PUT=kind.put, PATCH=kind.patch, DELETE=kind.delete)
    for child in (PEERINGS, RULES):
        collection = f"{_GROUP}/providers/{child.parent}/{{name}}/{child.collection}"
        yield _at(collection, GET=child.list_all)
        yield _at(f"{collection}/{{child}}", GET=child.get, PUT=child.put, DELETE=child.delete)
    yield _at(f"{_SUBSCRIPTION}/providers/Microsoft.Storage/storageAccounts", GET=storage.list_all)
    account = f"{_GROUP}/providers/Microsoft.Storage/storageAccounts/{{name}}"
    blobs, policy = f"{account}/blobServices/default", f"{account}/managementPolicies/default"
    roles = f"{blobs}/containers/{{container}}/providers/Microsoft.Authorization/roleAssignments"
    yield _at(roles, GET=storage.list_all)
    identity = f"{_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{{name}}"
    for one in (account, blobs, f"{blobs}/containers/{{container}}", policy, identity, f"{roles}/{{role}}"):
        yield _at(one, GET=storage.get, PUT=storage.put)
    yield _at(f"{_VM}/instanceView", GET=MACHINES.view)
    yield _at(f"{_VM}/extensions", GET=extensions.list_all)
    yield _at(f"{_VM}/extensions/{{child}}", GET=extensions.get, PUT=extensions.put, DELETE=extensions.delete)
    for action in ("powerOff", "deallocate", "start", "restart"):
        yield _at(f"{_VM}/{action}", POST=functools.partial(MACHINES.power, action))


def _indexed(routes: Iterable[Route]) -> dict[tuple[str, int], list[Route]]:
    index: dict[tuple[str, int], list[Route]] = {}
    for route in routes:
        index.setdefault((route.method, len(route.segments)), []).append(route)
    return index


_BY_LENGTH = _indexed(itertools.chain(*_platform(), *_groups(), *_resources()))
