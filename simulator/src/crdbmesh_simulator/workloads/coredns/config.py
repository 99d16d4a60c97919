"""Turns a Corefile into servers for zones, each with its plugins' settings.

After `core/dnsserver/` of CoreDNS 1.14. A plugin that is valid but does nothing in this world is accepted and listed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from crdbmesh_simulator.workloads.coredns import plugins
from crdbmesh_simulator.workloads.coredns.corefile import Block, CorefileError, Directive, parse
from crdbmesh_simulator.workloads.coredns.message import absolute, under
from crdbmesh_simulator.workloads.coredns.plugins import Cache, Forward, Hosts, Kubernetes

_SILENT = {"cancel", "bufsize", "bind", "debug", "pprof", "metadata", "timeouts", "multisocket", "minimal", "nsid"}
"""Plugins of no consequence in this world."""


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


@dataclass(slots=True)
class Config:
    """A configuration that CoreDNS accepts.

    `text`: the words of the Corefile with imports put in: `reload` goes by it. `unhandled`: plugins and options that
    this world accepts but does not act out.
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
        fitting = [server for server in self.servers if server.port == 53 and under(name, server.zone)]
        return max(fitting, key=lambda server: (server.zone != ".", server.zone.count(".")), default=None)


def load(path: str, files: Mapping[str, bytes], env: Mapping[str, str]) -> Config:
    """Read and check a Corefile. Raises CorefileError: CoreDNS refuses it."""
    blocks, warnings, text = parse(path, files, env)
    config = Config([], warnings, text)
    for block in blocks:
        for zone, port in map(_zone, block.keys):
            if any((zone, port) == (each.zone, each.port) for each in config.servers):
                raise CorefileError(f"cannot serve dns://{zone}:{port} - it is already defined")
            config.servers.append(_server(block, zone, port, files, config))
    return config


def _server(block: Block, zone: str, port: int, files: Mapping[str, bytes], config: Config) -> Server:
    server = Server(zone, port, set(block.directives))
    for name, directives in block.directives.items():
        for directive in directives:
            try:
                _plugin(directive, server, files, config)
            except CorefileError as error:
                raise CorefileError(f"plugin/{name}: {error}") from None
    return server


def _plugin(directive: Directive, server: Server, files: Mapping[str, bytes], config: Config) -> None:
    name = directive.head.name
    if name == "health" and config.health:
        raise CorefileError("listen tcp :8080: bind: address already in use")
    config.health = config.health or name == "health"
    config.ready = config.ready or name == "ready"
    if name == "kubernetes":
        server.kubernetes = plugins.read_kubernetes(directive, [server.zone], config.unhandled)
    elif name == "hosts":
        server.hosts = plugins.read_hosts(directive, [server.zone])
    elif name == "forward":
        server.forwards.append(plugins.read_forward(directive, files, config.unhandled))
    elif name == "cache":
        server.cache = plugins.read_cache(directive, config.unhandled)
    elif name == "reload":
        config.reload_s = plugins.read_reload(directive)
    elif name in plugins.CHECKED:
        plugins.check(directive)
    elif name not in _SILENT:
        config.unhandled.append(name)


def _zone(key: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:dns://)?(.*?)(?::(\d+))?", key)
    assert match is not None
    name, port = match[1], int(match[2] or 53)
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return ("." if name in (".", "") else absolute(name)), port
    labels = str(network.network_address).split(".")[: network.prefixlen // 8]
    return ".".join([*reversed(labels), "in-addr.arpa."]), port
