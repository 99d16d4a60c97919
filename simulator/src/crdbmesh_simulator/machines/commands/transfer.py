"""curl and wget: from the internet of this world, and from the k3s API of machines (curl(1), wget(1))."""

from __future__ import annotations

import json
import posixpath
import urllib.parse

from crdbmesh_simulator.machines import internet, k3s_http, names, ports
from crdbmesh_simulator.machines.commands.table import parse, program
from crdbmesh_simulator.machines.process import Process, UsageError, encode, os_error

_METADATA = "169.254.169.254"


class _TransferError(Exception):
    """A transfer that failed: curl's exit status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@program("curl")
def _curl(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:], "fsSLo:OkvH:X:d:u:w:m:ICi#4gRA:x:",
        {"fail": "f", "silent": "s", "show-error": "S", "location": "L", "output=": "o", "remote-name": "O",
         "insecure": "k", "header=": "H", "request=": "X", "data=": "d", "write-out=": "w", "max-time=": "m",
         "retry=": "retry", "retry-delay=": "retry-delay", "retry-connrefused": "retry-connrefused",
         "retry-all-errors": "retry-all-errors", "retry-max-time=": "retry-max-time", "connect-timeout=": "m2",
         "proto=": "proto", "tlsv1.2": "tls", "tlsv1.3": "tls", "cacert=": "cacert", "create-dirs": "create-dirs",
         "progress-bar": "#", "no-progress-meter": "s", "compressed": "compressed", "fail-with-body": "f", "head": "I",
         "user-agent=": "A", "proto-default=": "proto-default", "user=": "u", "output-dir=": "output-dir",
         "noproxy=": "noproxy", "speed-limit=": "speed", "speed-time=": "speed", "ipv4": "4", "http1.1": "http",
         "remove-on-error": "roe", "url=": "url", "remote-time": "R", "cert=": "E", "key=": "key"},
    )  # fmt: skip
    urls = [*options.all("url"), *options.operands]
    if not urls:
        process.err("curl: try 'curl --help' or 'curl --manual' for more information\n")
        return 2
    silent = "s" in options and "S" not in options
    worst = 0
    for number, url in enumerate(urls):
        url = url if "://" in url else f"http://{url}"
        patience = float(options.get("m") or options.get("m2") or 120)
        name = posixpath.basename(urllib.parse.urlsplit(url).path)
        outputs = options.all("o")
        target = outputs[number] if number < len(outputs) else name if "O" in options else "-"
        target = (
            posixpath.join(options.get("output-dir"), target) if "output-dir" in options and target != "-" else target
        )
        code, body, effective = 0, b"", url
        try:
            if options.get("proto") in ("=https", "https") and not url.startswith("https://"):
                raise _TransferError(1, 'Protocol "http" disabled')  # noqa: TRY301 - caught with the others
            code, body, effective = _fetch(process, url, options.all("H"), follow="L" in options, patience=patience)
            if code >= 400 and "f" in options:
                raise _TransferError(22, f"The requested URL returned error: {code}")  # noqa: TRY301 - too
            if "I" in options:
                body = f"HTTP/2 {code} \r\n\r\n".encode()
            _save(process, target, body, make="create-dirs" in options)
        except _TransferError as failure:
            process.err("" if silent else f"curl: ({failure.status}) {failure}\n")
            worst = failure.status
        except OSError as error:
            process.err(f"curl: (23) client returned ERROR on write, {os_error(error)}\n" if not silent else "")
            worst = 23
        form = options.get("w")
        form = form.replace("%{http_code}", f"{code:03d}").replace("%{url_effective}", effective)
        process.out(form.replace("%{response_code}", f"{code:03d}").replace("\\n", "\n"))
    return worst


@program("wget")
def _wget(process: Process, argv: list[str]) -> int:
    options = parse(
        argv[1:],
        "qO:P:t:T:cnvS4",
        {
            "quiet": "q",
            "output-document=": "O",
            "tries=": "t",
            "timeout=": "T",
            "directory-prefix=": "P",
            "https-only": "https-only",
            "no-verbose": "nv",
            "header=": "H",
            "no-check-certificate": "k",
            "show-progress": "p",
            "progress=": "p",
            "retry-connrefused": "r",
            "waitretry=": "w",
        },
    )
    if not options.operands:
        raise UsageError("missing URL\nUsage: wget [OPTION]... [URL]...", 1)
    for url in options.operands:
        target = options.get("O") or posixpath.join(
            options.get("P"), posixpath.basename(urllib.parse.urlsplit(url).path)
        )
        try:
            code, body, _ = _fetch(process, url, options.all("H"), follow=True, patience=float(options.get("T", "900")))
            if code >= 400:
                process.err("" if "q" in options else f"ERROR {code}: {'Not Found' if code == 404 else 'Error'}.\n")
                return 8
            _save(process, target or "index.html", body, make="P" in options)
        except _TransferError as failure:
            process.err("" if "q" in options else f"wget: {failure}\n")
            return 4
    return 0


def _save(process: Process, target: str, body: bytes, *, make: bool) -> None:
    if target == "-":
        process.out(body)
        return
    if make:
        folder = posixpath.dirname(process.path(target))
        process.machine.files.mkdir(folder, process.actor, parents=True)
    process.open_sink(target).write(body)


def _fetch(process: Process, url: str, headers: list[str], *, follow: bool, patience: float) -> tuple[int, bytes, str]:
    machine = process.machine
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme not in ("http", "https"):
        raise _TransferError(1, f'Protocol "{parts.scheme}" not supported')
    if host == _METADATA:
        return _metadata(process, parts.path, headers)
    offer = internet.find_offer(url)
    if offer is not None or internet.host_known(url):
        if not machine.world.network.has_egress(machine.hardware):
            process.sleep(patience)
            raise _TransferError(
                28, f"Failed to connect to {host} port {port} after {patience * 1000:.0f} ms: Timeout was reached"
            )
        if offer is None:
            process.sleep(0.4)
            machine.world.not_known("ssh", f"GET {url}")
            return 404, b"Not Found", url
        if offer.location and not follow:
            return 302, b"", url
        process.sleep(offer.seconds)
        body = offer.content
        if url in machine.corrupt_downloads:
            body = body[:-8] + bytes(8)
        return 200, body, offer.location if offer.location and not offer.content else url
    addresses = names.resolve(machine, host)
    if not addresses:
        machine.world.not_known("ssh", f"GET {url}")
        raise _TransferError(6, f"Could not resolve host: {host}")
    return _local(process, url, addresses[0], port, patience)


def _local(process: Process, url: str, address: str, port: int, patience: float) -> tuple[int, bytes, str]:
    target, _ = names.machine_at(process.machine, address)
    if names.reach(process.machine, address, port) is not None:
        process.sleep(patience)
        raise _TransferError(
            28, f"Failed to connect to {address} port {port} after {patience * 1000:.0f} ms: Timeout was reached"
        )
    own = target is process.machine.hardware
    opened = own and any(number == port for _, number, _ in ports.listening(process.machine))
    if not opened and not ports.is_open(target, port):
        raise _TransferError(7, f"Failed to connect to {address} port {port} after 0 ms: Couldn't connect to server")
    if port not in (6443, 6444) or target is None:
        process.machine.world.not_known("ssh", f"GET {url}")
        raise _TransferError(52, "Empty reply from server")
    status, body = k3s_http.answer(process.machine.world, target, urllib.parse.urlsplit(url).path)
    return status, body, url


def _metadata(process: Process, path: str, headers: list[str]) -> tuple[int, bytes, str]:
    hardware = process.machine.hardware
    if not any(header.replace(" ", "").lower() == "metadata:true" for header in headers):
        return 400, b'{ "error": "Bad request. Required metadata header not specified" }', path
    if path.rstrip("/") not in ("/metadata/instance", "/metadata/instance/compute"):
        process.machine.world.not_known("ssh", f"GET http://{_METADATA}{path}")
        return 404, b'{ "error": "Not found" }', path
    compute = {
        "azEnvironment": "AzurePublicCloud",
        "location": hardware.location,
        "name": hardware.name,
        "osType": "Linux",
        "resourceId": hardware.vm_id,
        "vmSize": hardware.size,
        "zone": hardware.zone or "",
    }
    if path.rstrip("/").endswith("compute"):
        return 200, encode(json.dumps(compute)), path
    own = {"privateIpAddress": process.machine.private_ip(), "publicIpAddress": process.machine.public_ip() or ""}
    network = {"interface": [{"ipv4": {"ipAddress": [own]}}]}
    return 200, encode(json.dumps({"compute": compute, "network": network})), path
