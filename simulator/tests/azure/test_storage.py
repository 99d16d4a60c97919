"""Storage accounts, identities and roles: what is refused, and who may open a container."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crdbmesh_simulator.azure import storage

ACCOUNT = {"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_GRS"}, "properties": {}}
PROVIDERS = ("Microsoft.Storage", "Microsoft.ManagedIdentity")
ROLE = "providers/Microsoft.Authorization/roleAssignments/11111111-1111-1111-1111-111111111111"


@pytest.fixture
def group(arm: Any) -> str:
    for namespace in PROVIDERS:
        arm.subscription.providers[namespace.lower()].state = "Registered"
    made: str = arm.group("backups")
    return made


def opened(arm: Any, *identities: str, client_id: str = "", container: str = "c", account: str = "kept") -> Any:
    """What a program on a VM with these identities gets of a container."""
    body: Any = {"identity": {"userAssignedIdentities": {one: {} for one in identities}}}
    machine = SimpleNamespace(vm_id="vm")
    arm.subscription.find = {"vm": SimpleNamespace(body=body)}.get
    return storage.open_container(cast("Any", machine), arm.subscription, account, container, client_id)


def test_a_container_is_open_to_an_identity_with_the_role_and_to_no_other(arm: Any, group: str) -> None:
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/kept"
    container = f"{account}/blobServices/default/containers/c"
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/own"
    assert arm.ask("PUT", container, {"properties": {}}).code == "ResourceNotFound"
    assert arm.ask("PUT", account, ACCOUNT).status == 201
    assert arm.ask("PUT", account, ACCOUNT).status == 200
    assert arm.ask("PUT", container, {"properties": {}}).status == 201
    made = arm.ask("PUT", identity, {"location": "eastus"}).body
    own, properties = made["id"], made["properties"]
    role = f"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{storage._WRITERS[0]}"
    given = {"properties": {"roleDefinitionId": role, "principalId": properties["principalId"]}}
    assert "AuthorizationPermissionMismatch" in opened(arm, own)
    assert arm.ask("PUT", f"{container}/{ROLE}", {"properties": {"principalId": "nobody"}}).code == "PrincipalNotFound"
    assert arm.ask("PUT", f"{container}/{ROLE}", given).status == 201
    assert arm.ask("PUT", f"{container}/{ROLE[:-1]}2", given).code == "RoleAssignmentExists"
    assert len(arm.ask("GET", f"{container}/{ROLE.rpartition('/')[0]}").body["value"]) == 1

    opened(arm, own)["a"] = "kept"
    assert opened(arm, own) == {"a": "kept"}
    assert "Identity not found" in opened(arm)
    assert "Multiple user assigned identities" in opened(arm, own, f"{own}2")
    assert opened(arm, own, f"{own}2", client_id=properties["clientId"]) == {"a": "kept"}
    assert "AuthorizationPermissionMismatch" in opened(arm, own, container="other")
    assert "no such host" in opened(arm, own, account="nowhere")
    denying = {**ACCOUNT, "properties": {"networkAcls": {"defaultAction": "Deny"}}}
    assert arm.ask("PUT", account, denying).status == 200
    assert "AuthorizationFailure" in opened(arm, own)


def test_what_is_in_a_group_goes_with_it_and_bad_bodies_are_refused(arm: Any, group: str) -> None:
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/"
    assert arm.ask("PUT", f"{account}Kept", ACCOUNT).code == "AccountPropertyIsInvalid"
    assert arm.ask("PUT", f"{account}kept", {"location": "eastus"}).code == "AccountPropertyIsInvalid"
    assert arm.ask("PUT", f"{account}kept", {**ACCOUNT, "colour": "red"}).code == "InvalidRequestContent"
    assert arm.ask("PUT", f"{account}kept", ACCOUNT).status == 201
    assert [one["name"] for one in arm.ask("GET", "providers/Microsoft.Storage/storageAccounts").body["value"]] == [
        "kept"
    ]
    storage.forget_group(arm.subscription, "backups")
    assert arm.ask("GET", "providers/Microsoft.Storage/storageAccounts").body["value"] == []
