"""Renders the Cilium chart's Cluster Mesh: the API server, its certificates, the list of remote clusters.

After `templates/clustermesh-apiserver/` and `templates/clustermesh-config/` of Cilium 1.20: each remote of Secret
`cilium-kvstoremesh` is dialled at `<name>.<domain>`, whose addresses are host aliases; Secret `cilium-clustermesh`
points the agents at the local `clustermesh-apiserver` Service for every remote (KVStoreMesh).
"""

from __future__ import annotations

import copy

import yaml

from crdbmesh_simulator.kubernetes.controllers.cilium.common import (
    NAMESPACE,
    PART_OF,
    encoded,
    image,
    metrics_service,
    secret,
)
from crdbmesh_simulator.kubernetes.controllers.cilium.mesh_certificates import certgen
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

_METRICS = {"apiserv-metrics": 9962, "etcd-metrics": 9963, "kvmesh-metrics": 9964}


def validate(values: Obj, error: type[Exception]) -> None:
    """The checks of the Cluster Mesh templates; raises `error`."""
    mesh = values["clustermesh"]
    if mesh["useAPIServer"]:
        mode = mesh["apiserver"]["tls"]["authMode"]
        if mode not in ("legacy", "migration", "cluster"):
            raise error(".Values.clustermesh.apiserver.tls.authMode must be one of legacy, migration, cluster")
        auto = mesh["apiserver"]["tls"]["auto"]
        if not auto["enabled"] or auto["method"] != "cronJob":
            raise error(f"clustermesh.apiserver.tls.auto.method {auto['method']} is not part of this simulated world")
    if mesh["config"]["enabled"]:
        for name, remote in clusters(values, error).items():
            if not remote.get("ips") and not remote.get("address"):
                raise error("missing clustermesh.apiserver.config.clusters.address")
            if not remote.get("port"):
                raise error(f"missing clustermesh.config.clusters.port for {name}")


def clusters(values: Obj, error: type[Exception] = ValueError) -> dict[str, Obj]:
    """The enabled remote clusters by name, from either form of `clustermesh.config.clusters`."""
    given = values["clustermesh"]["config"]["clusters"]
    if isinstance(given, dict):
        listed = [{**(remote or {}), "name": name} for name, remote in given.items()]
    elif isinstance(given, list):
        listed = copy.deepcopy(given)
    else:
        raise error(f"unknown type {type(given).__name__} for clustermesh.config.clusters")
    return {str(remote["name"]): remote for remote in listed if remote.get("enabled") is not False}


def render(values: Obj, *, version: str) -> list[Obj]:
    """The objects of the Cluster Mesh part.

    Args:
        values: merged values.
        version: the chart's version.
    """
    mesh = values["clustermesh"]
    objects: list[Obj] = []
    if mesh["config"]["enabled"]:
        objects += _remotes(values)
    if not mesh["useAPIServer"]:
        return objects
    if mesh["apiserver"]["tls"]["authMode"] != "legacy":
        users = [{"name": f"remote-{name}", "role": "remote"} for name in clusters(values)]
        if not mesh["config"]["enabled"]:
            users = []
        objects.append(
            _config_map(
                "clustermesh-remote-users", {"users.yaml": yaml.dump({"users": users}, Dumper=yaml.CSafeDumper)}
            )
        )
    metrics = metrics_service("clustermesh-apiserver-metrics", "clustermesh-apiserver", _METRICS)
    objects += [_service(values), metrics, _deployment(values, version=version)]
    return objects + certgen(values)


def _port(name: str) -> Obj:
    return {"name": name, "containerPort": _METRICS[name], "protocol": "TCP"}


def _config_map(name: str, data: dict[str, str]) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


def _remotes(values: Obj) -> list[Obj]:
    domain = values["clustermesh"]["config"]["domain"]
    folder = "/var/lib/cilium/clustermesh"
    local: dict[str, str] = {}
    remote: dict[str, str] = {}
    for name, cluster in clusters(values).items():
        agents = {
            "endpoints": [f"https://clustermesh-apiserver.{NAMESPACE}.svc:2379"],
            "trusted-ca-file": f"{folder}/local-etcd-client-ca.crt",
            "key-file": f"{folder}/local-etcd-client.key",
            "cert-file": f"{folder}/local-etcd-client.crt",
        }
        host = f"{name}.{domain}" if cluster.get("ips") else cluster["address"]
        kvstoremesh: Obj = {
            "endpoints": [f"https://{host}:{cluster['port']}"],
            "trusted-ca-file": f"{folder}/common-etcd-client-ca.crt",
            "key-file": f"{folder}/common-etcd-client.key",
            "cert-file": f"{folder}/common-etcd-client.crt",
        }
        if cluster.get("ips"):
            kvstoremesh["cilium-host-aliases"] = [{"hostname": host, "ips": list(cluster["ips"])}]
        local[name] = encoded(yaml.dump(agents, sort_keys=False, Dumper=yaml.CSafeDumper))
        remote[name] = encoded(yaml.dump(kvstoremesh, sort_keys=False, Dumper=yaml.CSafeDumper))
    return [secret("cilium-clustermesh", local), secret("cilium-kvstoremesh", remote)]


