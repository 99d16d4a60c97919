"""Renders the Cilium chart from its values.

After `install/kubernetes/cilium/templates/` of Cilium 1.20 (`validate.yaml`, `cilium-configmap.yaml`, the accounts of
each part, `clustermesh-config/`, the Service and certificates of `clustermesh-apiserver/`). The workloads are in the
folder `manifests`. Each remote of Secret `cilium-kvstoremesh` is dialled at `<name>.<domain>`, whose addresses are host
aliases; Secret `cilium-clustermesh` points the agents at the local `clustermesh-apiserver` Service for every remote.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import yaml

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers.manifests import fill
from crdbmesh_simulator.kubernetes.controllers.objects import digest

_NAME = re.compile(r"^([a-z0-9][-a-z0-9]*)?[a-z0-9]$")
_NAMESPACE = "kube-system"
_FOLDER = "/var/lib/cilium/clustermesh"
_PART_OF = {"app.kubernetes.io/part-of": "cilium"}
_USERS = ["--cluster-users-enabled", "--cluster-users-config-path=/var/lib/cilium/etcd-config/users.yaml"]


class ChartError(Exception):
    """The chart refuses its values; the text is what `fail` in a template says."""


def defaults() -> Obj:
    """A fresh copy of the defaults of the chart's values, for the keys that its rendering reads."""
    return fill("cilium-values")[0]


def validate(values: Obj) -> None:
    """The chart's own checks (`validate.yaml`). Raises ChartError: the values make no sense together."""
    cluster, mesh = values["cluster"], values["clustermesh"]
    name, number = str(cluster["name"]), int(cluster["id"] or 0)
    if not name:
        raise ChartError("The cluster name is invalid: cannot be empty")
    if len(name) > 32:
        raise ChartError("The cluster name is invalid: must not be more than 32 characters")
    if not _NAME.match(name):
        raise ChartError(
            "The cluster name is invalid: must consist of lower case alphanumeric characters and '-', and must start "
            "and end with an alphanumeric character"
        )
    if name == "default" and number != 0:
        raise ChartError("The cluster name is invalid: cannot use default value with cluster ID != 0")
    if int(mesh["maxConnectedClusters"]) not in (255, 511):
        raise ChartError("max-connected-clusters must be set to 255 or 511")
    if not 0 <= number <= int(mesh["maxConnectedClusters"]):
        raise ChartError(f"The cluster ID is invalid: must be in range 0..{mesh['maxConnectedClusters']}")
    if mesh["useAPIServer"] and number == 0:
        raise ChartError("The cluster ID is invalid: must be set to a non-zero value when ClusterMesh is enabled")
    if str(values["kubeProxyReplacement"]).lower() not in ("true", "false"):
        raise ChartError("kubeProxyReplacement must be explicitly set to a valid value (true or false) to continue.")
    _validate_mesh(mesh)


def _validate_mesh(mesh: Obj) -> None:
    if mesh["useAPIServer"]:
        mode = mesh["apiserver"]["tls"]["authMode"]
        if mode not in ("legacy", "migration", "cluster"):
            raise ChartError(".Values.clustermesh.apiserver.tls.authMode must be one of legacy, migration, cluster")
        auto = mesh["apiserver"]["tls"]["auto"]
        if not auto["enabled"] or auto["method"] != "cronJob":
            raise ChartError(
                f"clustermesh.apiserver.tls.auto.method {auto['method']} is not part of this simulated world"
            )
    if mesh["config"]["enabled"]:
        for name, remote in _clusters(mesh).items():
            if not remote.get("ips") and not remote.get("address"):
                raise ChartError("missing clustermesh.apiserver.config.clusters.address")
            if not remote.get("port"):
                raise ChartError(f"missing clustermesh.config.clusters.port for {name}")


def _clusters(mesh: Obj) -> dict[str, Obj]:
    """The enabled remote clusters by name, from either form of `clustermesh.config.clusters`."""
    given = mesh["config"]["clusters"]
    if isinstance(given, dict):
        listed = [{**(remote or {}), "name": name} for name, remote in given.items()]
    elif isinstance(given, list):
        listed = given
    else:
        raise ChartError(f"unknown type {type(given).__name__} for clustermesh.config.clusters")
    return {str(remote["name"]): remote for remote in listed if remote.get("enabled") is not False}


def render(values: Obj, *, version: str) -> list[Obj]:
    """The chart's objects in the order in which helm installs them.

    `values`: merged values, defaults included. `version`: the chart's version, which is the images' tag. Raises
    ChartError: the values make no sense together.
    """
    validate(values)
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
        "annotations": {**values["podAnnotations"], **(
            {"cilium.io/cilium-configmap-checksum": digest(config, 32)} if values["rollOutCiliumPods"] else {})},
        "strategy": _operator_strategy(operator),
        "users": {"enabled": users, "arguments": _USERS if users else []},
        "aliases": _aliases(mesh),
        "generate": str(bool(values["certgen"]["generateCA"])).lower(),
        "leaves": _yaml({"certs": leaves(values)}),
    }  # fmt: skip
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
    objects.append(_mesh_service(apiserver))
    return [*objects, *fill("cilium-clustermesh", blanks), *fill("cilium-certgen", blanks)]


