"""The exact content of all that is sent: Azure resources, Kubernetes objects, files; pure functions of the spec."""

from typing import Any

Body = dict[str, Any]
"""An Azure resource as ARM's JSON."""
Object = dict[str, Any]
"""A Kubernetes object as its API's JSON."""

LABELS = {"app.kubernetes.io/managed-by": "crdbmesh"}


def kube_object(
    api_version: str, kind: str, name: str, namespace: str | None, *, labels: dict[str, str] = LABELS, **fields: Any
) -> Object:
    """Return a Kubernetes object: its head, with labels unless they are empty, and its other fields."""
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    head = {"apiVersion": api_version, "kind": kind}
    return {**head, "metadata": {key: value for key, value in metadata.items() if value}, **fields}
