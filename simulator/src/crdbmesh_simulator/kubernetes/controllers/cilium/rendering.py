"""Renders the Cilium chart from its values.

After `install/kubernetes/cilium/templates/` of Cilium 1.20 (`validate.yaml`, `cilium-configmap.yaml`, the accounts of
each part, `clustermesh-config/`, the Service and certificates of `clustermesh-apiserver/`). The workloads are in the
folder `manifests`. Each remote of Secret `cilium-kvstoremesh` is dialled at `<name>.<domain>`, whose addresses are host
aliases; Secret `cilium-clustermesh` points the agents at the local `clustermesh-apiserver` Service for every remote.
"""

from __future__ import annotations

import base64
from typing import Any

import yaml

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers.objects import digest, fill

_NAMESPACE = "kube-system"
_FOLDER = "/var/lib/cilium/clustermesh"
_PART_OF = {"app.kubernetes.io/part-of": "cilium"}
_USERS = ["--cluster-users-enabled", "--cluster-users-config-path=/var/lib/cilium/etcd-config/users.yaml"]


def defaults() -> Obj:
    """A fresh copy of the defaults of the chart's values, for the keys that its rendering reads."""
    return fill("cilium-values")[0]


def _clusters(mesh: Obj) -> dict[str, Obj]:
    """The enabled remote clusters by name, from either form of `clustermesh.config.clusters`."""
    given = mesh["config"]["clusters"]
    if isinstance(given, dict):
        given = [{**(remote or {}), "name": name} for name, remote in given.items()]
    return {str(remote["name"]): remote for remote in given if remote.get("enabled") is not False}


def render(values: Obj, *, version: str) -> list[Obj]:
    """The chart's objects in the order in which helm installs them.

    `values`: merged values, defaults included. `version`: the chart's version, which is the images' tag.
    """
    mesh, operator, ca = values["clustermesh"], values["operator"], values["tls"]["ca"]
    apiserver, config = mesh["apiserver"], configuration(values)
    users = apiserver["tls"]["authMode"] != "legacy"
    blanks: Obj = {
        "values": values,
        "envoy": _envoy_enabled(values),
        "images": {
            "agent": _image(values["image"], version),
            "envoy": _image(values["envoy"]["image"], version),
            "operator": _image(operator["image"], version, suffix="-generic"),
            "mesh": _image(apiserver["image"], version),
            "certgen": _image(values["certgen"]["image"], version),
        },
        "api": _api_env(values),
        "priority": values["priorityClassName"] or "system-node-critical",
        "mesh_priority": apiserver["priorityClassName"] or "system-cluster-critical",
        "annotations": {
            **values["podAnnotations"],
            **({"cilium.io/cilium-configmap-checksum": digest(config, 32)} if values["rollOutCiliumPods"] else {}),
        },
        "strategy": _operator_strategy(operator),
        "service": _mesh_service(apiserver),
        "users": {"enabled": users, "arguments": _USERS if users else []},
        "aliases": _aliases(mesh),
        "generate": str(bool(values["certgen"]["generateCA"])).lower(),
        "leaves": _yaml({"certs": leaves(values)}),
    }
    objects = [*fill("cilium-accounts", blanks), _config_map("cilium-config", config)]
    if ca["cert"] and ca["key"]:
        objects.insert(0, _secret("cilium-ca", {"ca.crt": ca["cert"], "ca.key": ca["key"]}))
    if values["agent"]:
        objects += fill("cilium-agent", blanks)
    if _envoy_enabled(values):
        objects += fill("cilium-envoy", blanks)
    if operator["enabled"]:
        objects += fill("cilium-operator", blanks)
    if mesh["config"]["enabled"]:
        objects += _remotes(mesh)
    if not mesh["useAPIServer"]:
        return objects
    if users:
        named = _clusters(mesh) if mesh["config"]["enabled"] else {}
        listed = {"users": [{"name": f"remote-{name}", "role": "remote"} for name in named]}
        objects.append(_config_map("clustermesh-remote-users", {"users.yaml": _yaml(listed)}))
    return [*objects, *fill("cilium-clustermesh", blanks), *fill("cilium-certgen", blanks)]


