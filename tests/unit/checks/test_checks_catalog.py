"""All checks together: everything at once, in order, said once, and without a write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.checks import actions, catalog
from crdbmesh.checks.base import Found, Level, Refused, Verdict, Warned, remarks_of, without_repeats
from crdbmesh.checks.catalog import Check, judge
from crdbmesh.checks.facts import Facts
from crdbmesh.clients import cloud as clouds
from crdbmesh.errors import CloudError, Finding, ForbiddenError, PreflightError, RefusedError, StoppedError
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh_simulator.azure.sizes import Restriction
from crdbmesh_simulator.azure.state import READER

ROLE = Path(__file__).parents[3] / "examples" / "azure-role.json"
ONE = Finding("f", "v", "r", "m")


def test_of_two_roles_one_is_for_a_group_and_the_other_changes_nothing_but_registrations() -> None:
    in_group, looks = (
        json.loads((ROLE.parent / f"azure-role-{name}.json").read_text())["Actions"] for name in ("group", "looking")
    )
    inside = [action for action in actions.ACTIONS if actions.is_in_group(action)]
    assert sorted([*in_group, *actions.OF_THE_GROUP]) == sorted(inside)
    assert {*inside, *looks} == set(actions.ACTIONS)
    assert {action for action in actions.ACTIONS if action.endswith("/read")} <= set(looks)
    assert {action for action in looks if not action.endswith("/read")} == {
        "Microsoft.Network/register/action",
        "Microsoft.Compute/register/action",
    }


def test_nothing_stands_in_the_way_of_a_sound_spec(azure: Any) -> None:
    found = azure.verdicts(regions=["eastus", "westus", "northeurope"])
    assert {verdict.level for verdict in found.values()} == {Level.OK}
    assert all(verdict.found for verdict in found.values())


def test_five_mistakes_are_five_findings_in_one_run(azure: Any) -> None:
    azure.put_group("pre")
    azure.subscription.limits.by_location["westus", "PublicIPAddresses"] = 1
    azure.subscription.restrictions.add(Restriction("Standard_D4s_v5", "eastus"))
    found = azure.refused(regions=["eastus", "westus", {"name": "northeurope", "machines": 40}, "eastuss"])
    assert [finding.field for finding in found] == ["regions[3]", "machines.size", "machines", "regions", "name"]
    assert all(finding.value and finding.reason and finding.remedy for finding in found)


def test_the_verdicts_are_in_the_lists_order_every_time(azure: Any) -> None:
    order = [catalog.CREDENTIAL.name, *(check.name for check in catalog.CHECKS)]
    assert [list(azure.verdicts(regions=["westus", "eastus"])) for _ in range(3)] == [order] * 3


def test_a_token_that_azure_refuses_is_one_finding(azure: Any, stranger: clouds.Cloud) -> None:
    with World.open(config.mesh({"regions": ["eastus"], "name": "pre"}), stranger, azure.folder) as world:
        found = catalog.run_checks(world)
    refused = [finding for verdict in found for finding in verdict.refused]
    assert [finding.field for finding in refused] == ["credential"]
    assert "not-the-token" not in str(found)
    skipped = {verdict.check for verdict in found if verdict.level is Level.SKIPPED}
    assert skipped == {check.name for check in catalog.CHECKS if check.asks_azure}
    assert {"caller", "folder"}.isdisjoint(skipped)


def test_what_may_not_be_read_is_a_warning_with_what_to_ask_for(azure: Any) -> None:
    unread = ["Microsoft.Network/locations/usages/read", "Microsoft.Authorization/locks/read"]
    azure.subscription.permissions[:] = [{"actions": ["*"], "notActions": unread}]
    found = azure.verdicts(regions=["eastus", "westus"])
    for check, action in (("limits", unread[0]), ("locks", unread[1])):
        assert found[check].level is Level.WARNING
        assert all(one.reason.startswith("cannot tell") for one in found[check].warnings)
        assert all(action in one.remedy for one in found[check].warnings)
    assert [verdict for verdict in found.values() if verdict.refused] == []
    assert found["permissions"].level is Level.OK
    assert "needed for checks only" in found["permissions"].found


def test_one_read_that_fails_is_said_once(azure: Any) -> None:
    azure.subscription.permissions[:] = [{"actions": ["*"], "notActions": ["Microsoft.Compute/skus/read"]}]
    found = azure.verdicts()
    warned = [one for verdict in found.values() for one in verdict.warnings if "skus/read" in one.remedy]
    assert len(warned) == 1
    assert found["sizes"].warnings == tuple(warned)
    assert found["vcpus"].level is Level.SKIPPED


def test_the_example_role_is_enough_for_every_check(azure: Any) -> None:
    role = json.loads(ROLE.read_text())
    azure.subscription.permissions[:] = [{"actions": role["Actions"], "notActions": role["NotActions"]}]
    found = azure.verdicts(regions=["eastus", "westus"])
    assert {verdict.level for verdict in found.values()} == {Level.OK}


def test_a_refusal_carries_every_finding_and_warnings_come_first(azure: Any) -> None:
    azure.subscription.permissions[:] = [READER]
    azure.subscription.clock_ahead_s = 1000.0
    warned: list[Finding] = []
    spec = config.mesh({"name": "pre", "regions": ["eastuss"], "allow_from": ["*"]})
    with World.open(spec, azure.cloud, azure.folder) as world, pytest.raises(PreflightError) as caught:
        catalog.require(world, warned.append)
    assert [finding.field for finding in caught.value.findings] == ["permissions", "regions[0]"]
    assert [finding.field for finding in warned] == ["allow_from", "clock"]


def test_without_a_way_into_azure_the_local_checks_are_done_all_the_same(azure: Any) -> None:
    facts = Facts(None, azure.folder, azure.cloud, CloudError("no such host"))
    found = {verdict.check: verdict for verdict in catalog.look(facts)}
    assert found["credential"].level is Level.REFUSED
    assert "no such host" in found["credential"].refused[0].reason
    assert found["folder"].level is Level.OK
    assert found["regions"].level is Level.SKIPPED


@pytest.mark.parametrize(
    ("error", "refused", "warned"),
    [
        (CloudError("stumbled"), 0, 1),
        (ForbiddenError("no"), 0, 1),
        (PreflightError([ONE, ONE]), 1, 0),
        (RefusedError("never"), 0, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_fails_in_a_check_is_that_checks_verdict(azure: Any, error: Exception, refused: int, warned: int) -> None:
    def look(_facts: Facts) -> Any:
        yield Found("seen before it failed")
        raise error

    verdict = judge(Check("c", "C", look), Facts(None, azure.folder, azure.cloud, CloudError("unused")))
    assert (len(verdict.refused), len(verdict.warnings)) == (refused, warned)
    assert verdict.found == "seen before it failed"


def test_an_interrupted_check_is_no_verdict(azure: Any) -> None:
    def look(_facts: Facts) -> Any:
        yield from ()
        raise StoppedError("x", last_seen="y")

    with pytest.raises(StoppedError):
        judge(Check("c", "C", look), Facts(None, azure.folder, azure.cloud, CloudError("unused")))


def test_a_repeated_finding_stays_where_it_was_first() -> None:
    first, second = Verdict("a", "A", "", (ONE,)), Verdict("b", "B", "", (), (ONE,))
    assert without_repeats([first, second]) == [first, Verdict("b", "B", "as above", skipped=True)]


def test_a_strict_check_refuses_what_it_cannot_tell() -> None:
    (remark,) = remarks_of(CloudError("no"), "azure", strict=True)
    assert isinstance(remark, Refused)
    (remark,) = remarks_of(CloudError("no"), "azure")
    assert isinstance(remark, Warned)
