"""Where Azure is: endpoint, credential, trust. The one thing that differs between Azure and anything like it.

`from_environment` reads `CRDBMESH_CLOUD=<file>` when it is set, and otherwise gives Azure itself, public or sovereign.
Nothing of the Azure SDK is imported before a credential is used: `crdbmesh --help` goes through this module.
"""

from __future__ import annotations

import ipaddress
import json
import math
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crdbmesh import redaction
from crdbmesh.errors import CloudError, ConfigError, Finding

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

CLOUD_FILE = "CRDBMESH_CLOUD"
SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"

ADDRESS_URL = "https://api.ipify.org"
ADDRESS_FALLBACKS = ("https://checkip.amazonaws.com", "https://ipv4.icanhazip.com")
"""Asked, for Azure's own clouds, when `ADDRESS_URL` does not answer. Each answers with the caller's IPv4 address."""

_TOKEN_LEFT_S = 300.0
_PROCESS_S = 60
"""How long a program that gives tokens, such as `az`, may take."""


class LazyCredential:
    """A credential that is made when it is first needed, because making it imports azure-identity (0.3 s).

    Its tokens are kept while they are good: that of `az login` starts a process for each one.
    """

    def __init__(self, make: Callable[[], TokenCredential]) -> None:
        self._make = make
        self._made: TokenCredential | None = None
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, ...], AccessToken] = {}
        self._asking = threading.Lock()

    def load(self) -> TokenCredential:
        """The credential itself."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token from the credential itself, or the one it gave before; `claims` ask for another."""
        credential = self.load()
        with self._asking:
            kept = self._tokens.get(scopes)
            if kept is not None and kept.expires_on > time.time() + _TOKEN_LEFT_S and not options.get("claims"):
                return kept
            token = credential.get_token(*scopes, **options)
            redaction.learn(token.token, whole=True)
            self._tokens[scopes] = token
            return token


class GivenToken:
    """A bearer token that was given as such, or lies in a file that someone else renews."""

    def __init__(self, token: str = "", *, file: Path | None = None) -> None:
        self._token = token
        self._file = file

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """The token. Its real lifetime is unknown, so it is asked for again every few minutes."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._read(), int(time.time()) + 600)

    def _read(self) -> str:
        token = self._token if self._file is None else self._read_file(self._file)
        redaction.learn(token, whole=True)
        return token

    def _read_file(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CloudError(f"cannot read the token file {file}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where Azure is.

    Attributes:
        name: for messages.
        arm_url: Azure Resource Manager, without a trailing slash.
        scopes: what tokens are asked for.
        credential: an azure-core TokenCredential.
        ca_file: trust only the certificate authorities in this PEM file; None for the usual ones.
        subscription_id: None when the credential has to tell.
        address_url: answers with the caller's address as plain text.
        address_fallbacks: asked one after the other when `address_url` does not answer.
        ssh_port: where the machines' SSH servers listen, unless the spec says otherwise.
        time_scale: how many seconds pass there in a real second; pauses and deadlines follow it (see `clock`).
    """

    name: str
    arm_url: str
    scopes: tuple[str, ...]
    credential: TokenCredential = field(repr=False)
    ca_file: Path | None = None
    subscription_id: str | None = None
    address_url: str = ADDRESS_URL
    address_fallbacks: tuple[str, ...] = ()
    ssh_port: int = 22
    time_scale: float = 1.0


def from_environment(environ: Mapping[str, str]) -> Cloud:
    """The cloud that the environment names: a cloud file, or Azure public or sovereign.

    Raises:
        ConfigError: a variable or the cloud file is wrong.
    """
    if file := environ.get(CLOUD_FILE, ""):
        return read_file(Path(file).expanduser())
    return _azure(environ)


