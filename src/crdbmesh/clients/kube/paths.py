"""Paths of the Kubernetes API.

No discovery is asked: the kinds that crdbmesh uses are known, and each is called by its plural in lower case, `pods`
or `helmcharts` (Kubernetes' API concepts, "Resource URIs").
"""

from __future__ import annotations

from urllib.parse import quote

CLUSTER_WIDE = frozenset({"Node", "Namespace", "CustomResourceDefinition"})
"""Kinds that are in no namespace."""


def collection(api_version: str, kind: str, namespace: str | None) -> str:
    """Return the path of all objects of a kind, or of one namespace's."""
    base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace and kind not in CLUSTER_WIDE else ""
    return f"{base}{within}/{kind.lower()}s"


def item(api_version: str, kind: str, namespace: str | None, name: str) -> str:
    """Return the path of one object."""
    return f"{collection(api_version, kind, namespace or 'default')}/{quote(name, safe='')}"


def pod(namespace: str, name: str) -> str:
    """Return the path of a pod, below which are its log, its exec and its proxy."""
    return item("v1", "Pod", namespace, name)
