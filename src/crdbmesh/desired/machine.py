"""The files of a machine: cloud-init user data, the k3s configuration, its systemd unit.

Sources: cloud-init's module reference (ssh, write_files, runcmd), docs.k3s.io (configuration file, server and agent
flags), and the unit that k3s's own installer writes. Nothing here talks to a machine.
"""

from typing import Any

import yaml

from crdbmesh.spec import addressing, names
from crdbmesh.spec.mesh import Machine, Mesh, Region

K3S_CONFIG = "/etc/rancher/k3s/config.yaml"
K3S_BINARY = "/usr/local/bin/k3s"
CHARTS = "/var/lib/rancher/k3s/server/static/charts"

START = ("cluster-init", "server")
"""Settings that say how a node begins; k3s ignores them once it has a datastore, so they stay as they were."""

FIXED = ("token", "cluster-cidr", "service-cidr", "cluster-dns", "flannel-backend", "node-name")
"""Settings that k3s cannot change on a running node or cluster."""


def cloud_init(mesh: Mesh, *, host_key: str, host_key_public: str) -> str:
    """Return user data that gives the machine the host key we made, so that its first connection can be verified.

    The key, OpenSSH PEM, is in the machine's custom data, which Azure keeps for the machine's life and shows to nobody
    by its API.
    """
    document: dict[str, Any] = {
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": _Block(host_key), "ed25519_public": host_key_public},
    }
    if mesh.ssh.port != 22:
        path, content = "/etc/ssh/sshd_config.d/10-crdbmesh.conf", f"Port {mesh.ssh.port}\n"
        document["write_files"] = [{"path": path, "content": content, "permissions": "0644"}]
        # Ubuntu listens through ssh.socket, whose port a generator reads from sshd_config at daemon-reload.
        document["runcmd"] = [
            ["systemctl", "daemon-reload"],
            ["sh", "-c", "systemctl restart ssh.socket || systemctl restart ssh"],
        ]
    return f"#cloud-config\n{yaml.dump(document, Dumper=_Dumper, sort_keys=False)}"


def k3s_config(
    region: Region, machine: Machine, *, token: str, public_addresses: list[str], zone: str, through: Machine | None
) -> dict[str, Any]:
    """Return the k3s configuration of one machine, which joins its cluster `through` a server, or begins one.

    The servers' `public_addresses` are named in the API's certificate; `zone` is the value of the zone label.
    """
    own: dict[str, Any] = {
        "token": token,
        "node-name": machine.node,
        "node-ip": str(machine.address),
        "node-label": [f"topology.kubernetes.io/region={region.name}", f"topology.kubernetes.io/zone={zone}"],
    }
    start: dict[str, Any] = {"cluster-init": True} if through is None else {"server": f"https://{through.address}:6443"}
    if machine not in region.servers:
        return {**start, **own}
    sans = sorted({*(str(server.address) for server in region.servers), *public_addresses})
    return {
        **start,
        **own,
        "advertise-address": str(machine.address),
        "tls-san": sans,
        "flannel-backend": "none",
        "disable-network-policy": True,
        "disable-kube-proxy": True,
        "disable": ["traefik", "servicelb"],
        "cluster-cidr": str(region.ranges.pods),
        "service-cidr": str(region.ranges.services),
        "cluster-dns": str(addressing.cluster_dns(region.ranges.services)),
        "write-kubeconfig-mode": "0600",
    }


def k3s_config_text(config: dict[str, Any]) -> str:
    """Return a k3s configuration as the text of its file."""
    return f"# Written by crdbmesh.\n{yaml.safe_dump(config, sort_keys=True)}"


def k3s_service(region: Region, machine: Machine) -> str:
    """Return the name of the machine's systemd service."""
    return "k3s" if machine in region.servers else "k3s-agent"


def k3s_unit(region: Region, machine: Machine) -> str:
    """Return the machine's systemd unit as k3s's installer writes it; all settings are in config.yaml."""
    role = "server" if machine in region.servers else "agent"
    return _UNIT.format(binary=K3S_BINARY, role=role)


def zone_label(region: str, zone: str | None) -> str:
    """Return the zone label and locality of a machine: `eastus-1`, or `westus-0` where a region has no zones."""
    return f"{region}-{zone or '0'}"


def unit_path(region: Region, machine: Machine) -> str:
    """Return the path of the machine's unit."""
    return f"/etc/systemd/system/{k3s_service(region, machine)}.service"


def chart_path(mesh: Mesh) -> str:
    """Return the path of the Cilium chart on a server."""
    return f"{CHARTS}/{names.CILIUM}-{mesh.versions.cilium.version}.tgz"


def helm_chart_url(mesh: Mesh) -> str:
    """Return the URL of the Cilium chart for the helm-controller's job: the API server of the node it runs on."""
    return f"https://%{{KUBERNETES_API}}%/static/charts/{names.CILIUM}-{mesh.versions.cilium.version}.tgz"


_UNIT = """\
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart={binary} {role}
"""


class _Block(str):
    """A text that YAML should show as a literal block."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)
