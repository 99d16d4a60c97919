"""Programs about the network: ip, ss, ping, nc (iproute2's ip(8) and ss(8), ping(8), nc(1))."""

from __future__ import annotations

import hashlib
import json
import re

from crdbmesh_simulator.machines import names, ports
from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.process import Process, UnsupportedError, UsageError


@program("ip", folder="/usr/sbin")
def _ip(process: Process, argv: list[str]) -> int:
    flags: set[str] = set()
    words = argv[1:]
    while words and words[0].startswith("-"):
        flags.add(words.pop(0).lstrip("-"))
    if flags - {"4", "o", "br", "brief", "oneline", "j", "json", "d", "s", "6", "c", "color=never", "p"}:
        raise UnsupportedError(" ".join(argv))
    subject = words.pop(0) if words else ""
    verb = (
        words.pop(0)
        if words and words[0] in ("show", "list", "ls", "get", "delete", "del", "add", "set", "s")
        else "show"
    )
    if "address".startswith(subject) and subject and verb in ("show", "list", "ls", "s"):
        return _addresses(process, flags, words)
    if "link".startswith(subject) and subject and verb in ("show", "list", "ls", "delete", "del"):
        device = next((word for word in words if word not in ("dev", "up")), None)
        if verb in ("delete", "del") or device not in (None, "eth0", "lo"):
            process.err(f"Cannot find device \"{device}\"\n" if verb in ("delete", "del") else
                        f'Device "{device}" does not exist.\n')  # fmt: skip
            return 1
        return _addresses(process, flags | {"link"}, words)
    if "route".startswith(subject) and subject and len(subject) > 1:
        return _routes(process, flags, verb, words)
    raise UnsupportedError(" ".join(argv))


def _mac(process: Process) -> str:
    digest = hashlib.sha256(process.machine.hardware.key.encode()).hexdigest()
    return "60:45:bd:" + ":".join(digest[at : at + 2] for at in (0, 2, 4))


def _addresses(process: Process, flags: set[str], words: list[str]) -> int:
    device = next((word for word in words if word not in ("dev", "scope", "global", "up")), None)
    if device not in (None, "eth0", "lo"):
        process.err(f'Device "{device}" does not exist.\n')
        return 1
    own = process.machine.private_ip()
    rows = [("lo", 1, "127.0.0.1", 8, "host", "UNKNOWN"), ("eth0", 2, own, 24, "global", "UP")]
    rows = [row for row in rows if device in (None, row[0]) and ("global" not in words or row[4] == "global")]
    if flags & {"j", "json"}:
        process.out(json.dumps([{
            "ifindex": number, "ifname": name, "operstate": state, "mtu": 1500 if name == "eth0" else 65536,
            "address": _mac(process) if name == "eth0" else "00:00:00:00:00:00",
            "addr_info": [{"family": "inet", "local": address, "prefixlen": prefix, "scope": scope}] if address else [],
        } for name, number, address, prefix, scope, state in rows]) + "\n")  # fmt: skip
        return 0
    for name, number, address, prefix, scope, state in rows:
        brd = "" if name == "lo" or not address else f" brd {address.rpartition('.')[0]}.255"
        if flags & {"br", "brief"}:
            shown = (
                (_mac(process) if name == "eth0" else "00:00:00:00:00:00")
                if "link" in flags
                else f"{address}/{prefix} "
            )
            process.out(f"{name:16s} {state:14s} {shown}\n")
        elif flags & {"o", "oneline"} and "link" not in flags:
            process.out(
                f"{number}: {name}    inet {address}/{prefix}{brd} scope {scope} {name}"
                "\\       valid_lft forever preferred_lft forever\n"
            )
        else:
            mtu, kind = (1500, "ether") if name == "eth0" else (65536, "loopback")
            process.out(f"{number}: {name}: <UP,LOWER_UP> mtu {mtu} qdisc mq state {state} group default qlen 1000\n"
                        f"    link/{kind} {_mac(process) if name == 'eth0' else '00:00:00:00:00:00'}\n")  # fmt: skip
            if "link" not in flags and address:
                process.out(
                    f"    inet {address}/{prefix}{brd} scope {scope} {name}\n"
                    "       valid_lft forever preferred_lft forever\n"
                )
    return 0


