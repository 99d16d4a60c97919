"""Azure's errors: which of ours they become, what they say, what is tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.utils import case_insensitive_dict
from azure.mgmt.core.exceptions import ARMErrorFormat

from crdbmesh.clients.azure import failures
from crdbmesh.clients.clock import REAL
from crdbmesh.errors import (
    CloudError,
    ConflictError,
    CredentialError,
    ForbiddenError,
    QuotaError,
    StoppedError,
    WaitError,
)


class Answer:
    """An HTTP response as azure-core's exceptions read it."""

    reason = "Something"

    def __init__(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.status_code = status
        self._body = body if isinstance(body, str) else json.dumps(body)
        self.headers = case_insensitive_dict({"x-ms-correlation-request-id": "corr-1", **(headers or {})})

    def text(self, encoding: str | None = None) -> str:
        return self._body


def answered(
    status: int,
    code: str,
    message: str = "m",
    *,
    kind: type[HttpResponseError] = HttpResponseError,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> HttpResponseError:
    answer: Any = Answer(status, {"error": {"code": code, "message": message, **more}}, headers)
    return kind(response=answer, error_format=ARMErrorFormat)


QUOTA = "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered(409, "SkuNotAvailable", kind=ResourceExistsError), QuotaError),
        (answered(200, "SkuNotAvailable"), QuotaError),
        (answered(200, "ZonalAllocationFailed"), QuotaError),
        (answered(409, "OperationNotAllowed", QUOTA, kind=ResourceExistsError), QuotaError),
        (answered(409, "OperationNotAllowed", "The VM is being moved.", kind=ResourceExistsError), CloudError),
        (answered(400, "PublicIPCountLimitReached"), QuotaError),
        (answered(400, "SomethingCountLimitReached"), QuotaError),
        (answered(400, "InvalidParameter", "The value X provided for the VM size is not valid."), QuotaError),
        (answered(400, "InvalidParameter", "The value of parameter offer is invalid."), CloudError),
        (answered(401, "ExpiredAuthenticationToken", kind=ClientAuthenticationError), CredentialError),
        (answered(404, "SubscriptionNotFound", kind=ResourceNotFoundError), CredentialError),
        (answered(403, "RequestDisallowedByPolicy"), ForbiddenError),
        (answered(409, "ScopeLocked", kind=ResourceExistsError), ForbiddenError),
        (answered(409, "AnotherOperationInProgress", kind=ResourceExistsError), ConflictError),
        (answered(400, "ReferencedResourceNotProvisioned"), ConflictError),
        (answered(429, "SubscriptionRequestsThrottled"), ConflictError),
        (answered(400, "VnetAddressSpacesOverlap"), CloudError),
        (answered(400, "NicInUse"), CloudError),
        (ServiceRequestError("Connection refused"), CloudError),
    ],
)
def test_each_error_becomes_one_of_ours_by_its_code(error: AzureError, kind: type[CloudError]) -> None:
    translated = failures.translate(error, "PUT x")
    assert type(translated) is kind
    assert str(translated).startswith("PUT x: ")


def test_code_status_and_correlation_id_are_kept() -> None:
    translated = failures.translate(answered(409, "AnotherOperationInProgress"), "PUT x")
    assert (translated.code, translated.status, translated.request_id) == ("AnotherOperationInProgress", 409, "corr-1")


def test_an_operation_that_failed_later_has_no_http_status() -> None:
    assert failures.translate(answered(200, "AllocationFailed"), "PUT x").status is None


def test_what_to_quote_to_support_is_kept_beside_the_message() -> None:
    translated = failures.translate(answered(400, "Odd", "It is odd."), "PUT x")
    assert (str(translated), translated.request_id) == ("PUT x: Odd: It is odd.", "corr-1")
    assert translated.hint is None


@pytest.mark.parametrize(
    "told",
    [
        "(Odd) Code: Odd\nMessage: It is odd.",
        "It is odd. Trace ID: 11-22 Correlation ID: 33-44 Timestamp: 2026-01-02 03:04:05Z",
        "It is odd. Activity ID: 3f-4a.",
        "At least one resource deployment operation failed. Please list deployment operations for details. It is odd.",
        "It is odd. Please see https://aka.ms/arm-deployment-operations for usage details.",
    ],
)
def test_what_azure_wraps_its_reason_in_is_cut(told: str) -> None:
    assert str(failures.translate(answered(400, "Odd", told), "PUT x")) == "PUT x: Odd: It is odd."


