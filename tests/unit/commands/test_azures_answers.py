"""Azure's errors, as they were recorded elsewhere.

Of which kind each is here, what the user is told to do, and whether the request is sent again.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from azure.identity import AzureCliCredential
from typer.testing import CliRunner

from crdbmesh.clients.azure import kinds, resources
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import LazyCredential
from crdbmesh.errors import CloudError, ConflictError, CredentialError, ForbiddenError, QuotaError, WaitError
from crdbmesh.terminal.app import app

HEAD = "/subscriptions/5f8ff1dd-0000-4000-8000-000000000001/resourceGroups/crdbmesh/providers"
VM = f"{HEAD}/Microsoft.Compute/virtualMachines/crdbmesh-eastus-1"
NIC = f"{HEAD}/Microsoft.Network/networkInterfaces/crdbmesh-eastus-1-nic"
THEIRS = f"{HEAD.replace('/crdbmesh/', '/theirs/')}/Microsoft.Network/networkInterfaces/app/ipConfigurations/ipconfig1"
VNET = f"{HEAD}/Microsoft.Network/virtualNetworks/crdbmesh-eastus"
TENANT = "7d1c2a5e-0000-4000-8000-0000000000aa"
GONE = "You can only retry the Delete operation (or wait for an ongoing one to complete)."
CLIENT = "The client 'c' with object id 'o'"


@dataclass(frozen=True)
class Recorded:
    """An error of Azure's, and what becomes of it."""

    status: int
    code: str
    message: str
    kind: type[CloudError]
    remedy: str
    details: list[dict[str, str]] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "details": self.details}}


