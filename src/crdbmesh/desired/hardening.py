"""The part of a machine of layout 2 beyond k3s's defaults: kernel, kubelet, admission, audit, images, snapshots.

Sources: docs.k3s.io, "CIS Hardening Guide" (all values that name no other), "Embedded Registry Mirror" and
"etcd-snapshot"; kubernetes.io, "Reserve Compute Resources", "Node-pressure Eviction" and "Node Shutdowns"; k3s's
`pkg/daemons/agent/agent_linux.go` (the kubelet reads its folder of configuration). Layout 1 has none of it.
"""

from typing import Any

import yaml

from crdbmesh.desired.cockroach import GRACE_SECONDS
from crdbmesh.spec.mesh import Machine, Mesh, Region

SYSCTL = "/etc/sysctl.d/90-kubelet.conf"
LOGIND = "/etc/systemd/logind.conf.d/unattended-upgrades-logind-maxdelay.conf"
"""The drop-in takes the place of Ubuntu's of that name, which allows 30 s and wins over the kubelet's own
(kubernetes/kubernetes#102818); the kubelet has logind read it again."""
KUBELET = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-crdbmesh.conf"
REGISTRIES = "/etc/rancher/k3s/registries.yaml"
ADMISSION = "/etc/rancher/k3s/admission.yaml"
AUDIT = "/etc/rancher/k3s/audit.yaml"
AUDIT_LOG = "/var/lib/rancher/k3s/server/logs/audit.log"

RESERVED_CPU, RESERVED_GIB = 1.0, 2.0
"""The share of a machine that no pod gets: k3s's process (etcd, API server, kubelet) and the system's services."""
SNAPSHOT_HOURS, SNAPSHOTS = 6, 12
"""The hours between a server's snapshots of etcd, and the number that it keeps: three days of them."""

_KERNEL = {"vm.panic_on_oom": 0, "vm.overcommit_memory": 1, "kernel.panic": 10, "kernel.panic_on_oops": 1}
_CRITICAL_S, _OTHERS_S = 30, GRACE_SECONDS + 30
_CIPHERS = [
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for cipher in ("AES_256_GCM_SHA384", "AES_128_GCM_SHA256", "CHACHA20_POLY1305")
    for key in ("ECDSA", "RSA")
]


def settings(mesh: Mesh, region: Region, machine: Machine) -> dict[str, Any]:
    """Return the settings of k3s that a machine of the mesh has beyond those of layout 1."""
    if mesh.layout < 2:
        return {}
    node: dict[str, Any] = {"protect-kernel-defaults": True}
    if machine not in region.servers:
        return node
    api = {
        "enable-admission-plugins": "NodeRestriction,EventRateLimit",
        "admission-control-config-file": ADMISSION,
        "audit-policy-file": AUDIT,
        "audit-log-path": AUDIT_LOG,
        "audit-log-maxage": 30,
        "audit-log-maxbackup": 10,
        "audit-log-maxsize": 100,
        "service-account-extend-token-expiration": "false",
    }
    return {
        **node,
        "secrets-encryption": True,
        "embedded-registry": True,
        "etcd-snapshot-schedule-cron": f"0 */{SNAPSHOT_HOURS} * * *",
        "etcd-snapshot-retention": SNAPSHOTS,
        "etcd-snapshot-compress": True,
        "kube-apiserver-arg": [f"{name}={value}" for name, value in api.items()],
        "kube-controller-manager-arg": ["terminated-pod-gc-threshold=100"],
    }


def files(mesh: Mesh, region: Region, machine: Machine) -> dict[str, str]:
    """Return the files that a machine has before k3s starts, by path; k3s and the kubelet read them at their start."""
    if mesh.layout < 2:
        return {}
    node = {
        SYSCTL: "".join(f"{name}={value}\n" for name, value in _KERNEL.items()),
        LOGIND: f"[Login]\nInhibitDelayMaxSec={_CRITICAL_S + _OTHERS_S}\n",
        KUBELET: _text(_kubelet()),
        # Named without an endpoint, a registry is shared between the nodes and asked itself when none has an image.
        REGISTRIES: _text({"mirrors": {"docker.io": None, "quay.io": None}}),
    }
    if machine not in region.servers:
        return node
    return {**node, ADMISSION: _text(_admission()), AUDIT: _text(_audit())}


def kernel(mesh: Mesh) -> dict[str, str]:
    """Return what the kernel must say of each of its settings, by its file."""
    if mesh.layout < 2:
        return {}
    return {f"/proc/sys/{name.replace('.', '/')}": f"{value}\n" for name, value in _KERNEL.items()}


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "kubeReserved": {"cpu": "750m", "memory": "1536Mi"},
        "systemReserved": {"cpu": "250m", "memory": "512Mi"},
        # k3s keeps none of Kubernetes' thresholds but two of its own.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
        },
        "shutdownGracePeriod": f"{_CRITICAL_S + _OTHERS_S}s",
        "shutdownGracePeriodCriticalPods": f"{_CRITICAL_S}s",
        "podPidsLimit": 4096,
        "streamingConnectionIdleTimeout": "5m",
        "tlsCipherSuites": _CIPHERS,
    }


def _admission() -> dict[str, Any]:
    """Return the configuration of admission: what a namespace without labels allows, and a limit on events.

    Only Kubernetes' own namespace is exempt: there Cilium, helm's jobs and local volumes' helpers run.
    """
    modes = {key: value for mode in ("enforce", "audit", "warn") for key, value in _mode(mode).items()}
    security = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": modes,
        "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
    }
    events = {
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
        "kind": "Configuration",
        "limits": [{"type": "Server", "qps": 5000, "burst": 20000}],
    }
    plugins = [
        {"name": "PodSecurity", "configuration": security},
        {"name": "EventRateLimit", "configuration": events},
    ]
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}


def _mode(mode: str) -> dict[str, str]:
    return {mode: "restricted", f"{mode}-version": "latest"}


def _audit() -> dict[str, Any]:
    """Return the audit policy: who did what, without contents; leases and events would be most of it."""
    noise = [{"group": "coordination.k8s.io", "resources": ["leases"]}, {"group": "", "resources": ["events"]}]
    rules = [{"level": "None", "resources": noise}, {"level": "Metadata"}]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}


def _text(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False)
