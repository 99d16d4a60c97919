"""Settings of CoreDNS's plugins, read from a Corefile and checked as each plugin's setup checks them.

After `plugin/*/setup.go` of CoreDNS 1.14. An option that no plugin has is an error, as in CoreDNS; one that CoreDNS has
and this world does not act out is accepted and listed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from crdbmesh_simulator.workloads.coredns.corefile import CorefileError, Dispenser
from crdbmesh_simulator.workloads.coredns.message import absolute
from crdbmesh_simulator.workloads.coredns.settings import Cache, Forward, Hosts, Kubernetes

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_UPSTREAMS = 15
_NOT_ACTED_OUT = {
    "kubernetes": {
        "endpoint", "tls", "kubeconfig", "namespaces", "labels", "namespace_labels", "endpoint_pod_names",
        "noendpoints", "ignore", "multicluster", "startup_timeout", "apiserver_qps", "apiserver_burst",
        "apiserver_max_inflight",
    },
    "forward": {"except", "tls", "tls_servername", "next", "failover"},
    "cache": {"serve_stale", "disable", "prefetch", "keepttl"},
}  # fmt: skip


def duration(text: str) -> float:
    """A Go duration in seconds. Raises CorefileError: it is none."""
    if text == "0":
        return 0.0
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        reason = "missing unit in duration" if re.fullmatch(r"\d+", text) else "invalid duration"
        raise CorefileError(f'time: {reason} "{text}"')
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _integer(tokens: Dispenser, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise tokens.error(f'strconv.Atoi: parsing "{text}": invalid syntax') from None


def _skip(tokens: Dispenser, plugin: str, unhandled: list[str], error: CorefileError) -> None:
    """Pass over an option that is not acted out; raise the error when CoreDNS has none of that name."""
    if tokens.text not in _NOT_ACTED_OUT[plugin]:
        raise error
    unhandled.append(f"{plugin} {tokens.text}")
    tokens.rest()


def read_kubernetes(tokens: Dispenser, zones: list[str], unhandled: list[str]) -> Kubernetes:
    """Plugin `kubernetes`."""
    tokens.next()
    found = Kubernetes([absolute(zone) for zone in tokens.rest()] or zones)
    while tokens.next_block():
        if tokens.text == "pods":
            kind = tokens.argument()
            if kind not in ("disabled", "insecure", "verified"):
                raise tokens.error(f"wrong value for pods: {kind},  must be one of: disabled, verified, insecure")
        elif tokens.text == "ttl":
            found.ttl = _integer(tokens, tokens.argument())
        elif tokens.text == "fallthrough":
            found.fall_through = [absolute(zone) for zone in tokens.rest()] or ["."]
        else:
            _skip(tokens, "kubernetes", unhandled, tokens.error(f"unknown property '{tokens.text}'"))
    return found


def read_hosts(tokens: Dispenser, zones: list[str]) -> Hosts:
    """Plugin `hosts`."""
    tokens.next()
    arguments = tokens.rest()
    found = Hosts(zones=[absolute(zone) for zone in arguments[1:]] or zones)
    found.path = arguments[0] if arguments else found.path
    while tokens.next_block():
        if tokens.text == "fallthrough":
            found.fall_through = [absolute(zone) for zone in tokens.rest()] or ["."]
        elif tokens.text == "ttl":
            found.ttl = _integer(tokens, tokens.argument())
        elif tokens.text == "reload":
            duration(tokens.argument())
        elif tokens.text != "no_reverse":
            raise tokens.error(f"unknown property '{tokens.text}'")
    return found


def read_forwards(tokens: Dispenser, files: Mapping[str, bytes], unhandled: list[str]) -> list[Forward]:
    """Every `forward` of a server block."""
    found: list[Forward] = []
    while tokens.next():
        zone = tokens.argument()
        result = Forward("." if zone == "." else absolute(zone))
        targets = tokens.rest()
        if not targets:
            raise tokens.count_error()
        for target in targets:
            result.upstreams += _upstreams(target, files)
        if len(result.upstreams) > _MAX_UPSTREAMS:
            raise CorefileError(f"more than {_MAX_UPSTREAMS} TOs configured: {len(result.upstreams)}")
        while tokens.next_block():
            _forward_option(tokens, result, unhandled)
        found.append(result)
    return found


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


def _forward_option(tokens: Dispenser, result: Forward, unhandled: list[str]) -> None:
    word = tokens.text
    if word in ("force_tcp", "prefer_udp", "failfast_all_unhealthy_upstreams"):
        if tokens.next_arg():
            raise tokens.count_error()
        result.force_tcp = result.force_tcp or word == "force_tcp"
        result.prefer_udp = result.prefer_udp or word == "prefer_udp"
        result.fail_fast = result.fail_fast or word.startswith("failfast")
    elif word in ("max_fails", "max_concurrent", "max_idle_conns"):
        count = _integer(tokens, tokens.argument())
        result.max_fails = count if word == "max_fails" else result.max_fails
    elif word in ("expire", "max_age", "read_timeout"):
        span = duration(tokens.argument())
        result.read_timeout_s = span if word == "read_timeout" else result.read_timeout_s
    elif word == "health_check":
        result.health_check_s = duration(tokens.argument())
        tokens.rest()
    elif word == "policy":
        result.policy = tokens.argument()
        if result.policy not in ("random", "round_robin", "sequential"):
            raise tokens.error(f"unknown policy '{result.policy}'")
    else:
        _skip(tokens, "forward", unhandled, tokens.error(f"unknown property '{word}'"))


def read_cache(tokens: Dispenser, unhandled: list[str]) -> Cache:
    """Plugin `cache`."""
    found = Cache()
    tokens.next()
    arguments = tokens.rest()
    if arguments and arguments[0].isdigit():
        found.success_s = found.denial_s = _ttl(int(arguments[0]))
    while tokens.next_block():
        if tokens.text in ("success", "denial"):
            word = tokens.text
            numbers = [_integer(tokens, text) for text in tokens.rest()]
            if not 1 <= len(numbers) <= 3:
                raise tokens.count_error()
            most, least = (_ttl(numbers[1]) if numbers[1:] else None), (numbers[2] if numbers[2:] else None)
            if word == "success":
                found.success_s, found.success_min_s = most or found.success_s, least or found.success_min_s
            else:
                found.denial_s, found.denial_min_s = most or found.denial_s, least or found.denial_min_s
        elif tokens.text == "servfail":
            found.servfail_s = duration(tokens.argument())
            if found.servfail_s > 300:
                raise CorefileError(f"caching SERVFAIL responses over 5 minutes is not permitted: {tokens.text}")
        else:
            _skip(tokens, "cache", unhandled, tokens.count_error())
    return found


def _ttl(seconds: int) -> int:
    if seconds <= 0:
        raise CorefileError(f"cache TTL can not be zero or negative: {seconds}")
    return seconds


def read_reload(tokens: Dispenser) -> float:
    """Plugin `reload`: its interval in seconds."""
    tokens.next()
    arguments = tokens.rest()
    return max(duration(arguments[0]) if arguments else 30.0, 2.0)


def _nothing(tokens: Dispenser) -> None:
    tokens.next()
    if tokens.next_arg():
        raise tokens.count_error()


def _only(*options: str) -> Callable[[Dispenser], None]:
    def check(tokens: Dispenser) -> None:
        tokens.next()
        tokens.rest()
        while tokens.next_block():
            if tokens.text not in options:
                raise tokens.error(f"unknown property '{tokens.text}'")
            tokens.rest()

    return check


CHECKS: dict[str, Callable[[Dispenser], None]] = {
    "loop": _nothing,
    "health": _only("lameduck"),
    "ready": _only("monitor"),
    "errors": _only("consolidate", "stacktrace", "show_first"),
    "log": _only("class"),
    "prometheus": _only("runtime_gauge"),
    "loadbalance": _only("reload", "prefer"),
}
