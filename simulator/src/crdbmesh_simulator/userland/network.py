"""Commands that reach others: curl, from the internet of this world, and getent (curl(1), getent(1))."""

from __future__ import annotations

import urllib.parse

from crdbmesh_simulator.machines import internet
from crdbmesh_simulator.machines.machine_os import host_of
from crdbmesh_simulator.shell.process import Command, Process, Run, UnsupportedError, os_error
from crdbmesh_simulator.userland.options import Options, parse

_CONNECT_S = 120.0


class _TransferError(Exception):
    """A transfer that failed: curl's exit status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _curl(process: Process) -> Run:
    options = parse(
        process.argv[1:],
        "fsSLo:",
        {
            "fail": "f",
            "silent": "s",
            "show-error": "S",
            "location": "L",
            "output=": "o",
            "proto=": "proto",
            "retry=": "retry",
            "retry-delay=": "retry-delay",
            "retry-all-errors": "retry-all-errors",
            "connect-timeout=": "connect",
            "max-time=": "connect",
            "speed-limit=": "speed",
            "speed-time=": "speed",
        },
    )
    if len(options.operands) != 1:
        raise UnsupportedError(" ".join(process.argv))
    try:
        body = yield from _fetch(process, options, options.operands[0])
        if "o" in options:
            process.open_sink(options.get("o")).write(body)
        else:
            process.say(body)
    except _TransferError as failure:
        process.complain("" if "s" in options and "S" not in options else f"curl: ({failure.status}) {failure}\n")
        return failure.status
    except OSError as error:
        process.complain(f"curl: (23) client returned ERROR on write, {os_error(error)}\n")
        return 23
    return 0


def _fetch(process: Process, options: Options, url: str) -> internet.Download:
    host, name = host_of(process), urllib.parse.urlsplit(url).hostname or ""
    if options.get("proto") == "=https" and not url.startswith("https://"):
        raise _TransferError(1, 'Protocol "http" disabled')
    if not internet.host_known(url):
        process.system.not_known(f"GET {url}")
        raise _TransferError(6, f"Could not resolve host: {name}")
    if not host.world.network.has_egress(host.hardware):
        patience_s = float(options.get("connect", str(_CONNECT_S)))
        yield patience_s
        raise _TransferError(
            28, f"Failed to connect to {name} port 443 after {patience_s * 1000:.0f} ms: Timeout was reached"
        )
    offer = internet.find_offer(url)
    if offer is None:
        process.system.not_known(f"GET {url}")
        if "f" in options:
            raise _TransferError(22, "The requested URL returned error: 404")
        return b"Not Found"
    if offer.location and "L" not in options:
        return b""
    yield offer.seconds
    return offer.content[:-8] + bytes(8) if url in host.corrupt_downloads else offer.content


def _getent(process: Process) -> Run:
    if process.argv[1:2] not in (["hosts"], ["ahostsv4"]):
        raise UnsupportedError(" ".join(process.argv))
    status = 0
    for name in process.argv[2:]:
        addresses, official = yield from process.system.lookup(name, options=process.env.get("RES_OPTIONS", ""))
        status = status if addresses else 2
        for address in addresses:
            if process.argv[1] == "hosts":
                process.say(f"{address:<15} {official}\n")
            else:
                process.say(f"{address:<15} STREAM {official}\n{address:<15} DGRAM\n{address:<15} RAW\n")
    return status


COMMANDS: dict[str, Command] = {"curl": _curl, "getent": _getent}
