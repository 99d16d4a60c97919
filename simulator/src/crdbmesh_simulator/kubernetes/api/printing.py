"""What stands in the cells of a table: ages, selectors, and what is shown for nothing.

After `k8s.io/apimachinery/pkg/util/duration` and `pkg/printers` of Kubernetes 1.36.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj

NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"


def age(obj: Obj, now: float) -> str:
    """How long an object exists."""
    return since(str(obj["metadata"].get("creationTimestamp") or ""), now)


def since(stamp: str, now: float) -> str:
    """The time since a stamp, as `duration.HumanDuration` writes it."""
    try:
        moment = dt.datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return UNKNOWN
    return human(now - moment)


def human(seconds: float) -> str:
    """A duration in at most two units."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        rest = total % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = total // 3600
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        rest = hours % 24
        return f"{days}d{rest}h" if rest else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"


def spec_of(obj: Obj) -> Obj:
    """The spec of an object."""
    return obj.get("spec") or {}


def status_of(obj: Obj) -> Obj:
    """The status of an object."""
    return obj.get("status") or {}


def labels_of(labels: Mapping[str, str] | None) -> str:
    """Labels as one text."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_of(selector: Mapping[str, Any] | None) -> str:
    """A label selector as one text."""
    if not selector:
        return NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or []:
        values = ",".join(rule.get("values") or [])
        parts.append(f"{rule['key']} {str(rule['operator']).lower()} ({values})" if values else str(rule["key"]))
    return ",".join(parts) or NONE
