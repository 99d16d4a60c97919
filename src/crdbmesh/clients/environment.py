"""The cloud that the environment names: a cloud file, or Azure's own clouds, public and sovereign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from crdbmesh.clients.cloud import CLOUD_FILE, SUBSCRIPTION, Cloud, default_credential
from crdbmesh.errors import ConfigError

_ADDRESS_FALLBACKS = ("https://checkip.amazonaws.com", "https://ipv4.icanhazip.com")


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


def find_cloud(environ: Mapping[str, str]) -> Cloud:
    """Return the cloud that the environment names, Azure's public cloud by default.

    Raises:
        ConfigError: a variable or the cloud file is wrong.
    """
    if file := environ.get(CLOUD_FILE, ""):
        from crdbmesh.clients import cloud_file

        return cloud_file.read(Path(file).expanduser())
    known = _find_known(environ)
    return Cloud(
        name=known.names[0],
        arm_url=known.arm_url,
        scopes=(known.scope,),
        credential=default_credential(environ.get("AZURE_AUTHORITY_HOST") or known.authority),
        subscription_id=environ.get(SUBSCRIPTION) or None,
        address_fallbacks=_ADDRESS_FALLBACKS,
    )


def _find_known(environ: Mapping[str, str]) -> _Known:
    if name := environ.get("AZURE_CLOUD", ""):
        for known in _KNOWN:
            if name.lower() in (known_name.lower() for known_name in known.names):
                return known
        names = ", ".join(known.names[0] for known in _KNOWN)
        raise ConfigError.of("AZURE_CLOUD", name, "is not a cloud that crdbmesh knows", f"use one of {names}")
    if not (authority := environ.get("AZURE_AUTHORITY_HOST", "")):
        return _KNOWN[0]
    host = urlsplit(authority).hostname if "://" in authority else authority.rstrip("/")
    for known in _KNOWN:
        if host == known.authority:
            return known
    raise ConfigError.of(
        "AZURE_AUTHORITY_HOST",
        authority,
        "is not the authority of a cloud that crdbmesh knows",
        f"set AZURE_CLOUD too, or {CLOUD_FILE} to a cloud file",
    )
