"""Answers questions as CoreDNS does: by the plugins of the server block with the longest fitting zone.

After `core/dnsserver/server.go` and the plugins `cache`, `hosts` and `forward` of CoreDNS 1.14.
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.workloads import paths
from crdbmesh_simulator.workloads.coredns import kubernetes_plugin
from crdbmesh_simulator.workloads.coredns.message import (
    NOERROR,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    Answer,
    Question,
    Record,
    absolute,
    under,
)
from crdbmesh_simulator.workloads.coredns.plugins import Cache, Config, Forward, Hosts, Server

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.world import World

_FORWARD_DEADLINE_S = 5.0
_MAX_HOPS = 16
_LAN_S = 0.001
_PUBLIC = ("com", "net", "org", "io", "dev", "sh", "edu", "gov")


@dataclass(slots=True)
class _Health:
    fails: int = 0
    checked_at: float = 0.0


@dataclass(slots=True)
class _Kept:
    answer: Answer
    stored_at: float
    ttl_s: float


@dataclass
class Resolver:
    """The state of one CoreDNS process: its configuration, caches, and what it knows of its upstreams."""

    container: Container
    config: Config
    log: list[str]
    caches: dict[str, dict[tuple[str, str], _Kept]] = field(default_factory=dict)
    upstreams: dict[tuple[str, int], _Health] = field(default_factory=dict)
    looped: bool = False

    def answer(self, question: Question) -> Answer:
        """Answer a question. With `world.lock` held."""
        if question.hops > _MAX_HOPS:
            return Answer(SERVFAIL, reason="too many servers passed the question on")
        if id(self) in question.seen and question.probe:
            self.looped = True
            return Answer(SERVFAIL, reason="loop")
        server = self.config.find_server(question.name)
        if server is None:
            return Answer(REFUSED, reason=f"no zone for {question.name}")
        if server.cache is None or question.probe:
            return self._resolve(server, question)
        return self._cached(server, server.cache, question)

    def _cached(self, server: Server, settings: Cache, question: Question) -> Answer:
        """Plugin `cache`: every record lives as long as the entry; a failure that no upstream answered is not kept."""
        now = self.container.world.clock.now()
        entries = self.caches.setdefault(server.zone, {})
        key = (question.name, question.type)
        kept = entries.get(key)
        if kept is not None and now < kept.stored_at + kept.ttl_s:
            left = int(kept.stored_at + kept.ttl_s - now)
            return dataclasses.replace(_with_ttl(kept.answer, left), elapsed_s=0.0)
        answer = self._resolve(server, question)
        ttl = _kept_for(settings, answer)
        if ttl > 0:
            entries[key] = _Kept(answer, now, ttl)
            answer = _with_ttl(answer, int(ttl))
        return answer

    def _resolve(self, server: Server, question: Question) -> Answer:
        """The plugins after the cache."""
        answer = self._hosts(server.hosts, question) if server.hosts is not None else None
        if answer is None and server.kubernetes is not None:
            serial = int(self.container.world.clock.now())
            answer = kubernetes_plugin.answer(self.container.cluster, server.kubernetes, question, serial)
        forward = next((each for each in server.forwards if under(question.name, each.zone)), None)
        if answer is None and forward is not None:
            answer = self._forward(forward, question)
        answer = answer or Answer(SERVFAIL, reason="plugin/errors: no next plugin found")
        if "errors" in server.plugins and answer.rcode == SERVFAIL and answer.reason and not question.probe:
            self.log.append(f"[ERROR] plugin/errors: 2 {question.name} {question.type}: {answer.reason}")
            del self.log[:-2000]
        return answer

    def _hosts(self, settings: Hosts, question: Question) -> Answer | None:
        """Plugin `hosts`: names of the file; None for what the next plugin is to answer."""
        lines = self.container.files.get(settings.path, b"").decode(errors="replace").splitlines()
        named = [words for words in map(str.split, lines) if question.name in map(absolute, words[1:])]
        if not named:
            falls = settings.fall_through
            if falls is not None and any(under(question.name, zone) for zone in falls):
                return None
            return Answer(NXDOMAIN, reason=f"{question.name} is in no hosts file", authoritative=True)
        addresses = [words[0] for words in named if question.type == "A" and ":" not in words[0]]
        records = tuple(Record(question.name, "A", settings.ttl, ip) for ip in addresses)
        return Answer(NOERROR, records, authoritative=True)

    # Plugin forward.

    def _forward(self, settings: Forward, question: Question) -> Answer:
        transport = "TCP" if settings.force_tcp else "UDP" if settings.prefer_udp else question.transport
        spent, reason = 0.0, "no healthy upstream"
        order = self._order(settings)
        if all(self._down(settings, each) for each in order):
            order = [self.container.world.random.choice(order)]
        for upstream in order:
            if spent >= _FORWARD_DEADLINE_S:
                break
            if len(order) > 1 and self._down(settings, upstream):
                continue
            answer = self._ask(upstream, question, transport, settings.read_timeout_s)
            health = self.upstreams.setdefault(upstream, _Health())
            if answer.rcode:
                health.fails = 0
                return answer.later(spent)
            spent += answer.elapsed_s
            reason = answer.reason
            health.fails += 1
            health.checked_at = self.container.world.clock.now()
        return Answer(SERVFAIL, reason=reason, elapsed_s=spent)

    def _order(self, settings: Forward) -> list[tuple[str, int]]:
        order = list(settings.upstreams)
        if settings.policy == "random":
            self.container.world.random.shuffle(order)
        return order

    def _down(self, settings: Forward, upstream: tuple[str, int]) -> bool:
        """Return whether an upstream has failed too often and has not recovered since."""
        health = self.upstreams.get(upstream)
        if health is None or settings.max_fails == 0 or health.fails < settings.max_fails:
            return False
        now = self.container.world.clock.now()
        if now < health.checked_at + max(settings.health_check_s, 0.5):
            return True
        health.checked_at = now
        transport = "TCP" if settings.force_tcp else "UDP"
        if paths.connect(self.container.world, self.container, *upstream, transport) is None:
            health.fails = 0
            return False
        return True

    def _ask(self, upstream: tuple[str, int], question: Question, transport: str, timeout_s: float) -> Answer:
        """The upstream's answer, or one without rcode when there was none."""
        asked = dataclasses.replace(
            question, hops=question.hops + 1, seen=(*question.seen, id(self)), transport=transport
        )
        return exchange(self.container.world, self.container, upstream, asked, timeout_s=timeout_s)


