"""Settings of the CoreDNS plugins that answer in this world, with their defaults in CoreDNS 1.14. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


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
