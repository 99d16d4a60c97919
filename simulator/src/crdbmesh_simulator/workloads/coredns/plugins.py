"""Settings of CoreDNS's plugins, read from a Corefile and checked as each plugin's setup checks them.

After `plugin/*/setup.go` of CoreDNS 1.14. An option that no plugin has is an error, as in CoreDNS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from crdbmesh_simulator.kubernetes.api.selectors import parse_labels
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.workloads.coredns.corefile import CorefileError, Dispenser
from crdbmesh_simulator.workloads.coredns.message import absolute
from crdbmesh_simulator.workloads.coredns.settings import Cache, Forward, Hosts, Kubernetes, Rewrite

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_UPSTREAMS = 15
_RCODES = {
    "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
}  # fmt: skip


def duration(text: str) -> float:
    """A Go duration in seconds.

    Raises:
        CorefileError: it is none.
    """
    if text == "0":
        return 0.0
    if not re.fullmatch(rf"-?(?:{_DURATION.pattern})+", text):
        reason = "missing unit in duration" if re.fullmatch(r"\d+", text) else "invalid duration"
        raise CorefileError(f'time: {reason} "{text}"')
    total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    return -total if text.startswith("-") else total


def _integer(tokens: Dispenser, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise tokens.error(f'strconv.Atoi: parsing "{text}": invalid syntax') from None


def _wrapped(plugin: str, error: CorefileError) -> CorefileError:
    return CorefileError(f"plugin/{plugin}: {error}")


def read_kubernetes(tokens: Dispenser, zones: list[str]) -> Kubernetes:
    """Plugin `kubernetes`."""
    tokens.next()
    given = [absolute(zone) for zone in tokens.rest()]
    found = Kubernetes(given or zones)
    try:
        while tokens.next_block():
            _kubernetes_option(tokens, found)
    except CorefileError as error:
        raise _wrapped("kubernetes", error) from None
    if tokens.next():
        raise _wrapped("kubernetes", tokens.error("this plugin can only be used once per Server Block"))
    return found


def _kubernetes_option(tokens: Dispenser, found: Kubernetes) -> None:
    word = tokens.text
    arguments = tokens.rest()
    if word == "pods":
        if len(arguments) != 1:
            raise tokens.count_error()
        if arguments[0] not in ("disabled", "insecure", "verified"):
            raise tokens.error(f"wrong value for pods: {arguments[0]},  must be one of: disabled, verified, insecure")
        found.pods = arguments[0]
    elif word == "ttl":
        if len(arguments) != 1:
            raise tokens.count_error()
        found.ttl = _integer(tokens, arguments[0])
        if not 0 <= found.ttl <= 3600:
            raise tokens.error(f"ttl must be in range [0, 3600]: {found.ttl}")
    elif word == "fallthrough":
        found.fall_through = [absolute(zone) for zone in arguments] or ["."]
    elif word == "namespaces":
        if not arguments:
            raise tokens.count_error()
        found.namespaces = arguments
    elif word == "endpoint_pod_names":
        found.endpoint_pod_names = True
    elif word == "noendpoints":
        found.no_endpoints = True
    elif word == "ignore":
        if arguments != ["empty_service"]:
            raise tokens.error(f"unable to parse ignore value: '{' '.join(arguments)}'")
        found.ignore_empty = True
    elif word == "labels":
        if not arguments:
            raise tokens.count_error()
        found.labels = " ".join(arguments)
        try:
            parse_labels(found.labels)
        except StatusError as error:
            raise tokens.error(f"unable to parse label selector value: '{found.labels}': {error.message}") from None
    elif word in ("endpoint", "tls", "kubeconfig", "namespace_labels", "multicluster", "transfer"):
        found.unhandled.append(word)
    elif word not in ("startup_timeout", "apiserver_qps", "apiserver_burst", "apiserver_max_inflight"):
        raise tokens.error(f"unknown property '{word}'")


def read_hosts(tokens: Dispenser, zones: list[str]) -> Hosts:
    """Plugin `hosts`."""
    tokens.next()
    arguments = tokens.rest()
    found = Hosts(zones=zones)
    if arguments:
        found.path = arguments[0]
        found.zones = [absolute(zone) for zone in arguments[1:]] or zones
    while tokens.next_block():
        word = tokens.text
        rest = tokens.rest()
        if word == "fallthrough":
            found.fall_through = [absolute(zone) for zone in rest] or ["."]
        elif word == "ttl":
            if len(rest) != 1:
                raise _wrapped("hosts", tokens.error("ttl needs a time in second"))
            found.ttl = _integer(tokens, rest[0])
        elif word == "reload":
            duration("".join(rest))
        elif word != "no_reverse":
            try:
                ipaddress.ip_address(word)
            except ValueError:
                raise _wrapped("hosts", tokens.error(f"unknown property '{word}'")) from None
            found.lines.append(" ".join([word, *rest]))
    return found


def read_forwards(tokens: Dispenser, files: Mapping[str, bytes]) -> list[Forward]:
    """Every `forward` of a server block."""
    found: list[Forward] = []
    try:
        while tokens.next():
            found.append(_forward(tokens, files))
    except CorefileError as error:
        raise _wrapped("forward", error) from None
    return found


def _forward(tokens: Dispenser, files: Mapping[str, bytes]) -> Forward:
    if not tokens.next_arg():
        raise tokens.count_error()
    result = Forward("." if tokens.text == "." else absolute(tokens.text))
    targets = tokens.rest()
    if not targets:
        raise tokens.count_error()
    for target in targets:
        result.upstreams += _upstreams(target, files, result)
    if len(result.upstreams) > _MAX_UPSTREAMS:
        raise CorefileError(f"more than {_MAX_UPSTREAMS} TOs configured: {len(result.upstreams)}")
    while tokens.next_block():
        _forward_option(tokens, result)
    return result


def _upstreams(target: str, files: Mapping[str, bytes], result: Forward) -> list[tuple[str, int]]:
    scheme, found, rest = target.partition("://")
    if found:
        if scheme not in ("dns", "tls"):
            raise CorefileError(f"unsupported transport in {target!r}")
        result.encrypted = result.encrypted or scheme == "tls"
        target = rest.split("%")[0]
    host, _, port = target.rpartition(":") if re.search(r"^[^:]+:\d+$", target) else (target, "", "53")
    try:
        return [(str(ipaddress.IPv4Address(host)), int(port))]
    except ValueError:
        pass
    if target not in files:
        raise CorefileError(f'not an IP address or file: "{target}"')
    lines = files[target].decode(errors="replace").splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
    if not servers:
        raise CorefileError(f"no nameservers found in {target}")
    return [(server, 53) for server in servers]


def _forward_option(tokens: Dispenser, result: Forward) -> None:
    word = tokens.text
    if word in ("force_tcp", "prefer_udp", "failfast_all_unhealthy_upstreams"):
        if tokens.next_arg():
            raise tokens.count_error()
        result.force_tcp = result.force_tcp or word == "force_tcp"
        result.prefer_udp = result.prefer_udp or word == "prefer_udp"
        result.fail_fast = result.fail_fast or word.startswith("failfast")
    elif word == "except":
        names = tokens.rest()
        if not names:
            raise tokens.count_error()
        result.ignored += [absolute(name) for name in names]
    elif word in ("max_fails", "max_concurrent", "max_idle_conns"):
        count = _integer(tokens, tokens.argument())
        if count < 0:
            raise CorefileError(f"{word} can't be negative: {count}")
        if word == "max_fails":
            result.max_fails = count
    elif word in ("expire", "max_age", "read_timeout"):
        span = duration(tokens.argument())
        if span < 0:
            raise CorefileError(f"{word} can't be negative: {tokens.text}")
        if word == "read_timeout":
            result.read_timeout_s = span
    elif word == "health_check":
        result.health_check_s = duration(tokens.argument())
        if result.health_check_s < 0:
            raise CorefileError(f"health_check can't be negative: {tokens.text}")
        while tokens.next_arg():
            if tokens.text == "domain":
                tokens.argument()
            elif tokens.text != "no_rec":
                raise CorefileError(f"health_check: unknown option {tokens.text}")
    elif word == "policy":
        if tokens.argument() not in ("random", "round_robin", "sequential"):
            raise tokens.error(f"unknown policy '{tokens.text}'")
        result.policy = tokens.text
    elif word in ("tls", "tls_servername"):
        tokens.rest()
        result.encrypted = True
    elif word in ("next", "failover"):
        codes = frozenset(code.upper() for code in tokens.rest())
        if not codes:
            raise tokens.count_error()
        unknown = sorted(codes - _RCODES - ({"NOERROR"} if word == "next" else set()))
        if unknown:
            raise tokens.error(f"{unknown[0]} is not a valid rcode")
        if word == "next":
            result.passed_on = codes
        else:
            result.failover = codes
    else:
        raise tokens.error(f"unknown property '{word}'")


def read_cache(tokens: Dispenser, zones: list[str]) -> Cache:
    """Plugin `cache`."""
    found = Cache(zones=zones)
    tokens.next()
    arguments = tokens.rest()
    try:
        if arguments and arguments[0].isdigit():
            found.success_s = found.denial_s = _ttl(int(arguments.pop(0)))
        found.zones = [absolute(zone) for zone in arguments] or zones
        while tokens.next_block():
            _cache_option(tokens, found)
    except CorefileError as error:
        raise _wrapped("cache", error) from None
    if tokens.next():
        raise _wrapped("cache", CorefileError("this plugin can only be used once per Server Block"))
    return found


def _ttl(seconds: int) -> int:
    if seconds <= 0:
        raise CorefileError(f"cache TTL can not be zero or negative: {seconds}")
    return seconds


def _cache_option(tokens: Dispenser, found: Cache) -> None:
    word = tokens.text
    if word not in ("success", "denial", "servfail", "serve_stale", "disable", "prefetch", "keepttl"):
        raise tokens.count_error()
    arguments = tokens.rest()
    if word in ("success", "denial"):
        if not 1 <= len(arguments) <= 3:
            raise tokens.count_error()
        numbers = [_integer(tokens, text) for text in arguments]
        ttl = _ttl(numbers[1]) if len(numbers) > 1 else None
        least = numbers[2] if len(numbers) > 2 else None
        if word == "success":
            found.success_s = ttl if ttl is not None else found.success_s
            found.success_min_s = least if least is not None else found.success_min_s
        else:
            found.denial_s = ttl if ttl is not None else found.denial_s
            found.denial_min_s = least if least is not None else found.denial_min_s
    elif word == "servfail":
        if len(arguments) != 1:
            raise tokens.count_error()
        found.servfail_s = duration(arguments[0])
        if not 0 <= found.servfail_s <= 300:
            raise CorefileError(f"caching SERVFAIL responses over 5 minutes is not permitted: {arguments[0]}")
    elif word == "serve_stale":
        found.stale_s = duration(arguments[0]) if arguments else 3600.0
    elif word == "disable":
        if not arguments or arguments[0] not in ("success", "denial"):
            raise tokens.count_error()
        kept = [absolute(zone) for zone in arguments[1:]] or ["."]
        (found.no_success if arguments[0] == "success" else found.no_denial).extend(kept)


def read_rewrites(tokens: Dispenser) -> list[Rewrite]:
    """The name rules of plugin `rewrite`."""
    rules: list[Rewrite] = []
    while tokens.next():
        arguments = tokens.rest()
        inner: list[list[str]] = []
        while tokens.next_block():
            inner.append([tokens.text, *tokens.rest()])
        proceed = arguments[:1] == ["continue"]
        if arguments[:1] in (["continue"], ["stop"]):
            arguments = arguments[1:]
        if inner and not arguments:
            arguments, inner = inner[0], inner[1:]
        if len(arguments) < 2:
            raise _wrapped("rewrite", tokens.error("no rule type specified for rewrite"))
        if arguments[0] != "name":
            continue
        kinds = ("exact", "prefix", "suffix", "substring", "regex")
        kind = arguments[1] if arguments[1] in kinds and len(arguments) > 3 else "exact"
        words = arguments[2:] if arguments[1] in kinds and len(arguments) > 3 else arguments[1:]
        if len(words) < 2:
            raise _wrapped("rewrite", tokens.error("too few arguments for a name rule"))
        if kind == "regex":
            try:
                re.compile(words[0])
            except re.error as error:
                raise _wrapped("rewrite", tokens.error(f"invalid regex pattern in a name rule: {error}")) from None
        rules.append(
            Rewrite(kind, words[0], words[1], proceed, "answer" in words or any(w[0] == "answer" for w in inner))
        )
    return rules


def read_reload(tokens: Dispenser) -> float:
    """Plugin `reload`: its interval in seconds."""
    tokens.next()
    arguments = tokens.rest()
    if len(arguments) > 2:
        raise _wrapped("reload", tokens.count_error())
    interval = duration(arguments[0]) if arguments else 30.0
    return max(interval, 2.0)


def _nothing(tokens: Dispenser) -> None:
    tokens.next()
    if tokens.next_arg():
        raise tokens.count_error()
    if tokens.next_block():
        raise tokens.error(f"unknown property '{tokens.text}'")


def accept(_tokens: Dispenser) -> None:
    """Options of no consequence here."""


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
    "debug": accept,
    "health": _only("lameduck"),
    "ready": _only("monitor"),
    "errors": _only("consolidate", "stacktrace", "show_first"),
    "log": _only("class"),
    "prometheus": _only("runtime_gauge"),
    "loadbalance": _only("reload", "prefer"),
}
