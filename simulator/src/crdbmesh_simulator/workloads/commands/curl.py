"""Fetching: curl, wget."""

from __future__ import annotations

import urllib.parse
from collections.abc import Generator
from dataclasses import dataclass, field

from crdbmesh_simulator.kubernetes.programs import HttpAnswer
from crdbmesh_simulator.workloads import paths, trust
from crdbmesh_simulator.workloads.commands.basic import unknown
from crdbmesh_simulator.workloads.commands.network import address_of
from crdbmesh_simulator.workloads.process import Command, Process, Run

_CONNECT_S = 130.0
_WITH_VALUE = {
    "-o": "output",
    "--output": "output",
    "-w": "write",
    "--write-out": "write",
    "-m": "limit",
    "--max-time": "limit",
    "--connect-timeout": "connect",
    "--cacert": "ca",
    "--cert": "cert",
    "-E": "cert",
    "--key": "key",
    "-X": "method",
    "--request": "method",
    "-H": "header",
    "--header": "header",
    "--resolve": "resolve",
    "--retry": "retry",
    "--retry-delay": "retry",
    "-u": "user",
    "-A": "agent",
}
_PLAIN = {
    "-k",
    "--insecure",
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-f",
    "--fail",
    "-L",
    "--location",
    "-i",
    "--include",
    "-I",
    "--head",
    "-v",
    "--verbose",
    "-4",
    "--ipv4",
    "--no-progress-meter",
    "-g",
    "--retry-connrefused",
    "--http1.1",
}
_LETTERS = {
    "k": "-k",
    "s": "-s",
    "S": "-S",
    "f": "-f",
    "L": "-L",
    "i": "-i",
    "I": "-I",
    "v": "-v",
    "4": "-4",
    "g": "-g",
}


@dataclass
class _Request:
    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)


def _curl(process: Process) -> Run:
    request = _parse(process.argv[1:])
    if isinstance(request, str):
        return unknown(process, request)
    if not request.urls:
        process.complain("curl: no URL specified!\ncurl: try 'curl --help' or 'curl --manual' for more information\n")
        return 2
    status = 0
    for url in request.urls:
        status = yield from _fetch(process, request, url if "://" in url else f"http://{url}")
    return status


def _parse(words: list[str]) -> _Request | str:
    request = _Request()
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if word in _WITH_VALUE:
            request.values[_WITH_VALUE[word]] = queue.pop(0) if queue else ""
        elif word.startswith("--") and equals and name in _WITH_VALUE:
            request.values[_WITH_VALUE[name]] = value
        elif word in _PLAIN:
            request.flags.add(word)
        elif word.startswith("-") and not word.startswith("--") and len(word) > 2:
            rest = word[1:]
            while rest:
                letter, rest = rest[0], rest[1:]
                if f"-{letter}" in _WITH_VALUE:
                    request.values[_WITH_VALUE[f"-{letter}"]] = rest or (queue.pop(0) if queue else "")
                    rest = ""
                elif letter in _LETTERS:
                    request.flags.add(_LETTERS[letter])
                else:
                    return word
        elif word.startswith("-"):
            return word
        else:
            request.urls.append(word)
    return request


def _fetch(process: Process, request: _Request, url: str) -> Run:
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    host = parts.hostname or ""
    limit = float(request.values.get("limit") or request.values.get("connect") or _CONNECT_S)
    ip, answer = address_of(process, host)
    yield min(answer.elapsed_s, limit)
    if ip is None:
        return _ended(process, request, 6, f"Could not resolve host: {host}")
    with process.world.lock:
        found = paths.reach(process.world, process.container, ip, port)
    if isinstance(found, str):
        if found.startswith(paths.TIMEOUT):
            yield limit
            return _ended(process, request, 28, f"Connection timed out after {int(limit * 1000)} milliseconds")
        return _ended(
            process, request, 7, f"Failed to connect to {host} port {port} after 1 ms: Could not connect to server"
        )
    if found.service == "internet":
        process.world.not_known("exec", f"curl {url}")
        return _ended(process, request, 28, f"Connection timed out after {int(limit * 1000)} milliseconds")
    with process.world.lock:
        code, message = _tls_problem(process, request, found, host) if tls else (0, "")
        target = parts.path or "/"
        query = f"?{parts.query}" if parts.query else ""
        got = None
        if not code and found.program is not None:
            got = found.program.http_get(found.port, target + query, tls=tls)
        elif not code and found.service == "kubernetes":
            got = HttpAnswer(
                401, b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","code":401}\n'
            )
    if code:
        return _ended(process, request, code, message)
    if got is None:
        text = "wrong version number" if tls else ""
        if text:
            return _ended(process, request, 35, f"TLS connect error: error:0A00010B:SSL routines::{text}")
        return _ended(process, request, 52, "Empty reply from server")
    yield 0.01
    return _deliver(process, request, got)


