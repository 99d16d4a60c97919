"""Managed disks as resources of their own, and availability sets: made, changed, used; each rule both ways."""

from __future__ import annotations

import copy
from typing import Any

import pytest

COMPUTE = "providers/Microsoft.Compute"
V2 = {"location": "eastus", "zones": ["1"], "sku": {"name": "PremiumV2_LRS"}}


def disk(size: int = 100, **more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(V2), "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": size, **more}}


@pytest.fixture
def body(shared: Any, group: str, bodies: Any) -> dict[str, Any]:
    """A VM's body in zone 1."""
    made = bodies.vm(shared.nic(group, "n", bodies.nic(shared.vnet(group, "v", "10.0.0.0/16"))), "m")
    return {**made, "zones": ["1"]}


def path(group: str, name: str = "d") -> str:
    return f"{group}/{COMPUTE}/disks/{name}"


def holding(body: dict[str, Any], shared: Any, group: str, **more: Any) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    entry = {"lun": 0, "createOption": "Attach", "managedDisk": {"id": f"{shared.scope}/{path(group)}"}, **more}
    changed["properties"]["storageProfile"]["dataDisks"] = [entry]
    return changed


def test_a_disk_is_made_empty_with_its_own_performance_and_grows(shared: Any, group: str) -> None:
    made = shared.done("PUT", path(group), disk(diskIOPSReadWrite=4000, networkAccessPolicy="DenyAll")).body
    shown = made["properties"]
    assert (shown["diskState"], shown["diskMBpsReadWrite"], shown["networkAccessPolicy"]) == (
        "Unattached",
        125,
        "DenyAll",
    )
    assert shared.done("PATCH", path(group), {"properties": {"diskSizeGB": 200}}).status == 202
    assert shared.ask("GET", path(group)).body["properties"]["diskSizeGB"] == 200
    assert "only be increased" in shared.ask("PATCH", path(group), {"properties": {"diskSizeGB": 100}}).message


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"diskIOPSReadWrite": 2000}, "InvalidParameter"),
        ({"diskIOPSReadWrite": 60000}, "InvalidParameter"),
        ({"diskMBpsReadWrite": 800}, "InvalidParameter"),
        ({"creationData": {"createOption": "Copy"}}, "NotImplemented"),
    ],
)
def test_a_disk_that_cannot_be_is_refused(shared: Any, group: str, given: Any, code: str) -> None:
    assert shared.ask("PUT", path(group), disk(**given)).code == code
    fixed = {**disk(diskIOPSReadWrite=4000), "sku": {"name": "Premium_LRS"}}
    assert shared.ask("PUT", path(group), fixed).code == "InvalidParameter"


def test_performance_changes_four_times_a_day(shared: Any, group: str) -> None:
    shared.done("PUT", path(group), disk())
    for iops in (3100, 3200, 3300, 3400):
        assert shared.done("PATCH", path(group), {"properties": {"diskIOPSReadWrite": iops}}).status == 202
    refused = shared.ask("PATCH", path(group), {"properties": {"diskIOPSReadWrite": 3500}})
    assert (refused.status, refused.code) == (409, "OperationNotAllowed")


def test_a_disk_goes_where_its_zone_and_type_allow(shared: Any, group: str, bodies: Any, body: dict[str, Any]) -> None:
    shared.done("PUT", path(group), disk())
    vm = f"{group}/{COMPUTE}/virtualMachines/m"
    for other, code in (({**body, "zones": ["2"]}, "BadRequest"), ({**body, "zones": []}, "BadRequest")):
        assert shared.ask("PUT", vm, holding(other, shared, group)).code == code
    assert shared.ask("PUT", vm, holding(body, shared, group, caching="ReadOnly")).code == "BadRequest"
    shared.done("PUT", vm, holding(body, shared, group))
    shown = shared.ask("GET", path(group)).body
    assert shown["managedBy"].endswith("/m")
    nic = bodies.nic(shared.vnet(group, "v", "10.0.0.0/16"))
    other = {**bodies.vm(shared.nic(group, "n2", nic), "o"), "zones": ["1"]}
    detached = shared.ask("PUT", vm, body)
    detaching = shared.ask("PUT", f"{group}/{COMPUTE}/virtualMachines/o", holding(other, shared, group))
    assert detaching.code == "AttachDiskWhileBeingDetached"
    shared.wait(detached)
    shared.done("PUT", f"{group}/{COMPUTE}/virtualMachines/o", holding(other, shared, group))
    assert shared.ask("GET", path(group)).body["managedBy"].endswith("/o")


def test_a_premium_disk_passes_four_tib_only_without_its_running_machine(
    shared: Any, group: str, body: dict[str, Any]
) -> None:
    shared.done("PUT", path(group), {**disk(4000), "sku": {"name": "Premium_LRS"}})
    vm = f"{group}/{COMPUTE}/virtualMachines/m"
    shared.done("PUT", vm, holding(body, shared, group))
    assert shared.done("PATCH", path(group), {"properties": {"diskSizeGB": 4095}}).status == 202
    refused = shared.ask("PATCH", path(group), {"properties": {"diskSizeGB": 5000}})
    assert "requires the virtual machine to be deallocated" in refused.message
    shared.done("POST", f"{vm}/deallocate")
    assert shared.done("PATCH", path(group), {"properties": {"diskSizeGB": 5000}}).status == 202


def test_machines_of_a_set_are_spread_over_its_fault_domains(shared: Any, group: str, bodies: Any) -> None:
    at = f"{group}/{COMPUTE}/availabilitySets/s"
    made = {"location": "westus", "sku": {"name": "Aligned"}, "properties": {"platformFaultDomainCount": 3}}
    assert shared.ask("PUT", at, {**made, "properties": {"platformFaultDomainCount": 4}}).code == "InvalidParameter"
    assert shared.ask("PUT", at, made).body["properties"]["platformFaultDomainCount"] == 3
    vnet, domains = shared.vnet(group, "w", "10.2.0.0/16", location="westus"), []
    for name in ("a", "b", "c", "d"):
        vm = bodies.vm(shared.nic(group, f"n{name}", {**bodies.nic(vnet), "location": "westus"}), name)
        vm["location"], vm["properties"]["availabilitySet"] = "westus", {"id": f"{shared.scope}/{at}"}
        shared.done("PUT", f"{group}/{COMPUTE}/virtualMachines/{name}", vm)
        view = shared.ask("GET", f"{group}/{COMPUTE}/virtualMachines/{name}/instanceView").body
        domains.append(view["platformFaultDomain"])
    assert domains == [0, 1, 2, 0]
    assert shared.ask("DELETE", at).code == "OperationNotAllowed"
    other = {**vm, "properties": {**vm["properties"], "availabilitySet": {"id": f"{shared.scope}/{at}x"}}}
    assert shared.ask("PUT", f"{group}/{COMPUTE}/virtualMachines/d", other).code == "PropertyChangeNotAllowed"
    for name in ("a", "b", "c", "d"):
        shared.done("DELETE", f"{group}/{COMPUTE}/virtualMachines/{name}")
    assert shared.ask("DELETE", at).status == 200
    assert shared.ask("GET", at).status == 404
