"""The objects of k3s's packaged components.

From k3s v1.36's `manifests/` folder. The Corefile has the form in force since k3s PR 12980: `import
/etc/coredns/custom/*.override` stands before `forward`.
"""

from __future__ import annotations

from crdbmesh_simulator.kubernetes.controllers.helm import resource_definitions
from crdbmesh_simulator.kubernetes.controllers.objects import Obj

SYSTEM = "kube-system"
_RBAC = "rbac.authorization.k8s.io"


def _object(version: str, kind: str, name: str, namespace: str | None = SYSTEM, **fields: object) -> Obj:
    meta: Obj = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    labels = fields.pop("labels", None)
    if labels:
        meta["labels"] = labels
    annotations = fields.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": version, "kind": kind, "metadata": meta, **fields}


def namespaces() -> list[Obj]:
    """The four namespaces that every cluster has."""
    names = ("kube-system", "default", "kube-public", "kube-node-lease")
    return [
        _object("v1", "Namespace", name, None, labels={"kubernetes.io/metadata.name": name},
                spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"})
        for name in names
    ]  # fmt: skip


def kubernetes_service(address: str) -> Obj:
    """The API's own Service."""
    return _object(
        "v1", "Service", "kubernetes", "default",
        labels={"component": "apiserver", "provider": "kubernetes"},
        spec={"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ipFamilies": ["IPv4"],
              "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
              "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]},
    )  # fmt: skip


def priorities() -> list[Obj]:
    """The two built-in priority classes."""
    values = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
    return [_object("scheduling.k8s.io/v1", "PriorityClass", name, None, value=value) for name, value in values.items()]


def roles() -> list[Obj]:
    """The role that helm's jobs are bound to; those for users are not part of this world."""
    rules: list[Obj] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                        {"nonResourceURLs": ["*"], "verbs": ["*"]}]  # fmt: skip
    return [_object(f"{_RBAC}/v1", "ClusterRole", "cluster-admin", None, rules=rules)]


def _definition(group: str, plural: str, kind: str, versions: list[Obj]) -> Obj:
    names: Obj = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return _object(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}", None,
        spec={"group": group, "names": names, "scope": "Namespaced", "versions": versions},
    )  # fmt: skip


def _anything(version: str) -> list[Obj]:
    """A version whose objects may hold anything."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return [{"name": version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}]


def definitions() -> list[Obj]:
    """The custom resources of k3s itself."""
    return [
        _definition("helm.cattle.io", "helmcharts", "HelmChart", resource_definitions.versions("HelmChart")),
        _definition(
            "helm.cattle.io", "helmchartconfigs", "HelmChartConfig", resource_definitions.versions("HelmChartConfig")
        ),
        _definition("k3s.cattle.io", "addons", "Addon", _anything("v1")),
        _definition("k3s.cattle.io", "etcdsnapshotfiles", "ETCDSnapshotFile", _anything("v1")),
    ]


def corefile(domain: str) -> str:
    """k3s's Corefile."""
    return f"""\
.:53 {{
    errors
    health
    ready
    kubernetes {domain} in-addr.arpa ip6.arpa {{
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }}
    hosts /etc/coredns/NodeHosts {{
      ttl 60
      reload 15s
      fallthrough
    }}
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
    forward . /etc/resolv.conf
}}
import /etc/coredns/custom/*.server
"""


