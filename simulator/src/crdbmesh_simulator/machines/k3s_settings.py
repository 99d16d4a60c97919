"""Reads the settings of `k3s server` and `k3s agent`: config.yaml, its .d folder, flags and environment.

Sources: docs.k3s.io (configuration file, server and agent reference), k3s's `pkg/cli/cmds` and `pkg/configfilearg`. A
setting in the file of a *server* that no flag has is skipped with a warning, as k3s does it; on an agent, and on any
command line, it is `flag provided but not defined`.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from crdbmesh_simulator.filesystem import Actor, FileSystem

CONFIG = "/etc/rancher/k3s/config.yaml"

_AGENT_TEXT = (
    "token", "token-file", "server", "data-dir", "node-name", "image-credential-provider-bin-dir", "v", "vmodule",
    "log",
    "image-credential-provider-config", "lb-server-port", "container-runtime-endpoint", "default-runtime", "config",
    "image-service-endpoint", "pause-image", "snapshotter", "private-registry", "resolv-conf", "flannel-iface",
    "flannel-conf", "flannel-cni-conf", "vpn-auth", "vpn-auth-file", "cluster-secret", "bind-address",
)  # fmt: skip
_AGENT_SWITCHES = (
    "debug", "alsologtostderr", "with-node-id", "selinux", "protect-kernel-defaults", "rootless", "prefer-bundled-bin",
    "disable-selinux", "docker", "no-flannel", "disable-default-registry-endpoint", "nonroot-devices",
    "enable-pprof", "disable-apiserver-lb",
)  # fmt: skip
_AGENT_LISTS = (
    "node-label", "node-taint", "airgap-extra-registry", "node-ip", "node-external-ip", "node-internal-dns",
    "node-external-dns", "kubelet-arg", "kube-proxy-arg",
)  # fmt: skip
_SERVER_TEXT = (
    "bind-address", "https-listen-port", "supervisor-port", "apiserver-port", "apiserver-bind-address",
    "advertise-address", "advertise-port", "service-node-port-range", "cluster-domain", "flannel-backend",
    "egress-selector-mode", "servicelb-namespace", "write-kubeconfig", "write-kubeconfig-mode",
    "write-kubeconfig-group", "helm-job-image", "agent-token", "agent-token-file", "cluster-reset-restore-path",
    "datastore-endpoint", "datastore-cafile", "datastore-certfile", "datastore-keyfile", "etcd-snapshot-name",
    "etcd-snapshot-schedule-cron", "etcd-snapshot-retention", "etcd-snapshot-dir", "etcd-s3-endpoint",
    "etcd-s3-endpoint-ca", "etcd-s3-access-key", "etcd-s3-secret-key", "etcd-s3-session-token", "etcd-s3-bucket",
    "etcd-s3-bucket-lookup-type", "etcd-s3-region", "etcd-s3-folder", "etcd-s3-proxy", "etcd-s3-config-secret",
    "etcd-s3-timeout", "etcd-s3-retention", "etcd-snapshot-reconcile-interval", "default-local-storage-path",
    "system-default-registry", "secrets-encryption-provider", "kube-controller-arg", "datastore-endpoint-wait",
)  # fmt: skip
_SERVER_SWITCHES = (
    "tls-san-security", "flannel-ipv6-masq", "flannel-external-ip", "cluster-init", "cluster-reset",
    "etcd-expose-metrics", "etcd-disable-snapshots", "etcd-snapshot-compress", "etcd-s3", "etcd-s3-insecure",
    "etcd-s3-skip-ssl-verify", "disable-scheduler", "disable-cloud-controller", "disable-kube-proxy",
    "disable-network-policy", "disable-helm-controller", "disable-apiserver", "disable-controller-manager",
    "disable-etcd", "disable-agent", "embedded-registry", "supervisor-metrics", "secrets-encryption", "kine-tls",
)  # fmt: skip
_SERVER_LISTS = (
    "tls-san", "cluster-cidr", "service-cidr", "cluster-dns", "kube-apiserver-arg", "etcd-arg",
    "kube-controller-manager-arg", "kube-scheduler-arg", "kube-cloud-controller-manager-arg", "disable",
)  # fmt: skip
_SHORT = {"t": "token", "s": "server", "d": "data-dir", "o": "write-kubeconfig", "i": "node-ip", "c": "config",
          "l": "log"}  # fmt: skip
_ENVIRONMENT = {
    "K3S_TOKEN": "token", "K3S_TOKEN_FILE": "token-file", "K3S_URL": "server", "K3S_CLUSTER_INIT": "cluster-init",
    "K3S_AGENT_TOKEN": "agent-token", "K3S_AGENT_TOKEN_FILE": "agent-token-file", "K3S_NODE_NAME": "node-name",
    "K3S_KUBECONFIG_OUTPUT": "write-kubeconfig", "K3S_KUBECONFIG_MODE": "write-kubeconfig-mode",
    "K3S_KUBECONFIG_GROUP": "write-kubeconfig-group", "K3S_DATASTORE_ENDPOINT": "datastore-endpoint",
    "K3S_SELINUX": "selinux", "K3S_RESOLV_CONF": "resolv-conf", "K3S_DATA_DIR": "data-dir", "K3S_DEBUG": "debug",
    "K3S_CLUSTER_RESET": "cluster-reset", "K3S_SYSTEM_DEFAULT_REGISTRY": "system-default-registry",
    "K3S_LB_SERVER_PORT": "lb-server-port", "K3S_BIND_ADDRESS": "bind-address",
}  # fmt: skip
_JOINED = ("cluster-cidr", "service-cidr", "cluster-dns", "node-ip")
"""Lists that are kept as text with commas, the form in which k3s shows them."""

CRITICAL = (
    "cluster-cidr", "service-cidr", "cluster-dns", "cluster-domain", "flannel-backend", "disable-network-policy",
    "disable-kube-proxy", "disable", "disable-cloud-controller", "disable-helm-controller", "egress-selector-mode",
    "embedded-registry", "secrets-encryption", "agent-token", "flannel-ipv6-masq", "flannel-external-ip",
)  # fmt: skip
"""What all servers of a cluster must share."""

_DEFAULTS: dict[str, Any] = {
    "cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "cluster-domain": "cluster.local",
    "flannel-backend": "vxlan", "disable-network-policy": False, "disable-kube-proxy": False, "disable": [],
    "disable-cloud-controller": False, "disable-helm-controller": False, "egress-selector-mode": "agent",
    "embedded-registry": False, "secrets-encryption": False, "agent-token": "", "flannel-ipv6-masq": False,
    "flannel-external-ip": False,
}  # fmt: skip
_ITEMS = ("coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes")


class SettingsError(Exception):
    """Settings that k3s does not start with; the text is what it prints."""


@dataclass(slots=True)
class Settings:
    """The settings of one start of k3s.

    Attributes:
        role: `server` or `agent`.
        values: as in the documentation; lists as lists, switches as bool, the rest as text.
        skipped: keys of a server's configuration file that no flag has.
    """

    role: str
    values: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def text(self, name: str, default: str = "") -> str:
        """A setting as text."""
        return str(self.values.get(name, default))

    def critical(self) -> dict[str, Any]:
        """What all servers must share, with defaults."""
        found = {name: self.values.get(name, _DEFAULTS.get(name)) for name in CRITICAL}
        found["disable"] = sorted({word.strip() for text in found["disable"] or [] for word in str(text).split(",")})
        if not found["cluster-dns"]:
            ranges = str(found["service-cidr"]).split(",")
            found["cluster-dns"] = ",".join(str(ipaddress.ip_network(text)[10]) for text in ranges)
        return found


def read(files: FileSystem, argv: list[str], env: dict[str, str]) -> Settings:
    """The settings of `k3s server …` or `k3s agent …`.

    Args:
        files: where the configuration files are.
        argv: with the program's name first.
        env: of the service.

    Raises:
        SettingsError: k3s would not start with them.
    """
    role = argv[1]
    kinds = _kinds(role)
    settings = Settings(role)
    for variable, name in _ENVIRONMENT.items():
        if env.get(variable) and name in kinds:
            _put(settings.values, kinds, name, [env[variable]])
    flags = _flags(argv[2:], kinds)
    path = flags.get("config", [env.get("K3S_CONFIG_FILE", CONFIG)])[-1]
    for name, given in _files(files, path, required="config" in flags).items():
        key = _SHORT.get(name, name)
        if key not in kinds:
            if role != "server":
                raise SettingsError(f"Incorrect Usage: flag provided but not defined: -{name}")
            settings.skipped.append(name)
            continue
        _put(settings.values, kinds, key, given)
    for name, given in flags.items():
        _put(settings.values, kinds, name, given)
    for name in ("token", "agent-token"):
        file = settings.values.get(f"{name}-file")
        if file:
            inode = files.find(str(file), Actor())
            if inode is None:
                raise SettingsError(f"open {file}: no such file or directory")
            settings.values[name] = bytes(inode.content).decode("utf-8", "replace").strip()
    _check(settings)
    return settings


def _kinds(role: str) -> dict[str, str]:
    kinds = (
        dict.fromkeys(_AGENT_TEXT, "text")
        | dict.fromkeys(_AGENT_SWITCHES, "switch")
        | dict.fromkeys(_AGENT_LISTS, "list")
    )
    if role == "server":
        kinds |= dict.fromkeys(_SERVER_TEXT, "text") | dict.fromkeys(_SERVER_SWITCHES, "switch")
        kinds |= dict.fromkeys(_SERVER_LISTS, "list")
    return kinds


def _flags(arguments: list[str], kinds: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        match = re.fullmatch(r"--?([A-Za-z][\w-]*)(?:=(.*))?", word, re.DOTALL)
        if not match:
            if word == "--":
                break
            continue
        name = _SHORT.get(match[1], match[1])
        if name not in kinds:
            raise SettingsError(f"Incorrect Usage: flag provided but not defined: -{match[1]}")
        value = match[2]
        if value is None and kinds[name] == "switch":
            value = "true"
        elif value is None:
            if not rest:
                raise SettingsError(f"Incorrect Usage: flag needs an argument: -{match[1]}")
            value = rest.pop(0)
        found.setdefault(name, []).append(value)
    return found


def _files(files: FileSystem, path: str, *, required: bool) -> dict[str, list[str]]:
    root = Actor()
    found: dict[str, list[str]] = {}
    paths = [path] if files.find(path, root) is not None else []
    if required and not paths:
        raise SettingsError(f"open {path}: no such file or directory")
    paths += sorted(files.glob(f"{path}.d/*.yaml", root) + files.glob(f"{path}.d/*.yml", root), key=posixpath.basename)
    for each in paths:
        try:
            document = yaml.safe_load(files.read(each, root))
        except yaml.YAMLError as error:
            raise SettingsError(f"yaml: {str(error).splitlines()[0]}") from None
        if document is None:
            continue
        if not isinstance(document, dict):
            raise SettingsError("yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str into yaml.MapSlice")
        for key, value in document.items():
            name, adds = (str(key)[:-1], True) if str(key).endswith("+") else (str(key), False)
            given = [_text(item) for item in value] if isinstance(value, list) else [_text(value)]
            found[name] = [*found.get(name, []), *given] if adds else given
    return found


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _put(values: dict[str, Any], kinds: dict[str, str], name: str, given: list[str]) -> None:
    if kinds[name] == "list":
        values[name] = ",".join(given) if name in _JOINED else list(given)
    elif kinds[name] == "switch":
        text = given[-1].lower() or "true"
        if text not in ("true", "false", "1", "0", "t", "f"):
            raise SettingsError(f'Incorrect Usage: invalid boolean value "{given[-1]}" for -{name}: parse error')
        values[name] = text in ("true", "1", "t")
    else:
        values[name] = given[-1]


def _check(settings: Settings) -> None:
    for name in ("cluster-cidr", "service-cidr"):
        for text in settings.text(name).split(",") if settings.text(name) else []:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise SettingsError(f"invalid {name} {text}: invalid CIDR address: {text}") from None
    for name in ("node-ip", "node-external-ip", "advertise-address"):
        value = settings.values.get(name)
        for text in (value if isinstance(value, list) else str(value).split(",")) if value else []:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise SettingsError(f"invalid {name}: invalid ip format '{text}'") from None
    backend = settings.text("flannel-backend", "vxlan")
    if settings.role == "server" and backend not in (
        "none",
        "vxlan",
        "host-gw",
        "wireguard-native",
        "ipsec",
        "wireguard",
    ):
        raise SettingsError(f"unknown flannel backend '{backend}'")
    for text in settings.values.get("disable") or []:
        for word in text.split(","):
            if word.strip() not in _ITEMS and settings.role == "server":
                settings.skipped.append(f"disable={word.strip()}")
