"""What a subscription tells about itself and about Azure: locations, providers, permissions, sizes, usages."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from crdbmesh_simulator.azure import authorization, quotas, regions, sizes, subnets
from crdbmesh_simulator.azure.call import Answer, Call, result_url, status_url
from crdbmesh_simulator.azure.catalog import KINDS, MACHINES
from crdbmesh_simulator.azure.children import parent_for_read
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import ArmError, Body
from crdbmesh_simulator.azure.kinds import find_group, page
from crdbmesh_simulator.azure.operations import Operation
from crdbmesh_simulator.azure.state import Subscription

_SKUS_PER_PAGE = 1000


def list_subscriptions(call: Call) -> Answer:
    """The one subscription."""
    return Answer(200, {"value": [_subscription(call.subscription)], "count": {"type": "Total", "value": 1}})


def get_subscription(call: Call) -> Answer:
    """The subscription."""
    return Answer(200, _subscription(call.subscription))


def list_tenants(call: Call) -> Answer:
    """The one tenant."""
    tenant = call.subscription.tenant_id
    entry = {
        "id": f"/tenants/{tenant}",
        "tenantId": tenant,
        "countryCode": "US",
        "displayName": "Simulated tenant",
        "domains": ["simulated.onmicrosoft.com"],
        "tenantCategory": "Home",
        "defaultDomain": "simulated.onmicrosoft.com",
        "tenantType": "AAD",
    }
    return Answer(200, {"value": [entry]})


def list_locations(call: Call) -> Answer:
    """Every region."""
    return Answer(200, {"value": regions.describe(call.subscription.id)})


def list_permissions(call: Call) -> Answer:
    """What the caller's roles allow at a scope, inherited ones included."""
    scope = f"/subscriptions/{call.subscription.id}"
    if "group" in call.names:
        scope += f"/resourceGroups/{find_group(call.subscription, call.names['group']).name}"
    return Answer(200, {"value": authorization.roles(call.subscription, scope)})


def list_extensions(call: Call) -> Answer:
    """The extensions of a VM: none in this world."""
    MACHINES.require(call)
    return Answer(200, {"value": []})


def list_skus(call: Call) -> Answer:
    """Resource SKUs; `location eq '...'` is the one filter there is."""
    text = call.query.get("$filter", "").strip()
    chosen = list(regions.REGIONS.values())
    if text:
        name, _, value = text.partition(" eq ")
        if name.strip().lower() != "location" or not value.strip().startswith("'"):
            raise ArmError(
                400, "InvalidFilterInQueryString", f"The filter '{text}' is not supported; only location is."
            )
        chosen = [region for region in chosen if region.name == regions.normal(value.strip().strip("'"))]
    more = call.subscription.restrictions
    entries = [sizes.sku(size, region, more) for region in chosen for size in sizes.SIZES.values()]
    return page(call, entries, size=_SKUS_PER_PAGE)


def list_sizes(call: Call) -> Answer:
    """`GET .../locations/L/vmSizes`."""
    location_of(call)
    return Answer(200, {"value": _describe(sizes.SIZES.values())})


def list_resizes(call: Call) -> Answer:
    """`GET .../virtualMachines/M/vmSizes`: what the VM may be resized to."""
    vm = MACHINES.require(call)
    now = sizes.find(vm.properties["hardwareProfile"]["vmSize"])
    more = call.subscription.restrictions
    fitting = [
        size
        for size in sizes.SIZES.values()
        if now is not None and size.arm64 == now.arm64 and sizes.offered(size, vm.location, more)
    ]
    return Answer(200, {"value": _describe(fitting)})


def list_vnet_usages(call: Call) -> Answer:
    """`GET .../virtualNetworks/V/usages`: how full each subnet is."""
    vnet = parent_for_read(call, "Microsoft.Network/virtualNetworks")
    entries: list[Body] = []
    for subnet in vnet.properties["subnets"]:
        network = next((prefix for prefix in subnets.ranges(subnet) if prefix.version == 4), None)
        entries.append(
            {
                "id": subnet["id"],
                "name": {"value": "SubnetSpace", "localizedValue": "Subnet size and usage"},
                "currentValue": float(len(subnets.in_use(call.subscription, subnet))),
                "limit": float(network.num_addresses - 5 if network else 0),
                "unit": "Count",
            }
        )
    return page(call, entries)


def _describe(some: Iterable[sizes.Size]) -> list[Body]:
    return [
        {
            "name": size.name,
            "numberOfCores": size.vcpus,
            "osDiskSizeInMB": 1047552,
            "resourceDiskSizeInMB": 0,
            "memoryInMB": int(size.memory_gib * 1024),
            "maxDataDiskCount": min(64, 2 * size.vcpus),
        }
        for size in some
    ]


