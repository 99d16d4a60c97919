"""Renders the Cilium chart from its values: configuration, agent, envoy, operator.

After `install/kubernetes/cilium/templates/` of Cilium 1.20 (`validate.yaml`, `cilium-configmap.yaml`, `cilium-agent/`,
`cilium-envoy/`, `cilium-operator/`, `cilium-ca-secret.yaml`). The Cluster Mesh part is in `mesh_chart.py`.
"""

from __future__ import annotations

import re
from typing import Any

from crdbmesh_simulator.kubernetes.controllers.cilium import mesh_chart
from crdbmesh_simulator.kubernetes.controllers.cilium.agent_chart import daemonset, envoy
from crdbmesh_simulator.kubernetes.controllers.cilium.common import (
    CONFIG_FOLDER,
    NAMESPACE,
    PART_OF,
    SECRETS,
    api_env,
    ca_secret,
    image,
)
from crdbmesh_simulator.kubernetes.controllers.cilium.mesh_certificates import CERTGEN
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

_NAME = re.compile(r"^([a-z0-9][-a-z0-9]*)?[a-z0-9]$")


class ChartError(Exception):
    """The chart refuses its values; the text is what `fail` in a template says."""


def validate(values: Obj) -> None:
    """The chart's own checks (`validate.yaml`).

    Raises:
        ChartError: the values make no sense together.
    """
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
    mesh_chart.validate(values, ChartError)


def render(values: Obj, *, version: str) -> list[Obj]:
    """The chart's objects in the order in which helm installs them.

    Args:
        values: merged values, defaults included.
        version: the chart's version, which is the images' tag.

    Raises:
        ChartError: the values make no sense together.
    """
    validate(values)
    config: Obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cilium-config", "namespace": NAMESPACE},
        "data": configuration(values),
    }
    objects: list[Obj] = [*_accounts(values), config]
    if values["tls"]["ca"]["cert"] and values["tls"]["ca"]["key"]:
        objects.insert(0, ca_secret(values["tls"]["ca"]["cert"], values["tls"]["ca"]["key"]))
    if values["agent"]:
        objects.append(daemonset(values, config["data"], version=version))
    if _envoy_enabled(values):
        objects += envoy(values)
    if values["operator"]["enabled"]:
        objects.append(_operator(values, version=version))
    return objects + mesh_chart.render(values, version=version)


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
    if values["MTU"]:
        config["mtu"] = values["MTU"]
    return {key: _text(value) for key, value in config.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _envoy_enabled(values: Obj) -> bool:
    enabled = values["envoy"]["enabled"]
    return bool(values["l7Proxy"]) if enabled is None else bool(enabled)


def _accounts(values: Obj) -> list[Obj]:
    """The namespace of secrets for Envoy, and each program's account with its roles."""
    everywhere = ["cilium", "cilium-operator"]
    names = [*everywhere, *(["cilium-envoy"] if _envoy_enabled(values) else [])]
    roles = [
        ("cilium-config-agent", NAMESPACE, "cilium", "configmaps", ["get", "list", "watch"]),
        ("cilium-tlsinterception-secrets", SECRETS, "cilium", "secrets", ["get", "list", "watch"]),
        ("cilium-operator-tlsinterception-secrets", SECRETS, "cilium-operator", "secrets",
         ["create", "delete", "update", "patch"]),
    ]  # fmt: skip
    if values["clustermesh"]["useAPIServer"]:
        everywhere.append("clustermesh-apiserver")
        names += ["clustermesh-apiserver", CERTGEN]
        roles.append((CERTGEN, NAMESPACE, CERTGEN, "secrets", ["create", "get", "update"]))
    found: list[Obj] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SECRETS, "labels": dict(PART_OF)}}
    ]
    found += [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}}
        for name in names
    ]
    for name in everywhere:
        rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
                 {"apiGroups": ["cilium.io"], "resources": ["*"], "verbs": ["*"]}]  # fmt: skip
        found += _role("Cluster", {"name": name}, name, rules)
    for name, space, account, resource, verbs in roles:
        rules = [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]
        found += _role("", {"name": name, "namespace": space}, account, rules)
    return found