def _routes(process: Process, flags: set[str], verb: str, words: list[str]) -> int:
    own = process.machine.private_ip() or "0.0.0.0"  # noqa: S104 - printed, not bound
    gateway = own.rpartition(".")[0] + ".1"
    if flags & {"j", "json"}:
        process.out(json.dumps([{"dst": "default", "gateway": gateway, "dev": "eth0", "prefsrc": own}]) + "\n")
    elif verb == "get":
        process.out(f"{words[0]} via {gateway} dev eth0 src {own} uid {process.actor.uid} \n    cache \n")
    elif verb in ("show", "list", "ls", "s"):
        process.out(f"default via {gateway} dev eth0 proto dhcp src {own} metric 100 \n")
        if words[:1] != ["default"]:
            process.out(f"{own.rpartition('.')[0]}.0/24 dev eth0 proto kernel scope link src {own} metric 100 \n")
    else:
        raise UnsupportedError(f"ip route {verb}")
    return 0


@program("ss", "netstat")
def _ss(process: Process, argv: list[str]) -> int:
    flags = set("".join(word.lstrip("-") for word in argv[1:] if re.fullmatch(r"-[a-z0-9]+|-H", word, re.IGNORECASE)))
    if flags - set("ltnpuH4ea") or "l" not in flags or any(not word.startswith("-") for word in argv[1:]):
        raise UnsupportedError(" ".join(argv))
    if "H" not in flags:
        process.out("State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\n")
    for address, port, name in ports.listening(process.machine):
        user = f' users:(("{name}",pid=800,fd=3))' if "p" in flags and process.actor.uid == 0 else ""
        process.out(f"LISTEN 0      4096   {address}:{port:<6d} 0.0.0.0:*        {user}\n")
    return 0


@program("ping")
def _ping(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "c:W:w:qn4i:s:M:")
    if not options.operands:
        raise UsageError("usage error: Destination address required", 1)
    if "c" not in options:
        raise UnsupportedError("ping without -c")
    host, count = options.operands[0], int(options.get("c"))
    addresses = names.resolve(process.machine, host)
    if not addresses:
        process.err(f"ping: {host}: Name or service not known\n")
        return 2
    reason = names.reach(process.machine, addresses[0], 0, "Icmp")
    size = int(options.get("s", "56"))
    process.out(f"PING {host} ({addresses[0]}) {size}({size + 28}) bytes of data.\n")
    for number in range(1, count + 1):
        process.sleep(1.0 if number < count or reason is None else float(options.get("W", "10")))
        if reason is None:
            process.out(f"{size + 8} bytes from {addresses[0]}: icmp_seq={number} ttl=64 time=1.02 ms\n")
    received = count if reason is None else 0
    process.out(f"\n--- {host} ping statistics ---\n{count} packets transmitted, {received} received, "
                f"{0 if received else 100}% packet loss, time {count * 1000}ms\n")  # fmt: skip
    return 0 if received else 1


@program("nc", "netcat")
def _nc(process: Process, argv: list[str]) -> int:
    options = parse(argv[1:], "zvw:nu4")
    if "z" not in options or len(options.operands) != 2:
        raise UnsupportedError(" ".join(argv))
    host, port = options.operands
    addresses = names.resolve(process.machine, host)
    if not addresses:
        process.err(f'nc: getaddrinfo for host "{host}" port {port}: Name or service not known\n')
        return 1
    protocol = "Udp" if "u" in options else "Tcp"
    reason = names.reach(process.machine, addresses[0], int(port), protocol)
    if reason is not None:
        process.sleep(float(options.get("w", "120")))
        process.err(
            f"nc: connect to {host} port {port} ({protocol.lower()}) failed: Connection timed out\n"
            if "v" in options
            else ""
        )
        return 1
    target, _ = names.machine_at(process.machine, addresses[0])
    if protocol == "Tcp" and not ports.is_open(target, int(port)):
        process.err(f"nc: connect to {host} port {port} (tcp) failed: Connection refused\n" if "v" in options else "")
        return 1
    process.err(f"Connection to {host} {port} port [{protocol.lower()}/*] succeeded!\n" if "v" in options else "")
    return 0
