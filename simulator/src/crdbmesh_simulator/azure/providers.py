"""Resource providers of the subscription: what they offer, and whether they are registered."""

from __future__ import annotations

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.call import Answer, Call, Tracking
from crdbmesh_simulator.azure.catalog import KINDS
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.state import Provider, Subscription

_REGISTRATION = Tracking("Microsoft.Resources", 10.0, (10.0,))
_GLOBAL_IN_REGIONS = ("resourceGroups", "subscriptions/resourceGroups")


def get_provider(call: Call) -> Answer:
    """One resource provider."""
    return Answer(200, _provider(call.subscription, _find_provider(call)))


def register(call: Call) -> Answer:
    """Register a provider; it takes a while."""
    provider = _find_provider(call)
    begin_registration(call.subscription, provider)
    return Answer(200, _provider(call.subscription, provider))


def begin_registration(subscription: Subscription, provider: Provider) -> None:
    """Register a provider, unless it is or soon will be."""
    if provider.state not in ("Registered", "Registering"):
        _turn(subscription, provider, "Registering", "Registered")


def _turn(subscription: Subscription, provider: Provider, during: str, after: str) -> None:
    provider.state = during

    def done() -> None:
        provider.state = after

    provider.operation = subscription.start(
        "RegisterProvider",
        _REGISTRATION,
        f"/subscriptions/{subscription.id}/providers/{provider.namespace}",
        "global",
        done,
    )


def _find_provider(call: Call) -> Provider:
    namespace = call.names["namespace"]
    provider = call.subscription.providers.get(namespace.lower())
    if provider is None:
        raise refusal("InvalidResourceNamespace", namespace=namespace)
    return provider


def _provider(subscription: Subscription, provider: Provider) -> Body:
    return {
        "id": f"/subscriptions/{subscription.id}/providers/{provider.namespace}",
        "namespace": provider.namespace,
        "resourceTypes": _types(provider),
        "registrationState": provider.state,
        "registrationPolicy": "RegistrationRequired",
    }


def _types(provider: Provider) -> list[Body]:
    """What a provider offers: what is placed in regions, and what is not."""
    tracked = [kind.type.partition("/")[2] for kind in KINDS if kind.namespace == provider.namespace]
    locations = [region.display_name for region in regions.REGIONS.values()]
    zones = [
        {"location": region.display_name, "zones": region.zone_names}
        for region in regions.REGIONS.values()
        if region.zones
    ]
    offers = tables.read(__package__, "offers")
    versions = offers["api_versions"].get(provider.namespace, [])
    found: list[Body] = [
        {
            "resourceType": name,
            "locations": locations,
            "apiVersions": versions,
            "zoneMappings": zones,
            "capabilities": "CrossResourceGroupResourceMove, SupportsTags, SupportsLocation",
        }
        for name in tracked
    ]
    found += [
        {
            "resourceType": name,
            "locations": locations if name.startswith("locations/") or name in _GLOBAL_IN_REGIONS else [],
            "apiVersions": versions,
            "capabilities": "SupportsTags, SupportsLocation" if name in _GLOBAL_IN_REGIONS else "None",
        }
        for name in offers["untracked_types"].get(provider.namespace, ())
    ]
    return found
