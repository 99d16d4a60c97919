"""Helpers of the Cilium chart's parts (`templates/_helpers.tpl`)."""

from __future__ import annotations

import base64

from crdbmesh_simulator.kubernetes.controllers.objects import Obj

NAMESPACE = "kube-system"
SECRETS = "cilium-secrets"
SCRATCH = "/tmp"  # noqa: S108 - a mount of the pod's own
CONFIG_FOLDER = f"{SCRATCH}/cilium/config-map"
PART_OF = {"app.kubernetes.io/part-of": "cilium"}


def api_env(values: Obj) -> list[Obj]:
    """Return the environment that points agent and operator to the Kubernetes API, if the values name it."""
    if not values["k8sServiceHost"]:
        return []
    return [
        {"name": "KUBERNETES_SERVICE_HOST", "value": str(values["k8sServiceHost"])},
        {"name": "KUBERNETES_SERVICE_PORT", "value": str(values["k8sServicePort"] or 443)},
    ]


def image(of: Obj, tag: str, *, suffix: str = "") -> str:
    """An image reference from the chart's `image` values."""
    if of.get("override"):
        return str(of["override"])
    reference = f"{of['repository']}{suffix}{of.get('suffix') or ''}:{of.get('tag') or tag}"
    return f"{reference}@{of['digest']}" if of.get("useDigest") and of.get("digest") else reference


def ca_secret(cert: str, key: str) -> Obj:
    """Secret `cilium-ca`; both arguments are base64."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cilium-ca", "namespace": NAMESPACE},
        "type": "Opaque",
        "data": {"ca.crt": cert, "ca.key": key},
    }


def secret(name: str, data: dict[str, str], kind: str = "Opaque") -> Obj:
    """A Secret of base64 values."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": kind,
        "data": data,
    }


def encoded(text: str) -> str:
    """Base64 of a text."""
    return base64.b64encode(text.encode()).decode()


def metrics_service(name: str, app: str, ports: dict[str, int]) -> Obj:
    """A headless Service for the metrics of a program; `ports` by their names."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE,
                     "labels": {"k8s-app": app, "app.kubernetes.io/name": app, **PART_OF}},
        "spec": {
            "clusterIP": "None",
            "type": "ClusterIP",
            "selector": {"k8s-app": app},
            "ports": [{"name": port, "port": number, "protocol": "TCP", "targetPort": port}
                      for port, number in ports.items()],
        },
    }  # fmt: skip
