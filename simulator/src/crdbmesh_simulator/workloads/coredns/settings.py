"""Settings of the CoreDNS plugins that answer in this world, with their defaults in CoreDNS 1.14."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Kubernetes:
    """Settings of plugin `kubernetes`.

    Attributes:
        fall_through: None when names that do not exist are answered here.
        labels: a selector that Services must match, or empty.
        unhandled: options that this world accepts but does not act out.
    """

    zones: list[str]
    ttl: int = 5
    pods: str = "disabled"
    fall_through: list[str] | None = None
    namespaces: list[str] | None = None
    endpoint_pod_names: bool = False
    no_endpoints: bool = False
    ignore_empty: bool = False
    labels: str = ""
    unhandled: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Hosts:
    """Settings of plugin `hosts`: a file and lines of its own."""

    path: str = "/etc/hosts"
    zones: list[str] = field(default_factory=lambda: ["."])
    lines: list[str] = field(default_factory=list)
    ttl: int = 3600
    fall_through: list[str] | None = None


@dataclass(slots=True)
class Forward:
    """Settings of plugin `forward`.

    Attributes:
        failover: codes after which the next upstream is asked, as if there had been no answer.
        passed_on: codes after which the next `forward` of the server block is asked.
    """

    zone: str
    upstreams: list[tuple[str, int]] = field(default_factory=list)
    encrypted: bool = False
    ignored: list[str] = field(default_factory=list)
    force_tcp: bool = False
    prefer_udp: bool = False
    max_fails: int = 2
    health_check_s: float = 0.5
    policy: str = "random"
    read_timeout_s: float = 2.0
    fail_fast: bool = False
    failover: frozenset[str] = frozenset()
    passed_on: frozenset[str] = frozenset()


@dataclass(slots=True)
class Cache:
    """Settings of plugin `cache`; times in seconds."""

    success_s: int = 3600
    success_min_s: int = 5
    denial_s: int = 1800
    denial_min_s: int = 5
    servfail_s: float = 5.0
    stale_s: float = 0.0
    zones: list[str] = field(default_factory=list)
    no_success: list[str] = field(default_factory=list)
    no_denial: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule of plugin `rewrite` for names: `exact`, `prefix`, `suffix`, `substring` or `regex`."""

    kind: str
    pattern: str
    replacement: str
    proceed: bool
    answer: bool
