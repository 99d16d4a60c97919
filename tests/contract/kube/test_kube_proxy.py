"""Proxies named by the environment: used for far API servers, never for this machine's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import pytest
from aiohttp import web

from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.kube.endpoint import find_proxy
from crdbmesh.errors import ConfigError, KubeError

FAR = "https://api.eastus.example.com:6443"


class Scripted(Protocol):
    """The scripted server; see conftest."""

    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    port: int

    def kubeconfig(self) -> dict[str, Any]: ...


class Proxy:
    """An HTTP proxy that tunnels every request to one place and remembers what was asked for."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:pass%2F@127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._tunnel, self._listener.accept()[0])

    def _tunnel(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            self.asked.append(head.decode())
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            back.start()
            self._copy(near, far)
            back.join(5)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is named but by the test."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy(scripted: Scripted) -> Iterator[Proxy]:
    found = Proxy(scripted.port)
    yield found
    found.close()


def test_a_far_server_is_reached_through_the_proxy(
    scripted: Scripted, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/exec"):
            stream = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
            await stream.prepare(request)
            await stream.send_bytes(b'\x03{"status": "Success"}')
            await stream.close()
            return stream
        return web.json_response({"gitVersion": "v1.36.4+k3s1"})

    scripted.handler = handler
    config = scripted.kubeconfig()
    config["clusters"][0]["cluster"] |= {"server": FAR, "tls-server-name": "localhost"}
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with Kube(config, name="eastus") as kube:
        assert kube.version() == "v1.36.4+k3s1"
        assert kube.exec("here", "pod", ["true"]).status == 0
    assert len(proxy.asked) == 2
    for head in proxy.asked:
        assert head.startswith("CONNECT api.eastus.example.com:6443 HTTP/1.")
        assert "authorization: basic dxnlcjpwyxnzlw==" in head.lower()


def test_a_certificate_for_another_name_is_not_trusted(
    scripted: Scripted, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scripted.kubeconfig()
    config["clusters"][0]["cluster"]["server"] = FAR
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with Kube(config, name="eastus") as kube:
        with pytest.raises(KubeError, match="certificate is not trusted"):
            kube.version()
        with pytest.raises(KubeError, match="certificate is not trusted"):
            kube.exec("here", "pod", ["true"])


def test_this_machine_is_reached_directly(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"gitVersion": "v1"})

    scripted.handler = handler
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with Kube(scripted.kubeconfig(), name="eastus") as kube:
        assert kube.version() == "v1"
        with pytest.raises(KubeError, match="HTTP 200"):
            kube.exec("here", "pod", ["true"])


@pytest.mark.parametrize(
    ("server", "no_proxy", "used"),
    [
        (FAR, "", True),
        (FAR, "example.com", False),
        (FAR, ".example.com", False),
        (FAR, "ample.com", True),
        (FAR, "*", False),
        ("https://20.1.2.3:6443", "10.0.0.0/8, 20.0.0.0/8", False),
        ("https://20.1.2.3:6443", "10.0.0.0/8", True),
        ("https://20.1.2.3:6443", "20.1.2.3", False),
        ("https://127.9.8.7:6443", "", False),
        ("https://localhost:6443", "", False),
        ("https://[::1]:6443", "", False),
    ],
)
def test_exceptions_are_names_addresses_and_ranges(
    server: str, no_proxy: str, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert find_proxy(server) == ("http://proxy:3128" if used else None)


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_proxy(FAR) is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.corp:3128")
    assert find_proxy(FAR) == "http://proxy.corp:3128"


def test_another_kind_of_proxy_is_refused_without_showing_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hunter2@proxy:1080")
    with pytest.raises(ConfigError, match="socks5://…: is no HTTP proxy") as caught:
        find_proxy(FAR)
    assert "hunter2" not in str(caught.value)
