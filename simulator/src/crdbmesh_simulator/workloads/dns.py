"""Names, as a process on a node or in a pod resolves them: by its resolver configuration and the servers that names.

The answers come from the CoreDNS programs that run in the pods, which go by their own Corefiles. Search lists and
`ndots` as in resolv.conf(5); the kubelet's DNS policies as in the Kubernetes documentation (`dns-pod-service`).
"""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.kubernetes.programs import Container
from crdbmesh_simulator.workloads import paths
from crdbmesh_simulator.workloads.coredns.message import NOERROR, NXDOMAIN, SERVFAIL, Answer, Question, Record, absolute
from crdbmesh_simulator.workloads.coredns.resolver import exchange

if TYPE_CHECKING:
    from crdbmesh_simulator.world import World

_TIMEOUT_S = 5.0
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Resolv:
    """A resolver configuration."""

    servers: tuple[str, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1

    def candidates(self, name: str) -> list[str]:
        """The full names to try, in order."""
        if name.endswith("."):
            return [absolute(name)]
        plain = absolute(name)
        searched = [absolute(f"{name}.{suffix}") for suffix in self.search]
        return [plain, *searched] if name.count(".") >= self.ndots else [*searched, plain]


def lookup(world: World, source: Container, name: str, qtype: str = "A", options: str = "") -> Answer:
    """Resolve a name as the C library does in a container: search list, then each name server.

    `options` are those of resolv.conf(5), as in `RES_OPTIONS`: `timeout:`, `attempts:`, `use-vc`.

    Takes `world.lock`. The answer's `elapsed_s` says how long it takes; nothing waits here.
    """
    with world.lock:
        config = resolv_conf(source)
        start = paths.origin(world, source)
        words = dict(word.partition(":")[::2] for word in options.split())
        transport = "TCP" if "use-vc" in words else "UDP"
        patience = (float(words.get("timeout", _TIMEOUT_S)), int(words.get("attempts", _ATTEMPTS)))
        spent, last = 0.0, Answer("", reason="no name server is configured")
        for candidate in config.candidates(name):
            answer = _ask(world, start, config, Question(candidate, qtype, transport=transport), *patience)
            spent += answer.elapsed_s
            answer = dataclasses.replace(answer, elapsed_s=spent)
            if answer.found or not answer.rcode:
                return answer
            if last.rcode != SERVFAIL:
                last = answer
        return dataclasses.replace(last, elapsed_s=spent)


def resolve(world: World, source: Container, name: str, options: str = "") -> Answer:
    """As getaddrinfo(3) for IPv4: an address itself, then the hosts file, then DNS."""
    try:
        return Answer(NOERROR, (_record(name, str(ipaddress.IPv4Address(name))),))
    except ValueError:
        pass
    found = hosts_file(source).get(name.lower().rstrip("."))
    if found:
        return Answer(NOERROR, tuple(_record(name, ip) for ip in found))
    return lookup(world, source, name, options=options)


def hosts_file(container: Container) -> dict[str, list[str]]:
    """IPv4 addresses by name from the container's hosts file."""
    found: dict[str, list[str]] = {}
    for line in container.files.get("/etc/hosts", b"127.0.0.1 localhost\n").decode(errors="replace").splitlines():
        words = line.split("#")[0].split()
        if len(words) > 1 and ":" not in words[0]:
            for word in words[1:]:
                found.setdefault(word.lower(), []).append(words[0])
    return found


def resolv_conf(source: Container) -> Resolv:
    """The resolver configuration of a container."""
    text = source.files.get("/etc/resolv.conf", b"").decode(errors="replace")
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split()
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            ndots = next((int(word[6:]) for word in words if word.startswith("ndots:")), ndots)
    return Resolv(tuple(servers[:3]), search, ndots)


def _ask(
    world: World, start: paths.Origin, config: Resolv, question: Question, timeout_s: float, attempts: int
) -> Answer:
    """Each server in turn, so many times; a refusal or failure of one leads to the next."""
    spent, last = 0.0, Answer("", reason="no name server is configured")
    for _ in range(attempts):
        for server in config.servers:
            answer = exchange(world, start, (server, 53), question, timeout_s=timeout_s)
            spent += answer.elapsed_s
            if answer.rcode in (NOERROR, NXDOMAIN):
                return dataclasses.replace(answer, elapsed_s=spent)
            last = answer if answer.rcode or not last.rcode else last
        if last.rcode:
            break
    return dataclasses.replace(last, elapsed_s=spent)


def _record(name: str, ip: str) -> Record:
    return Record(absolute(name), "A", 0, ip)
