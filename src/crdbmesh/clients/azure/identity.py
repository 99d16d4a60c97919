"""The identity in a token of Microsoft Entra ID: its claims, unverified, for people to read."""

import base64
import json
from dataclasses import dataclass

from crdbmesh.clients.azure import failures
from crdbmesh.clients.azure.session import Session


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity in a token; None for each claim that it does not have.

    Attributes:
        name: of a user, or the id of an application.
        tenant: the tenant's id.
    """

    name: str | None
    tenant: str | None


def find_identity(session: Session) -> Identity:
    """Return the identity in a token of the session's credential; raise CloudError when no token can be obtained."""
    with failures.translated("asking for a token"):
        token = session.cloud.credential.get_token(*session.cloud.scopes)
    claims = _claims(token.token)
    name = next((claims[key] for key in ("upn", "unique_name", "preferred_username", "appid") if key in claims), None)
    return Identity(name, claims.get("tid"))


def _claims(token: str) -> dict[str, str]:
    """The texts in a JSON web token's payload; none when the token is something else."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    if not isinstance(payload, dict):
        return {}
    return {key: value for key, value in payload.items() if isinstance(value, str) and value}
