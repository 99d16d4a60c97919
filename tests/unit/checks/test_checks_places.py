"""Regions, sizes, zones and the image."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crdbmesh.checks.base import Level
from crdbmesh.checks.offers import Offer, nearest
from crdbmesh_simulator.azure import authorization
from crdbmesh_simulator.azure.sizes import Restriction


def test_a_misspelt_region_is_one_finding_with_the_name_that_was_meant(azure: Any) -> None:
    found = azure.refused(regions=["eastus", "northeurpoe"])
    assert [(one.field, one.value) for one in found] == [("regions[1]", "northeurpoe")]
    assert found[0].remedy == "did you mean northeurope"


def test_a_region_that_may_mean_two_names_both(azure: Any) -> None:
    (found,) = azure.refused(regions=["estus"])
    assert found.remedy == "did you mean eastus or westus"


def test_a_size_on_which_the_database_cannot_be_placed_is_a_finding_with_one_on_which_it_can(azure: Any) -> None:
    (found,) = azure.refused(machines={"size": "Standard_D2s_v5"})
    assert (found.field, found.value) == ("machines.size", "Standard_D2s_v5 in eastus")
    assert found.reason.startswith("has 2 vCPUs and 8 GiB, but the CockroachDB pod requests 2 vCPUs and 8 GiB")
    size = found.remedy.partition("--machine-size ")[2].partition(";")[0]
    assert azure.refused(machines={"size": size}) == []
    small = {"cpu": 0.5, "memory_gib": 4}
    assert azure.refused(machines={"size": "Standard_D2s_v5"}, cockroach=small) == []


def test_pods_that_share_a_machine_must_fit_together(azure: Any) -> None:
    (found,) = azure.refused(cockroach={"replicas": 6, "wal_failover_gib": 0})
    assert "but each of 2 CockroachDB pods requests 2 vCPUs and 8 GiB" in found.reason


def test_a_name_for_several_regions_is_not_one(azure: Any) -> None:
    (found,) = azure.refused(regions=["eastus", "europe"])
    assert found.reason == "is a geography, not a region"
    assert found.remedy.startswith("did you mean ")
    (found,) = azure.refused(regions=["global"])
    assert "az account list-locations" in found.remedy


def test_a_misspelt_size_names_the_size_that_was_meant(azure: Any) -> None:
    (found,) = azure.refused(machines={"size": "Standard_D4_v5s"})
    assert found.field == "machines.size"
    assert "did you mean Standard_D" in found.remedy


def test_an_unknown_region_and_an_unknown_size_are_two_findings(azure: Any) -> None:
    found = azure.refused(regions=["eastus", "westuss"], machines={"size": "Standard_Nope"})
    assert [one.field for one in found] == ["regions[1]", "machines.size"]


def test_a_zone_that_the_region_lacks_is_a_finding(azure: Any) -> None:
    (found,) = azure.refused(regions=[{"name": "westus", "zones": ["2"]}])
    assert (found.field, found.value) == ("regions.zones", "2 in westus")
    assert found.remedy == "leave `zones` empty there"


def test_a_zone_that_the_subscription_may_not_use_names_those_that_it_may(azure: Any) -> None:
    azure.subscription.restrictions.add(Restriction("standardDSv5Family", "eastus", "2"))
    (found,) = azure.refused(regions=[{"name": "eastus", "zones": ["1", "2"]}])
    assert (found.value, found.remedy) == ("2 in eastus", "choose from 1, 3")
    assert azure.refused(regions=["eastus"]) == []


def test_a_size_that_one_region_lacks_is_answered_with_one_that_all_have(azure: Any) -> None:
    azure.subscription.restrictions.add(Restriction("Standard_D4s_v5", "westus"))
    azure.subscription.restrictions.add(Restriction("standardDASv5Family", "eastus"))
    (found,) = azure.refused(regions=["eastus", "westus"])
    assert found.value == "Standard_D4s_v5 in westus"
    assert "NotAvailableForSubscription" in found.reason
    size = found.remedy.rpartition(" ")[2]
    assert "4 vCPUs, 16 GiB" in found.remedy
    assert size not in {"Standard_D4s_v5", "Standard_D4as_v5", "Standard_D4ps_v5", "Standard_D4_v5"}
    assert azure.refused(regions=["eastus", "westus"], machines={"size": size}) == []


def test_a_proposed_size_has_quota_left_everywhere(azure: Any) -> None:
    azure.subscription.restrictions.add(Restriction("Standard_D4s_v5", "westus"))
    first = azure.refused(regions=["eastus", "westus"])[0].remedy.rpartition(" ")[2]
    azure.subscription.limits.by_location["eastus", azure_family(azure, first)] = 3
    second = azure.refused(regions=["eastus", "westus"])[0].remedy.rpartition(" ")[2]
    assert second != first
    assert azure.refused(regions=["eastus", "westus"], machines={"size": second}) == []


def test_only_the_regions_that_take_a_size_have_to_offer_it(azure: Any) -> None:
    azure.subscription.restrictions.add(Restriction("Standard_D4s_v5", "westus"))
    own = {"name": "westus", "size": "Standard_D4as_v5"}
    assert azure.refused(regions=["eastus", own]) == []
    (found,) = azure.verdicts(regions=["eastus", {**own, "size": "Standard_M64ms"}])["sizes"].refused
    assert found.field == "regions[1].size"


def test_an_arm_size_does_not_go_with_our_image(azure: Any) -> None:
    (found,) = azure.refused(machines={"size": "Standard_D4ps_v5"})
    assert found.reason == "is an Arm64 size, and the image is for x64"
    assert found.remedy.endswith("--machine-size Standard_D4s_v5")
    arm = {"size": "Standard_D4ps_v5", "image": "Canonical:ubuntu-24_04-lts:server-arm64:latest"}
    assert azure.refused(machines=arm) == []


def test_an_image_of_the_first_generation_does_not_go_with_a_size_of_the_second(azure: Any) -> None:
    image = "Canonical:ubuntu-24_04-lts:server-gen1:latest"
    (found,) = azure.refused(machines={"size": "Standard_D4s_v6", "image": image})
    assert found.reason == "does not boot images of generation V1"


def test_a_premium_disk_does_not_go_with_every_size(azure: Any) -> None:
    (found,) = azure.refused(machines={"size": "Standard_D4_v5"})
    assert found.reason == "cannot have a premium disk"
    assert azure.refused(machines={"size": "Standard_D4_v5", "disk_type": "StandardSSD_LRS"}) == []


@pytest.mark.parametrize(
    "image",
    [
        "Canonical:ubuntu-24_04-lts:desktop:latest",
        "Canonical:ubuntu-24_04-lts:server:1.2.3",
        "Nobody:none:none:latest",
    ],
)
def test_an_image_that_is_not_offered_is_a_finding(azure: Any, image: str) -> None:
    (found,) = azure.refused(machines={"image": image})
    assert (found.field, found.value) == ("machines.image", f"{image} in eastus")


def test_what_cannot_be_read_of_the_image_is_taken_from_its_name(azure: Any) -> None:
    unread = "Microsoft.Compute/locations/publishers/*"
    azure.subscription.permissions[:] = [{"actions": ["*"], "notActions": [unread]}]
    found = azure.verdicts(machines={"size": "Standard_D4ps_v5"})
    assert found["image"].level is Level.WARNING
    assert found["sizes"].refused[0].reason == "is an Arm64 size, and the image is for x64"


def offer(name: str, vcpus: int, memory_gib: float) -> Offer:
    return Offer(name, "f", vcpus, memory_gib, "x64", frozenset({"V2"}), True, (), "")


def test_the_nearest_size_is_the_same_or_the_next_bigger_and_alike_in_name() -> None:
    asked = offer("Standard_D4s_v5", 4, 16)
    same, burstable = offer("Standard_D4as_v5", 4, 16), offer("Standard_B4s_v2", 4, 16)
    bigger, smaller = offer("Standard_D8s_v5", 8, 32), offer("Standard_D2s_v5", 2, 8)
    assert nearest(asked, [bigger, burstable, same, smaller]) == same
    assert nearest(asked, [bigger, burstable, smaller]) == burstable
    assert nearest(asked, [bigger, smaller]) == bigger
    assert nearest(asked, [smaller, offer("Standard_F4s_v2", 4, 8)]) is None


def azure_family(azure: Any, size: str) -> str:
    skus = azure.send("GET", "/providers/Microsoft.Compute/skus")[1]["value"]
    return str(next(sku["family"] for sku in skus if sku["name"] == size))


def policies(azure: Any, name: str, locations: list[str], **more: Any) -> list[tuple[str, str]]:
    """What the check of policies refuses in the presence of one, by field and value."""
    azure.subscription.policies[:] = [authorization.assignment(azure.subscription.id, name, locations, **more)]
    found = azure.verdicts(regions=["eastus", "westus"])["policies"].refused
    for one in found:
        assert all(location.replace(" ", "").lower() in one.reason for location in locations), one
        assert name in one.reason
    return [(one.field, one.value) for one in found]


@pytest.mark.parametrize("name", ["sys.regionrestriction", "allowed-locations"])
def test_a_region_that_a_policy_does_not_allow_is_refused_with_those_that_it_allows(azure: Any, name: str) -> None:
    assert policies(azure, name, ["Swedencentral", "East US"]) == [("regions[1]", "westus")]
    assert policies(azure, name, ["swedencentral"]) == [("regions[0]", "eastus"), ("regions[1]", "westus")]
    assert policies(azure, name, ["eastus", "westus"]) == []


def test_azure_refuses_what_the_check_of_policies_refuses(azure: Any) -> None:
    azure.put_group("pre")
    for name, code in (("sys.regionrestriction", "ByAzure"), ("allowed-locations", "ByPolicy")):
        azure.subscription.policies[:] = [authorization.assignment(azure.subscription.id, name, ["westus"])]
        path = "/resourceGroups/pre/providers/Microsoft.Network/networkSecurityGroups/n"
        status, answer = azure.send("PUT", path, {"location": "eastus"})
        assert (status, answer["error"]["code"]) == (403, f"RequestDisallowed{code}")


@pytest.mark.parametrize(
    "more",
    [
        {"enforcementMode": "DoNotEnforce"},
        {"parameters": {"listOfAllowedLocations": {"value": ["westeurope"]}, "effect": {"value": "Audit"}}},
        {"parameters": {"tagName": {"value": "costcentre"}}},
        {"scope": "/subscriptions/SUBSCRIPTION/resourceGroups/others"},
        {"notScopes": ["/subscriptions/SUBSCRIPTION/resourceGroups/pre"]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_policy_that_does_not_bind_us_is_no_finding(azure: Any, more: dict[str, Any]) -> None:
    placed = json.loads(json.dumps(more).replace("SUBSCRIPTION", azure.subscription.id))
    assert policies(azure, "elsewhere", ["westeurope"], **placed) == []
