"""The cloud: Azure Resource Manager's endpoint, credential and trust; the one thing that tells one Azure from another.

Nothing of the Azure SDK is imported before a credential is used.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crdbmesh import redaction
from crdbmesh.errors import CloudError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

CLOUD_FILE = "CRDBMESH_CLOUD"
SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"
"""Environment variables."""

USABLE = ("Enabled", "Warned", "PastDue")
"""States of a subscription in which resources can be made."""

ADDRESS_URLS = ("https://api.ipify.org", "https://checkip.amazonaws.com", "https://ipv4.icanhazip.com")
"""Each answers with the caller's IPv4 address; SECURITY.md and README name them."""

PRICES_URL = "https://prices.azure.com/api/retail/prices"
"""Azure's public price list, which `--prices` asks, without a token."""

_TOKEN_LEFT_S = 300.0
_FAILED_S = 30.0
_PROCESS_S = 60
"""The time that a program which gives tokens, such as `az`, may take."""


class LazyCredential:
    """A credential that is made when it is first needed, because making it imports azure-identity (0.3 s).

    Its tokens are kept while they are valid, and a failure for half a minute, because the credential of `az login`
    starts a process for each attempt.
    """

    def __init__(self, make: Callable[[], TokenCredential]) -> None:
        self._make = make
        self._made: TokenCredential | None = None
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, ...], AccessToken] = {}
        self._asking = threading.Lock()
        self._failed: tuple[float, Exception | None] = (0.0, None)

    def load(self) -> TokenCredential:
        """Return the credential itself."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the last token while it is valid, or another from the credential; `claims` ask for another."""
        credential = self.load()
        with self._asking:
            kept = self._tokens.get(scopes)
            if kept is not None and kept.expires_on > time.time() + _TOKEN_LEFT_S and not options.get("claims"):
                return kept
            until, failure = self._failed
            if failure is not None and time.time() < until and not options.get("claims"):
                raise failure
            try:
                token = credential.get_token(*scopes, **options)
            except Exception as error:
                self._failed = (time.time() + _FAILED_S, error)
                raise
            redaction.learn(token.token, whole=True)
            self._tokens[scopes] = token
            return token


class GivenToken:
    """A bearer token that is given as text, or in a file that someone else renews."""

    def __init__(self, token: str = "", *, file: Path | None = None) -> None:
        self._token = token
        self._file = file

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Return the token. Its real lifetime is unknown, so it is read again every few minutes."""
        from azure.core.credentials import AccessToken

        try:
            token = self._file.read_text(encoding="utf-8").strip() if self._file else self._token
        except OSError as error:
            raise CloudError(f"cannot read the token file {self._file}: {error.strerror}") from error
        redaction.learn(token, whole=True)
        return AccessToken(token, int(time.time()) + 600)


@dataclass(frozen=True, slots=True)
class Cloud:
    """An Azure cloud: its endpoint, the credential for it, and the certificates to trust.

    Attributes:
        name: its name in messages.
        arm_url: the URL of Azure Resource Manager, without a trailing slash.
        scopes: the scopes of tokens for it.
        credential: an azure-core TokenCredential.
        ca_file: a PEM file with the only certificate authorities to trust; None for the usual ones.
        subscription_id: None to find it by the credential.
        subscription_name, tenant_id: of the subscription, where they are known before Azure is asked.
        address_urls: services that answer with the caller's address as plain text; none to ask nobody.
        prices_url: the public price list.
        ssh_port: the port of the machines' SSH servers, unless the spec sets one.
        time_scale: the seconds that pass there in a real second; pauses and deadlines follow it (see `clock`).
    """

    name: str
    arm_url: str
    scopes: tuple[str, ...]
    credential: TokenCredential = field(repr=False)
    ca_file: Path | None = None
    subscription_id: str | None = None
    subscription_name: str | None = None
    tenant_id: str | None = None
    address_urls: tuple[str, ...] = ADDRESS_URLS
    prices_url: str = PRICES_URL
    ssh_port: int = 22
    time_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class KnownCloud:
    """A cloud of Azure's own, the only ones that the operator's login is for."""

    names: tuple[str, ...]
    arm_url: str
    scope: str
    authority: str


KNOWN = (
    KnownCloud(
        ("AzureCloud", "AzurePublicCloud", "AzurePublic"),
        "https://management.azure.com",
        "https://management.azure.com/.default",
        "login.microsoftonline.com",
    ),
    KnownCloud(
        ("AzureUSGovernment", "AzureUSGovernmentCloud"),
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/.default",
        "login.microsoftonline.us",
    ),
    KnownCloud(
        ("AzureChinaCloud",),
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
        "login.chinacloudapi.cn",
    ),
)
"""Endpoints as azure-mgmt-core 1.6 and azure-identity 1.27 have them."""


def default_credential(authority: str, cli_subscription: str | None = None) -> LazyCredential:
    """Make azure-identity's DefaultAzureCredential for an authority.

    azure-cli is asked for a token of the account and the tenant of `cli_subscription`, which it must know.
    """

    def make() -> TokenCredential:
        from azure.identity import AzureCliCredential, DefaultAzureCredential

        made = DefaultAzureCredential(process_timeout=_PROCESS_S, authority=authority)
        for one in made.credentials:
            if isinstance(one, AzureCliCredential):
                one.subscription = cli_subscription
        return made

    return LazyCredential(make)


def is_loopback(url: str) -> bool:
    """Return True when `url` leads to this computer, which is never reached through a proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