FINAL = [
    Recorded(
        403,
        "RequestDisallowedByAzure",
        "Resource 'crdbmesh-eastus' was disallowed by Azure: This policy maintains a set of best available "
        "regions where "
        "your subscription can deploy resources. The objective of this policy is to ensure that your subscription has "
        "full access to Azure services with optimal performance. Should you need additional or different regions, "
        "contact support..",
        ForbiddenError,
        "`crdbmesh doctor` names them",
    ),
    Recorded(
        403,
        "RequestDisallowedByPolicy",
        "Resource 'crdbmesh-eastus' was disallowed by policy. Policy identifiers: "
        '\'[{"policyAssignment":{"name":"Tags",'
        '"id":"/subscriptions/s/providers/Microsoft.Authorization/policyAssignments/tags"}}]\'.',
        ForbiddenError,
        "an Azure Policy forbids it",
    ),
    Recorded(
        403,
        "RequestDisallowedByPolicy",
        "Resource 'crdbmesh' was disallowed by policy. Policy identifiers. Users must use MFA for "
        "Create/Update operations. "
        "Users must authenticate with multi-factor authentication to create or update resources.",
        CredentialError,
        "log in again with a second factor",
    ),
    Recorded(
        403,
        "DenyAssignmentAuthorizationFailed",
        f"{CLIENT} has permission to perform action 'Microsoft.Network/virtualNetworks/write' on scope "
        f"'{VNET}'; however, "
        "the access is denied because of the deny assignment with name 'System deny assignment created by managed "
        "application /subscriptions/s/resourceGroups/r/providers/Microsoft.Solutions/applications/a' and Id "
        "'d' at scope "
        "'/subscriptions/s/resourceGroups/r'.",
        ForbiddenError,
        "a deny assignment forbids it, whatever your roles",
    ),
    Recorded(
        403,
        "DisallowedOperation",
        "The current subscription type is not permitted to perform operations on any provider namespace. Please use a "
        "different subscription.",
        ForbiddenError,
        "use another subscription",
    ),
    Recorded(
        400,
        "PrivateIPAddressIsAllocated",
        f"IP configuration {NIC}/ipConfigurations/primary is using the private IP address 10.1.1.4 which is already "
        f"allocated to resource {THEIRS}.",
        CloudError,
        f"delete what has this one ({THEIRS})",
    ),
    Recorded(
        400,
        "InvalidAvailabilityZone",
        f"The zone(s) '1' for resource '{VM}' is not supported. The supported zones for location 'westus' are ''",
        CloudError,
        "set the region's `zones`",
    ),
    Recorded(
        400,
        "AvailabilityZoneNotSupported",
        f"The zone(s) '1' for resource '{VM}' is not supported. The supported zones for location 'westus' are ''",
        CloudError,
        "set the region's `zones`",
    ),
    Recorded(
        404,
        "PlatformImageNotFound",
        "The platform image 'Canonical:ubuntu-24_04-lts:servr:latest' is not available. Verify that all fields in the "
        "storage profile are correct. For more details about storage profile information, please refer to "
        "https://aka.ms/storageprofile.",
        CloudError,
        "set `machines.image`",
    ),
    Recorded(
        400,
        "ImageVersionDeprecated",
        "VM Image from publisher: Canonical with - Offer: ubuntu-24_04-lts, Sku: server, Version: 24.04.202404230 is "
        "deprecated.",
        CloudError,
        "set `machines.image`",
    ),
    Recorded(
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'osProfile.customData' is not allowed.",
        CloudError,
        "put the spec back",
    ),
    Recorded(
        409,
        "SkuNotAvailable",
        f"The requested VM size for resource '{VM}' is currently not available in location 'eastus' zones '1' for "
        "subscription 's'. Please try another size or deploy to a different location or different zone. See "
        "https://aka.ms/azureskunotavailable for details.",
        QuotaError,
        "another machine size or region",
    ),
    Recorded(
        409,
        "OperationNotAllowed",
        "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional "
        "details - Deployment Model: Resource Manager, Location: koreasouth, Current Limit: 50, Current Usage: 50, "
        "Additional Required: 2, (Minimum) New Limit Required: 52.",
        QuotaError,
        "ask Azure for more (portal: Quotas)",
    ),
    Recorded(
        409,
        "OperationNotAllowed",
        "Unable to resize the VM 'm' because the requested size Standard_D8s_v5 is not available in the "
        "current hardware "
        "cluster. The available sizes in this cluster are: Standard_D4s_v5.",
        QuotaError,
        "deallocate the VM first",
    ),
    Recorded(
        400,
        "ReferencedResourceNotProvisioned",
        f"Cannot proceed with operation because resource {VNET} used by resource {NIC} is not in Succeeded "
        f"state. Resource "
        "is in Failed state and the last operation that updated/is updating the resource is "
        "PutVirtualNetworkOperation.",
        CloudError,
        "waiting does not help",
    ),
    Recorded(
        429,
        "RetryableError",
        "A retryable error occurred.",
        CloudError,
        "waiting does not help",
        [
            {
                "code": "ReferencedResourceNotProvisioned",
                "message": f"Cannot proceed with operation because resource {VNET} used by resource {NIC} is not in "
                "Succeeded state. Resource is in Failed state and the last operation that updated/is updating the "
                "resource is PutVirtualNetworkOperation.",
            }
        ],
    ),
    Recorded(
        400,
        "LocationNotAvailableForResourceType",
        "The provided location 'eastus9' is not available for resource type 'Microsoft.Network/virtualNetworks'.",
        CloudError,
        "choose another region",
    ),
    Recorded(
        409,
        "MissingSubscriptionRegistration",
        "The subscription is not registered to use namespace 'Microsoft.Network'. See https://aka.ms/rps-not-found for "
        "how to register subscriptions.",
        CloudError,
        "az provider register --namespace Microsoft.Network",
    ),
]
IN_USE = [
    Recorded(
        400,
        "InUseSubnetCannotBeDeleted",
        f"Subnet nodes is in use by {THEIRS} and cannot be deleted. In order to delete the subnet, delete all the "
        "resources within the subnet. See aka.ms/deletesubnet.",
        CloudError,
        f"delete or detach what uses it ({THEIRS})",
    ),
    Recorded(
        400,
        "NicInUse",
        f"Network Interface {NIC} is used by existing resource {VM}. In order to delete the network interface, "
        f"it must be "
        "dissociated from the resource. To learn more, see aka.ms/deletenic.",
        CloudError,
        f"delete or detach what uses it ({VM})",
    ),
    Recorded(
        400,
        "PublicIPAddressCannotBeDeleted",
        f"Public IP address {HEAD}/Microsoft.Network/publicIPAddresses/a can not be deleted since it is still "
        f"allocated to "
        f"resource {THEIRS}. In order to delete the public IP, disassociate/detach the Public IP address from "
        f"the resource.",
        CloudError,
        f"delete or detach what uses it ({THEIRS})",
    ),
    Recorded(
        400,
        "InUseNetworkSecurityGroupCannotBeDeleted",
        f"Network security group {HEAD}/Microsoft.Network/networkSecurityGroups/n cannot be deleted because it "
        f"is in use by "
        f"the following resources: {VNET}/subnets/nodes, {NIC}. In order to delete the Network security group, "
        f"remove the "
        "association with the resource(s).",
        CloudError,
        f"delete or detach what uses it ({VNET}/subnets/nodes, {NIC})",
    ),
]
PASSING = [
    Recorded(
        409,
        "Conflict",
        "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
        "https://aka.ms/activitylog to get more details on the conflicting requests.",
        ConflictError,
        "in a few minutes",
    ),
    Recorded(
        409,
        "OperationPreempted",
        "Operation execution has been preempted by a more recent operation.",
        ConflictError,
        "in a few minutes",
    ),
    Recorded(
        409,
        "OperationNotAllowed",
        f"Operation 'startTenantUpdate' is not allowed on VM 'm' since the VM is marked for deletion. {GONE}",
        ConflictError,
        "once it is gone",
    ),
    Recorded(
        409,
        "AnotherOperationInProgress",
        "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: "
        "https://management.azure.com/subscriptions/s/providers/Microsoft.Network/locations/eastus/operations/o.",
        ConflictError,
        "in a few minutes",
    ),
    Recorded(
        429,
        "RetryableError",
        "A retryable error occurred.",
        ConflictError,
        "in a few minutes",
        [
            {
                "code": "RetryableErrorDueToAnotherOperation",
                "message": f"Operation PutSubnetOperation (g) is updating resource {VNET}. The call can be "
                f"retried in 1 "
                "seconds.",
            }
        ],
    ),
    Recorded(404, "ResourceGroupNotFound", "Resource group 'crdbmesh' could not be found.", CloudError, ""),
]


