"""JSON values: private copies of them, made faster than `copy.deepcopy` does."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
Objs = list[Obj]


def clone(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: clone(each) if isinstance(each, dict | list) else each for key, each in value.items()}
    if isinstance(value, list):
        return [clone(each) if isinstance(each, dict | list) else each for each in value]
    return value
