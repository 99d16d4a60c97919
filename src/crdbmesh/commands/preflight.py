"""What can be known before the first write: everything that would make `up` fail, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from crdbmesh.access import Access
from crdbmesh.clients.azure import compute, resources
from crdbmesh.errors import CredentialError, Finding, ForbiddenError, PreflightError
from crdbmesh.topology import names
from crdbmesh.topology.mesh import Region
from crdbmesh.topology.resources import usable_zones

Check = Callable[[Access], Iterator[Finding]]


def check(access: Access) -> None:
    """Run every check, in parallel.

    Raises:
        PreflightError: with every finding.
    """
    if findings := find(access):
        raise PreflightError(findings)


def find(access: Access) -> list[Finding]:
    """Every finding, in a stable order."""
    checks: tuple[Check, ...] = (_subscription, _regions, _group, _sizes)
    with ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="preflight") as pool:
        found = [finding for findings in pool.map(lambda one: _findings(one, access), checks) for finding in findings]
    # A credential that Azure does not accept fails every check in the same way: it is said once.
    refused = [finding for finding in found if finding.field == "credential"]
    if refused:
        return refused[:1]
    unknown = {finding.value for finding in found if finding.field.startswith("regions")}
    # An unknown region offers no size either; saying that too would only hide the cause.
    return [finding for finding in found if not (finding.field == "machines.size" and _at(finding) in unknown)]


def _findings(check: Check, access: Access) -> list[Finding]:
    try:
        return list(check(access))
    except ForbiddenError as error:
        remedy = error.hint or "see the permissions that crdbmesh needs in examples/azure-role.json"
        return [Finding("permissions", access.session.cloud.name, str(error), remedy)]
    except CredentialError as error:
        # azure-identity goes on to tell what each of its ten ways lacks, which helps nobody here.
        reason = str(error).partition("Attempted credentials")[0].strip()
        return [Finding("credential", access.session.cloud.name, reason, error.hint or "log in again")]


def _subscription(access: Access) -> Iterator[Finding]:
    found = resources.find_subscription(access.session)
    state = (found or {}).get("state", "not visible to this credential")
    if state not in {"Enabled", "Warned"}:
        yield Finding(
            "AZURE_SUBSCRIPTION_ID",
            access.session.subscription_id,
            f"the subscription is {state}",
            "choose a subscription that is enabled and that you can see",
        )


def _regions(access: Access) -> Iterator[Finding]:
    known = {str(location["name"]) for location in resources.list_locations(access.session)}
    for index, region in enumerate(access.mesh.regions):
        if region.name not in known:
            close = difflib.get_close_matches(region.name, sorted(known), n=1)
            remedy = f"did you mean {close[0]}" if close else "see `az account list-locations` for the names"
            yield Finding(f"regions[{index}]", region.name, "is not a region of this subscription", remedy)


def _group(access: Access) -> Iterator[Finding]:
    mesh = access.mesh
    if mesh.group is not None:
        return
    found = resources.find_group(access.session, mesh.group_name)
    if found is None:
        return
    owner = (found.get("tags") or {}).get(names.TAG)
    if owner != mesh.name:
        whose = f"belongs to the mesh {owner}" if owner else "is not crdbmesh's"
        yield Finding(
            "name",
            mesh.name,
            f"a resource group of that name exists and {whose}",
            "choose another name, or name the group in the spec's `group` field to share it",
        )
    if (state := found.get("properties", {}).get("provisioningState")) == "Deleting":
        yield Finding("name", mesh.name, f"its resource group is {state}", "wait until it is gone")


def _sizes(access: Access) -> Iterator[Finding]:
    regions = access.mesh.all_regions()
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="sizes") as pool:
        for findings in pool.map(lambda region: list(_size(access, region)), regions):
            yield from findings


def _size(access: Access, region: Region) -> Iterator[Finding]:
    size = region.machines[0].size
    offered = {
        str(sku["name"]).lower(): sku
        for sku in compute.list_skus(access.session, region.name)
        if sku.get("resourceType") == "virtualMachines"
    }
    sku = offered.get(size.lower())
    if sku is None:
        close = difflib.get_close_matches(size.lower(), sorted(offered), n=1)
        remedy = f"did you mean {offered[close[0]]['name']}" if close else "choose a size that is"
        yield Finding("machines.size", f"{size} in {region.name}", "is not offered there", remedy)
        return
    for restriction in sku.get("restrictions") or []:
        if str(restriction.get("type", "")).lower() == "location":
            yield Finding(
                "machines.size",
                f"{size} in {region.name}",
                f"is restricted for this subscription ({restriction.get('reasonCode')})",
                "choose another size or region, or ask Azure for access",
            )
            return
    zones = usable_zones(sku, region.name)
    for machine in region.machines:
        if machine.zone is not None and machine.zone not in zones:
            yield Finding(
                "regions.zones",
                f"{machine.zone} in {region.name}",
                f"{size} is not offered in that zone",
                f"choose from {', '.join(zones)}" if zones else "leave `zones` empty there",
            )
            return
    yield from _quota(access, region, str(sku.get("family", "")), _vcpus(sku))


def _quota(access: Access, region: Region, family: str, vcpus: int) -> Iterator[Finding]:
    mesh = access.mesh
    have = {
        str(machine.get("name", "")).lower()
        for machine in compute.list_vms(access.session)
        if (machine.get("tags") or {}).get(names.TAG) == mesh.name
    }
    wanted = [
        machine for machine in region.machines if names.machine(mesh.name, region.name, machine.number) not in have
    ]
    needed = vcpus * len(wanted)
    for usage in compute.list_usages(access.session, region.name):
        name = str((usage.get("name") or {}).get("value", ""))
        if name.lower() not in {"cores", family.lower()}:
            continue
        left = int(usage.get("limit", 0)) - int(usage.get("currentValue", 0))
        if left < needed:
            yield Finding(
                "machines",
                f"{len(wanted)} of {region.machines[0].size} in {region.name}",
                f"they need {needed} vCPUs, and the quota {name} has {left} left",
                "ask Azure for more quota, or choose fewer or smaller machines or another region",
            )


def _vcpus(sku: dict[str, object]) -> int:
    capabilities = sku.get("capabilities")
    for capability in capabilities if isinstance(capabilities, list) else []:
        if capability.get("name") == "vCPUs":
            return int(capability.get("value", 0))
    return 0


def _at(finding: Finding) -> str:
    return finding.value.rpartition(" in ")[2]