def _role(scope: str, meta: Obj, account: str, rules: list[Obj]) -> list[Obj]:
    """A Role or ClusterRole, bound to an account."""
    group = "rbac.authorization.k8s.io"
    meta = {**meta, "labels": dict(PART_OF)}
    return [
        {"apiVersion": f"{group}/v1", "kind": f"{scope}Role", "metadata": meta, "rules": rules},
        {"apiVersion": f"{group}/v1", "kind": f"{scope}RoleBinding", "metadata": dict(meta),
         "roleRef": {"apiGroup": group, "kind": f"{scope}Role", "name": meta["name"]},
         "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]},
    ]  # fmt: skip


def _operator(values: Obj, *, version: str) -> Obj:
    operator = values["operator"]
    labels = {"io.cilium/app": "operator", "name": "cilium-operator", **PART_OF,
              "app.kubernetes.io/name": "cilium-operator"}  # fmt: skip
    env: list[Obj] = [
        {"name": "K8S_NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "CILIUM_K8S_NAMESPACE",
         "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
        {"name": "CILIUM_DEBUG",
         "valueFrom": {"configMapKeyRef": {"key": "debug", "name": "cilium-config", "optional": True}}},
    ]  # fmt: skip
    env += api_env(values)
    check = {"httpGet": {"host": "127.0.0.1", "path": "/healthz", "port": 9234, "scheme": "HTTP"}}
    container = {
        "name": "cilium-operator",
        "image": image(operator["image"], f"v{version}", suffix="-generic"),
        "imagePullPolicy": operator["image"]["pullPolicy"],
        "command": ["cilium-operator-generic"],
        "args": [f"--config-dir={CONFIG_FOLDER}", "--debug=$(CILIUM_DEBUG)", *operator["extraArgs"]],
        "env": [*env, *operator["extraEnv"]],
        "ports": [
            {"name": "health", "containerPort": 9234, "hostPort": 9234, "protocol": "TCP"},
            *([{"name": "prometheus", "containerPort": operator["prometheus"]["port"],
                "hostPort": operator["prometheus"]["port"], "protocol": "TCP"}]
              if operator["prometheus"]["enabled"] else []),
        ],
        "livenessProbe": {**check, "initialDelaySeconds": 60, "periodSeconds": 10, "timeoutSeconds": 3},
        "readinessProbe": {**check, "initialDelaySeconds": 0, "periodSeconds": 5, "timeoutSeconds": 3,
                           "failureThreshold": 5},
        "resources": operator["resources"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "cilium-config-path", "mountPath": CONFIG_FOLDER, "readOnly": True}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }  # fmt: skip
    strategy = operator["updateStrategy"]
    if int(operator["replicas"]) == 1 and strategy["type"] == "RollingUpdate":
        surge = strategy["rollingUpdate"]["maxSurge"]
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": "100%"}}
    pod = {
        "hostNetwork": operator["hostNetwork"],
        "restartPolicy": "Always",
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "cilium-operator",
        "automountServiceAccountToken": True,
        "affinity": operator["affinity"],
        "nodeSelector": operator["nodeSelector"],
        "tolerations": operator["tolerations"],
        "containers": [container],
        "volumes": [{"name": "cilium-config-path", "configMap": {"name": "cilium-config"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cilium-operator", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": int(operator["replicas"]),
            "selector": {"matchLabels": {"io.cilium/app": "operator", "name": "cilium-operator"}},
            "strategy": strategy,
            "template": {
                "metadata": {
                    "labels": {**labels, **operator["podLabels"]},
                    "annotations": dict(operator["podAnnotations"]),
                },
                "spec": pod,
            },
        },
    }
