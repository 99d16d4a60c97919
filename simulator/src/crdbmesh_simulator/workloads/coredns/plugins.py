"""Settings of CoreDNS's plugins, read from a Corefile and checked as each plugin's setup checks them.

After `plugin/*/setup.go` of CoreDNS 1.14. An option that no plugin has is an error, as in CoreDNS; one that CoreDNS has
and this world does not act out is accepted and listed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from crdbmesh_simulator import tables
from crdbmesh_simulator.workloads.coredns.corefile import Block, CorefileError, Directive, Row, parse
from crdbmesh_simulator.workloads.coredns.message import absolute, under


@dataclass(slots=True)
class Kubernetes:
    """Settings of plugin `kubernetes`; `fall_through` is None when names that do not exist are answered here."""

    zones: list[str]
    ttl: int = 5
    fall_through: list[str] | None = None


@dataclass(slots=True)
class Hosts:
    """Settings of plugin `hosts`."""

    path: str = "/etc/hosts"
    zones: list[str] = field(default_factory=lambda: ["."])
    ttl: int = 3600
    fall_through: list[str] | None = None


@dataclass(slots=True)
class Forward:
    """Settings of plugin `forward`."""

    zone: str
    upstreams: list[tuple[str, int]] = field(default_factory=list)
    force_tcp: bool = False
    prefer_udp: bool = False
    max_fails: int = 2
    health_check_s: float = 0.5
    policy: str = "random"
    read_timeout_s: float = 2.0


@dataclass(slots=True)
class Cache:
    """Settings of plugin `cache`."""

    success_s: int = 3600
    success_min_s: int = 5
    denial_s: int = 1800
    denial_min_s: int = 5
    servfail_s: float = 5.0


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_UPSTREAMS = 15
_NOT_ACTED_OUT: dict[str, list[str]] = tables.read_yaml(__package__, "plugins-1.14")["not acted out"]


def duration(text: str) -> float:
    """A Go duration in seconds. Raises CorefileError: it is none."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _integer(row: Row, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise row.error(f'strconv.Atoi: parsing "{text}": invalid syntax') from None


def _zones(words: tuple[str, ...]) -> list[str]:
    return [absolute(zone) for zone in words]


def _unknown(row: Row) -> CorefileError:
    return row.error(f"unknown property '{row.name}'")


def _skip(row: Row, plugin: str, unhandled: list[str], error: CorefileError) -> None:
    """Pass over an option that is not acted out; raise the error when CoreDNS has none of that name."""
    if row.name not in _NOT_ACTED_OUT[plugin]:
        raise error
    unhandled.append(f"{plugin} {row.name}")


def read_kubernetes(directive: Directive, zones: list[str], unhandled: list[str]) -> Kubernetes:
    """Plugin `kubernetes`."""
    found = Kubernetes(_zones(directive.arguments) or zones)
    for row in directive.rows:
        if row.name == "pods":
            row.argument()
        elif row.name == "ttl":
            found.ttl = _integer(row, row.argument())
        elif row.name == "fallthrough":
            found.fall_through = _zones(row.words[1:]) or ["."]
        else:
            _skip(row, "kubernetes", unhandled, _unknown(row))
    return found


def read_hosts(directive: Directive, zones: list[str]) -> Hosts:
    """Plugin `hosts`."""
    found = Hosts(zones=_zones(directive.arguments[1:]) or zones)
    found.path = directive.arguments[0] if directive.arguments else found.path
    for row in directive.rows:
        if row.name == "fallthrough":
            found.fall_through = _zones(row.words[1:]) or ["."]
        elif row.name == "ttl":
            found.ttl = _integer(row, row.argument())
        elif row.name == "reload":
            duration(row.argument())
        elif row.name != "no_reverse":
            raise _unknown(row)
    return found


def read_forward(directive: Directive, files: Mapping[str, bytes], unhandled: list[str]) -> Forward:
    """One `forward` of a server block."""
    zone = directive.head.argument()
    result = Forward("." if zone == "." else absolute(zone))
    if len(directive.arguments) < 2:
        raise directive.head.count_error()
    for target in directive.arguments[1:]:
        result.upstreams += _upstreams(target, files)
    for row in directive.rows:
        _forward_option(row, result, unhandled)
    return result