@pytest.fixture
def session(azure: Any) -> Iterator[Session]:
    """A session with an Azure in which there is a group of this name."""
    azure.put_group("answers")
    with Session(azure.cloud) as opened:
        yield opened
    azure.doors.answer()


def put(session: Session) -> Any:
    body = {"location": "eastus", "properties": {}}
    return kinds.NSG.ensure(session, "answers", "n", body=body, deadline_s=200)


@pytest.mark.parametrize("recorded", FINAL, ids=lambda one: one.code)
def test_what_waiting_cannot_mend_is_asked_once_and_has_its_remedy(
    azure: Any, session: Session, recorded: Recorded
) -> None:
    azure.doors.answer(
        {"method": "PUT", "path": "securitygroups/n$", "status": recorded.status, "body": recorded.body()}
    )
    with pytest.raises(CloudError) as caught:
        put(session)
    assert type(caught.value) is recorded.kind
    assert (caught.value.code, caught.value.status) == (recorded.code, recorded.status)
    assert recorded.remedy in (caught.value.hint or "")
    assert "<" not in (caught.value.hint or "")


@pytest.mark.parametrize("recorded", IN_USE, ids=lambda one: one.code)
def test_what_is_in_use_names_its_users(azure: Any, session: Session, recorded: Recorded) -> None:
    azure.doors.answer(
        {"method": "DELETE", "path": "securitygroups/n$", "status": recorded.status, "body": recorded.body()}
    )
    with pytest.raises(CloudError) as caught:
        kinds.NSG.delete(session, "answers", "n")
    assert recorded.remedy in (caught.value.hint or "")


@pytest.mark.parametrize("recorded", PASSING, ids=lambda one: one.code)
def test_what_passes_is_waited_for(azure: Any, session: Session, recorded: Recorded) -> None:
    answer = {"method": "PUT", "path": "securitygroups/n$", "status": recorded.status, "body": recorded.body()}
    azure.doors.answer({**answer, "times": 2})
    assert put(session)["name"] == "n"
    azure.doors.answer(answer)
    with pytest.raises(WaitError, match=recorded.code) as caught:
        kinds.NSG.ensure(session, "answers", "n", body={"location": "eastus", "properties": {}}, deadline_s=2)
    assert recorded.message[:40] in caught.value.last_seen
    assert recorded.remedy in (caught.value.hint or "")


def test_a_group_that_is_really_gone_is_not_waited_for_for_ever(azure: Any, session: Session) -> None:
    gone = PASSING[-1]
    azure.doors.answer({"method": "PUT", "path": "securitygroups/n$", "status": gone.status, "body": gone.body()})
    started = session.clock.now()
    with pytest.raises(WaitError, match="ResourceGroupNotFound") as caught:
        kinds.NSG.ensure(session, "answers", "n", body={"location": "eastus", "properties": {}}, deadline_s=900)
    assert 60 < session.clock.now() - started < 400
    assert "if somebody deleted the group, run again" in (caught.value.hint or "")


def test_an_operation_that_was_preempted_is_begun_again(azure: Any, session: Session) -> None:
    failed = {"status": "Failed", "error": {"code": "OperationPreempted", "message": "Operation has been preempted."}}
    azure.doors.answer({"method": "GET", "path": "/operations/", "status": 200, "body": failed, "times": 1})
    assert put(session)["properties"]["provisioningState"] == "Succeeded"