def coredns(*, domain: str, address: str, node_hosts: str) -> list[Obj]:
    """CoreDNS: account, ConfigMap, Deployment, Service."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    container: Obj = {
        "name": "coredns",
        "image": "rancher/mirrored-coredns-coredns:1.14.4",
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "resources": {"limits": {"memory": "170Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
        "ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP"},
                  {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
                  {"containerPort": 9153, "name": "metrics", "protocol": "TCP"}],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["all"]}},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080, "scheme": "HTTP"}, "initialDelaySeconds": 60,
                          "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181, "scheme": "HTTP"}, "initialDelaySeconds": 0,
                           "periodSeconds": 2, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True},
                         {"name": "custom-config-volume", "mountPath": "/etc/coredns/custom", "readOnly": True}],
    }  # fmt: skip
    pod = {
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                                       "whenUnsatisfiable": "DoNotSchedule",
                                       "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "containers": [container],
        "volumes": [
            {"name": "config-volume", "configMap": {"name": "coredns", "items": [
                {"key": "Corefile", "path": "Corefile"}, {"key": "NodeHosts", "path": "NodeHosts"}]}},
            {"name": "custom-config-volume", "configMap": {"name": "coredns-custom", "optional": True}},
        ],
    }  # fmt: skip
    return [
        _object("v1", "ServiceAccount", "coredns"),
        _object(f"{_RBAC}/v1", "ClusterRole", "system:coredns", None, rules=[
            {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"],
             "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]),
        _object(f"{_RBAC}/v1", "ClusterRoleBinding", "system:coredns", None,
                roleRef={"apiGroup": _RBAC, "kind": "ClusterRole", "name": "system:coredns"},
                subjects=[{"kind": "ServiceAccount", "name": "coredns", "namespace": SYSTEM}]),
        _object("v1", "ConfigMap", "coredns", data={"Corefile": corefile(domain), "NodeHosts": node_hosts}),
        _object("apps/v1", "Deployment", "coredns", labels=labels, spec={
            "revisionHistoryLimit": 0,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {"metadata": {"labels": {"k8s-app": "kube-dns"}}, "spec": pod}}),
        _object("v1", "Service", "kube-dns",
                labels={**labels, "kubernetes.io/cluster-service": "true"},
                annotations={"prometheus.io/port": "9153", "prometheus.io/scrape": "true"},
                spec={"selector": {"k8s-app": "kube-dns"}, "clusterIP": address, "clusterIPs": [address],
                      "type": "ClusterIP", "ipFamilyPolicy": "SingleStack",
                      "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153}]}),
    ]  # fmt: skip


def local_storage() -> list[Obj]:
    """The local-path provisioner and its storage class, which is the default."""
    container = {
        "name": "local-path-provisioner",
        "image": "rancher/local-path-provisioner:v0.0.36",
        "imagePullPolicy": "IfNotPresent",
        "command": ["local-path-provisioner", "start", "--config", "/etc/config/config.json"],
        "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/config/"}],
    }
    pod = {
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "local-path-provisioner-service-account",
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
        "volumes": [{"name": "config-volume", "configMap": {"name": "local-path-config"}}],
    }  # fmt: skip
    paths = '{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["/var/lib/rancher/k3s/storage"]}]}'
    return [
        _object("v1", "ServiceAccount", "local-path-provisioner-service-account"),
        _object("v1", "ConfigMap", "local-path-config", data={"config.json": paths}),
        _object("storage.k8s.io/v1", "StorageClass", "local-path", None,
                annotations={"defaultVolumeType": "local", "storageclass.kubernetes.io/is-default-class": "true"},
                provisioner="rancher.io/local-path", reclaimPolicy="Delete", volumeBindingMode="WaitForFirstConsumer"),
        _object("apps/v1", "Deployment", "local-path-provisioner", spec={
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "selector": {"matchLabels": {"app": "local-path-provisioner"}},
            "template": {"metadata": {"labels": {"app": "local-path-provisioner"}}, "spec": pod}}),
    ]  # fmt: skip


def metrics_server() -> list[Obj]:
    """metrics-server."""
    check = {
        "httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"},
        "periodSeconds": 2,
        "failureThreshold": 3,
    }
    container = {
        "name": "metrics-server",
        "image": "rancher/mirrored-metrics-server:v0.8.1",
        "imagePullPolicy": "IfNotPresent",
        "args": ["--cert-dir=/tmp", "--secure-port=10250", "--kubelet-use-node-status-port", "--metric-resolution=15s"],
        "ports": [{"name": "https", "containerPort": 10250, "protocol": "TCP"}],
        "readinessProbe": check,
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000},
    }
    labels = {"k8s-app": "metrics-server"}
    pod = {
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "metrics-server",
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
        "volumes": [{"name": "tmp-dir", "emptyDir": {}}],
    }  # fmt: skip
    return [
        _object("v1", "ServiceAccount", "metrics-server"),
        _object("apps/v1", "Deployment", "metrics-server", labels=labels, spec={
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": pod}}),
        _object("v1", "Service", "metrics-server", labels={**labels, "kubernetes.io/cluster-service": "true"},
                spec={"selector": labels, "type": "ClusterIP",
                      "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": "https"}]}),
    ]  # fmt: skip


def runtimes() -> list[Obj]:
    """Runtime classes for containerd shims that a node may have."""
    return [_object("node.k8s.io/v1", "RuntimeClass", name, None, handler=name) for name in ("nvidia", "crun")]
