"""What a subscription tells about itself and about Azure: locations, providers, permissions, sizes, usages, images."""

from __future__ import annotations

from crdbmesh_simulator import tables
from crdbmesh_simulator.azure import authorization, regions, sizes
from crdbmesh_simulator.azure.call import Answer, Call, Tracking, result_url, status_url
from crdbmesh_simulator.azure.catalog import KINDS
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import ArmError, Body, body, refusal
from crdbmesh_simulator.azure.kinds import find_group, page
from crdbmesh_simulator.azure.operations import Operation
from crdbmesh_simulator.azure.state import Provider, Subscription

_SKUS_PER_PAGE = 1000


def list_subscriptions(call: Call) -> Answer:
    """The one subscription."""
    return Answer(200, {"value": [_subscription(call.subscription)], "count": {"type": "Total", "value": 1}})


def get_subscription(call: Call) -> Answer:
    """The subscription."""
    return Answer(200, _subscription(call.subscription))


def list_locations(call: Call) -> Answer:
    """Every region."""
    return Answer(200, {"value": regions.describe(call.subscription.id)})


def list_permissions(call: Call) -> Answer:
    """What the caller's roles allow at a scope, inherited ones included."""
    scope = f"/subscriptions/{call.subscription.id}"
    if "group" in call.names:
        scope += f"/resourceGroups/{find_group(call.subscription, call.names['group']).name}"
    return Answer(200, {"value": authorization.roles(call.subscription, scope)})


def list_skus(call: Call) -> Answer:
    """Resource SKUs; `location eq '...'` is the one filter there is."""
    text = call.query.get("$filter", "").strip()
    chosen = list(regions.REGIONS.values())
    if text:
        value = text.partition(" eq ")[2]
        chosen = [region for region in chosen if region.name == regions.normal(value.strip().strip("'"))]
    more = tuple(call.subscription.restrictions)
    entries = [sizes.sku(size, region, more) for region in chosen for size in sizes.SIZES.values()]
    entries += [entry for region in chosen for entry in body("storage_skus", region=region)]
    return page(call, entries, size=_SKUS_PER_PAGE)


def list_compute_usages(call: Call) -> Answer:
    """Compute's quotas in a region."""
    return Answer(200, {"value": sizes.compute_usages(call.subscription, location_of(call))})


def list_network_usages(call: Call) -> Answer:
    """The network's quotas in a region."""
    return Answer(200, {"value": sizes.network_usages(call.subscription, location_of(call))})


def operation_status(call: Call) -> Answer:
    """`Azure-AsyncOperation`, and `Location` where the query says `monitor=true`."""
    operation = _find_operation(call)
    if call.flag("monitor"):
        return operation_result(call)
    shown: Body = {"status": operation.status}
    if operation.tracking.namespace == "Microsoft.Compute":
        shown = {"startTime": timestamp(operation.started_at), **shown, "name": operation.id}
        shown.update({"endTime": timestamp(operation.ended_at)} if operation.ended_at is not None else {})
    if operation.error is not None:
        shown["error"] = operation.error
    waits = operation.tracking.poll_after_s
    wait_s = waits[min(operation.polls, len(waits) - 1)]
    operation.polls += 1
    return Answer(200, shown, retry_after_s=wait_s if operation.running else None)


def _find_operation(call: Call) -> Operation:
    """The operation that the call's path names, at its provider and in its region."""
    operation = call.subscription.operations.find(call.names["operation"])
    if operation is not None:
        place = f"/providers/{operation.tracking.namespace}/locations/{operation.location}/".lower()
        if place in call.path.lower():
            return operation
    raise refusal("OperationNotFound", call=call)


def operation_result(call: Call) -> Answer:
    """`Location`: 202 until the operation has ended, then its outcome."""
    operation = _find_operation(call)
    if operation.running:
        headers = {"Location": result_url(call, operation), "Azure-AsyncOperation": status_url(call, operation)}
        return Answer(202, None, headers, retry_after_s=operation.tracking.poll_after_s[-1])
    if operation.error is not None:
        return Answer(409, {"error": operation.error})
    return Answer(204 if operation.deletes else 200)


def cloud_endpoints(call: Call) -> Answer:
    """`GET /metadata/endpoints`, by which clients of other clouds find what belongs together; needs no token."""
    return Answer(200, body("endpoints", url=call.base_url))


def _subscription(subscription: Subscription) -> Body:
    return {**body("subscription", it=subscription), **({"tags": subscription.tags} if subscription.tags else {})}


def location_of(call: Call) -> str:
    """The region that the call's path names. Raises ArmError: 400, there is none of this name."""
    region = regions.find(call.names["location"])
    if region is None:
        raise refusal("LocationNotAvailableForResourceType, path", call=call, regions=",".join(regions.REGIONS))
    return region.name


def list_versions(call: Call) -> Answer:
    """The versions of an image."""
    return Answer(200, [_entry(call, _find_image(call, "latest").version)])


def get_version(call: Call) -> Answer:
    """One version of an image."""
    image = _find_image(call, call.names["version"])
    properties = body("image_version", image=image, architecture="Arm64" if image.arm64 else "x64")
    entry = _entry(call, image.version)
    entry["id"] = f"{str(entry['id']).rpartition('/')[0]}/{image.version}"
    return Answer(200, {**entry, "properties": properties})


def _find_image(call: Call, version: str) -> sizes.Image:
    location_of(call)
    names = call.names
    image = sizes.find_image(names["publisher"], names["offer"], names["sku"], version)
    if image is None:
        raise _not_found(
            f"Publisher: {names['publisher']}, Offer: {names['offer']}, Sku: {names['sku']}, Version: {version}"
        )
    return image


def _not_found(what: str) -> ArmError:
    return refusal("NotFound, image", what=what)


def _entry(call: Call, name: str) -> Body:
    path = call.path.rstrip("/")
    return {"location": location_of(call), "name": name, "id": f"{path}/{name}"}


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
