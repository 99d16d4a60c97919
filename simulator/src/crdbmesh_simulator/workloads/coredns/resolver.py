"""How CoreDNS answers a question: the chain of plugins of the server block with the longest fitting zone.

After `core/dnsserver/server.go` and the plugins `cache`, `rewrite`, `hosts` and `forward` of CoreDNS 1.14.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.workloads import paths
from crdbmesh_simulator.workloads.coredns import kubernetes_plugin
from crdbmesh_simulator.workloads.coredns.config import Config, Server
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
from crdbmesh_simulator.workloads.coredns.settings import Cache, Forward, Hosts, Rewrite

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.programs import Container
    from crdbmesh_simulator.world import World

_FORWARD_DEADLINE_S = 5.0
_MAX_HOPS = 16
_LAN_S = 0.001
_WAN_S = 0.08
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
    turn: int = 0
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
            return self._chain(server, question)
        return self._cached(server, server.cache, question)

    # Plugin cache.

    def _cached(self, server: Server, settings: Cache, question: Question) -> Answer:
        if not any(under(question.name, zone) for zone in settings.zones):
            return self._chain(server, question)
        now = self.container.world.clock.now()
        kept_all = self.caches.setdefault(server.zone, {})
        key = (question.name, question.type)
        kept = kept_all.get(key)
        if kept is not None and now < kept.stored_at + kept.ttl_s:
            age = int(now - kept.stored_at)
            records = tuple(dataclasses.replace(each, ttl=max(each.ttl - age, 0)) for each in kept.answer.records)
            return dataclasses.replace(kept.answer, records=records, elapsed_s=0.0)
        answer = self._chain(server, question)
        stale = (
            kept is not None and kept.answer.rcode == NOERROR and now < kept.stored_at + kept.ttl_s + settings.stale_s
        )
        if answer.rcode == SERVFAIL and stale and kept is not None:
            return dataclasses.replace(kept.answer, elapsed_s=0.0)
        ttl = _kept_for(settings, answer, question.name)
        if ttl > 0:
            kept_all[key] = _Kept(answer, now, ttl)
        return answer

    # The plugins after it.

    def _chain(self, server: Server, question: Question) -> Answer:
        asked = _rewritten(server.rewrites, question)
        answer = self._resolve(server, asked)
        if asked.name != question.name and any(rule.answer for rule in server.rewrites):
            records = tuple(
                dataclasses.replace(each, name=question.name) if each.name == asked.name else each
                for each in answer.records
            )
            answer = dataclasses.replace(answer, records=records)
        if "errors" in server.plugins and answer.rcode == SERVFAIL and answer.reason and not question.probe:
            self._say(f"[ERROR] plugin/errors: 2 {question.name} {question.type}: {answer.reason}")
        if "log" in server.plugins:
            size = 60 + 32 * len(answer.records)
            self._say(
                f'[INFO] 10.0.0.0:0 - 0 "{question.type} IN {question.name} {question.transport.lower()} 60 false 512" '
                f"{answer.rcode or SERVFAIL} qr,rd {size} {answer.elapsed_s:.9f}s"
            )
        return answer

    def _resolve(self, server: Server, question: Question) -> Answer:
        if server.hosts is not None:
            found = self._hosts(server.hosts, question)
            if found is not None:
                return found
        if server.kubernetes is not None:
            found = kubernetes_plugin.answer(self.container.cluster, server.kubernetes, question)
            if found is not None:
                return self._followed(found, question)
        fitting = [
            forward
            for forward in server.forwards
            if under(question.name, forward.zone) and not any(under(question.name, zone) for zone in forward.ignored)
        ]
        for number, forward in enumerate(fitting, 1):
            answer = self._forward(forward, question)
            if number == len(fitting) or answer.rcode not in forward.passed_on:
                return answer
        return Answer(SERVFAIL, reason="plugin/errors: no next plugin found")

    def _followed(self, found: Answer, question: Question) -> Answer:
        """Resolve the target of an ExternalName Service, as the upstream lookup does."""
        if question.type == "CNAME" or not found.records or found.records[-1].type != "CNAME":
            return found
        target = dataclasses.replace(question, name=absolute(found.records[-1].data), hops=question.hops + 1)
        behind = self.answer(target)
        return dataclasses.replace(behind, records=found.records + behind.records)

    def _hosts(self, settings: Hosts, question: Question) -> Answer | None:
        if not any(under(question.name, zone) for zone in settings.zones):
            return None
        lines = self.container.files.get(settings.path, b"").decode(errors="replace").splitlines()
        addresses: list[str] = []
        known = False
        for line in [*lines, *settings.lines]:
            words = line.split("#")[0].split()
            if len(words) > 1 and question.name in [absolute(word) for word in words[1:]]:
                known = True
                if ":" not in words[0]:
                    addresses.append(words[0])
        records = (
            tuple(Record(question.name, "A", settings.ttl, ip) for ip in addresses) if question.type == "A" else ()
        )
        if records or known:
            return Answer(NOERROR, records, authoritative=True)
        falls = settings.fall_through is not None and any(under(question.name, zone) for zone in settings.fall_through)
        return None if falls else Answer(NXDOMAIN, reason=f"{question.name} is in no hosts file", authoritative=True)

    # Plugin forward.

    def _forward(self, settings: Forward, question: Question) -> Answer:
        if settings.encrypted:
            self.container.world.not_known("dns", "forward over TLS")
            return Answer(SERVFAIL, reason="forward over TLS is not part of this world")
        transport = "TCP" if settings.force_tcp else "UDP" if settings.prefer_udp else question.transport
        spent, reason = 0.0, "no healthy upstream"
        last: Answer | None = None
        order = self._order(settings)
        if all(self._down(settings, each) for each in order):
            if settings.fail_fast:
                return Answer(SERVFAIL, reason="no healthy proxies")
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
                last = answer.later(spent)
                if answer.rcode not in settings.failover:
                    return last
                spent += answer.elapsed_s
                continue
            spent += answer.elapsed_s
            reason = answer.reason
            health.fails += 1
            health.checked_at = self.container.world.clock.now()
        return last or Answer(SERVFAIL, reason=reason, elapsed_s=spent)

    def _order(self, settings: Forward) -> list[tuple[str, int]]:
        order = list(settings.upstreams)
        if settings.policy == "random":
            self.container.world.random.shuffle(order)
        elif settings.policy == "round_robin":
            self.turn += 1
            cut = self.turn % len(order)
            order = order[cut:] + order[:cut]
        return order

    def _down(self, settings: Forward, upstream: tuple[str, int]) -> bool:
        """Whether an upstream has failed too often and has not recovered since."""
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

    def _say(self, line: str) -> None:
        self.log.append(line)
        del self.log[:-2000]


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
    return dataclasses.replace(answer, server=where).later(_LAN_S if found.cluster is start.cluster else _WAN_S)


def azure(world: World, question: Question) -> Answer:
    """What Azure's resolver says: of public names, only those that machines of this world need exist."""
    name = question.name.rstrip(".")
    if internet.host_known(f"https://{name}"):
        ip = f"203.0.113.{zlib.crc32(name.encode()) % 250 + 1}"
        return Answer(NOERROR, (Record(question.name, "A", 60, ip),) if question.type == "A" else ())
    if name.rpartition(".")[2] in _PUBLIC and not question.probe:
        world.not_known("dns", f"{question.type} {name}")
    root = Record(".", "SOA", 900, "a.root-servers.net. nstld.verisign-grs.com. 2026112300 1800 900 604800 86400")
    return Answer(NXDOMAIN, (), (root,), f"{question.name} is not a public name")


