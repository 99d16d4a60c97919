"""The Kubernetes objects of a mesh, as plain dicts from pure functions of the spec."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

LABELS = {"app.kubernetes.io/managed-by": "crdbmesh"}
