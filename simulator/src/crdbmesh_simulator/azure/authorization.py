"""Who may do what: tokens, roles, policy assignments about locations, and management locks.

Actions are `{namespace}/{types}/read|write|delete`, or `{namespace}/{types}/{name}/action` for a POST; what a role
allows is `actions` less its own `notActions`, and roles add up. `*` stands for any text, slashes included; case does
not count (Microsoft's documentation of Azure RBAC). Lists of a subscription's groups and resources show what the caller
may read, so they are never refused. A lock refuses deletions of what it covers and of what holds it, a read-only one
also every other write, starting a machine included (Microsoft's documentation of locks).
"""

from __future__ import annotations

import functools
import hmac
import re
import urllib.parse
import uuid

from crdbmesh_simulator.azure import regions
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.errors import ArmError, Body, body, refusal
from crdbmesh_simulator.azure.kinds import find_scope, page
from crdbmesh_simulator.azure.state import Subscription

_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_ARM = "Microsoft.Resources/subscriptions"
_FILTERED = {"resourcegroups", "resources"}
_LINKED = {
    "microsoft.network/virtualnetworks/subnets": "join",
    "microsoft.network/networksecuritygroups": "join",
    "microsoft.network/publicipaddresses": "join",
    "microsoft.network/networkinterfaces": "join",
}


def require_allowed(call: Call) -> None:
    """Refuse what the caller's roles do not allow, what its body refers to included. Raises ArmError: 403."""
    asked = action_of(call.method, call.path)
    if asked is None:
        return
    action, scope = asked
    who = str(uuid.uuid5(uuid.NAMESPACE_URL, call.subscription.tenant_id))
    if not allows(call.subscription, action, scope):
        raise refusal("AuthorizationFailed", who=who, action=action, scope=scope)
    for linked, target in _linked(call, action):
        if not allows(call.subscription, linked, target):
            raise refusal("LinkedAuthorizationFailed", who=who, action=action, scope=scope, linked=linked, other=target)


def allows(subscription: Subscription, action: str, scope: str) -> bool:
    """Whether some role of the caller's, at the scope or above, allows the action."""
    return any(
        _matches(role.get("actions") or [], action) and not _matches(role.get("notActions") or [], action)
        for role in roles(subscription, scope)
    )


def roles(subscription: Subscription, scope: str) -> list[Body]:
    """The permissions that the caller has at a scope, inherited ones included."""
    parts = scope.strip("/").lower().split("/")
    group = parts[3] if len(parts) > 3 and parts[2] == "resourcegroups" else None
    return [*subscription.permissions, *(subscription.group_permissions.get(group, []) if group else [])]


def action_of(method: str, raw_path: str) -> tuple[str, str] | None:
    """The action that a request asks for and its scope; None for what is open to every caller."""
    parts = [urllib.parse.unquote(part) for part in raw_path.split("/") if part]
    if len(parts) < 2 or parts[0].lower() != "subscriptions":
        return None
    lowered = [part.lower() for part in parts]
    verb = _VERBS.get(method, "action")
    if "providers" not in lowered:
        if len(parts) == 3 and lowered[2] in _FILTERED and verb == "read":
            return None
        return _platform_action(lowered, verb), "/" + "/".join(parts[:4])
    at = len(lowered) - 1 - lowered[::-1].index("providers")
    scope, rest = "/" + "/".join(parts[:at]), parts[at + 1 :]
    if len(rest) <= 1 and at == 2:
        return f"{_ARM}/providers/read", scope
    if at == 2 and verb == "action" and len(rest) == 2:
        return f"{rest[0]}/{rest[1].lower()}/action", scope
    types = "/".join(rest[1::2])
    # A read or a POST with an odd number of parts is of a collection, or of something that a resource does.
    named = rest if len(rest) % 2 else rest[:-1]
    return f"{rest[0]}/{types}/{verb}", f"{scope}/providers/{'/'.join(named)}"


def _platform_action(lowered: list[str], verb: str) -> str:
    if len(lowered) == 2:
        return f"{_ARM}/{verb}"
    if lowered[2] == "resourcegroups":
        below = "/resources" if len(lowered) > 4 else ""
        return f"{_ARM}/resourceGroups{below}/{verb}"
    return f"{_ARM}/{lowered[2]}/{verb}"


def _matches(patterns: list[str], action: str) -> bool:
    return any(_regex(pattern).fullmatch(action) for pattern in patterns)


@functools.lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*"), re.IGNORECASE | re.DOTALL)


def _linked(call: Call, action: str) -> list[tuple[str, str]]:
    """What a write's body refers to, with the action that referring to it takes."""
    if not action.endswith("/write") or not isinstance(call.content, dict):
        return []
    found: dict[tuple[str, str], None] = {}
    pending: list[object] = [call.content]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        if not isinstance(node, dict):
            continue
        for name, value in node.items():
            if name.lower() == "remotevirtualnetwork" and isinstance(value, dict) and isinstance(value.get("id"), str):
                found["Microsoft.Network/virtualNetworks/peer/action", value["id"]] = None
            elif isinstance(value, dict | list):
                pending.append(value)
        linked = _type_of(node.get("id"))
        # What is written together with its parent is not referred to.
        if linked is not None and not str(node["id"]).lower().startswith(call.path.lower().rstrip("/")):
            found[f"{linked}/{_LINKED[linked.lower()]}/action", str(node["id"])] = None
    return list(found)


def _type_of(resource_id: object) -> str | None:
    """The type of a resource that it takes a permission to refer to, or None."""
    parts = resource_id.strip("/").split("/") if isinstance(resource_id, str) else []
    lowered = [part.lower() for part in parts]
    if "providers" not in lowered:
        return None
    at = lowered.index("providers")
    kind = "/".join([*parts[at + 1 : at + 2], *parts[at + 2 :: 2]])
    return kind if kind.lower() in _LINKED else None


