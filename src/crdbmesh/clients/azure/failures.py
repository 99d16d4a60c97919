"""Azure's errors as crdbmesh's own, and the retries that the SDK does not make.

The SDK's exception types say little: every 409 is a `ResourceExistsError`, and a long-running operation that failed
is an `HttpResponseError` with status 200 (azure-core 1.41). What counts is `error.code`, at any depth of `details`:
Microsoft.Network wraps the reason in `RetryableError`, `Canceled` or `ResourceDeploymentFailure`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crdbmesh.clients.azure import remedies
from crdbmesh.clients.clock import Clock
from crdbmesh.clients.waiting import Say, jittered
from crdbmesh.errors import CloudError, ConflictError, CredentialError, ForbiddenError, StoppedError, WaitError
from crdbmesh.redaction import cut

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

ABSENT = frozenset({"resourcenotfound", "resourcegroupnotfound", "parentresourcenotfound", "notfound"})
"""Codes of a 404 that means: there is no such thing. `SubscriptionNotFound`, say, means something else."""

_SHAKY = frozenset(
    {"internalservererror", "networkinginternaloperationerror", "servertimeout", "gatewaytimeout", "serviceunavailable"}
)
"""Azure stumbled; the same request may well pass, but not for ever."""
_SHAKY_TRIES = 4

_LATE_BOOT = "OSProvisioningTimedOut"
"""A VM's creation has failed, but its machine runs: the step is to be done again, which finds a VM to be updated."""

_LAGGING_S = {
    "resourcegroupnotfound": 180.0,
    "resourcenotfound": 30.0,
    "notfound": 30.0,
    "parentresourcenotfound": 30.0,
    "invalidresourcereference": 30.0,
}
"""Codes with which Azure does not see yet what it has just made (a group, a subnet, an address, the very resource whose
operation ended), and for how many seconds of its own that is believed."""

_ACTION = re.compile(
    r"perform (?:the )?action(?:\(s\))? '(?P<action>[^']+)'.{0,20}?"
    r"(?:over|on)(?: the)?(?: linked)? scope(?:\(s\))? '(?P<scope>[^']+)'",
    re.DOTALL,
)
_CHALLENGE = re.compile(r'\bclaims="([\w+/=-]+)"')
_ATTEMPT = re.compile(r"^\t(\w+): (?:ERROR: |\w+ authentication unavailable[.,] )*(.+)$", re.MULTILINE)
"""A line of azure-identity's account of the credentials that it tried."""
_SENTENCE = re.compile(r".+?(?=[.!;](?:\s|$)|$)")
_BOILERPLATE = re.compile(
    r"(\(\w+\) )?\bCode: \w+\s+Message: "
    r"|\b(Trace|Correlation|Activity|Tracking|Request|Operation) ?id: ?'?[\w-]+'?[.,;]?|\bTimestamp: ?[\dTZ:. +-]+"
    r"|At least one resource deployment operation failed\. Please list deployment operations for details\."
    r"|Please see https://aka\.ms/\S+ for usage details\.",
    re.IGNORECASE,
)
"""Texts that Azure wraps its reasons in, and ids, which journals keep."""
_RETRIED_IN = re.compile(r"can be retried in (\d+) seconds?", re.IGNORECASE)
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\bBearer\s+\S+", re.IGNORECASE),
    re.compile(r"\beyJ[\w.=-]{20,}"),
    re.compile(r"[A-Za-z0-9+/=]{120,}"),
)
"""Tokens, keys, and runs of base64 such as customData: no error of Azure's should quote them, and none of ours will."""
_LONGEST = 700

_FIRST_PAUSE_S = 0.5
_GROWTH = 1.6
_LONGEST_PAUSE_S = 15.0
_LONGEST_HINT_S = 60.0