def _service(values: Obj) -> Obj:
    apiserver = values["clustermesh"]["apiserver"]
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
            "namespace": NAMESPACE,
            "labels": {"k8s-app": "clustermesh-apiserver", **PART_OF,
                       "app.kubernetes.io/name": "clustermesh-apiserver", **wanted["labels"]},
            "annotations": dict(wanted["annotations"]),
        },
        "spec": spec,
    }  # fmt: skip


def _deployment(values: Obj, *, version: str) -> Obj:
    mesh = values["clustermesh"]
    apiserver = mesh["apiserver"]
    labels = {"k8s-app": "clustermesh-apiserver", "app.kubernetes.io/name": "clustermesh-apiserver", **PART_OF}
    reference = image(apiserver["image"], f"v{version}")
    common = {
        "image": reference,
        "imagePullPolicy": apiserver["image"]["pullPolicy"],
        "securityContext": apiserver["securityContext"],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    uid = {"name": "INITIAL_CLUSTER_TOKEN", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    identity: list[Obj] = [
        {"name": "CLUSTER_NAME", "valueFrom": {"configMapKeyRef": {"name": "cilium-config", "key": "cluster-name"}}},
        {"name": "CLUSTER_ID", "valueFrom": {"configMapKeyRef": {"name": "cilium-config", "key": "cluster-id"}}},
    ]
    users = apiserver["tls"]["authMode"] != "legacy"
    admin = {"name": "etcd-admin-client", "mountPath": "/var/lib/cilium/etcd-secrets", "readOnly": True}
    users_mount = {"name": "etcd-users-config", "mountPath": "/var/lib/cilium/etcd-config", "readOnly": True}
    etcd = {
        **common,
        "name": "etcd",
        "command": ["/usr/bin/etcd"],
        "args": [
            "--data-dir=/var/run/etcd", "--name=clustermesh-apiserver", "--client-cert-auth",
            "--trusted-ca-file=/var/lib/etcd-secrets/ca.crt", "--cert-file=/var/lib/etcd-secrets/tls.crt",
            "--key-file=/var/lib/etcd-secrets/tls.key",
            "--listen-client-urls=https://127.0.0.1:2379,https://[$(HOSTNAME_IP)]:2379",
            "--advertise-client-urls=https://[$(HOSTNAME_IP)]:2379",
            "--initial-cluster-token=$(INITIAL_CLUSTER_TOKEN)", "--auto-compaction-retention=1",
        ],
        "env": [{"name": "ETCDCTL_API", "value": "3"},
                {"name": "HOSTNAME_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, uid],
        "ports": [{"name": "etcd", "containerPort": 2379, "protocol": "TCP"}, _port("etcd-metrics")],
        "resources": apiserver["etcd"]["resources"],
        "volumeMounts": [{"name": "etcd-server-secrets", "mountPath": "/var/lib/etcd-secrets", "readOnly": True},
                         {"name": "etcd-data-dir", "mountPath": "/var/run/etcd"}],
    }  # fmt: skip
    server = {
        **common,
        "name": "apiserver",
        "command": ["/usr/bin/clustermesh-apiserver"],
        "args": [
            "clustermesh", "--cluster-name=$(CLUSTER_NAME)", "--cluster-id=$(CLUSTER_ID)",
            "--kvstore-opt=etcd.config=/var/lib/cilium/etcd-config.yaml",
            f"--max-connected-clusters={mesh['maxConnectedClusters']}", f"--health-port={apiserver['healthPort']}",
            *(["--cluster-users-enabled", "--cluster-users-config-path=/var/lib/cilium/etcd-config/users.yaml"]
              if users else []),
            *apiserver["extraArgs"],
        ],
        "env": [*identity, *apiserver["extraEnv"]],
        "ports": [{"name": "apiserv-health", "containerPort": int(apiserver["healthPort"]), "protocol": "TCP"},
                  _port("apiserv-metrics")],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "apiserv-health"}, **apiserver["readinessProbe"]},
        "resources": apiserver["resources"],
        "volumeMounts": [admin, *([users_mount] if users else [])],
    }  # fmt: skip
    containers = [etcd, server]
    volumes: list[Obj] = [
        {"name": "etcd-server-secrets", "projected": {"defaultMode": 0o400, "sources": [
            _certificate("clustermesh-apiserver-server-cert")]}},
        {"name": "etcd-admin-client", "projected": {"defaultMode": 0o400, "sources": [
            _certificate("clustermesh-apiserver-admin-cert")]}},
        {"name": "etcd-data-dir", "emptyDir": {}},
    ]  # fmt: skip
    if users:
        volumes.append(
            {"name": "etcd-users-config", "configMap": {"name": "clustermesh-remote-users", "defaultMode": 0o400}}
        )
    replica = apiserver["kvstoremesh"]
    if replica["enabled"]:
        containers.append({
            **common,
            "name": "kvstoremesh",
            "command": ["/usr/bin/clustermesh-apiserver"],
            "args": [
                "kvstoremesh", "--cluster-name=$(CLUSTER_NAME)", "--cluster-id=$(CLUSTER_ID)",
                "--kvstore-opt=etcd.config=/var/lib/cilium/etcd-config.yaml",
                "--clustermesh-config=/var/lib/cilium/clustermesh",
                f"--max-connected-clusters={mesh['maxConnectedClusters']}", f"--health-port={replica['healthPort']}",
                *replica["extraArgs"],
            ],
            "env": [*identity, *replica["extraEnv"]],
            "ports": [{"name": "kvmesh-health", "containerPort": int(replica["healthPort"]), "protocol": "TCP"},
                      _port("kvmesh-metrics")],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "kvmesh-health"}, **replica["readinessProbe"]},
            "resources": replica["resources"],
            "volumeMounts": [admin, {"name": "kvstoremesh-secrets", "mountPath": "/var/lib/cilium/clustermesh",
                                     "readOnly": True}],
        })  # fmt: skip
        volumes.append({"name": "kvstoremesh-secrets", "projected": {"defaultMode": 0o400, "sources": [
            {"secret": {"name": "cilium-kvstoremesh", "optional": True}},
            _certificate("clustermesh-apiserver-remote-cert", prefix="common-etcd-client", optional=True),
        ]}})  # fmt: skip
    pod: Obj = {
        "securityContext": apiserver["podSecurityContext"],
        "initContainers": [{
            **common, "name": "etcd-init", "command": ["/usr/bin/clustermesh-apiserver"],
            "args": ["etcdinit", "--etcd-cluster-name=clustermesh-apiserver",
                     "--etcd-initial-cluster-token=$(INITIAL_CLUSTER_TOKEN)", "--etcd-data-dir=/var/run/etcd"],
            "env": [{"name": "CILIUM_CLUSTER_NAME",
                     "valueFrom": {"configMapKeyRef": {"name": "cilium-config", "key": "cluster-name"}}}, uid],
            "volumeMounts": [{"name": "etcd-data-dir", "mountPath": "/var/run/etcd"}],
        }],
        "containers": containers,
        "volumes": volumes,
        "restartPolicy": "Always",
        "priorityClassName": apiserver["priorityClassName"] or "system-cluster-critical",
        "serviceAccountName": "clustermesh-apiserver",
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": apiserver["terminationGracePeriodSeconds"],
        "affinity": apiserver["affinity"],
        "nodeSelector": apiserver["nodeSelector"],
        "tolerations": apiserver["tolerations"],
        "topologySpreadConstraints": apiserver["topologySpreadConstraints"],
    }  # fmt: skip
    if mesh["config"]["enabled"] and replica["enabled"] and not mesh["disableKubernetesHostAliases"]:
        domain = mesh["config"]["domain"]
        pod["hostAliases"] = [
            {"ip": ip, "hostnames": [f"{name}.{domain}"]}
            for name, cluster in clusters(values).items()
            for ip in cluster.get("ips") or []
        ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "clustermesh-apiserver", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": int(apiserver["replicas"]),
            "selector": {"matchLabels": {"k8s-app": "clustermesh-apiserver"}},
            "strategy": apiserver["updateStrategy"],
            "template": {
                "metadata": {"labels": {**labels, **apiserver["podLabels"]},
                             "annotations": {"kubectl.kubernetes.io/default-container": "apiserver",
                                             **apiserver["podAnnotations"]}},
                "spec": pod,
            },
        },
    }  # fmt: skip


def _certificate(secret: str, *, prefix: str | None = None, optional: bool = False) -> Obj:
    if prefix is None:
        items = [{"key": key, "path": key} for key in ("tls.crt", "tls.key", "ca.crt")]
    else:
        items = [
            {"key": "tls.key", "path": f"{prefix}.key"},
            {"key": "tls.crt", "path": f"{prefix}.crt"},
            {"key": "ca.crt", "path": f"{prefix}-ca.crt"},
        ]
    return {"secret": {"name": secret, "items": items, **({"optional": True} if optional else {})}}
