"""Who asks: the bearer token of a request, and what Azure Resource Manager says to one that it does not take.

Codes, texts and challenges: public logs of Azure Resource Manager and the challenges that Azure's own clients are
tested with. The one good token is opaque; one that is not may be a JSON Web Token, and what it says is then told apart.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hmac
import json
import time
from typing import Any

from crdbmesh_simulator.azure.errors import ArmError

_LOGIN = "https://login.microsoftonline.com"
_ISSUER = "https://sts.windows.net"


def require(header: str, *, token: str, tenant_id: str) -> None:
    """Refuse a request whose `Authorization` header does not carry the token.

    Raises ArmError: 401, with the challenge that tells where to get one.
    """
    if not header.strip():
        raise _refused(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            "The authentication failed because of missing 'Authorization' header.",
            tenant_id,
        )
    scheme, _, given = header.strip().partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        text = "Authentication failed. The 'Authorization' header is provided in an invalid format."
        raise _refused("AuthenticationFailedInvalidHeader", text, text, tenant_id)
    if hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
        return
    code, text = _why_not(_read_claims(given), tenant_id)
    raise _refused(code, text, text, tenant_id)


def _why_not(claims: dict[str, Any], tenant_id: str) -> tuple[str, str]:
    expires, now = claims.get("exp"), time.time()
    if isinstance(expires, int | float) and 0 <= expires < now:
        return (
            "ExpiredAuthenticationToken",
            f"The access token expiry UTC time '{_clock(expires)}' is earlier than current UTC time '{_clock(now)}'.",
        )
    tenant = claims.get("tid")
    if isinstance(tenant, str) and tenant.lower() != tenant_id.lower():
        text = (
            f"The access token is from the wrong issuer '{_ISSUER}/{tenant}/'. It must match the tenant "
            f"'{_ISSUER}/{tenant_id}/' associated with this subscription. Please use the authority (URL) "
            f"'{_LOGIN}/{tenant_id}' to get the token."
        )
        return "InvalidAuthenticationTokenTenant", text
    return "InvalidAuthenticationToken", "The access token is invalid."


def _read_claims(token: str) -> dict[str, Any]:
    """The claims of a JSON Web Token, unverified; none of anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _refused(code: str, message: str, description: str, tenant_id: str) -> ArmError:
    challenge = (
        f'Bearer authorization_uri="{_LOGIN}/{tenant_id}", error="invalid_token", error_description="{description}"'
    )
    error = ArmError(401, code, message)
    error.headers["WWW-Authenticate"] = challenge
    return error


def _clock(at: float) -> str:
    moment = dt.datetime.fromtimestamp(at, tz=dt.UTC)
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour % 12 or 12}:{moment:%M:%S} {moment:%p}"