class Tries:
    """The tries of one operation, which is safe to repeat, while Azure says that something else is in the way.

    `say` is told what is in the way.
    """

    def __init__(self, doing: str, *, say: Say, deadline_s: float, stop: threading.Event, clock: Clock) -> None:
        self._doing = doing
        self._say = say
        self._stop = stop
        self._clock = clock
        self._started, self._ends = clock.now(), clock.after(deadline_s)
        self._shaky = 0
        self._lagged = False
        self._pause_s = _FIRST_PAUSE_S

    def pause_after(self, cause: AzureError) -> None:
        """Pause before another try: as long as the answer's Retry-After says, else longer each time, jittered.

        The deadline's WaitError, an interrupt's StoppedError, or a CloudError that another try would not help ends it.
        """
        error = translate(cause, self._doing)
        elapsed_s = self._clock.now() - self._started
        again = self._allow_another(cause, error, elapsed_s)
        if not again and not self._lagged:
            raise error from cause
        wait_s = _server_pause_s(cause) or self._next_pause_s()
        if not again or self._clock.now() + wait_s > self._ends:
            raise WaitError(self._doing, seconds=elapsed_s, last_seen=str(error), hint=error.hint) from cause
        answer = error.code or type(cause).__name__
        self._say(f"Azure answers {answer} to {self._doing}; trying again ({elapsed_s:.0f} s)")
        if self._clock.wait(self._stop, wait_s):
            raise StoppedError(self._doing, last_seen=str(error)) from cause

    def _allow_another(self, cause: AzureError, error: CloudError, elapsed_s: float) -> bool:
        codes = _codes(cause)
        if _is_shaky(cause, codes):
            self._shaky += 1
            return self._shaky < _SHAKY_TRIES
        # Azure does not see yet what it has just made.
        self._lagged = self._doing.startswith("PUT") and bool(codes & _LAGGING_S.keys())
        if self._lagged:
            return any(elapsed_s < _LAGGING_S.get(code, 0.0) for code in codes)
        return isinstance(error, ConflictError)

    def _next_pause_s(self) -> float:
        pause_s = self._pause_s
        self._pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)
        return jittered(pause_s)


