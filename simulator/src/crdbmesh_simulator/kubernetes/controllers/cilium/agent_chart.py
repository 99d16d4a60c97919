"""The DaemonSets of the Cilium chart: the agent and its envoy.

After `templates/cilium-agent/daemonset.yaml` and `templates/cilium-envoy/` of Cilium 1.20.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.controllers.cilium.common import (
    CONFIG_FOLDER,
    NAMESPACE,
    PART_OF,
    SCRATCH,
    api_env,
    image,
    metrics_service,
)
from crdbmesh_simulator.kubernetes.controllers.objects import Obj, digest


def daemonset(values: Obj, config: dict[str, str], *, version: str) -> Obj:
    """DaemonSet `cilium`: init containers and the agent; `config` is the data of ConfigMap `cilium-config`."""
    reference = image(values["image"], f"v{version}")
    labels = {"k8s-app": "cilium", "app.kubernetes.io/name": "cilium-agent", **PART_OF}
    field_env: list[Obj] = [
        {"name": "K8S_NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "CILIUM_K8S_NAMESPACE",
         "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
    ]  # fmt: skip
    where = api_env(values)
    check = {
        "httpGet": {
            "host": "127.0.0.1", "path": "/healthz", "port": int(values["healthPort"]), "scheme": "HTTP",
            "httpHeaders": [{"name": "brief", "value": "true"}],
        }
    }  # fmt: skip
    agent = {
        "name": "cilium-agent",
        "image": reference,
        "imagePullPolicy": values["image"]["pullPolicy"],
        "command": ["cilium-agent"],
        "args": [f"--config-dir={CONFIG_FOLDER}", *values["extraArgs"]],
        "startupProbe": {**check, **values["startupProbe"], "successThreshold": 1},
        "livenessProbe": {**check, **values["livenessProbe"], "successThreshold": 1, "timeoutSeconds": 5},
        "readinessProbe": {**check, **values["readinessProbe"], "successThreshold": 1, "timeoutSeconds": 5},
        "env": [
            *field_env,
            {"name": "CILIUM_CLUSTERMESH_CONFIG", "value": "/var/lib/cilium/clustermesh/"},
            *where,
            *values["extraEnv"],
        ],
        "lifecycle": {"preStop": {"exec": {"command": ["/cni-uninstall.sh"]}}},
        "resources": values["resources"],
        "ports": [{"name": "health", "containerPort": int(values["healthPort"]), "hostPort": int(values["healthPort"]),
                   "protocol": "TCP"}],
        "securityContext": {"capabilities": {"add": ["CHOWN", "KILL", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_MODULE",
                                                     "SYS_ADMIN", "SYS_RESOURCE"], "drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "cilium-run", "mountPath": "/var/run/cilium"},
            {"name": "etc-cni-netd", "mountPath": "/host/etc/cni/net.d"},
            {"name": "clustermesh-secrets", "mountPath": "/var/lib/cilium/clustermesh", "readOnly": True},
            {"name": "cilium-config-path", "mountPath": CONFIG_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": SCRATCH},
        ],
    }  # fmt: skip
    init: list[Obj] = [
        {"name": "config", "image": reference, "command": ["cilium-dbg", "build-config"], "env": [*field_env, *where],
         "volumeMounts": [{"name": "tmp", "mountPath": SCRATCH}]},
        {"name": "mount-cgroup", "image": reference,
         "command": ["sh", "-ec", "nsenter --cgroup=/hostproc/1/ns/cgroup cilium-mount /run/cilium/cgroupv2"]},
        {"name": "apply-sysctl-overwrites", "image": reference, "command": ["sh", "-ec", "cilium-sysctlfix"]},
        {"name": "mount-bpf-fs", "image": reference, "command": ["/bin/bash", "-c", "--"],
         "args": ['mount | grep "/sys/fs/bpf type bpf" || mount -t bpf bpf /sys/fs/bpf']},
        {"name": "clean-cilium-state", "image": reference, "command": ["/init-container.sh"], "env": where},
        {"name": "install-cni-binaries", "image": reference, "command": ["/install-plugin.sh"],
         "resources": {"requests": {"cpu": "100m", "memory": "10Mi"}}},
    ]  # fmt: skip
    annotations = {"kubectl.kubernetes.io/default-container": "cilium-agent", **values["podAnnotations"]}
    if values["rollOutCiliumPods"]:
        annotations["cilium.io/cilium-configmap-checksum"] = digest(config, 32)
    pod = {
        "initContainers": init,
        "containers": [agent],
        "restartPolicy": "Always",
        "priorityClassName": values["priorityClassName"] or "system-node-critical",
        "serviceAccountName": "cilium",
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": values["terminationGracePeriodSeconds"],
        "hostNetwork": True,
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"labelSelector": {"matchLabels": {"k8s-app": "cilium"}}, "topologyKey": "kubernetes.io/hostname"}
                ]
            }
        },
        "nodeSelector": values["nodeSelector"],
        "tolerations": values["tolerations"],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "cilium-run", "hostPath": {"path": "/var/run/cilium", "type": "DirectoryOrCreate"}},
            {"name": "etc-cni-netd", "hostPath": {"path": values["cni"]["confPath"], "type": "DirectoryOrCreate"}},
            {"name": "clustermesh-secrets", "projected": {"defaultMode": 0o400, "sources": _mesh_sources()}},
            {"name": "cilium-config-path", "configMap": {"name": "cilium-config"}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "cilium", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "cilium"}},
            "updateStrategy": values["updateStrategy"],
            "template": {"metadata": {"labels": {**labels, **values["podLabels"]}, "annotations": annotations},
                         "spec": pod},
        },
    }  # fmt: skip


def _mesh_sources() -> list[Obj]:
    def certificate(secret: str, prefix: str) -> Obj:
        items = [
            {"key": "tls.key", "path": f"{prefix}-etcd-client.key"},
            {"key": "tls.crt", "path": f"{prefix}-etcd-client.crt"},
            {"key": "ca.crt", "path": f"{prefix}-etcd-client-ca.crt"},
        ]
        return {"secret": {"name": secret, "optional": True, "items": items}}

    return [
        {"secret": {"name": "cilium-clustermesh", "optional": True}},
        certificate("clustermesh-apiserver-remote-cert", "common"),
        certificate("clustermesh-apiserver-local-cert", "local"),
    ]


def envoy(values: Obj) -> list[Obj]:
    """DaemonSet `cilium-envoy` and its configuration."""
    labels = {"k8s-app": "cilium-envoy", "name": "cilium-envoy", "app.kubernetes.io/name": "cilium-envoy", **PART_OF}
    port = int(values["envoy"]["healthPort"])
    check = {"httpGet": {"host": "127.0.0.1", "path": "/healthz", "port": port, "scheme": "HTTP"}}
    container = {
        "name": "cilium-envoy",
        "image": image(values["envoy"]["image"], ""),
        "imagePullPolicy": values["envoy"]["image"]["pullPolicy"],
        "command": ["/usr/bin/cilium-envoy-starter"],
        "args": ["--", "-c /var/run/cilium/envoy/bootstrap-config.json", "--base-id 0", "--log-level info"],
        "startupProbe": {**check, "failureThreshold": 105, "periodSeconds": 2, "successThreshold": 1},
        "livenessProbe": {**check, "failureThreshold": 10, "periodSeconds": 30, "successThreshold": 1},
        "readinessProbe": {**check, "failureThreshold": 3, "periodSeconds": 30, "successThreshold": 1},
        "ports": [{"name": "envoy-metrics", "containerPort": 9964, "hostPort": 9964, "protocol": "TCP"}],
        "volumeMounts": [{"name": "envoy-config", "mountPath": "/var/run/cilium/envoy/", "readOnly": True}],
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cilium-envoy-config", "namespace": NAMESPACE},
        "data": {"bootstrap-config.json": '{"node": {"id": "host~127.0.0.1~no-id~localdomain"}}\n'},
    }
    workload = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "cilium-envoy", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "cilium-envoy"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "restartPolicy": "Always",
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": "cilium-envoy",
                    "automountServiceAccountToken": True,
                    "terminationGracePeriodSeconds": 1,
                    "hostNetwork": True,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"operator": "Exists"}],
                    "affinity": {
                        "podAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [
                                {"labelSelector": {"matchLabels": {"k8s-app": "cilium"}},
                                 "topologyKey": "kubernetes.io/hostname"}
                            ]
                        }
                    },
                    "volumes": [
                        {"name": "envoy-config", "configMap": {
                            "name": "cilium-envoy-config",
                            "items": [{"key": "bootstrap-config.json", "path": "bootstrap-config.json"}]}},
                    ],
                },
            },
        },
    }  # fmt: skip
    return [config, metrics_service("cilium-envoy", "cilium-envoy", {"envoy-metrics": 9964}), workload]
