"""Asking name servers: dig, host, nslookup (BIND's and BusyBox's)."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Generator

from crdbmesh_simulator.workloads import dns
from crdbmesh_simulator.workloads.commands.basic import unknown
from crdbmesh_simulator.workloads.coredns.message import TYPES, absolute
from crdbmesh_simulator.workloads.process import Command, Process, Run


def _dig(process: Process) -> Run:
    server = name = ""
    kind, port, transport, flags = "A", 53, "UDP", set[str]()
    words = list(process.argv[1:])
    while words:
        word = words.pop(0)
        if word.startswith("@"):
            server = word[1:]
        elif word.startswith("+"):
            option = word[1:].partition("=")[0]
            if option in ("tcp", "vc"):
                transport = "TCP"
            elif option not in (
                "short",
                "search",
                "noall",
                "answer",
                "time",
                "tries",
                "retry",
                "timeout",
                "notcp",
                "nocmd",
                "nostats",
                "noquestion",
                "nocomments",
                "noedns",
                "norecurse",
                "recurse",
            ):
                return unknown(process, word)
            flags.add(option)
        elif word == "-p":
            port = int(words.pop(0))
        elif word == "-t":
            kind = words.pop(0).upper()
        elif word == "-x":
            name, kind = f"{ipaddress.ip_address(words.pop(0)).reverse_pointer}.", "PTR"
        elif word.upper() in TYPES and name:
            kind = word.upper()
        elif word.startswith("-"):
            return unknown(process, word)
        else:
            name = word
    config = dns.resolv_conf(process.container)
    servers = [server] if server else list(config.servers)
    candidates = config.candidates(name) if "search" in flags else [absolute(name)]
    answer, asked = dns.Answer(""), candidates[0]
    for asked in candidates:
        answer = yield from _first_answer(process, servers, asked, kind, port, transport)
        if answer.found:
            break
    if not answer.rcode:
        process.say(
            f";; communications error to {servers[0] if servers else ''}#{port}: timed out\n"
            f"\n; <<>> DiG 9.18.28 <<>> {' '.join(process.argv[1:])}\n;; global options: +cmd\n"
            ";; no servers could be reached\n"
        )
        return 9
    if "short" in flags:
        process.say("".join(f"{record.data}\n" for record in answer.records))
        return 0
    _show(process, answer, asked, kind, transport, flags)
    return 0


def _first_answer(
    process: Process, servers: list[str], name: str, kind: str, port: int, transport: str
) -> Generator[float, None, dns.Answer]:
    answer = dns.Answer("")
    for server in servers:
        address = server
        if not _is_address(server):
            found = dns.resolve(process.world, process.container, server)
            yield found.elapsed_s
            if not found.found:
                continue
            address = found.addresses[0]
        answer = dns.query(process.world, process.container, address, name, kind, port=port, transport=transport)
        yield answer.elapsed_s
        if answer.rcode:
            return answer
    return answer


def _show(process: Process, answer: dns.Answer, name: str, kind: str, transport: str, flags: set[str]) -> None:
    if "noall" not in flags:
        bits = "qr aa rd" if answer.authoritative else "qr rd ra"
        process.say(
            f"\n; <<>> DiG 9.18.28 <<>> {' '.join(process.argv[1:])}\n;; global options: +cmd\n;; Got answer:\n"
            f";; ->>HEADER<<- opcode: QUERY, status: {answer.rcode}, id: {process.world.random.randrange(65536)}\n"
            f";; flags: {bits}; QUERY: 1, ANSWER: {len(answer.records)}, AUTHORITY: {len(answer.authority)}, "
            "ADDITIONAL: 1\n\n"
            f";; QUESTION SECTION:\n;{name}\t\tIN\t{kind}\n\n"
        )
    if answer.records:
        process.say("" if "noall" in flags else ";; ANSWER SECTION:\n")
        process.say("".join(f"{record}\n" for record in answer.records))
    if "noall" in flags:
        return
    if answer.authority:
        process.say("\n;; AUTHORITY SECTION:\n" + "".join(f"{record}\n" for record in answer.authority))
    where = answer.server.partition("#")[0]
    process.say(
        f"\n;; Query time: {int(answer.elapsed_s * 1000)} msec\n;; SERVER: {answer.server}({where}) ({transport})\n"
    )


def _nslookup(process: Process) -> Run:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    options = [word for word in process.argv[1:] if word.startswith("-")]
    kinds = [word.partition("=")[2].upper() for word in options if word.startswith(("-type=", "-query=", "-q="))]
    if len(kinds) != len(options) or not words:
        return unknown(process, " ".join(options) or "(interactive)")
    config = dns.resolv_conf(process.container)
    server = words[1] if len(words) > 1 else (config.servers[0] if config.servers else "127.0.0.1")
    if not _is_address(server):
        found = dns.resolve(process.world, process.container, server)
        yield found.elapsed_s
        if not found.found:
            process.complain(f"nslookup: couldn't get address for '{server}': not found\n")
            return 1
        server = found.addresses[0]
    busy = process.image.sh == "busybox"
    kind = kinds[0] if kinds else "A"
    names = _searched(words[0], config, busy=busy)
    answer, asked = dns.Answer(""), names[0]
    for asked in names:
        answer = dns.query(process.world, process.container, server, asked, kind)
        yield answer.elapsed_s
        if answer.found or not answer.rcode:
            break
    if not answer.rcode:
        process.say(";; connection timed out; no servers could be reached\n\n")
        return 1
    process.say(f"Server:\t\t{server}\nAddress:\t{server}{':53' if busy else '#53'}\n\n")
    if not answer.found:
        shown = words[0] if not busy else asked.rstrip(".")
        what = (
            f"*** Can't find {shown}: No answer"
            if answer.rcode == dns.NOERROR
            else f"** server can't find {shown}: {answer.rcode}"
        )
        process.say(f"{what}\n\n")
        return 1
    if not answer.authoritative:
        process.say("Non-authoritative answer:\n")
    for record in answer.records:
        label = "Address" if record.type == "A" else record.type.lower()
        process.say(
            f"Name:\t{record.name.rstrip('.')}\n{label}: {record.data}\n" if record.type == "A" else f"{record}\n"
        )
    process.say("\n")
    return 0


def _searched(name: str, config: dns.Resolv, *, busy: bool) -> list[str]:
    """BIND's goes by the search list; BusyBox's only when the name has no dot."""
    if busy and "." in name.rstrip("."):
        return [absolute(name)]
    return dataclasses.replace(config, ndots=config.ndots).candidates(name)


def _host(process: Process) -> Run:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    if not words or len(words) != len(process.argv) - 1:
        return unknown(process, " ".join(process.argv[1:]))
    config = dns.resolv_conf(process.container)
    answer = dns.Answer("")
    for asked in config.candidates(words[0]):
        answer = yield from _first_answer(process, words[1:2] or list(config.servers), asked, "A", 53, "UDP")
        if answer.found or not answer.rcode:
            break
    if not answer.rcode:
        process.say(";; connection timed out; no servers could be reached\n")
        return 1
    if not answer.found:
        process.say(f"Host {words[0]} not found: 3(NXDOMAIN)\n")
        return 1
    process.say("".join(f"{record.name.rstrip('.')} has address {record.data}\n" for record in answer.records))
    return 0


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


COMMANDS: dict[str, Command] = {"dig": _dig, "nslookup": _nslookup, "host": _host}