def _kept_for(settings: Cache, answer: Answer, name: str) -> float:
    """For how many seconds an answer is kept."""
    if answer.rcode == SERVFAIL:
        return settings.servfail_s
    if answer.rcode == NOERROR and answer.records:
        if any(under(name, zone) for zone in settings.no_success):
            return 0.0
        ttl = min(record.ttl for record in answer.records)
        return float(min(max(ttl, settings.success_min_s), settings.success_s))
    if answer.rcode in (NOERROR, NXDOMAIN):
        if any(under(name, zone) for zone in settings.no_denial):
            return 0.0
        ttl = min((record.ttl for record in answer.authority), default=settings.denial_min_s)
        return float(min(max(ttl, settings.denial_min_s), settings.denial_s))
    return 0.0


def _rewritten(rules: list[Rewrite], question: Question) -> Question:
    for rule in rules:
        name = _apply(rule, question.name)
        if name is None:
            continue
        question = dataclasses.replace(question, name=absolute(name))
        if not rule.proceed:
            break
    return question


def _apply(rule: Rewrite, name: str) -> str | None:
    pattern, replacement = rule.pattern, rule.replacement
    if rule.kind == "exact":
        return replacement if name == absolute(pattern) else None
    if rule.kind == "prefix":
        return replacement + name[len(pattern) :] if name.startswith(pattern) else None
    if rule.kind == "suffix":
        tail = absolute(pattern) if not pattern.startswith(".") else "." + absolute(pattern[1:])
        return name[: -len(tail)] + replacement if name.endswith(tail) else None
    if rule.kind == "substring":
        return name.replace(pattern, replacement) if pattern in name else None
    found = re.search(pattern, name)
    if found is None:
        return None
    return re.sub(r"\{(\d+)\}", lambda group: found[int(group[1])] or "", replacement)
