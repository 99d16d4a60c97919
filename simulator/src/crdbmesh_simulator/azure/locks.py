"""Management locks: `CanNotDelete` and `ReadOnly`, at a subscription, a group or a resource, and all that is below.

Microsoft.Authorization/locks (2020-05-01). A lock refuses deletions of what it covers and of what holds it, a read-only
one also every other write, starting a machine included (Microsoft's documentation of locks).
"""

from __future__ import annotations

import re
import urllib.parse

from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.errors import Body, refusal
from crdbmesh_simulator.azure.kinds import find_scope, page

_LEVELS = {"cannotdelete": "CanNotDelete", "readonly": "ReadOnly"}
_NAME = re.compile(r"[^<>%&:?/\\\x00-\x1f]{1,260}")
_LOCKS = "/providers/microsoft.authorization/locks"
_OPEN = ("/register", "/unregister")


def put(call: Call) -> Answer:
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


def delete(call: Call) -> Answer:
    """Delete a lock; absent is done."""
    lock = call.subscription.locks.pop(f"{find_scope(call)[0]}{_LOCKS}/{call.names['lock']}".lower(), None)
    return Answer(200 if lock is not None else 204)


def list_all(call: Call) -> Answer:
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
