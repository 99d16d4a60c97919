"""Connects an etcd client to the clustermesh-apiserver of another cluster, as far as that lets it in.

From the mounted configuration of a remote cluster (endpoints, host aliases, certificates) to the etcd behind the remote
NodePort: name, packet, TLS both ways, user. After `pkg/clustermesh/common`, `pkg/kvstore/etcd.go` of Cilium 1.20 and
the chart's `clustermesh-config`. Error texts are those of Go's `net`, `crypto/tls` and of etcd.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from crdbmesh_simulator.workloads import dns, paths, trust
from crdbmesh_simulator.workloads.coredns.message import NXDOMAIN

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
class Dialled:
    """A try to connect to one endpoint of an etcd. The first of the errors that is set ended it.

    `endpoint`: its URL, as the configuration has it. `addresses`: what its host name resolved to. `etcd`: who answered,
    or None. `lookup_error`, `tcp_error`, `tls_error`, `client_error`: why the name, the packet, the server's
    certificate or the client's certificate failed, as Go says it. `user_error`: why etcd refuses the user that the
    client's certificate names.
    """

    endpoint: str
    addresses: tuple[str, ...] = ()
    ip: str = ""
    etcd: Etcd | None = None
    lookup_error: str = ""
    tcp_error: str = ""
    tls_error: str = ""
    client_error: str = ""
    user_error: str = ""

    @property
    def error(self) -> str:
        """Return why there is no connection; empty when there is one."""
        handshake = self.tls_error or self.client_error
        if handshake:
            return f"transport: authentication handshake failed: {handshake}"
        return self.lookup_error or self.tcp_error or self.user_error


@dataclass(frozen=True, slots=True)
class Connected:
    """An accepted connection: the etcd, and the endpoint that it was reached by."""

    etcd: Etcd
    endpoint: str

    @property
    def status(self) -> str:
        """The etcd client's own report; agents and kvstoremesh do not check single endpoints."""
        head = "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: endpoint status checks are disabled"
        return f"{head}, ID: {self.etcd.identity}"


@functools.lru_cache(maxsize=256)
def read(data: bytes) -> EtcdConfig:
    """Parse a configuration file. Raises ValueError: it is no valid configuration."""
    try:
        document = yaml.load(data, Loader=yaml.CSafeLoader)
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
    """Dial each endpoint of a configuration; why none was reached otherwise. With `world.lock` held."""
    missing = find_missing(container, config)
    if missing:
        return missing
    reason = "no endpoints available"
    for endpoint in config.endpoints:
        found = dial(container, config, endpoint)
        if found.etcd is not None and not found.error:
            return Connected(found.etcd, endpoint)
        reason = found.error
    return reason


def find_missing(container: Container, config: EtcdConfig) -> str | None:
    """Return why the files that a configuration names cannot be used; None when they can."""
    for path in (config.ca, config.cert, config.key):
        if path and path not in container.files:
            return f"open {path}: no such file or directory"
    if config.cert and config.key:
        return trust.key_matches(container.files[config.cert], container.files[config.key])
    return None


def dial(container: Container, config: EtcdConfig, endpoint: str) -> Dialled:
    """Connect to one endpoint: name, packet to one address after the other, TLS, user. With `world.lock` held."""
    parts = urllib.parse.urlsplit(endpoint)
    host, port = parts.hostname or "", parts.port or 2379
    addresses = config.aliases.get(host, ())
    if not addresses:
        answer = dns.resolve(container.world, container, host)
        if not answer.found:
            server = answer.server.replace("#", ":") or "127.0.0.1:53"
            why = "no such host" if answer.rcode == NXDOMAIN else answer.reason or "server misbehaving"
            return Dialled(endpoint, lookup_error=f"lookup {host} on {server}: {why}")
        addresses = tuple(answer.addresses)
    first = ""
    for ip in addresses:
        reached = paths.reach(container.world, container, ip, port)
        if isinstance(reached, str):
            symptom = paths.symptom(reached)
            first = first or f"dial tcp {ip}:{port}: {'connect: ' if symptom == paths.REFUSED else ''}{symptom}"
            continue
        etcd: Any = reached.program
        if not paths.carries_large(container.world, container, reached):
            return Dialled(endpoint, addresses, ip, tls_error=f"read tcp {ip}:{port}: i/o timeout")
        if not hasattr(etcd, "server_files"):
            return Dialled(endpoint, addresses, ip, tls_error="EOF")
        return _shake_hands(container, config, Dialled(endpoint, addresses, ip, etcd), host)
    return Dialled(endpoint, addresses, tcp_error=first)


def _shake_hands(container: Container, config: EtcdConfig, reached: Dialled, host: str) -> Dialled:
    assert reached.etcd is not None
    now = container.world.clock.utc()
    server_cert, server_ca = reached.etcd.server_files()
    trusted = container.files.get(config.ca, b"")
    reason = trust.verify(server_cert, trusted, now=now, usage="server", host=host)
    if reason:
        return dataclasses.replace(reached, tls_error=f"tls: failed to verify certificate: {reason}")
    client = container.files.get(config.cert, b"")
    if not client:
        return dataclasses.replace(reached, client_error="remote error: tls: certificate required")
    reason = trust.verify(client, server_ca, now=now, usage="client")
    if reason:
        return dataclasses.replace(reached, client_error=trust.refusal(reason))
    if trust.common_name(trust.parse(client)[0]) not in reached.etcd.users():
        return dataclasses.replace(reached, user_error="etcdserver: permission denied")
    return reached
