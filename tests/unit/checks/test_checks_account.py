"""Login, subscription, permissions and resource providers."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from crdbmesh.checks import actions, catalog
from crdbmesh.checks.base import Level, Verdict
from crdbmesh.run.world import World
from crdbmesh.spec import load as config
from crdbmesh_simulator.azure.state import CONTRIBUTOR, OWNER, READER

ROLE = Path(__file__).parents[3] / "examples" / "azure-role.json"


class Told:
    """A credential that gives a token, or an error."""

    def __init__(self, told: str | Exception) -> None:
        self._told = told

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        if isinstance(self._told, Exception):
            raise self._told
        return AccessToken(self._told, int(time.time()) + 600)


def jwt(**claims: str) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return ".".join([*parts, "c2lnbmF0dXJl"])


def checked(azure: Any, **cloud: Any) -> dict[str, Verdict]:
    spec = config.mesh({"regions": ["eastus"], "name": "pre", "allow_from": ["127.0.0.1"]})
    with World.open(spec, dataclasses.replace(azure.cloud, **cloud), azure.folder) as world:
        return {verdict.check: verdict for verdict in catalog.run_checks(world)}


def test_the_login_is_shown_with_its_tenant(azure: Any) -> None:
    verdict = azure.verdicts()["credential"]
    assert (verdict.level, verdict.found) == (Level.OK, f"a token in tenant {azure.subscription.tenant_id}")


def test_a_login_that_cannot_be_had_is_refused_with_what_to_do(azure: Any) -> None:
    lacking = ClientAuthenticationError("No credential was found.\nAttempted credentials:\n\tA: no\n\tB: no")
    found = checked(azure, credential=Told(lacking))
    (finding,) = found["credential"].refused
    assert finding.field == "credential"
    assert finding.reason.splitlines() == ["no credential gives a token", "A: no", "B: no"]
    assert "az login" in finding.remedy


def test_a_token_is_never_shown(azure: Any) -> None:
    token = jwt(upn="alice@example.com", tid=str(uuid.uuid4()))
    found = checked(azure, credential=Told(token))
    assert found["credential"].level is Level.REFUSED
    assert token not in str(found)
    assert token.split(".")[1] not in str(found)


def test_a_subscription_that_the_login_does_not_see_is_refused_with_those_that_it_sees(azure: Any) -> None:
    other = str(uuid.uuid4())
    found = checked(azure, subscription_id=other)
    (finding,) = found["credential"].refused
    assert (finding.field, finding.value) == ("AZURE_SUBSCRIPTION_ID", other)
    assert azure.subscription.id in finding.remedy
    assert found["regions"].level is Level.SKIPPED


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("Enabled", Level.OK),
        ("Warned", Level.WARNING),
        ("PastDue", Level.WARNING),
        ("Disabled", Level.REFUSED),
        ("Deleted", Level.REFUSED),
    ],
)
def test_the_subscriptions_state_decides(azure: Any, state: str, level: Level) -> None:
    azure.subscription.state = state
    found = azure.verdicts()
    assert found["subscription"].level is level
    assert all(state in finding.reason for finding in found["subscription"].findings)
    assert found["regions"].level is Level.OK


@pytest.mark.parametrize("role", [CONTRIBUTOR, OWNER], ids=["contributor", "owner"])
def test_the_usual_roles_are_enough(azure: Any, role: dict[str, Any]) -> None:
    azure.subscription.permissions[:] = [role]
    assert azure.verdicts()["permissions"].level is Level.OK


def test_a_readers_missing_actions_are_all_named_in_one_finding(azure: Any) -> None:
    azure.subscription.permissions[:] = [READER]
    (finding,) = azure.verdicts()["permissions"].refused
    needed = [action for action in actions.ACTIONS if action not in actions.LOOKING]
    lacking = [action for action in needed if not action.endswith(("/read", "/register/action"))]
    assert finding.reason.rpartition(": ")[2].split(", ") == lacking
    assert "examples/azure-role.json" in finding.remedy


def test_a_single_missing_action_is_named(azure: Any) -> None:
    role = {"actions": ["*"], "notActions": ["microsoft.network/VIRTUALNETWORKS/peer/*"]}
    azure.subscription.permissions[:] = [role]
    (finding,) = azure.verdicts()["permissions"].refused
    assert finding.reason.endswith(": Microsoft.Network/virtualNetworks/peer/action")


def test_what_one_role_leaves_out_another_may_allow(azure: Any) -> None:
    network = {"actions": ["Microsoft.Network/*"], "notActions": []}
    azure.subscription.permissions[:] = [{"actions": ["*"], "notActions": ["Microsoft.Network/*/write"]}, network]
    assert azure.verdicts()["permissions"].level is Level.OK


def test_a_role_at_the_group_is_enough_for_what_is_in_it(azure: Any) -> None:
    azure.put_group("shared")
    azure.subscription.permissions[:] = [READER, {"actions": ["Microsoft.Compute/register/action"], "notActions": []}]
    azure.subscription.group_permissions["shared"] = [CONTRIBUTOR]
    assert azure.verdicts(group="shared")["permissions"].level is Level.OK
    assert azure.verdicts(group="other")["permissions"].level is Level.REFUSED


def test_permissions_that_may_not_be_read_are_a_warning(azure: Any) -> None:
    azure.subscription.permissions[:] = [{"actions": ["*"], "notActions": ["Microsoft.Authorization/permissions/read"]}]
    verdict = azure.verdicts()["permissions"]
    assert verdict.level is Level.WARNING
    assert "Microsoft.Authorization/permissions/read" in verdict.warnings[0].remedy


def test_the_example_role_names_the_actions_that_the_check_looks_for() -> None:
    assert json.loads(ROLE.read_text())["Actions"] == list(actions.ACTIONS)


@pytest.mark.parametrize(
    ("pattern", "action", "allowed"),
    [
        ("*", "A.B/c/read", True),
        ("*/read", "A.B/c/d/read", True),
        ("*/read", "A.B/c/write", False),
        ("A.B/*", "a.b/c/delete", True),
        ("A.B/c/*/read", "A.B/c/d/e/read", True),
        ("A.B/c", "A.B/c/read", False),
        ("A.B/./read", "A.B/c/read", False),
    ],
)
def test_wildcards_stand_for_any_text(pattern: str, action: str, allowed: bool) -> None:
    assert actions.allowed([{"actions": [pattern]}], action) is allowed
    assert not actions.allowed([{"actions": ["*"], "notActions": [action.upper()]}], action)


def test_a_provider_that_up_will_register_is_only_a_warning(azure: Any) -> None:
    azure.subscription.providers["microsoft.compute"].state = "NotRegistered"
    verdict = azure.verdicts()["providers"]
    assert [finding.value for finding in verdict.warnings] == ["Microsoft.Compute"]
    assert verdict.level is Level.WARNING


def test_a_provider_that_may_not_be_registered_is_refused(azure: Any) -> None:
    azure.subscription.providers["microsoft.compute"].state = "NotRegistered"
    azure.subscription.permissions[:] = [{"actions": ["*"], "notActions": ["*/register/action"]}]
    found = azure.verdicts()
    assert [finding.value for finding in found["providers"].refused] == ["Microsoft.Compute"]
    assert "az provider register --namespace Microsoft.Compute" in found["providers"].refused[0].remedy
    assert found["permissions"].level is Level.OK
