"""Reaching others: getent, nc, ping, ip."""

from __future__ import annotations

import ipaddress

from crdbmesh_simulator.workloads import dns, paths
from crdbmesh_simulator.workloads.commands.basic import unknown
from crdbmesh_simulator.workloads.process import Command, Process, Run

_TCP_TIMEOUT_S = 127.0


def _getent(process: Process) -> Run | int:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    database = words[0] if words else ""
    if database not in ("hosts", "ahosts", "ahostsv4", "ahostsv6"):
        return unknown(process, database)
    return _resolve_all(process, database, words[1:])


def _resolve_all(process: Process, database: str, names: list[str]) -> Run:
    status = 0
    for name in names:
        answer = dns.resolve(process.world, process.container, name)
        yield answer.elapsed_s
        if not answer.found or database == "ahostsv6":
            status = 2
            continue
        official = answer.records[-1].name.rstrip(".")
        if database == "hosts":
            for ip in answer.addresses:
                process.say(f"{ip:<15} {official}\n")
            continue
        for ip in answer.addresses:
            process.say(f"{ip:<15} STREAM {official if ip == answer.addresses[0] else ''}".rstrip() + "\n")
            process.say(f"{ip:<15} DGRAM\n{ip:<15} RAW\n")
    return status


def address_of(process: Process, host: str) -> tuple[str | None, dns.Answer]:
    """The address that a command connects to for a host, and the answer that it is from."""
    answer = dns.resolve(process.world, process.container, host)
    return (answer.addresses[0] if answer.found else None), answer


def _nc(process: Process) -> Run:
    flags, rest, wait_s = "", [], _TCP_TIMEOUT_S
    words = list(process.argv[1:])
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            flags += word[1:]
            if word[-1] == "w" and words:
                wait_s = float(words.pop(0))
        else:
            rest.append(word)
    if len(rest) < 2 or set(flags) - set("zvwun0123456789"):
        return unknown(process, " ".join(process.argv[1:]))
    host, port = rest[0], int(rest[1])
    protocol = "UDP" if "u" in flags else "TCP"
    ip, answer = address_of(process, host)
    yield answer.elapsed_s
    busy = process.image.sh == "busybox"
    if ip is None:
        process.complain(
            f"nc: bad address '{host}'\n"
            if busy
            else f'nc: getaddrinfo for host "{host}" port {port}: Name or service not known\n'
        )
        return 1
    with process.world.lock:
        reason = paths.connect(process.world, process.container, ip, port, protocol)
    if reason is None:
        if "v" in flags:
            process.complain(
                f"{host} ({ip}:{port}) open\n"
                if busy
                else f"Connection to {host} ({ip}) {port} port [tcp/*] succeeded!\n"
            )
        return 0
    said = "Connection refused"
    if reason.startswith(paths.TIMEOUT):
        yield wait_s
        said = "Operation timed out"
    if "v" in flags or busy:
        process.complain(
            f"nc: {host} ({ip}:{port}): {said}\n"
            if busy
            else f"nc: connect to {host} ({ip}) port {port} (tcp) failed: {said}\n"
        )
    return 1


def _ping(process: Process) -> Run:
    count, wait_s, target = 4, 1.0, ""
    words = list(process.argv[1:])
    while words:
        word = words.pop(0)
        if word in ("-c", "-W", "-w", "-s", "-i", "-M"):
            value = words.pop(0)
            count = int(value) if word == "-c" else count
            wait_s = float(value) if word in ("-W", "-w") else wait_s
        elif word.startswith("-"):
            if word not in ("-4", "-q", "-n"):
                return unknown(process, word)
        else:
            target = word
    ip, answer = address_of(process, target)
    yield answer.elapsed_s
    if ip is None:
        process.complain(
            f"ping: bad address '{target}'\n"
            if process.image.sh == "busybox"
            else f"ping: {target}: Name or service not known\n"
        )
        return 1 if process.image.sh == "busybox" else 2
    with process.world.lock:
        reason = _echo_reason(process, ip)
    process.say(f"PING {target} ({ip}): 56 data bytes\n")
    received = 0 if reason else count
    for number in range(received):
        process.say(f"64 bytes from {ip}: seq={number} ttl=62 time=0.512 ms\n")
    yield count * (1.0 if not reason else wait_s)
    loss = 0 if not reason else 100
    process.say(
        f"\n--- {target} ping statistics ---\n{count} packets transmitted, {received} packets received, "
        f"{loss}% packet loss\n"
    )
    if received:
        process.say("round-trip min/avg/max = 0.512/0.512/0.512 ms\n")
    return int(bool(reason))


def _echo_reason(process: Process, ip: str) -> str | None:
    """Why an ICMP echo gets no reply: the way to a pod or a node, whatever listens there."""
    answer = paths.reach(process.world, process.container, ip, 0)
    if isinstance(answer, str) and answer.startswith(paths.REFUSED):
        return None
    return answer if isinstance(answer, str) else None


def _ip(process: Process) -> int:
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    own = str((process.container.pod.get("status") or {}).get("podIP") or "")
    if words[:1] in (["a"], ["addr"], ["address"]):
        process.say(
            "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536\n    inet 127.0.0.1/8 scope host lo\n"
            f"2: eth0@if12: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500\n    inet {own}/32 scope global eth0\n"
        )
        return 0
    if words[:1] in (["r"], ["route"]) and own:
        gateway = ipaddress.IPv4Address(own)
        network = ipaddress.ip_network(f"{gateway}/24", strict=False)
        process.say(f"default via {network[1]} dev eth0 mtu 1450\n{network[1]} dev eth0 scope link\n")
        return 0
    return unknown(process, " ".join(words))


COMMANDS: dict[str, Command] = {"getent": _getent, "nc": _nc, "ping": _ping, "ip": _ip}