_PARAMETER = "listOfAllowedLocations"
_DEFINITION = "/providers/Microsoft.Authorization/policyDefinitions/e56962a6-4747-49cd-b67b-bf8b01975c4c"
AZURES_OWN = "sys.regionrestriction"


def assignment(subscription_id: str, name: str, locations: list[str], **more: object) -> Body:
    """An assignment at the subscription."""
    title = "Allowed resource deployment regions" if name == AZURES_OWN else name
    blanks = {"subscription": subscription_id, "name": name, "locations": locations, "definition": _DEFINITION}
    found: Body = body("policy", title=title, **blanks)
    found["properties"] |= more
    return found


def list_policies(call: Call) -> Answer:
    """The assignments that concern the subscription."""
    return page(call, call.subscription.policies)


def require_place(call: Call) -> None:
    """Refuse a resource where a policy allows none."""
    given = call.content.get("location") if call.method == "PUT" and isinstance(call.content, dict) else None
    if given is None or "/providers/" not in call.path:
        return
    name = call.names.get("name", "")
    for policy in call.subscription.policies:
        properties = policy["properties"]
        allowed = properties["parameters"].get(_PARAMETER, {}).get("value", [given])
        if regions.normal(given) in map(regions.normal, allowed) or properties["enforcementMode"] != "Default":
            continue
        if policy["name"] == AZURES_OWN:
            raise refusal("RequestDisallowedByAzure", target=name, name=name)
        shown = properties["displayName"]
        raise refusal(
            "RequestDisallowedByPolicy", target=name, name=name, shown=shown, id=policy["id"], definition=_DEFINITION
        )


_LOGIN = "https://login.microsoftonline.com"


def require_token(header: str, *, token: str, tenant_id: str) -> None:
    """Refuse a request whose `Authorization` header does not carry the token.

    Raises ArmError: 401, with the challenge that tells where to get one.
    """
    if not header.strip():
        raise _challenged(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            "The authentication failed because of missing 'Authorization' header.",
            tenant_id,
        )
    scheme, _, given = header.strip().partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        text = "Authentication failed. The 'Authorization' header is provided in an invalid format."
        raise _challenged("AuthenticationFailedInvalidHeader", text, text, tenant_id)
    if hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
        return
    text = "The access token is invalid."
    raise _challenged("InvalidAuthenticationToken", text, text, tenant_id)


def _challenged(code: str, message: str, description: str, tenant_id: str) -> ArmError:
    challenge = (
        f'Bearer authorization_uri="{_LOGIN}/{tenant_id}", error="invalid_token", error_description="{description}"'
    )
    error = ArmError(401, code, message)
    error.headers["WWW-Authenticate"] = challenge
    return error


_LEVELS = {"cannotdelete": "CanNotDelete", "readonly": "ReadOnly"}
_NAME = re.compile(r"[^<>%&:?/\\\x00-\x1f]{1,260}")
_LOCKS = "/providers/microsoft.authorization/locks"
_OPEN = ("/register", "/unregister")


def put_lock(call: Call) -> Answer:
    """Create or replace a lock."""
    scope, _ = find_scope(call)
    name = call.names["lock"]
    properties = call.body().get("properties")
    given = properties if isinstance(properties, dict) else {}
    level = _LEVELS.get(str(given.get("level", "")).lower())
    if level is None:
        raise refusal("InvalidRequestContent, lock level", level=given.get("level"))
    kept = {key: given[key] for key in ("notes", "owners") if given.get(key)}
    lock_id = f"{scope}/providers/Microsoft.Authorization/locks/{name}"
    existed = lock_id.lower() in call.subscription.locks
    lock: Body = {
        "properties": {"level": level, **kept},
        "id": lock_id,
        "type": "Microsoft.Authorization/locks",
        "name": name,
    }
    call.subscription.locks[lock_id.lower()] = lock
    return Answer(200 if existed else 201, lock)


def delete_lock(call: Call) -> Answer:
    """Delete a lock; absent is done."""
    lock = call.subscription.locks.pop(f"{find_scope(call)[0]}{_LOCKS}/{call.names['lock']}".lower(), None)
    return Answer(200 if lock is not None else 204)


def list_locks(call: Call) -> Answer:
    """The locks at a scope and below; with `atScope()`, those at the scope and above."""
    scope = find_scope(call)[0].lower()
    text = call.query.get("$filter", "").strip().lower()
    found = [
        lock
        for key, lock in sorted(call.subscription.locks.items())
        if (_covers(_of(key), scope) if text else _covers(scope, _of(key)))
    ]
    return page(call, found)


def require_unlocked(call: Call) -> None:
    """Refuse a write that a lock forbids. Raises ArmError: 409."""
    path = urllib.parse.unquote(call.path).rstrip("/")
    lowered = path.lower()
    if _LOCKS in lowered or lowered.endswith(_OPEN):
        return
    deletes = call.method == "DELETE"
    locked = []
    for key, lock in call.subscription.locks.items():
        scope = _of(key)
        above, below = _covers(scope, lowered), _covers(lowered, scope)
        if (deletes and (above or below)) or (above and lock["properties"]["level"] == "ReadOnly"):
            locked.append(f"'{lock['id'][: len(scope)]}'")
    if not locked:
        return
    raise refusal(
        "ScopeLocked", path=path, verb="delete" if deletes else "write", locked=", ".join(dict.fromkeys(locked))
    )


def _of(key: str) -> str:
    """The scope of a lock, from its id in lower case."""
    return key.partition(_LOCKS)[0]


def _covers(scope: str, path: str) -> bool:
    return path == scope or path.startswith(f"{scope}/")
