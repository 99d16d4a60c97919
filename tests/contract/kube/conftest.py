"""API servers that the client's claims are checked against.

`kube` is a real Kubernetes API, or the simulator's; `scripted` is an HTTPS server that answers as the test says, for
what a healthy API server does not do when asked.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import os
import secrets
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from crdbmesh.clients import kubeconfig
from crdbmesh.clients.kube import Kube
from crdbmesh.errors import KubeError
from crdbmesh.topology import pki

NOW = dt.datetime.now(dt.UTC)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Scripted:
    """An HTTPS server with one handler, which the test sets."""

    def __init__(self, folder: Path) -> None:
        self.ca = pki.make_ca("server-ca", None, now=NOW, key="ec256")
        self.client = pki.issue_cockroach_client(self.ca, "system:admin", now=NOW, key="ec256")
        server = pki.issue_cockroach_node(self.ca, "test", now=NOW, key="ec256")
        (folder / "server.pem").write_text(server.cert_pem + server.key_pem)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "server.pem")
        self._tls.load_verify_locations(cadata=self.ca.cert_pem)
        self._tls.verify_mode = ssl.CERT_OPTIONAL
        self.handler: Handler = self._nothing
        self.requests: list[str] = []
        self.port = 0
        self._site: web.TCPSite | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._prepare())
        self.listen()

    def listen(self) -> None:
        self._run(self._listen())

    def refuse(self) -> None:
        self._run(self._refuse())

    def close(self) -> None:
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def kubeconfig(self, *, token: str | None = None, ca: pki.KeyPair | None = None) -> dict[str, Any]:
        user = {"token": token}
        if token is None:
            user = {
                "client-certificate-data": encoded(self.client.cert_pem),
                "client-key-data": encoded(self.client.key_pem),
            }
        authority = encoded((ca or self.ca).cert_pem)
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": authority}
        return {
            "clusters": [{"name": "c", "cluster": cluster}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": user}],
            "current-context": "x",
        }

    def _run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _prepare(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await self._site.start()
        server: Any = self._site._server
        self.port = server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def _finish(self) -> None:
        await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.02)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        return await self.handler(request)

    async def _nothing(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "apiVersion": "v1", "reason": "NotFound"}, status=404)


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    server = Scripted(tmp_path)
    yield server
    server.close()


@pytest.fixture
def client(scripted: Scripted) -> Iterator[Kube]:
    """A client of the scripted server."""
    with Kube(scripted.kubeconfig(), name="eastus") as kube:
        yield kube


@pytest.fixture(scope="module", params=["simulator", "cluster"])
def api(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A whole Kubernetes API, as a kubeconfig."""
    if request.param == "simulator":
        pytest.skip("the simulator serves no Kubernetes API here")
    path = os.environ.get("CRDBMESH_TEST_KUBECONFIG")
    if not path:
        pytest.skip("CRDBMESH_TEST_KUBECONFIG names no cluster")
    return kubeconfig.parse(Path(path).read_text())


@pytest.fixture(scope="module")
def kube(api: dict[str, Any]) -> Iterator[Kube]:
    with Kube(api, name="cluster") as found:
        yield found


@pytest.fixture
def other(api: dict[str, Any]) -> Iterator[Callable[[str], Kube]]:
    """Makes clients of the same API that apply in another's name."""
    with contextlib.ExitStack() as stack:
        yield lambda field_manager: stack.enter_context(Kube(api, name="other", field_manager=field_manager))


@pytest.fixture(scope="module")
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace of the test's own, deleted afterwards."""
    name = f"crdbmesh-test-{secrets.token_hex(4)}"
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    try:
        kube.delete("v1", "Namespace", name, wait=False)
    except KubeError as error:
        pytest.fail(f"the test's namespace could not be deleted: {error}")
