"""What a Corefile means: servers for zones, each with its plugins' settings.

After `core/dnsserver/` of CoreDNS 1.14. A plugin that is valid but does nothing in this world is accepted and listed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from crdbmesh_simulator.workloads.coredns import plugins
from crdbmesh_simulator.workloads.coredns.corefile import DIRECTIVES, Block, CorefileError, Dispenser, parse
from crdbmesh_simulator.workloads.coredns.message import absolute
from crdbmesh_simulator.workloads.coredns.settings import Cache, Forward, Hosts, Kubernetes, Rewrite


@dataclass(slots=True)
class Server:
    """One zone at one port, with its chain of plugins."""

    zone: str
    port: int
    plugins: set[str] = field(default_factory=set)
    kubernetes: Kubernetes | None = None
    hosts: Hosts | None = None
    forwards: list[Forward] = field(default_factory=list)
    cache: Cache | None = None
    rewrites: list[Rewrite] = field(default_factory=list)


@dataclass(slots=True)
class Config:
    """A configuration that CoreDNS accepts.

    Attributes:
        text: the words of the Corefile with imports put in: `reload` goes by it.
        unhandled: plugins that this world accepts but does not act out.
    """

    servers: list[Server]
    warnings: list[str]
    text: str
    unhandled: list[str] = field(default_factory=list)
    health: bool = False
    ready: bool = False
    reload_s: float | None = None

    def find_server(self, name: str) -> Server | None:
        """The server with the longest zone that holds the name."""
        fitting = [server for server in self.servers if server.port == 53 and _holds(server.zone, name)]
        return max(fitting, key=lambda server: (server.zone != ".", server.zone.count(".")), default=None)


_UNHANDLED = {
    "acl",
    "dns64",
    "template",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "file",
    "auto",
    "secondary",
    "etcd",
    "grpc",
    "erratic",
    "whoami",
    "view",
    "nomad",
    "header",
    "dnssec",
    "chaos",
    "any",
    "sign",
    "transfer",
    "tsig",
    "quic",
    "grpc_server",
    "https",
    "https3",
    "startup",
    "shutdown",
    "on",
}


def load(path: str, files: Mapping[str, bytes], env: Mapping[str, str]) -> Config:
    """Read and check a Corefile.

    Raises:
        CorefileError: CoreDNS refuses it.
    """
    blocks, warnings, text = parse(path, files, env)
    config = Config([], warnings, text)
    taken: set[tuple[str, int]] = set()
    for block in blocks:
        keys = [_zone(key) for key in block.keys]
        for key in keys:
            if key in taken:
                raise CorefileError(f"cannot serve dns://{key[0]}:{key[1]} - it is already defined")
            taken.add(key)
        config.servers += _servers(block, keys, files, config)
    return config


def _servers(block: Block, keys: list[tuple[str, int]], files: Mapping[str, bytes], config: Config) -> list[Server]:
    servers = [Server(zone, port, set(block.directives)) for zone, port in keys]
    zones = [zone for zone, _ in keys]
    for name in sorted(block.directives, key=DIRECTIVES.index):
        tokens = Dispenser(block.directives[name])
        if name in _UNHANDLED:
            config.unhandled.append(name)
            continue
        if name == "health" and config.health:
            raise CorefileError("plugin/health: listen tcp :8080: bind: address already in use")
        config.health = config.health or name == "health"
        config.ready = config.ready or name == "ready"
        if name == "kubernetes":
            found = plugins.read_kubernetes(tokens, zones)
            config.unhandled += [f"kubernetes {option}" for option in found.unhandled]
            for server in servers:
                server.kubernetes = found
        elif name == "hosts":
            hosts = plugins.read_hosts(tokens, zones)
            for server in servers:
                server.hosts = hosts
        elif name == "forward":
            forwards = plugins.read_forwards(tokens, files)
            for server in servers:
                server.forwards = forwards
        elif name == "cache":
            cache = plugins.read_cache(tokens, zones)
            for server in servers:
                server.cache = cache
        elif name == "rewrite":
            rules = plugins.read_rewrites(tokens)
            for server in servers:
                server.rewrites = rules
        elif name == "reload":
            config.reload_s = plugins.read_reload(tokens)
        else:
            plugins.CHECKS.get(name, plugins.accept)(tokens)
    return servers


def _holds(zone: str, name: str) -> bool:
    return zone == "." or name == zone or name.endswith("." + zone)


def _zone(key: str) -> tuple[str, int]:
    scheme, found, rest = key.partition("://")
    if found and scheme != "dns":
        raise CorefileError(f"unsupported transport {scheme}:// in this world")
    name, port = rest if found else key, 53
    match = re.fullmatch(r"(.*):(\d+)", name)
    if match:
        name, port = match[1], int(match[2])
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return ("." if name in (".", "") else absolute(name)), port
    labels = str(network.network_address).split(".")[: network.prefixlen // 8]
    return ".".join([*reversed(labels), "in-addr.arpa."]), port