def _upstreams(target: str, files: Mapping[str, bytes]) -> list[tuple[str, int]]:
    host, _, port = target.rpartition(":") if re.search(r"^[^:]+:\d+$", target) else (target, "", "53")
    try:
        return [(str(ipaddress.IPv4Address(host)), int(port))]
    except ValueError:
        pass
    if target not in files:
        raise CorefileError(f'not an IP address or file: "{target}"')
    lines = [line.split() for line in files[target].decode(errors="replace").splitlines()]
    return [(words[1], 53) for words in lines if words[:1] == ["nameserver"] and len(words) > 1]


def _forward_option(row: Row, result: Forward, unhandled: list[str]) -> None:
    word = row.name
    if word in ("force_tcp", "prefer_udp"):
        result.force_tcp = result.force_tcp or word == "force_tcp"
        result.prefer_udp = result.prefer_udp or word == "prefer_udp"
    elif word in ("max_fails", "max_concurrent", "max_idle_conns"):
        count = _integer(row, row.argument())
        result.max_fails = count if word == "max_fails" else result.max_fails
    elif word in ("expire", "max_age", "read_timeout"):
        span = duration(row.argument())
        result.read_timeout_s = span if word == "read_timeout" else result.read_timeout_s
    elif word == "health_check":
        result.health_check_s = duration(row.argument())
    elif word == "policy":
        result.policy = row.argument()
    else:
        _skip(row, "forward", unhandled, _unknown(row))


def read_cache(directive: Directive, unhandled: list[str]) -> Cache:
    """Plugin `cache`."""
    found = Cache()
    if directive.arguments and directive.arguments[0].isdigit():
        found.success_s = found.denial_s = _ttl(int(directive.arguments[0]))
    for row in directive.rows:
        if row.name in ("success", "denial"):
            numbers = [_integer(row, text) for text in row.words[1:]]
            most, least = (_ttl(numbers[1]) if numbers[1:] else None), (numbers[2] if numbers[2:] else None)
            if row.name == "success":
                found.success_s, found.success_min_s = most or found.success_s, least or found.success_min_s
            else:
                found.denial_s, found.denial_min_s = most or found.denial_s, least or found.denial_min_s
        elif row.name == "servfail":
            found.servfail_s = duration(row.argument())
        else:
            _skip(row, "cache", unhandled, replace(row, words=(row.name,)).count_error())
    return found


def _ttl(seconds: int) -> int:
    return seconds


def read_reload(directive: Directive) -> float:
    """Plugin `reload`: its interval in seconds."""
    return max(duration(directive.arguments[0]) if directive.arguments else 30.0, 2.0)


def check(directive: Directive) -> None:
    """Check a plugin that has no effect of its own here. Raises CorefileError: an option that it does not have."""
    for row in directive.rows:
        if row.name not in CHECKED[directive.head.name]:
            raise _unknown(row)


CHECKED: dict[str, tuple[str, ...]] = {
    "loop": (),
    "health": ("lameduck",),
    "ready": ("monitor",),
    "errors": ("consolidate", "stacktrace", "show_first"),
    "log": ("class",),
    "prometheus": ("runtime_gauge",),
    "loadbalance": ("reload", "prefer"),
}
"""Plugins of which only the options are checked, and these."""


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
    config.health = config.health or name == "health"
    config.ready = config.ready or name == "ready"
    if name == "kubernetes":
        server.kubernetes = read_kubernetes(directive, [server.zone], config.unhandled)
    elif name == "hosts":
        server.hosts = read_hosts(directive, [server.zone])
    elif name == "forward":
        server.forwards.append(read_forward(directive, files, config.unhandled))
    elif name == "cache":
        server.cache = read_cache(directive, config.unhandled)
    elif name == "reload":
        config.reload_s = read_reload(directive)
    elif name in CHECKED:
        check(directive)
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
