"""`crdbmesh url` and `console`: ports of this computer that lead into pods, proved by TLS from end to end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests import forks
from tests.use.conftest import Typed

pytestmark = pytest.mark.timeout(240)
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
STARTUP = b"\0\0\0\x17\0\3\0\0user\0crdbmesh\0\0"


@contextlib.contextmanager
def forwarding(mesh: Any, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that forwards, and the first line that it prints; it ends by Ctrl-C with exit status 0."""
    process = forks.Popen(
        mesh.command(*arguments), env=mesh.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        yield process, line.strip()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


def shaken(url: str, *, pair: tuple[str, str] | None = None) -> ssl.SSLSocket:
    """A connection as a PostgreSQL driver makes it by a URL of `sslmode=verify-full`, up to the end of its TLS."""
    parts = urlsplit(url)
    files = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert files["sslmode"] == "verify-full"
    context = ssl.create_default_context(cafile=files["sslrootcert"])
    context.load_cert_chain(*(pair or (files["sslcert"], files["sslkey"])))
    raw = socket.create_connection(("127.0.0.1", parts.port or 0), timeout=30)
    raw.sendall(SSL_REQUEST)
    assert raw.recv(1) == b"S"
    return context.wrap_socket(raw, server_hostname=parts.hostname)


def test_a_url_says_where_it_can_be_used(mesh: Any) -> None:
    run = mesh.run("url", "westus", "--user", "app")
    assert run.stdout.startswith(
        "postgresql://app@cockroachdb-public.westus.svc.cluster.local:26257/defaultdb?sslmode=verify-full&"
    )
    assert "Only pods of westus can reach this host. From here: --forward, or `crdbmesh sql`." in run.stderr
    document = mesh.run("url", "--output", "json").document
    assert (document["region"], document["user"], document["forwarded"]) == ("eastus", "crdbmesh", False)
    assert document["host"] == "cockroachdb-public.eastus.svc.cluster.local"


def test_a_driver_verifies_the_node_and_is_verified_through_the_forwarded_port(mesh: Any) -> None:
    with forwarding(mesh, "url", "northeurope", "--forward", "--output", "json") as (_, line):
        document = json.loads(line)
        assert (document["region"], document["host"], document["forwarded"]) == ("northeurope", "localhost", True)
        for _ in range(2):
            with shaken(document["url"]) as stream:
                names = {value for _, value in stream.getpeercert()["subjectAltName"]}  # type: ignore[index, str-unpack]
                assert {"localhost", "127.0.0.1", "cockroachdb-public.northeurope"} <= names
                stream.sendall(STARTUP)
                answer = b"".join(iter(lambda: stream.recv(4096), b""))
                assert answer[:1] == b"E"
                assert b"the simulated CockroachDB speaks no PostgreSQL protocol beyond TLS" in answer
        with socket.create_connection(("127.0.0.1", document["port"]), timeout=30) as plain:
            plain.sendall(STARTUP)
            assert b"node is running secure mode, SSL connection required" in plain.recv(4096)


def test_a_certificate_of_another_ca_is_refused(mesh: Any, tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    stranger = trustme.CA().issue_cert("crdbmesh", common_name="crdbmesh")
    stranger.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    stranger.private_key_pem.write_to_path(tmp_path / "key")

    def first_answer(url: str) -> bytes:
        with shaken(url, pair=(str(tmp_path / "crt"), str(tmp_path / "key"))) as stream:
            stream.sendall(STARTUP)
            return stream.recv(4096)

    with forwarding(mesh, "url", "--forward") as (_, url), pytest.raises((ssl.SSLError, ConnectionError)):
        raise ConnectionError(first_answer(url)) if not first_answer(url) else AssertionError("a stranger is let in")


def test_the_console_is_forwarded_by_tls_and_tells_how_to_log_in(mesh: Any) -> None:
    with forwarding(mesh, "console", "westus") as (process, url):
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname) == ("https", "localhost")
        context = ssl.create_default_context(cafile=str(mesh.home / "sql" / "ca.crt"))
        raw = socket.create_connection(("127.0.0.1", parts.port or 0), timeout=30)
        with context.wrap_socket(raw, server_hostname=parts.hostname) as stream:
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b"".join(iter(lambda: stream.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.0 200")
        assert answer.endswith(b"{}")
        assert process.stderr is not None
        said = "".join(process.stderr.readline() for _ in range(3))
        assert "Leads to westus from this computer only, until Ctrl-C." in said
        assert "ALTER USER crdbmesh WITH PASSWORD 'a long one';" in said


@pytest.mark.parametrize("opens", [True, False])
def test_the_browser_is_opened_at_a_terminal_unless_told_otherwise(mesh: Any, tmp_path: Path, opens: bool) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o700)
    with Typed(mesh, "console", *([] if opens else ["--no-browser"]), more={"BROWSER": str(browser)}) as typed:
        url = typed.await_text(r"https://localhost:\d+")[0]
        typed.await_text(r"ca\.crt")
        deadline = time.monotonic() + (20 if opens else 1)
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        typed.type("\x03")
        assert typed.end() == 0
    assert opened.exists() == opens
    assert not opens or opened.read_text().strip() == url


def test_a_region_without_a_ready_pod_is_named(mesh: Any) -> None:
    run = mesh.run("console", "narnia")
    assert run.code == 2
    assert "is not a region of the mesh" in " ".join(run.stderr.split())
