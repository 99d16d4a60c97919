"""Quotas and limits against what is still missing."""

from __future__ import annotations

from typing import Any

import pytest

from crdbmesh.checks.base import Level

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3Ls5O8Nq7bU0jYQ0mXn1t9b8b5m1yq3v2u4w6x8y0z test"


def test_too_few_vcpus_are_noticed_before_the_first_machine(azure: Any) -> None:
    (found,) = azure.refused(machines={"per_region": 50})
    assert found.field == "machines"
    assert "they need 200 vCPUs, and the quota cores has 100 available" in found.reason


def test_a_family_without_quota_is_answered_with_another(azure: Any) -> None:
    azure.subscription.limits.everywhere["standardDSv5Family"] = 4
    (found,) = azure.refused(regions=["eastus"])
    assert "the quota standardDSv5Family has 4 available" in found.reason
    size = found.remedy.rpartition(" ")[2]
    assert azure.refused(machines={"size": size}) == []


def test_machines_that_are_there_count_as_made(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.put_machine("pre-eastus-1", KEY)
    for name in ("cores", "standardDSv5Family"):
        azure.subscription.limits.everywhere[name] = 12
    assert azure.verdicts()["vcpus"].level is Level.OK
    azure.subscription.limits.everywhere["cores"] = 11
    (found,) = azure.verdicts()["vcpus"].refused
    assert found.value == "2 of Standard_D4s_v5 in eastus"
    assert "they need 8 vCPUs, and the quota cores has 7 available" in found.reason


def test_the_number_of_machines_has_a_quota_of_its_own(azure: Any) -> None:
    azure.subscription.limits.everywhere["virtualMachines"] = 2
    (found,) = azure.verdicts()["vcpus"].refused
    assert "virtualMachines has 2 available" in found.reason


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("VirtualNetworks", "1 VNet in eastus"),
        ("NetworkSecurityGroups", "2 network security groups in eastus"),
        ("NetworkInterfaces", "3 network interfaces in eastus"),
        ("PublicIPAddresses", "3 public IP addresses in eastus"),
        ("IPv4StandardSkuPublicIpAddresses", "3 public IP addresses in eastus"),
    ],
)
def test_each_kind_of_network_resource_has_its_limit(azure: Any, limit: str, value: str) -> None:
    azure.subscription.limits.by_location["eastus", limit] = 0
    (found,) = azure.refused(regions=["eastus", "westus"])
    assert (found.field, found.value) == ("regions", value)
    assert "the limit there is 0" in found.reason


def test_addresses_that_are_there_count_as_made(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    for number in (1, 2):
        azure.put_address(f"pre-eastus-{number}-ip")
    azure.subscription.limits.everywhere["PublicIPAddresses"] = 3
    assert azure.verdicts()["limits"].level is Level.OK
    azure.subscription.limits.everywhere["PublicIPAddresses"] = 2
    (found,) = azure.verdicts()["limits"].refused
    assert found.value == "1 public IP address in eastus"
    assert "of which 0 are available" in found.reason


def test_the_lease_is_counted_in_the_first_region_only(azure: Any) -> None:
    azure.subscription.limits.everywhere["NetworkSecurityGroups"] = 1
    (found,) = azure.refused(regions=["eastus", "westus"])
    assert found.value == "2 network security groups in eastus"