def _tls_problem(process: Process, request: _Request, found: paths.Reached, host: str) -> tuple[int, str]:
    certificate = server_certificate(found)
    if "-k" in request.flags or "--insecure" in request.flags:
        return 0, ""
    if "ca" in request.values:
        path = process.path(request.values["ca"])
        if not process.files.is_file(path):
            return 77, f"error adding trust anchors from file: {request.values['ca']}"
        reason = trust.verify(
            certificate, process.files.read(path), now=process.world.clock.utc(), usage="server", host=host
        )
    else:
        reason = "x509: certificate signed by unknown authority"
    if reason is None:
        return 0, ""
    if "is valid for" in reason or "not valid for any names" in reason or "IP SANs" in reason:
        return 60, f"SSL: no alternative certificate subject name matches target host name '{host}'"
    said = "certificate has expired" if "expired" in reason else "self-signed certificate in certificate chain"
    return 60, f"SSL certificate problem: {said}"


def server_certificate(found: paths.Reached) -> bytes:
    """The certificate that a program shows to clients; empty when it shows none."""
    shown = getattr(found.program, "server_certificate", None)
    return bytes(shown()) if callable(shown) else b""


def _deliver(process: Process, request: _Request, got: HttpAnswer) -> int:
    if got.status >= 400 and request.flags & {"-f", "--fail"}:
        return _ended(process, request, 22, f"The requested URL returned error: {got.status}", got.status)
    head = f"HTTP/1.1 {got.status}\r\nContent-Type: {got.content_type}\r\n\r\n".encode()
    body = (head if request.flags & {"-i", "--include", "-I", "--head"} else b"") + (
        b"" if request.flags & {"-I", "--head"} else got.body
    )
    target = request.values.get("output")
    if target and target != "-":
        if target != "/dev/null":
            process.files.write(process.path(target), body)
    else:
        process.out += body
    _write_out(process, request, got.status)
    return 0


def _write_out(process: Process, request: _Request, status: int) -> None:
    form = request.values.get("write")
    if form:
        text = form.replace("%{http_code}", f"{status:03d}").replace("%{response_code}", f"{status:03d}")
        process.say(text.replace("%{time_total}", "0.010000").replace("\\n", "\n"))


def _ended(process: Process, request: _Request, code: int, message: str, status: int = 0) -> int:
    _write_out(process, request, status)
    if not request.flags & {"-s", "--silent"} or request.flags & {"-S", "--show-error"}:
        process.complain(f"curl: ({code}) {message}\n")
    return code


def _wget(process: Process) -> Generator[float, None, int]:
    words, target, limit, insecure, url = list(process.argv[1:]), "", 900.0, False, ""
    while words:
        word = words.pop(0)
        if word in ("-O", "-T"):
            value = words.pop(0)
            target = value if word == "-O" else target
            limit = float(value) if word == "-T" else limit
        elif word.startswith("-O"):
            target = word[2:]
        elif word.startswith(("-T", "--timeout=")):
            limit = float(word.removeprefix("--timeout=").removeprefix("-T"))
        elif word == "--no-check-certificate":
            insecure = True
        elif word in ("-qO-", "-q", "-S", "--spider"):
            target = "-" if word == "-qO-" else target
        elif word.startswith("-"):
            return unknown(process, word)
        else:
            url = word
    inner = process.child(
        ["curl", "-sf", "-m", str(limit), *(["-k"] if insecure else []), url], out=bytearray(), err=bytearray()
    )
    status = yield from _curl(inner)
    if status:
        said = {
            6: f"bad address '{urllib.parse.urlsplit(url).hostname}'",
            7: "can't connect to remote host: Connection refused",
            28: "download timed out",
        }.get(status, "server returned error: HTTP/1.1 404 Not Found")
        process.complain(f"wget: {said}\n")
        return 1
    if target == "-":
        process.out += inner.out
    else:
        name = target or url.rstrip("/").rpartition("/")[2] or "index.html"
        process.files.write(process.path(name), bytes(inner.out))
    return 0


COMMANDS: dict[str, Command] = {"curl": _curl, "wget": _wget}