CLAIMS = base64.b64encode(
    json.dumps({"access_token": {"acrs": {"essential": True, "values": ["p1"]}}}).encode()
).decode()
CHALLENGE = (
    f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT}", error="insufficient_claims", '
    f'error_description="Continuous access evaluation resulted in challenge", claims="{CLAIMS}"'
)


def test_a_claims_challenge_gives_the_whole_command_with_the_tenant(azure: Any, session: Session) -> None:
    body = {"error": {"code": "RequestDisallowedByAzure", "message": "Users must use MFA for Create operation."}}
    answer = {"method": "PUT", "path": "/resourcegroups/mfa$", "status": 401, "body": body}
    azure.doors.answer({**answer, "headers": {"WWW-Authenticate": CHALLENGE}})
    with pytest.raises(CredentialError) as caught:
        resources.ensure_group(session, "mfa", "eastus", {})
    assert f'`az login --tenant {TENANT} --claims-challenge "{CLAIMS}"`' in (caught.value.hint or "")


def test_a_challenge_that_the_login_of_az_cannot_answer_gives_the_command_too(
    azure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"accessToken": azure.world.coordinates["token"], "expires_on": int(time.time()) + 3600}
    (tmp_path / "az").write_text(f"#!/bin/sh\necho '{json.dumps(given)}'\n")
    (tmp_path / "az").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    azure.put_group("answers")
    body = {"error": {"code": "RequestDisallowedByAzure", "message": "Users must use MFA for Create operation."}}
    answer = {"method": "PUT", "path": "securitygroups/n$", "status": 401, "body": body}
    azure.doors.answer({**answer, "headers": {"WWW-Authenticate": CHALLENGE}})
    with Session(replace(azure.cloud, credential=LazyCredential(AzureCliCredential))) as session:
        with pytest.raises(CredentialError) as caught:
            put(session)
        azure.doors.answer()
        assert "not shown" not in str(caught.value)
        assert f'`az login --tenant {TENANT} --claims-challenge "{CLAIMS}"`' in (caught.value.hint or "")
        assert put(session)["name"] == "n"


def test_a_token_of_another_tenant_gives_the_command_for_the_right_one(azure: Any, session: Session) -> None:
    text = (
        "The access token is from the wrong issuer 'https://sts.windows.net/11111111-1111-4111-8111-111111111111/'. It "
        f"must match the tenant 'https://sts.windows.net/{TENANT}/' associated with this subscription. Please use the "
        f"authority (URL) 'https://login.microsoftonline.com/{TENANT}' to get the token."
    )
    body = {"error": {"code": "InvalidAuthenticationTokenTenant", "message": text}}
    azure.doors.answer({"method": "GET", "path": "/resourcegroups/other$", "status": 401, "body": body})
    with pytest.raises(CredentialError) as caught:
        resources.find_group(session, "other")
    assert caught.value.hint == f"log in to the subscription's tenant: `az login --tenant {TENANT}`"


def test_up_tells_one_cause_in_two_machines_once_with_its_code_and_remedy(azure: Any, tmp_path: Path) -> None:
    recorded = next(one for one in FINAL if one.code == "SkuNotAvailable")
    answers = []
    for number in (1, 2):
        name = f"answered-eastus-{number}"
        body = json.loads(json.dumps(recorded.body()).replace("crdbmesh-eastus-1", name).replace("'1'", f"'{number}'"))
        answers.append({"method": "PUT", "path": f"/{name}$", "status": recorded.status, "body": body})
    azure.doors.answer(*answers)
    environ = {"CRDBMESH_HOME": str(tmp_path), "CRDBMESH_CLOUD": str(azure.world.cloud_file)}
    arguments = ["up", "--yes", "--name", "answered", "--regions", "eastus", "--machines-per-region", "2", "-o", "json"]
    shown = CliRunner().invoke(app, arguments, env=environ)
    azure.doors.answer()
    assert shown.exit_code == 1, shown.output
    steps = {step["step"]: step for step in json.loads(shown.stdout)["steps"]}
    error = steps["eastus/node2/machine"]["error"]
    assert (error["code"], error["remedy"]) == (
        "SkuNotAvailable",
        "choose another machine size or region, or other zones",
    )
    assert recorded.message[-80:] in error["message"]
    assert steps["eastus/node1/host"]["culprit"] == "eastus/node1/machine"
    assert (
        shown.stderr.count("✗ eastus/node1/machine, eastus/node2/machine: PUT virtualMachines/answered-eastus-1") == 1
    )
    assert shown.stderr.count("choose another machine size or region") == 1
    azure.delete_group("answered")