def test_a_missing_permission_is_named_with_its_scope() -> None:
    message = (
        "The client 'c' with object id 'o' does not have authorization to perform action "
        "'Microsoft.Network/virtualNetworks/write' over scope '/subscriptions/s/resourceGroups/r' or the scope is "
        "invalid. If access was recently granted, please refresh your credentials."
    )
    translated = failures.translate(answered(403, "AuthorizationFailed", message), "PUT x")
    assert isinstance(translated, ForbiddenError)
    assert translated.hint is not None
    assert "Microsoft.Network/virtualNetworks/write on /subscriptions/s/resourceGroups/r" in translated.hint


def test_a_missing_permission_on_what_is_linked_is_named_too() -> None:
    message = (
        "The client has permission to perform action 'Microsoft.Network/networkInterfaces/write' on scope '/a'; "
        "however, it does not have permission to perform action(s) "
        "'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/b' (respectively)."
    )
    translated = failures.translate(answered(403, "LinkedAuthorizationFailed", message), "PUT x")
    assert translated.hint is not None
    assert "subnets/join/action on /b" in translated.hint


def test_the_reason_is_found_in_the_details() -> None:
    error = answered(
        429,
        "RetryableError",
        "A retryable error occurred.",
        details=[{"code": "ReferencedResourceNotProvisioned", "message": "VNet is in Updating state."}],
    )
    translated = failures.translate(error, "PUT nic")
    assert "VNet is in Updating state." in str(translated)
    nested = answered(200, "ResourceDeploymentFailure", "m", details=[{"code": "SkuNotAvailable", "message": "n"}])
    assert isinstance(failures.translate(nested, "PUT vm"), QuotaError)


def test_a_body_that_is_not_arms_is_told_by_its_status() -> None:
    proxy: Any = Answer(503, "<html>proxy</html>")
    translated = failures.translate(HttpResponseError(response=proxy), "GET x")
    assert str(translated).startswith("GET x: HTTP 503 Something")


def test_a_login_that_does_not_work_says_how_to_log_in() -> None:
    error = ClientAuthenticationError(message="DefaultAzureCredential failed.\nAttempted:\n\tAzureCliCredential: no az")
    translated = failures.translate(error, "GET x")
    assert isinstance(translated, CredentialError)
    assert str(translated) == "no credential gives a token\nAzureCliCredential: no az"
    assert translated.hint is not None
    assert "az login" in translated.hint


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abcdefgh",
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcz.c2ln-_x",
        "QUJD/+" * 40 + "=",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\nbnNz\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_no_message_quotes_a_token_a_key_or_custom_data(secret: str) -> None:
    for error in (answered(400, "InvalidParameter", f"bad value {secret} here"), ServiceRequestError(f"x {secret}")):
        text = str(failures.translate(error, "PUT vm"))
        assert "(not shown)" in text
        assert not any(line in text for line in secret.split()[-1:])


def test_resource_ids_are_still_quoted() -> None:
    path = f"/subscriptions/{'0' * 8}-0000-0000-0000-{'0' * 12}/resourceGroups/crdbmesh/providers/Microsoft.Network"
    path += "/virtualNetworks/crdbmesh-eastus/virtualNetworkPeerings/crdbmesh-eastus-to-westus"
    assert path in str(failures.translate(answered(400, "VnetAddressSpacesOverlap", path), "PUT x"))


def test_a_long_message_is_cut() -> None:
    assert len(str(failures.translate(answered(400, "X", "word " * 1000), "PUT x"))) < 900


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (answered(404, "ResourceNotFound", kind=ResourceNotFoundError), True),
        (answered(404, "ResourceGroupNotFound", kind=ResourceNotFoundError), True),
        (answered(404, "ParentResourceNotFound", kind=ResourceNotFoundError), True),
        (answered(404, "SubscriptionNotFound", kind=ResourceNotFoundError), False),
        (answered(404, "InvalidResourceType", kind=ResourceNotFoundError), False),
        (answered(400, "ResourceNotFound"), False),
        (ServiceRequestError("no"), False),
    ],
)
def test_only_a_404_of_the_right_code_means_absent(error: AzureError, absent: bool) -> None:
    assert failures.is_absent(error) is absent