def exchange(
    world: World, source: paths.Source, server: tuple[str, int], question: Question, *, timeout_s: float
) -> Answer:
    """Send a question to a server; an answer without rcode means that there was none in time."""
    from crdbmesh_simulator.workloads.coredns.server import CoreDNS

    ip, port = server
    start = paths.origin(world, source)
    found = paths.reach(world, start, ip, port, question.transport)
    if isinstance(found, str):
        timed_out = found.startswith(paths.TIMEOUT)
        verb = "dial tcp" if question.transport == "TCP" else "read udp"
        text = f"{verb} {ip}:{port}: {'' if timed_out else 'connect: '}{paths.symptom(found)}"
        return Answer("", reason=text, elapsed_s=timeout_s if timed_out else _LAN_S)
    where = f"{ip}#{port}"
    if found.service == "azure-dns":
        return dataclasses.replace(azure(world, question), server=where, elapsed_s=_LAN_S)
    if not isinstance(found.program, CoreDNS):
        return Answer("", reason=f"read {question.transport.lower()} {ip}:{port}: i/o timeout", elapsed_s=timeout_s)
    answer = found.program.answer(question)
    return dataclasses.replace(answer, server=where).later(paths.round_trip_s(world, start, found))


def azure(world: World, question: Question) -> Answer:
    """Answer as Azure's resolver: of public names, only those that machines of this world need exist."""
    name = question.name.rstrip(".")
    if internet.host_known(f"https://{name}"):
        ip = f"203.0.113.{zlib.crc32(name.encode()) % 250 + 1}"
        return Answer(NOERROR, (Record(question.name, "A", 60, ip),) if question.type == "A" else ())
    if name.rpartition(".")[2] in _PUBLIC and not question.probe:
        world.not_known("dns", f"{question.type} {name}")
    root = Record(".", "SOA", 900, "a.root-servers.net. nstld.verisign-grs.com. 2026112300 1800 900 604800 86400")
    return Answer(NXDOMAIN, (), (root,), f"{question.name} is not a public name")


def _with_ttl(answer: Answer, ttl: int) -> Answer:
    return dataclasses.replace(answer, records=tuple(dataclasses.replace(each, ttl=ttl) for each in answer.records))


def _kept_for(settings: Cache, answer: Answer) -> float:
    """For how many seconds an answer is kept."""
    if answer.rcode == SERVFAIL:
        return settings.servfail_s if answer.server else 0.0
    if answer.rcode == NOERROR and answer.records:
        ttl = min(record.ttl for record in answer.records)
        return float(min(max(ttl, settings.success_min_s), settings.success_s))
    if answer.rcode in (NOERROR, NXDOMAIN):
        ttl = min((record.ttl for record in answer.authority), default=settings.denial_min_s)
        return float(min(max(ttl, settings.denial_min_s), settings.denial_s))
    return 0.0
