"""What it takes for an etcd client to connect to the clustermesh-apiserver of another cluster, and to be let in.

From the mounted configuration of a remote cluster (endpoints, host aliases, certificates) to the etcd behind the remote
NodePort: name, packet, TLS both ways, user. After `pkg/clustermesh/common`, `pkg/kvstore/etcd.go` of Cilium 1.20 and
the chart's `clustermesh-config`. Error texts are those of Go's `net`, `crypto/tls` and of etcd.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from crdbmesh_simulator.workloads import dns, paths, trust

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.workloads.cilium.clustermesh import Etcd

CLUSTER_NAME = re.compile(r"^([a-z0-9][-a-z0-9]*)?[a-z0-9]$")


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """An etcd client configuration as Cilium mounts it, one file for each remote cluster."""

    endpoints: tuple[str, ...]
    ca: str
    cert: str
    key: str
    aliases: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Connected:
    """An accepted connection: the etcd, the endpoint it was reached by, and the address."""

    etcd: Etcd
    endpoint: str
    ip: str

    @property
    def status(self) -> str:
        """How the etcd client reports it."""
        number = zlib.crc32(str(self.etcd.container.pod["metadata"].get("uid")).encode())
        head = "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true:"
        return f"{head} {self.endpoint} - 3.6.5 (Leader), ID: {number:016x}"


@functools.lru_cache(maxsize=256)
def read(data: bytes) -> EtcdConfig:
    """Parse a configuration file.

    Raises:
        ValueError: it is no valid configuration.
    """
    try:
        document = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(f"error converting YAML to JSON: yaml: {error}") from None
    if not isinstance(document, dict) or not document.get("endpoints"):
        raise ValueError("no endpoints in etcd configuration")
    aliases: dict[str, tuple[str, ...]] = {}
    for entry in document.get("cilium-host-aliases") or []:
        aliases[str(entry["hostname"])] = tuple(str(ip) for ip in entry.get("ips") or [])
    return EtcdConfig(
        endpoints=tuple(str(each) for each in document["endpoints"]),
        ca=str(document.get("trusted-ca-file") or ""),
        cert=str(document.get("cert-file") or ""),
        key=str(document.get("key-file") or ""),
        aliases=aliases,
    )


def find_remotes(container: Container, folder: str, own: str) -> dict[str, bytes]:
    """The remote clusters that are configured in a folder: each file with `endpoints:`, but not itself."""
    base = folder.rstrip("/") + "/"
    found: dict[str, bytes] = {}
    for path, data in container.files.items():
        name = path.removeprefix(base)
        if path.startswith(base) and "/" not in name and b"endpoints:" in data and name != own:
            found[name] = data
    return dict(sorted(found.items()))


def connect(container: Container, config: EtcdConfig) -> Connected | str:
    """Dial each endpoint of a configuration. With `world.lock` held."""
    missing = _missing(container, config)
    if missing:
        return missing
    reason = "no endpoints available"
    for endpoint in config.endpoints:
        found = _dial(container, config, endpoint)
        if isinstance(found, Connected):
            return found
        reason = found
    return reason


def _missing(container: Container, config: EtcdConfig) -> str | None:
    for path in (config.ca, config.cert, config.key):
        if path and path not in container.files:
            return f"open {path}: no such file or directory"
    if config.cert and config.key:
        return trust.key_matches(container.files[config.cert], container.files[config.key])
    return None


def _dial(container: Container, config: EtcdConfig, endpoint: str) -> Connected | str:
    parts = urllib.parse.urlsplit(endpoint)
    host, port = parts.hostname or "", parts.port or 2379
    addresses = list(config.aliases.get(host, ()))
    if not addresses:
        answer = dns.resolve(container.world, container, host)
        if not answer.found:
            server = answer.server.replace("#", ":") or "127.0.0.1:53"
            why = "no such host" if answer.rcode == dns.NXDOMAIN else answer.reason or "server misbehaving"
            return f"dial tcp: lookup {host} on {server}: {why}"
        addresses = answer.addresses
    reason = ""
    for ip in addresses:
        found = _dial_address(container, config, endpoint, host, ip, port)
        if isinstance(found, Connected):
            return found
        reason = found
    return reason


def _dial_address(
    container: Container, config: EtcdConfig, endpoint: str, host: str, ip: str, port: int
) -> Connected | str:
    world = container.world
    reached = paths.reach(world, container, ip, port)
    if isinstance(reached, str):
        symptom = paths.symptom(reached)
        return f"dial tcp {ip}:{port}: {'connect: ' if symptom == paths.REFUSED else ''}{symptom}"
    etcd: Any = reached.program
    if not hasattr(etcd, "server_files"):
        return f'connection error: desc = "transport: authentication handshake failed: EOF" ({ip}:{port} is no etcd)'
    reason = handshake(container, config, etcd, host)
    return reason or Connected(etcd, endpoint, ip)


def handshake(container: Container, config: EtcdConfig, etcd: Etcd, host: str) -> str | None:
    """Why TLS between a client and an etcd fails, or the user is unknown there; None when the client is in."""
    now = container.world.clock.utc()
    head = "transport: authentication handshake failed: "
    server_cert, server_ca = etcd.server_files()
    trusted = container.files.get(config.ca, b"")
    reason = trust.verify(server_cert, trusted, now=now, usage="server", host=host)
    if reason:
        return f"{head}tls: failed to verify certificate: {reason}"
    client = container.files.get(config.cert, b"")
    if not client:
        return f"{head}remote error: tls: certificate required"
    reason = trust.verify(client, server_ca, now=now, usage="client")
    if reason:
        return head + trust.refusal(reason)
    user = trust.common_name(trust.parse(client)[0])
    return None if user in etcd.users() else "etcdserver: permission denied"
