"""A cloud file: JSON or YAML that describes a cloud, named by `CRDBMESH_CLOUD`."""

import json
import ssl
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import ValidationInfo as Info
from pydantic_core import ErrorDetails, PydanticCustomError

from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.cloud import Cloud, GivenToken, LazyCredential, default_credential
from crdbmesh.errors import ABSENT, ConfigError, Finding, UnsafeError
from crdbmesh.local import guard

_HIDDEN = "(not shown)"


def _refusal(reason: str, remedy: str, *, hidden: bool = False) -> PydanticCustomError:
    return PydanticCustomError("refused", "refused", {"reason": reason, "remedy": remedy, "hidden": hidden})


def _check_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.port == 0:
        raise ValueError
    if parts.username or parts.password or parts.query or parts.fragment:
        remedy = "give an https://host[:port] URL"
        raise _refusal("has more than a host, a port and a path", remedy, hidden=True)
    return text


def _check_file(text: str, info: Info) -> str:
    path = Path(str(info.context)) / text
    try:
        guard.require_unplanted(path)
    except UnsafeError as error:
        raise _refusal(error.findings[0].reason, error.findings[0].remedy) from None
    except OSError:
        raise _refusal(f"is not a file (looked for {path})", "give the path of a readable file") from None
    return str(path)


def _check_authorities(path: str) -> str:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError):
        raise _refusal("holds no certificate authority that can be read", "give a PEM file") from None
    return path


def _check_alone(text: str, info: Info) -> str:
    if info.data.get("token"):
        raise _refusal("is given besides token", "give one of the two")
    return text


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Url = Annotated[str, AfterValidator(_check_url)]
File = Annotated[Text, AfterValidator(_check_file)]
Scopes = Annotated[
    list[Text], Field(min_length=1), BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]


class CloudFile(BaseModel):
    """The keys of a cloud file; paths are relative to its folder, which is the validation's context."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Text | None = None
    arm_url: Url
    scopes: Scopes | None = None
    ca_file: Annotated[File, AfterValidator(_check_authorities)] | None = None
    token: Text | None = None
    token_file: Annotated[Text, AfterValidator(_check_alone), AfterValidator(_check_file)] | None = None
    subscription_id: Text | None = None
    address_urls: list[Url] = list(clouds.ADDRESS_URLS)
    prices_url: Url = clouds.PRICES_URL
    ssh_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    time_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


_TEXT = ("is not text", "give a text that is not empty")
_PATH = ("is not a path", "give the path of a file")
_URL = ("is not an https URL", "tokens travel to it: give an https://host[:port] URL")
_EXPECTED = {
    "name": _TEXT,
    "arm_url": _URL,
    "scopes": ("is not a list of texts", "give a list such as [https://host/.default]"),
    "ca_file": _PATH,
    "token": _TEXT,
    "token_file": _PATH,
    "subscription_id": _TEXT,
    "address_urls": ("is not a list of https URLs", "give services that answer with the caller's address"),
    "prices_url": ("is not an https URL", "give the URL of a price list such as Azure's"),
    "ssh_port": ("is not a port", "give a number from 1 to 65535"),
    "time_scale": ("is not a number above 0", "leave it out: on Azure it is 1"),
}
"""The reason and the remedy for a value of the wrong kind, by key."""


def read(path: Path) -> Cloud:
    """Return the cloud in a cloud file; raise ConfigError with every mistake, UnsafeError if others could write it."""
    try:
        file = CloudFile.model_validate(_load(path), context=path.parent)
    except ValidationError as error:
        findings = {str(one["loc"][0]): _finding(one) for one in error.errors(include_url=False)}
        # Without its cause, which quotes the file, and with it perhaps a token.
        raise ConfigError(list(findings.values())) from None
    arm_url = file.arm_url.rstrip("/")
    return Cloud(
        name=file.name or str(urlsplit(arm_url).hostname),
        arm_url=arm_url,
        scopes=tuple(file.scopes or [f"{arm_url}/.default"]),
        credential=_credential(file),
        ca_file=Path(file.ca_file) if file.ca_file else None,
        subscription_id=file.subscription_id,
        address_urls=tuple(file.address_urls),
        prices_url=file.prices_url,
        ssh_port=file.ssh_port or 22,
        time_scale=file.time_scale,
    )


def _credential(file: CloudFile) -> GivenToken | LazyCredential:
    if file.token or file.token_file:
        return GivenToken(file.token or "", file=Path(file.token_file) if file.token_file else None)
    for known in clouds.KNOWN:
        if urlsplit(file.arm_url).netloc.lower() == urlsplit(known.arm_url).netloc:
            return default_credential(known.authority)
    reason = f"is needed: your own login is for Azure's own hosts, not for {urlsplit(file.arm_url).hostname}"
    raise ConfigError.of("token", ABSENT, reason, "give token or token_file")


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        guard.require_unplanted(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise _error(path, f"cannot be read: {reason}") from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            # Without its cause, which quotes the file, and with it perhaps a token.
            raise _error(path, f"is neither JSON nor YAML{where}") from None
    if not isinstance(document, dict):
        raise _error(path, "does not hold a mapping of keys to values")
    return {str(key): value for key, value in document.items()}


def _finding(error: ErrorDetails) -> Finding:
    key, value = str(error["loc"][0]), repr(error["input"])
    if error["type"] == "missing":
        return Finding(key, ABSENT, "is needed", "give the URL of Azure Resource Manager")
    if error["type"] == "extra_forbidden":
        return Finding(key, _HIDDEN, "is not a key of a cloud file", f"use {', '.join(_EXPECTED)}")
    if error["type"] == "refused":
        context = error["ctx"]
        return Finding(key, _HIDDEN if context["hidden"] else value, context["reason"], context["remedy"])
    return Finding(key, _HIDDEN if key == "token" else value, *_EXPECTED[key])


def _error(path: Path, reason: str) -> ConfigError:
    return ConfigError.of(clouds.CLOUD_FILE, str(path), reason, f"give a file with the keys {', '.join(_EXPECTED)}")