def list_compute_usages(call: Call) -> Answer:
    """Compute's quotas in a region."""
    return Answer(200, {"value": quotas.compute_usages(call.subscription, location_of(call))})


def list_network_usages(call: Call) -> Answer:
    """The network's quotas in a region."""
    return Answer(200, {"value": quotas.network_usages(call.subscription, location_of(call))})


def check_address(call: Call) -> Answer:
    """`GET .../virtualNetworks/V/CheckIPAddressAvailability`."""
    vnet = parent_for_read(call, "Microsoft.Network/virtualNetworks")
    text = call.query.get("ipaddress", "")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ArmError(400, "InvalidIPAddressFormat", f"IP address {text!r} is not valid.") from None
    taken = {
        str(configuration["properties"]["privateIPAddress"])
        for _, configuration in call.subscription.ip_configurations()
        if configuration["properties"]["subnet"]["id"].lower().startswith(f"{vnet.key}/")
    }
    for subnet in vnet.properties["subnets"]:
        network = ipaddress.ip_network(subnet["properties"].get("addressPrefix") or "0.0.0.0/32")
        if address not in network:
            continue
        usable = [str(one) for one in list(network)[4:-1] if str(one) not in taken]
        free = str(address) in usable
        return Answer(200, {"available": free, "availableIPAddresses": [] if free else usable[:5]})
    return Answer(200, {"available": False, "availableIPAddresses": []})


def operation_status(call: Call) -> Answer:
    """`Azure-AsyncOperation`, and `Location` where the query says `monitor=true`."""
    operation = _find_operation(call)
    if call.flag("monitor"):
        return operation_result(call)
    body: Body = {"status": operation.status}
    if operation.tracking.namespace == "Microsoft.Compute":
        body = {"startTime": timestamp(operation.started_at), **body, "name": operation.id}
        body.update({"endTime": timestamp(operation.ended_at)} if operation.ended_at is not None else {})
    if operation.error is not None:
        body["error"] = operation.error
    waits = operation.tracking.poll_after_s
    wait_s = waits[min(operation.polls, len(waits) - 1)]
    operation.polls += 1
    return Answer(200, body, retry_after_s=wait_s if operation.running else None)


def _find_operation(call: Call) -> Operation:
    """The operation that the call's path names, at its provider and in its region."""
    operation = call.subscription.operations.find(call.names["operation"])
    if operation is not None:
        place = f"/providers/{operation.tracking.namespace}/locations/{operation.location}/".lower()
        if place in call.path.lower():
            return operation
    raise ArmError(404, "OperationNotFound", f"The operation {call.names['operation']} could not be found.")


def operation_result(call: Call) -> Answer:
    """`Location`: 202 until the operation has ended, then its outcome."""
    operation = _find_operation(call)
    if operation.running:
        headers = {"Location": result_url(call, operation), "Azure-AsyncOperation": status_url(call, operation)}
        return Answer(202, None, headers, retry_after_s=operation.tracking.poll_after_s[-1])
    if operation.error is not None:
        return Answer(409, {"error": operation.error})
    resource = call.subscription.find(operation.target)
    if operation.acts:
        return Answer(200)
    if operation.deletes or resource is None:
        return Answer(204)
    kind = next(kind for kind in KINDS if kind.type == resource.type)
    return Answer(200, kind.render(call, resource))


def cloud_endpoints(call: Call) -> Answer:
    """`GET /metadata/endpoints`, by which clients of other clouds find what belongs together; needs no token."""
    return Answer(
        200,
        {
            "name": "Simulated",
            "portal": call.base_url,
            "authentication": {
                "loginEndpoint": "https://login.microsoftonline.com",
                "audiences": [call.base_url, f"{call.base_url}/"],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "graphAudience": "https://graph.windows.net/",
            "graph": "https://graph.windows.net/",
            "resourceManager": f"{call.base_url}/",
            "media": "",
            "gallery": "",
            "suffixes": {},
        },
    )


def _subscription(subscription: Subscription) -> Body:
    body: Body = {
        "id": f"/subscriptions/{subscription.id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription.id,
        "tenantId": subscription.tenant_id,
        "displayName": subscription.display_name,
        "state": subscription.state,
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }
    body.update({"tags": subscription.tags} if subscription.tags else {})
    return body


def location_of(call: Call) -> str:
    """The region that the call's path names.

    Raises:
        ArmError: 400, there is none of this name.
    """
    region = regions.find(call.names["location"])
    if region is None:
        raise ArmError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{call.names['location']}' is not available. List of available regions is "
            f"'{','.join(regions.REGIONS)}'.",
        )
    return region.name