def is_loopback(url: str) -> bool:
    """Whether `url` points at this computer, where no proxy may stand between."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find_caller_address(cloud: Cloud, timeout_s: float = 10.0) -> str:
    """This computer's IPv4 address as the world sees it.

    Args:
        cloud: whose `address_url` to ask.
        timeout_s: for each of the services asked.

    Raises:
        CloudError: no service gave an address.
    """
    seen = []
    for url in (cloud.address_url, *cloud.address_fallbacks):
        try:
            answer = _fetch(url, cloud.ca_file, timeout_s)
        except (OSError, ValueError) as error:
            seen.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        try:
            return str(ipaddress.IPv4Address(answer.strip()))
        except ValueError:
            seen.append(f"{url}: answered {answer[:60]!r}, which is not an IPv4 address")
    raise CloudError(
        f"cannot find out your own address ({'; '.join(seen)})",
        hint="name the addresses that may reach the machines with --allow-from",
    )


def _fetch(url: str, ca_file: Path | None, timeout_s: float) -> str:
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise ValueError("is not an https URL")
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file) if ca_file else None))
    ]
    if is_loopback(url):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"User-Agent": "crdbmesh", "Accept": "text/plain"})  # noqa: S310
    with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
        text: str = response.read(256).decode("utf-8", "replace")
    return text


# Azure itself


@dataclass(frozen=True, slots=True)
class _Known:
    names: tuple[str, ...]
    arm_url: str
    scope: str
    authority: str


_KNOWN = (
    _Known(
        ("AzureCloud", "AzurePublicCloud", "AzurePublic"),
        "https://management.azure.com",
        "https://management.azure.com/.default",
        "login.microsoftonline.com",
    ),
    _Known(
        ("AzureUSGovernment", "AzureUSGovernmentCloud"),
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/.default",
        "login.microsoftonline.us",
    ),
    _Known(
        ("AzureChinaCloud",),
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
        "login.chinacloudapi.cn",
    ),
)
"""Endpoints as azure-mgmt-core 1.6 and azure-identity 1.27 have them."""


def _azure(environ: Mapping[str, str]) -> Cloud:
    known = _named(environ)
    authority = environ.get("AZURE_AUTHORITY_HOST") or known.authority

    def credential() -> TokenCredential:
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential(authority=authority, process_timeout=_PROCESS_S)

    return Cloud(
        name=known.names[0],
        arm_url=known.arm_url,
        scopes=(known.scope,),
        credential=LazyCredential(credential),
        subscription_id=environ.get(SUBSCRIPTION) or None,
        address_fallbacks=ADDRESS_FALLBACKS,
    )


def _named(environ: Mapping[str, str]) -> _Known:
    if name := environ.get("AZURE_CLOUD", ""):
        for known in _KNOWN:
            if name.lower() in (known_name.lower() for known_name in known.names):
                return known
        names = ", ".join(known.names[0] for known in _KNOWN)
        raise ConfigError([Finding("AZURE_CLOUD", name, "is not a cloud that crdbmesh knows", f"use one of {names}")])
    if not (authority := environ.get("AZURE_AUTHORITY_HOST", "")):
        return _KNOWN[0]
    host = urlsplit(authority).hostname if "://" in authority else authority.rstrip("/")
    for known in _KNOWN:
        if host == known.authority:
            return known
    raise ConfigError(
        [
            Finding(
                "AZURE_AUTHORITY_HOST",
                authority,
                "is not the authority of a cloud that crdbmesh knows",
                f"set AZURE_CLOUD too, or {CLOUD_FILE} to a file that says where Azure Resource Manager is",
            )
        ]
    )


# A cloud file

_HIDDEN = "(not shown)"
_KEYS = (
    "name", "arm_url", "scopes", "ca_file", "token", "token_file", "subscription_id", "address_url", "ssh_port",
    "time_scale",
)  # fmt: skip


def read_file(path: Path) -> Cloud:
    """The cloud that a JSON or YAML file describes. Paths in it are relative to its folder.

    Raises:
        ConfigError: everything that is wrong with it, at once.
    """
    document = _document(path)
    findings = list(_wrong(document, path.parent))
    if findings:
        raise ConfigError(findings)
    arm_url = str(document["arm_url"]).rstrip("/")
    scopes = document.get("scopes") or f"{arm_url}/.default"
    return Cloud(
        name=document.get("name") or str(urlsplit(arm_url).hostname),
        arm_url=arm_url,
        scopes=tuple([scopes] if isinstance(scopes, str) else scopes),
        credential=_credential(document, path.parent),
        ca_file=path.parent / document["ca_file"] if document.get("ca_file") else None,
        subscription_id=document.get("subscription_id") or None,
        address_url=document.get("address_url") or ADDRESS_URL,
        ssh_port=document.get("ssh_port") or 22,
        time_scale=float(document.get("time_scale", 1)),
    )


def _credential(document: Mapping[str, Any], folder: Path) -> TokenCredential:
    if token := document.get("token"):
        return GivenToken(token)
    if token_file := document.get("token_file"):
        return GivenToken(file=folder / token_file)

    def credential() -> TokenCredential:
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential(process_timeout=_PROCESS_S)

    return LazyCredential(credential)


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise _bad_file(path, f"cannot be read: {reason}") from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            # Neither the cause nor its message goes on: both quote the file, which may hold a token.
            raise _bad_file(path, f"is neither JSON nor YAML{where}") from None
    if not isinstance(document, dict):
        raise _bad_file(path, "does not hold a mapping of keys to values")
    return {str(key): value for key, value in document.items()}


def _bad_file(path: Path, reason: str) -> ConfigError:
    return ConfigError([Finding(CLOUD_FILE, str(path), reason, f"give a file with the keys {', '.join(_KEYS)}")])


def _wrong(document: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    for key in document:
        if key not in _KEYS:
            yield Finding(key, _HIDDEN, "is not a key of a cloud file", f"use {', '.join(_KEYS)}")
    if not document.get("arm_url"):
        yield Finding("arm_url", "(absent)", "is needed", "give the URL of Azure Resource Manager")
    for key in ("arm_url", "address_url"):
        yield from _wrong_url(document, key)
    for key in ("name", "subscription_id", "token"):
        value = document.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            shown = _HIDDEN if key == "token" else repr(value)
            yield Finding(key, shown, "is not text", "give a text that is not empty")
    if document.get("token") and document.get("token_file"):
        yield Finding("token_file", str(document["token_file"]), "comes on top of token", "give one of the two")
    for key in ("ca_file", "token_file"):
        yield from _wrong_path(document, key, folder)
    scopes = document.get("scopes")
    listed = [scopes] if isinstance(scopes, str) else scopes
    if listed is not None and not (
        isinstance(listed, list) and listed and all(isinstance(scope, str) and scope for scope in listed)
    ):
        yield Finding("scopes", repr(scopes), "is not a list of texts", "give a list such as [https://host/.default]")
    port = document.get("ssh_port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535):
        yield Finding("ssh_port", repr(port), "is not a port", "give a number from 1 to 65535")
    scale = document.get("time_scale", 1)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
        yield Finding("time_scale", repr(scale), "is not a number above 0", "leave it out: on Azure it is 1")


def _wrong_url(document: Mapping[str, Any], key: str) -> Iterator[Finding]:
    value = document.get(key)
    if not value:
        return
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        good = parts is not None and parts.scheme == "https" and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good:
        yield Finding(key, repr(value), "is not an https URL", "tokens travel to it: give an https://host[:port] URL")
    elif parts is not None and (parts.username or parts.password or parts.query or parts.fragment):
        yield Finding(key, _HIDDEN, "has more than a host, a port and a path", "give an https://host[:port] URL")


def _wrong_path(document: Mapping[str, Any], key: str, folder: Path) -> Iterator[Finding]:
    value = document.get(key)
    if value is None:
        return
    if not isinstance(value, str) or not value:
        yield Finding(key, repr(value), "is not a path", "give the path of a file")
    elif not (folder / value).is_file():
        yield Finding(key, value, f"is not a file (looked for {folder / value})", "give the path of a readable file")
    elif key == "ca_file" and not _holds_certificates(folder / value):
        yield Finding(key, value, "holds no certificate authority that can be read", "give a PEM file")


def _holds_certificates(path: Path) -> bool:
    try:
        return bool(ssl.create_default_context(cafile=str(path)))
    except (OSError, ssl.SSLError):
        return False