def configuration(values: Obj) -> dict[str, str]:
    """The data of ConfigMap `cilium-config`."""
    mode, ipam, number = values["routingMode"] or "tunnel", values["ipam"], int(values["cluster"]["id"] or 0)
    lower = {name: str(values[name]).lower() for name in ("policyEnforcementMode", "kubeProxyReplacement")}
    blanks = {"values": values, "mode": mode, "lower": lower, "envoy": _envoy_enabled(values), "cluster_id": number}
    config: dict[str, Any] = fill("cilium-config", blanks)[0]
    if mode == "tunnel":
        config["tunnel-protocol"] = values["tunnelProtocol"] or "vxlan"
        config["tunnel-source-port-range"] = "0-0"
    if ipam["mode"] == "cluster-pool":
        ranges = ipam["operator"]["clusterPoolIPv4PodCIDRList"]
        config["cluster-pool-ipv4-cidr"] = ranges if isinstance(ranges, str) else " ".join(ranges)
        config["cluster-pool-ipv4-mask-size"] = ipam["operator"]["clusterPoolIPv4MaskSize"]
    return {key: _text(value) for key, value in config.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _envoy_enabled(values: Obj) -> bool:
    enabled = values["envoy"]["enabled"]
    return bool(values["l7Proxy"]) if enabled is None else bool(enabled)


def _operator_strategy(operator: Obj) -> Obj:
    strategy: Obj = operator["updateStrategy"]
    if int(operator["replicas"]) == 1 and strategy["type"] == "RollingUpdate":
        return {**strategy, "rollingUpdate": {**strategy["rollingUpdate"], "maxUnavailable": "100%"}}
    return strategy


def _api_env(values: Obj) -> list[Obj]:
    """Return the environment that points agent and operator to the Kubernetes API, if the values name it."""
    if not values["k8sServiceHost"]:
        return []
    return [
        {"name": "KUBERNETES_SERVICE_HOST", "value": str(values["k8sServiceHost"])},
        {"name": "KUBERNETES_SERVICE_PORT", "value": str(values["k8sServicePort"] or 443)},
    ]


def _image(of: Obj, version: str, *, suffix: str = "") -> str:
    """An image reference from the chart's `image` values."""
    reference = f"{of['repository']}{suffix}{of.get('suffix') or ''}:{of.get('tag') or f'v{version}'}"
    return f"{reference}@{of['digest']}" if of.get("useDigest") and of.get("digest") else reference


def _config_map(name: str, data: dict[str, str]) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": _NAMESPACE}, "data": data}


def _secret(name: str, data: dict[str, str]) -> Obj:
    """A Secret of base64 values."""
    return {**_config_map(name, data), "kind": "Secret", "type": "Opaque"}


def _yaml(value: Any) -> str:
    return str(yaml.dump(value, sort_keys=False, Dumper=yaml.CSafeDumper))


def _remotes(mesh: Obj) -> list[Obj]:
    def etcd(host: str, prefix: str, **more: object) -> str:
        files = {"trusted-ca-file": "-ca.crt", "key-file": ".key", "cert-file": ".crt"}
        paths = {name: f"{_FOLDER}/{prefix}-etcd-client{end}" for name, end in files.items()}
        return base64.b64encode(_yaml({"endpoints": [f"https://{host}"], **paths, **more}).encode()).decode()

    local: dict[str, str] = {}
    remote: dict[str, str] = {}
    for name, cluster in _clusters(mesh).items():
        host = f"{name}.{mesh['config']['domain']}" if cluster.get("ips") else cluster["address"]
        aliases = (
            {"cilium-host-aliases": [{"hostname": host, "ips": list(cluster["ips"])}]} if cluster.get("ips") else {}
        )
        local[name] = etcd(f"clustermesh-apiserver.{_NAMESPACE}.svc:2379", "local")
        remote[name] = etcd(f"{host}:{cluster['port']}", "common", **aliases)
    return [_secret("cilium-clustermesh", local), _secret("cilium-kvstoremesh", remote)]


def _aliases(mesh: Obj) -> Obj:
    config = mesh["config"]
    if not config["enabled"] or not mesh["apiserver"]["kvstoremesh"]["enabled"] or mesh["disableKubernetesHostAliases"]:
        return {}
    return {
        "hostAliases": [
            {"ip": ip, "hostnames": [f"{name}.{config['domain']}"]}
            for name, cluster in _clusters(mesh).items()
            for ip in cluster.get("ips") or []
        ]
    }


def _mesh_service(apiserver: Obj) -> Obj:
    """What the Service of the mesh's API server has beside what it always has."""
    wanted, spec = apiserver["service"], {}
    if wanted["type"] != "ClusterIP" and wanted["externalTrafficPolicy"]:
        spec["externalTrafficPolicy"] = wanted["externalTrafficPolicy"]
    affinity = wanted["enableSessionAffinity"]
    if affinity == "Always" or (affinity == "HAOnly" and int(apiserver["replicas"]) > 1):
        spec["sessionAffinity"] = "ClientIP"
    node_port = wanted["type"] == "NodePort" and wanted["nodePort"]
    return {"spec": spec, "port": {"nodePort": int(node_port)} if node_port else {}}


def leaves(values: Obj) -> list[Obj]:
    """The certificates that Cluster Mesh needs, in the form of certgen's configuration."""
    mesh, cluster = values["clustermesh"], values["cluster"]["name"]
    tls = mesh["apiserver"]["tls"]
    blanks = {
        "cluster": cluster,
        "remote": f"remote-{cluster}" if tls["authMode"] == "cluster" else "remote",
        "validity": f"{int(tls['auto']['certValidityDuration']) * 24}h",
        "domain": mesh["config"]["domain"],
        "names": tls["server"]["extraDnsNames"],
        "addresses": tls["server"]["extraIpAddresses"],
        "local": mesh["apiserver"]["kvstoremesh"]["enabled"],
    }
    return fill("cilium-certificates", blanks)