def asked_pause_s(headers: Mapping[str, str]) -> float:
    """Return how long a server asks to wait, in seconds; 0 when it does not say, or not in seconds."""
    for header, scale in (("Retry-After", 1.0), ("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001)):
        try:
            asked_s = float(headers.get(header) or 0) * scale
        except ValueError:
            continue
        if asked_s > 0:
            return asked_s
    return 0.0


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the SDK raises inside into a CloudError."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        raise translate(error, doing) from error


def is_absent(error: AzureError) -> bool:
    """Return True when Azure says that the resource, or its group, does not exist."""
    return getattr(error, "status_code", None) == 404 and bool(_codes(error) & ABSENT)


def translate(error: AzureError, doing: str) -> CloudError:
    """Return an SDK's error as a CloudError of the right kind, free of secrets."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    if not isinstance(error, HttpResponseError):
        reason, remedy = (
            f"Azure does not answer: {_clean(str(error))}",
            "check the network connection and proxy settings",
        )
        return CloudError(f"{doing}: {reason}", code=type(error).__name__, hint=remedy).as_retryable()
    if isinstance(error, ClientAuthenticationError) and not _codes(error):
        return _login_error(error)
    kind, hint = _kind(error)
    request_id = _header(error, "x-ms-correlation-request-id") or _header(error, "x-ms-request-id")
    code = _code(error)
    translated = kind(
        f"{doing}: {code + ': ' if code else ''}{_clean(_message(error))}",
        code=code,
        status=None if error.status_code == 200 else error.status_code,
        request_id=request_id,
        hint=hint,
    )
    return translated.as_retryable() if code == _LATE_BOOT else translated


def _kind(error: HttpResponseError) -> tuple[type[CloudError], str | None]:
    text = _message(error)
    if command := _stronger_login(error):
        return CredentialError, command
    if known := remedies.find(_codes(error), text):
        return known
    if error.status_code == 401:
        return CredentialError, remedies.LOG_IN
    if error.status_code == 403:
        return ForbiddenError, _permission_hint(text)
    if error.status_code == 429:
        return ConflictError, remedies.SOON
    return CloudError, None


def _stronger_login(error: HttpResponseError) -> str | None:
    """Return what answers Azure's claims challenge, such as for a second factor; None when there is no challenge.

    The challenge is a header of the 401 (learn.microsoft.com, "Claims challenges, claims requests, and client
    capabilities"), which is the cause of azure-identity's error when no credential can answer it by itself.
    """
    for one in (error, error.__cause__):
        challenge = _header(one, "WWW-Authenticate") or "" if one is not None else ""
        if claims := _CHALLENGE.search(challenge):
            command = f'az login{remedies.tenant_option(challenge)} --claims-challenge "{claims[1]}"'
            return f"Azure asks for a stronger login, such as with a second factor: `az logout`, then `{command}`"
    return None


def _login_error(error: ClientAuthenticationError) -> CredentialError:
    """Return azure-identity's failure with a line for each credential that it tried, each with its first sentence."""
    if command := _stronger_login(error):
        return CredentialError("the login is not strong enough for what was asked", code=_code(error), hint=command)
    text = str(error.message)
    lines = [f"{name}: {_SENTENCE.match(why)[0]}" for name, why in _ATTEMPT.findall(text)]  # type: ignore[index]
    told = "\n".join(["no credential gives a token", *map(_clean, lines)]) if lines else _clean(" ".join(text.split()))
    return CredentialError(told, code=_code(error), hint=remedies.LOG_IN)


def _permission_hint(text: str) -> str:
    actions = list(_ACTION.finditer(text))
    if not actions:
        return "ask for the role Contributor on the subscription or the resource group"
    # LinkedAuthorizationFailed names first the action that is allowed, then the one that is not.
    found = actions[-1]
    return f"ask for a role with {found['action']} on {found['scope']} (Contributor has it), then log in again"


def _is_shaky(error: AzureError, codes: frozenset[str]) -> bool:
    from azure.core.exceptions import IncompleteReadError, ServiceResponseError

    if isinstance(error, ServiceResponseError | IncompleteReadError):
        return True
    return bool(codes & _SHAKY) or (getattr(error, "status_code", None) or 0) >= 500


def _server_pause_s(error: AzureError) -> float:
    """Return how long Azure asks to wait, in seconds, in its headers or its message; 0 when it does not say."""
    asked_s = asked_pause_s(getattr(getattr(error, "response", None), "headers", None) or {})
    if not asked_s and (found := _RETRIED_IN.search(str(error))):
        asked_s = float(found[1])
    return min(asked_s, _LONGEST_HINT_S)


def _code(error: AzureError) -> str:
    return str(getattr(getattr(error, "error", None), "code", None) or "")


def _codes(error: AzureError) -> frozenset[str]:
    """Return every code in the error's body, at any depth, in lower case."""
    return frozenset(code.lower() for code in _each(getattr(error, "error", None), "code"))


def _each(node: Any, field: str) -> Iterator[str]:
    if text := getattr(node, field, None):
        yield str(text)
    for detail in getattr(node, "details", None) or ():
        yield from _each(detail, field)


def _message(error: HttpResponseError) -> str:
    told = (" ".join(_BOILERPLATE.sub(" ", message).split()) for message in _each(error.error, "message"))
    parts: list[str] = []
    for part in told:
        parts = [*(one for one in parts if one not in part), *([] if any(part in one for one in parts) else [part])]
    return " ".join(parts) or f"HTTP {error.status_code} {error.reason or ''}".rstrip()


def _header(error: BaseException, name: str) -> str | None:
    headers = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get(name) if headers is not None else None
    return str(value) if value else None


def _clean(text: str) -> str:
    text = cut(text)
    for secret in _SECRETS:
        text = secret.sub("(not shown)", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