class Calls:
    """Raises what it is given, one after the other, then returns 42."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        if self.left:
            raise self.left.pop(0)
        return 42


QUICK = {"retry-after-ms": "1"}


def retrying(
    calls: Calls, *, doing: str, say: Callable[[str], None], deadline_s: float, stop: threading.Event | None = None
) -> int:
    """The calls' first result, tried as a session tries an operation."""
    tries = failures.Tries(doing, say=say, deadline_s=deadline_s, stop=stop or threading.Event(), clock=REAL)
    while True:
        try:
            return calls()
        except AzureError as error:
            tries.pause_after(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "AnotherOperationInProgress"),
        (400, "ReferencedResourceNotProvisioned"),
        (429, "RetryableError"),
        (400, "NicReservedForAnotherVm"),
        (409, "ResourceGroupBeingDeleted"),
        (500, "InternalServerError"),
        (200, "CanceledAndSupersededDueToAnotherOperation"),
    ],
)
def test_what_passes_by_itself_is_tried_again_and_said(status: int, code: str) -> None:
    said: list[str] = []
    calls = Calls(answered(status, code, headers=QUICK), answered(status, code, headers=QUICK))
    assert retrying(calls, doing="PUT x", say=said.append, deadline_s=10) == 42
    assert calls.count == 3
    assert len(said) == 2
    assert said[0].startswith(f"Azure answers {code} to PUT x; trying again")


def test_what_does_not_pass_is_raised_at_once() -> None:
    calls = Calls(answered(400, "VnetAddressSpacesOverlap"))
    with pytest.raises(CloudError, match="VnetAddressSpacesOverlap"):
        retrying(calls, doing="PUT x", say=lambda _: None, deadline_s=10)
    assert calls.count == 1


def test_our_own_errors_go_through() -> None:
    with pytest.raises(WaitError):
        retrying(Calls(WaitError("x", seconds=1, last_seen="y")), doing="PUT x", say=lambda _: None, deadline_s=10)


def test_at_the_deadline_the_last_answer_is_told() -> None:
    calls = Calls(*[answered(409, "AnotherOperationInProgress") for _ in range(99)])
    with pytest.raises(WaitError, match=r"for PUT x; last seen: .*AnotherOperationInProgress"):
        retrying(calls, doing="PUT x", say=lambda _: None, deadline_s=0.1)


def test_a_server_that_keeps_stumbling_is_given_up() -> None:
    calls = Calls(*[answered(500, "InternalServerError", headers=QUICK) for _ in range(99)])
    with pytest.raises(CloudError, match="InternalServerError"):
        retrying(calls, doing="PUT x", say=lambda _: None, deadline_s=60)
    assert calls.count == 4


def test_a_broken_connection_is_tried_again_but_one_that_never_was_is_not() -> None:
    assert retrying(Calls(ServiceResponseError("reset")), doing="x", say=lambda _: None, deadline_s=9) == 42
    with pytest.raises(CloudError, match="does not answer"):
        retrying(Calls(ServiceRequestError("refused")), doing="x", say=lambda _: None, deadline_s=9)


def test_a_pause_the_server_asks_for_that_is_longer_than_the_deadline_ends_the_wait() -> None:
    calls = Calls(answered(409, "AnotherOperationInProgress", headers={"Retry-After": "50"}))
    with pytest.raises(WaitError):
        retrying(calls, doing="PUT x", say=lambda _: None, deadline_s=40)
    text = "The call can be retried in 14 seconds."
    with pytest.raises(WaitError):
        retrying(Calls(answered(429, "RetryableError", text)), doing="PUT x", say=lambda _: None, deadline_s=10)


def test_nothing_is_tried_again_once_stopped() -> None:
    stop = threading.Event()
    stop.set()
    calls = Calls(answered(409, "AnotherOperationInProgress", headers=QUICK))
    with pytest.raises(StoppedError):
        retrying(calls, doing="PUT x", say=lambda _: None, deadline_s=10, stop=stop)
    assert calls.count == 1


def test_the_sdks_error_is_the_cause() -> None:
    cause = answered(400, "NicInUse")
    with pytest.raises(CloudError) as caught, failures.translated("DELETE nic"):
        raise cause
    assert caught.value.__cause__ is cause