def configuration(values: Obj) -> dict[str, str]:
    """The data of ConfigMap `cilium-config`."""
    mode = values["routingMode"] or "tunnel"
    ipam, mesh, operator = values["ipam"], values["clustermesh"], values["operator"]
    config: dict[str, Any] = {
        "identity-allocation-mode": values["identityAllocationMode"],
        "identity-heartbeat-timeout": "30m0s",
        "identity-gc-interval": "15m0s",
        "cilium-endpoint-gc-interval": "5m0s",
        "nodes-gc-interval": "5m0s",
        "debug": values["debug"]["enabled"],
        "enable-policy": str(values["policyEnforcementMode"]).lower(),
        "cluster-health-port": values["clusterHealthPort"],
        "enable-health-checking": values["healthChecking"],
        "enable-endpoint-health-checking": values["endpointHealthChecking"]["enabled"],
        "enable-ipv4": values["ipv4"]["enabled"],
        "enable-ipv6": values["ipv6"]["enabled"],
        "enable-ipv4-masquerade": True,
        "custom-cni-conf": False,
        "cni-exclusive": values["cni"]["exclusive"],
        "cni-log-file": "/var/run/cilium/cilium-cni.log",
        "write-cni-conf-when-ready": "/host/etc/cni/net.d/05-cilium.conflist",
        "cluster-name": values["cluster"]["name"],
        "cluster-id": int(values["cluster"]["id"] or 0),
        "routing-mode": mode,
        "kube-proxy-replacement": str(values["kubeProxyReplacement"]).lower(),
        "ipam": ipam["mode"],
        "enable-l7-proxy": values["l7Proxy"],
        "external-envoy-proxy": _envoy_enabled(values),
        "operator-api-serve-addr": "127.0.0.1:9234",
        "enable-hubble": values["hubble"]["enabled"],
        "remove-cilium-node-taints": operator["removeNodeTaints"],
        "set-cilium-node-taints": operator["removeNodeTaints"],
        "set-cilium-is-up-condition": operator["setNodeNetworkStatus"],
        "unmanaged-pod-watcher-interval": operator["unmanagedPodWatcher"]["intervalSeconds"],
        "enable-k8s-networkpolicy": True,
        "synchronize-k8s-nodes": True,
        "max-connected-clusters": mesh["maxConnectedClusters"],
        "clustermesh-cache-ttl": mesh["cacheTTL"],
        "clustermesh-enable-endpoint-sync": mesh["enableEndpointSliceSynchronization"],
        "clustermesh-enable-mcs-api": False,
        "clustermesh-default-global-namespace": mesh["defaultGlobalNamespace"],
        "policy-default-local-cluster": mesh["policyDefaultLocalCluster"],
        "bpf-lb-sock": False,
        "nodeport-addresses": "",
    }
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


def _encoded(value: Any) -> str:
    return base64.b64encode(_yaml(value).encode()).decode()


def _remotes(mesh: Obj) -> list[Obj]:
    def etcd(host: str, prefix: str, **more: object) -> str:
        files = {"trusted-ca-file": "-ca.crt", "key-file": ".key", "cert-file": ".crt"}
        paths = {name: f"{_FOLDER}/{prefix}-etcd-client{end}" for name, end in files.items()}
        return _encoded({"endpoints": [f"https://{host}"], **paths, **more})

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
    return {"hostAliases": [
        {"ip": ip, "hostnames": [f"{name}.{config['domain']}"]}
        for name, cluster in _clusters(mesh).items()
        for ip in cluster.get("ips") or []
    ]}  # fmt: skip


def _mesh_service(apiserver: Obj) -> Obj:
    wanted = apiserver["service"]
    port: Obj = {"port": 2379, "protocol": "TCP", "targetPort": 2379}
    if wanted["type"] == "NodePort" and wanted["nodePort"]:
        port["nodePort"] = int(wanted["nodePort"])
    spec: Obj = {
        "type": wanted["type"],
        "selector": {"k8s-app": "clustermesh-apiserver"},
        "ports": [port],
        "internalTrafficPolicy": wanted["internalTrafficPolicy"],
    }
    if wanted["type"] != "ClusterIP" and wanted["externalTrafficPolicy"]:
        spec["externalTrafficPolicy"] = wanted["externalTrafficPolicy"]
    affinity = wanted["enableSessionAffinity"]
    if affinity == "Always" or (affinity == "HAOnly" and int(apiserver["replicas"]) > 1):
        spec["sessionAffinity"] = "ClientIP"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "clustermesh-apiserver",
            "namespace": _NAMESPACE,
            "labels": {"k8s-app": "clustermesh-apiserver", **_PART_OF,
                       "app.kubernetes.io/name": "clustermesh-apiserver", **wanted["labels"]},
            "annotations": dict(wanted["annotations"]),
        },
        "spec": spec,
    }  # fmt: skip


def leaves(values: Obj) -> list[Obj]:
    """The certificates that Cluster Mesh needs, in the form of certgen's configuration."""
    mesh = values["clustermesh"]
    tls = mesh["apiserver"]["tls"]
    name = values["cluster"]["name"]
    remote = f"remote-{name}" if tls["authMode"] == "cluster" else "remote"
    validity = f"{int(tls['auto']['certValidityDuration']) * 24}h"
    service = f"clustermesh-apiserver.{_NAMESPACE}.svc"
    hosts = [service, f"*.{mesh['config']['domain']}", *tls["server"]["extraDnsNames"], "127.0.0.1", "::1",
             *tls["server"]["extraIpAddresses"]]  # fmt: skip
    server = ["signing", "key encipherment", "server auth"]
    client = ["signing", "key encipherment", "client auth"]

    def leaf(short: str, common_name: str, usage: list[str], **more: list[str]) -> Obj:
        return {
            "name": f"clustermesh-apiserver-{short}-cert",
            "namespace": _NAMESPACE,
            "commonName": common_name,
            **more,
            "usage": usage,
            "validity": validity,
        }

    found = [
        leaf("server", service, server, hosts=hosts),
        leaf("admin", f"admin-{name}", client),
        leaf("remote", remote, client),
    ]
    if mesh["apiserver"]["kvstoremesh"]["enabled"]:
        found.append(leaf("local", f"local-{name}", client))
    return found
