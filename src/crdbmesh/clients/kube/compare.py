"""Compares an object as it is with what a server-side apply's dry run says it would be.

Both come from the API server, so defaults, conversions and fields of other managers are the same on both sides; what
the server keeps for itself, and the status that controllers keep changing, is left out.
"""

from collections.abc import Iterator
from typing import Any

from crdbmesh.redaction import cut

_SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_VALUE_CHARACTERS = 60
_ABSENT = object()


def differences(live: dict[str, Any], wanted: dict[str, Any], *, secret: bool) -> list[str]:
    """One line per field, `spec.replicas: 2 -> 3`; for a secret object only the field."""
    return list(_compare("", _relevant(live), _relevant(wanted), secret))


def _relevant(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVERS_OWN}
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}


def _compare(path: str, live: Any, wanted: Any, secret: bool) -> Iterator[str]:
    if isinstance(live, dict) and isinstance(wanted, dict):
        for key in sorted({*live, *wanted}):
            part = f'["{key}"]' if "." in key or "/" in key else f".{key}" if path else key
            yield from _compare(f"{path}{part}", live.get(key, _ABSENT), wanted.get(key, _ABSENT), secret)
    elif isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        for index, (old, new) in enumerate(zip(live, wanted, strict=True)):
            yield from _compare(f"{path}[{index}]", old, new, secret)
    elif live != wanted:
        yield f"{path} differs" if secret else f"{path}: {_shown(live)} -> {_shown(wanted)}"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    if isinstance(value, dict | list):
        return f"{len(value)} {'fields' if isinstance(value, dict) else 'items'}"
    return cut(str(value).replace("\n", "\\n"), _VALUE_CHARACTERS)
