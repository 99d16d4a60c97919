"""Cilium and Cluster Mesh as one HelmChart for k3s's own helm-controller, and the Secret with its CA.

Every cluster's peers are known from the plan, so the first install already holds the whole clustermesh: there is no
connect round. Chart values: Cilium 1.20 (`install/kubernetes/cilium/values.yaml`); HelmChart fields: helm-controller
v0.17.1, which k3s v1.36 carries.
"""

import base64
from typing import Any

import yaml

from crdbmesh.desired import Object, kube_object
from crdbmesh.desired import machine as hosts
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Mesh, Region


def values(mesh: Mesh, region: Region) -> dict[str, Any]:
    """Return the chart's values for one region's cluster, without the CA."""
    several = len(region.machines) > 1
    chart: dict[str, Any] = {
        "cluster": {"name": region.name, "id": region.cluster_id},
        "kubeProxyReplacement": True,
        # k3s serves the API on every node's loopback, so no node is a single point of failure.
        "k8sServiceHost": "127.0.0.1",
        "k8sServicePort": 6444,
        "routingMode": "tunnel",
        "tunnelProtocol": "vxlan",
        "ipam": {
            "mode": "cluster-pool",
            "operator": {"clusterPoolIPv4PodCIDRList": [str(region.ranges.pods)], "clusterPoolIPv4MaskSize": 24},
        },
        "operator": {"replicas": 2 if several else 1},
        "hubble": {"enabled": False},
    }
    if mesh.layout > 1:
        # No policy of ours looks into requests, and Envoy would run on every node for nothing.
        chart["l7Proxy"] = False
    if mesh.network.encryption == "wireguard":
        # In every cluster; Cilium takes its 80 bytes off the MTU by itself (docs.cilium.io, "WireGuard Encryption").
        chart["encryption"] = {"enabled": True, "type": "wireguard"}
    others = mesh.others(region)
    if others:
        chart["clustermesh"] = _clustermesh(others, replicas=2 if several else 1)
    return chart


def ca_values(*, ca_cert: str, ca_key: str) -> dict[str, Any]:
    """Return the part of the values that holds the CA, which is kept apart in a Secret."""
    return {"tls": {"ca": {"cert": _base64(ca_cert), "key": _base64(ca_key)}}}


def secret(*, ca_cert: str, ca_key: str) -> Object:
    """Return the Secret from which the helm-controller takes the CA."""
    data = {"values.yaml": _base64(yaml.safe_dump(ca_values(ca_cert=ca_cert, ca_key=ca_key)))}
    return kube_object("v1", "Secret", names.CILIUM_VALUES_SECRET, names.KUBE_SYSTEM, type="Opaque", data=data)


def chart(mesh: Mesh, region: Region) -> Object:
    """Return the HelmChart.

    `bootstrap` lets its job run before there is any pod network; `abort` keeps a failed upgrade from uninstalling
    the network under all pods, which the default policy does.
    """
    spec = {
        "chart": hosts.helm_chart_url(mesh),
        "targetNamespace": names.KUBE_SYSTEM,
        "bootstrap": True,
        "failurePolicy": "abort",
        "valuesContent": yaml.safe_dump(values(mesh, region), sort_keys=True),
        "valuesSecrets": [{"name": names.CILIUM_VALUES_SECRET, "keys": ["values.yaml"]}],
    }
    return kube_object("helm.cattle.io/v1", "HelmChart", names.CILIUM, names.KUBE_SYSTEM, spec=spec)


def _clustermesh(others: tuple[Region, ...], *, replicas: int) -> dict[str, Any]:
    return {
        "useAPIServer": True,
        "maxConnectedClusters": 255,
        "apiserver": {
            "replicas": replicas,
            "service": {"type": "NodePort", "nodePort": names.CLUSTERMESH_PORT, "externalTrafficPolicy": "Cluster"},
            "tls": {"authMode": "cluster", "auto": {"enabled": True, "method": "cronJob", "schedule": "0 0 1 */4 *"}},
        },
        "config": {
            "enabled": True,
            "domain": "mesh.cilium.io",
            "clusters": [
                {
                    "name": other.name,
                    "port": names.CLUSTERMESH_PORT,
                    # All of them: losing a node loses no link.
                    "ips": [str(machine.address) for machine in other.machines],
                }
                for other in others
            ],
        },
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
