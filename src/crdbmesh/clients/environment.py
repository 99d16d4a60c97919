"""The cloud that the environment names: a cloud file, or Azure's own clouds, public and sovereign.

Without AZURE_SUBSCRIPTION_ID it is azure-cli's current subscription, in azure-cli's own file (azure-cli-core,
`_profile.py`): a list `subscriptions` of `id`, `name`, `state`, `tenantId`, `environmentName` and `isDefault`.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crdbmesh.clients.cloud import CLOUD_FILE, KNOWN, SUBSCRIPTION, USABLE, Cloud, KnownCloud, default_credential
from crdbmesh.errors import ConfigError


def find_cloud(environ: Mapping[str, str]) -> Cloud:
    """Return the cloud that the environment names, by default Azure's public one; raise ConfigError for a mistake."""
    if file := environ.get(CLOUD_FILE, ""):
        from crdbmesh.clients import cloud_file

        return cloud_file.read(Path(file).expanduser())
    current = _find_cli_subscription(environ)
    known = _find_known(environ, str(current.get("environmentName", "")))
    if current.get("environmentName") not in known.names:
        current = {}
    return Cloud(
        name=known.names[0],
        arm_url=known.arm_url,
        scopes=(known.scope,),
        credential=default_credential(environ.get("AZURE_AUTHORITY_HOST") or known.authority, current.get("id")),
        subscription_id=environ.get(SUBSCRIPTION) or current.get("id"),
        subscription_name=current.get("name"),
        tenant_id=current.get("tenantId"),
    )


def _find_cli_subscription(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what azure-cli knows of the subscription that is asked for, or of its current one; empty for nothing."""
    folder = environ.get("AZURE_CONFIG_DIR") or f"{environ.get('HOME') or '/nonexistent'}/.azure"
    asked = environ.get(SUBSCRIPTION, "").lower()
    with contextlib.suppress(OSError, ValueError, AttributeError, LookupError, TypeError):
        document = json.loads((Path(folder) / "azureProfile.json").read_text(encoding="utf-8-sig"))
        for one in document["subscriptions"]:
            if one["id"].lower() == asked if asked else one.get("isDefault") is True and one.get("state") in USABLE:
                return dict(one)
    return {}


def _find_known(environ: Mapping[str, str], cli_cloud: str) -> KnownCloud:
    if name := environ.get("AZURE_CLOUD", ""):
        for known in KNOWN:
            if name.lower() in (known_name.lower() for known_name in known.names):
                return known
        names = ", ".join(known.names[0] for known in KNOWN)
        raise ConfigError.of("AZURE_CLOUD", name, "is not a cloud that crdbmesh knows", f"use one of {names}")
    if not (authority := environ.get("AZURE_AUTHORITY_HOST", "")):
        return next((known for known in KNOWN if cli_cloud in known.names), KNOWN[0])
    host = urlsplit(authority).hostname if "://" in authority else authority.rstrip("/")
    for known in KNOWN:
        if host == known.authority:
            return known
    reason = "is not the authority of a cloud that crdbmesh knows"
    remedy = f"set AZURE_CLOUD too, or {CLOUD_FILE} to a cloud file"
    raise ConfigError.of("AZURE_AUTHORITY_HOST", authority, reason, remedy)
