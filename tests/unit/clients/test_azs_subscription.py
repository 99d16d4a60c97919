"""The subscription that azure-cli has chosen, from its own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crdbmesh.clients import environment

PROD = {
    "id": "11111111-aaaa-0000-0000-000000000001",
    "name": "Prod",
    "state": "Enabled",
    "isDefault": True,
    "tenantId": "t-1",
    "environmentName": "AzureCloud",
}
TEST = {**PROD, "id": "22222222-0000-0000-0000-000000000002", "name": "Test", "isDefault": False, "tenantId": "t-2"}


def profile(folder: Path, *subscriptions: dict[str, Any]) -> dict[str, str]:
    """A profile as azure-cli writes it, with a byte order mark."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"installationId": "i", "subscriptions": subscriptions})
    (folder / "azureProfile.json").write_text(text, encoding="utf-8-sig")
    return {"AZURE_CONFIG_DIR": str(folder)}


def test_the_current_one_is_the_default_with_its_name_and_tenant(tmp_path: Path) -> None:
    profile(tmp_path / ".azure", TEST, PROD)
    found = environment.find_cloud({"HOME": str(tmp_path)})
    assert (found.subscription_id, found.subscription_name, found.tenant_id) == (PROD["id"], "Prod", "t-1")


def test_the_variable_wins_and_is_told_by_its_name_where_azure_cli_knows_it(tmp_path: Path) -> None:
    environ = profile(tmp_path, TEST, PROD)
    found = environment.find_cloud({**environ, "AZURE_SUBSCRIPTION_ID": str(TEST["id"]).upper()})
    assert (found.subscription_name, found.tenant_id) == ("Test", "t-2")
    found = environment.find_cloud({**environ, "AZURE_SUBSCRIPTION_ID": "another"})
    assert (found.subscription_id, found.subscription_name, found.tenant_id) == ("another", None, None)


@pytest.mark.parametrize("state", ["Disabled", "Deleted", "Expired", None])
def test_one_that_is_disabled_is_no_candidate(tmp_path: Path, state: str | None) -> None:
    environ = profile(tmp_path, {**PROD, "state": state}, TEST)
    assert environment.find_cloud(environ).subscription_id is None


def test_it_tells_the_cloud_unless_a_variable_does(tmp_path: Path) -> None:
    environ = profile(tmp_path, {**PROD, "environmentName": "AzureUSGovernment"})
    found = environment.find_cloud(environ)
    assert (found.name, found.subscription_id) == ("AzureUSGovernment", PROD["id"])
    assert found.arm_url == "https://management.usgovcloudapi.net"
    found = environment.find_cloud({**environ, "AZURE_CLOUD": "AzureCloud"})
    assert (found.name, found.subscription_id) == ("AzureCloud", None)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"subscriptions": 7}', '{"subscriptions": [{"id": 7}, 7]}'])
def test_a_file_that_cannot_be_understood_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "azureProfile.json").write_text(text)
    found = environment.find_cloud({"AZURE_CONFIG_DIR": str(tmp_path)})
    assert (found.name, found.subscription_id) == ("AzureCloud", None)
