"""The exact content of all that is sent: Azure resources, Kubernetes objects, files; pure functions of the spec."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]
"""An Azure resource as ARM's JSON."""
Object = dict[str, Any]
"""A Kubernetes object as its API's JSON."""

LABELS = {"app.kubernetes.io/managed-by": "crdbmesh"}
