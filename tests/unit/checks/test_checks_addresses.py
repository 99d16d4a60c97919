"""The mesh's ranges against networks that are there, and who may connect."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from crdbmesh.checks import catalog
from crdbmesh.checks.base import Level, Verdict
from crdbmesh.run.world import World
from crdbmesh.spec import load as config


def peered(azure: Any, prefix: str) -> None:
    """Our network in eastus, peered with somebody's network of this range."""
    azure.put_group("pre", crdbmesh="pre")
    azure.put_group("theirs")
    azure.put_vnet("pre-eastus", "10.1.0.0/16")
    azure.peer("pre-eastus", azure.put_vnet("hub", prefix, group="theirs"))


def test_the_range_of_a_network_that_ours_is_peered_with_is_taken(azure: Any) -> None:
    peered(azure, "10.2.0.0/16")
    verdict = azure.verdicts(regions=["eastus", "westus"])["ranges"]
    (found,) = verdict.refused
    assert (found.field, found.value) == ("regions[1].vnet", "10.2.0.0/16")
    assert "of the VNet hub, which is peered with our VNet in eastus" in found.reason
    assert verdict.warnings == ()
    elsewhere = ["eastus", {"name": "westus", "vnet": "10.9.0.0/16"}]
    assert azure.verdicts(regions=elsewhere)["ranges"].level is Level.OK


def test_the_pods_range_of_a_network_that_ours_is_peered_with_is_a_warning(azure: Any) -> None:
    peered(azure, "10.101.0.0/16")
    verdict = azure.verdicts()["ranges"]
    assert [(one.field, one.value) for one in verdict.warnings] == [("regions[0].pods", "10.101.0.0/16")]


def test_azure_refuses_what_the_check_refuses(azure: Any) -> None:
    peered(azure, "10.2.0.0/16")
    remote = azure.put_vnet("pre-westus", "10.2.0.0/16")
    name = "pre-eastus/virtualNetworkPeerings/q"
    body = {"properties": {"remoteVirtualNetwork": {"id": remote}}}
    path = f"/resourceGroups/pre/providers/Microsoft.Network/virtualNetworks/{name}"
    assert azure.send("PUT", path, body)[1]["error"]["code"] == "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"


def test_a_network_elsewhere_with_the_same_range_is_only_a_warning(azure: Any) -> None:
    azure.put_group("theirs")
    for number in range(5):
        azure.put_vnet(f"v{number}", "10.1.0.0/16", group="theirs")
    azure.put_vnet("apart", "172.16.0.0/16", group="theirs")
    verdict = azure.verdicts(regions=["eastus", "westus"])["ranges"]
    (found,) = verdict.warnings
    assert (verdict.level, found.field, found.value) == (Level.WARNING, "ranges", "10.1.0.0/16")
    assert found.reason == "also used by v0, … (so no peering with it)"


def test_our_own_networks_do_not_count_as_others(azure: Any) -> None:
    azure.put_group("pre", crdbmesh="pre")
    azure.put_vnet("pre-eastus", "10.1.0.0/16")
    azure.peer("pre-eastus", azure.put_vnet("pre-westus", "10.2.0.0/16"))
    assert azure.verdicts(regions=["eastus", "westus"])["ranges"].level is Level.OK


@pytest.mark.parametrize(
    ("allowed", "level", "found"),
    [
        (["own"], Level.OK, "your own address, 127.0.0.1"),
        (["203.0.113.1", "own"], Level.OK, "203.0.113.1/32, your own address, 127.0.0.1"),
        (["127.0.0.0/24"], Level.OK, "127.0.0.0/24; your address is 127.0.0.1"),
        (["203.0.113.1"], Level.REFUSED, "203.0.113.1/32; not your address (127.0.0.1)"),
        (["*"], Level.WARNING, "everyone on the internet"),
    ],
)
def test_the_caller_is_let_in_or_told(azure: Any, allowed: list[str], level: Level, found: str) -> None:
    verdict = azure.verdicts(allow_from=allowed)["caller"]
    assert (verdict.level, verdict.found) == (level, found)


def test_an_old_address_of_the_caller_is_told_with_the_new_one(azure: Any) -> None:
    (finding,) = azure.verdicts(allow_from=["203.0.113.1"])["caller"].refused
    assert "add --allow-from 127.0.0.1, or `own`" in finding.remedy


def test_a_firewall_open_to_everyone_is_said_plainly(azure: Any) -> None:
    (finding,) = azure.verdicts(allow_from=["*"])["caller"].warnings
    assert "open to the whole internet" in finding.reason


def test_without_an_own_address_somebody_must_be_named(azure: Any) -> None:
    nobody = dataclasses.replace(azure.cloud, address_urls=(f"{azure.cloud.arm_url}/nothing",))

    def caller(**document: Any) -> Verdict:
        spec = config.mesh({"name": "pre", "regions": ["eastus"], **document})
        with World.open(spec, nobody, azure.folder) as world:
            return next(one for one in catalog.run_checks(world) if one.check == "caller")

    (finding,) = caller().refused
    assert "--allow-from" in finding.remedy
    assert caller(allow_from=["203.0.113.1"]).level is Level.OK


def test_an_address_that_only_one_service_gives_is_a_warning(azure: Any) -> None:
    alone = dataclasses.replace(azure.cloud, address_urls=azure.cloud.address_urls[:1])
    with World.open(config.mesh({"name": "pre", "regions": ["eastus"]}), alone, azure.folder) as world:
        verdict = next(one for one in catalog.run_checks(world) if one.check == "caller")
    (finding,) = verdict.warnings
    assert "no two services agree that 127.0.0.1 is your address" in finding.reason
    assert "--allow-from 127.0.0.1" in finding.remedy
