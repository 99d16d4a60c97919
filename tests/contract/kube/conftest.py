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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web

from crdbmesh.clients.kube.client import Kube
from crdbmesh.errors import KubeError
from crdbmesh.local import kubeconfig, pki
from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.filesystem import FileSystem
from crdbmesh_simulator.kubernetes.api.authority import Authority
from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
from crdbmesh_simulator.kubernetes.api.door import KubeDoors
from crdbmesh_simulator.kubernetes.api.store import Store
from crdbmesh_simulator.kubernetes.controllers import Controllers
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, Program, Stdin
from crdbmesh_simulator.world import Machine, World

if TYPE_CHECKING:
    from crdbmesh_simulator.network import Network

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

    def kubeconfig(self, *, ca: pki.KeyPair | None = None) -> dict[str, Any]:
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
        return web.Response(status=404, text="404 page not found\n")


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


class Web(Program):
    """Of busybox as much as the claims ask for: an HTTP server, and a few commands."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.log.append("serving")

    def tick(self) -> None:
        """It runs for ever."""

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        if port != 8080 or tls:
            return None
        return HttpAnswer(200, b"hello\n", "text/plain") if path == "/health" else HttpAnswer(404)

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
        match list(argv):
            case ["cat"]:
                return ExecResult(stdin if isinstance(stdin, bytes) else b"")
            case ["echo", *words]:
                return ExecResult(" ".join(words).encode() + b"\n")
            case ["head", "-c", count, "/dev/zero"]:
                return ExecResult(bytes(int(count)))
            case ["ls", path]:
                return ExecResult(stderr=f"ls: {path}: No such file or directory\n".encode(), exit_code=1)
        raise LookupError(f'exec: "{argv[0]}": executable file not found in $PATH')


class Flat:
    """A network in which everything reaches everything."""

    def __init__(self, address: str) -> None:
        self.address = address

    def public_ip(self, machine: Machine) -> str:
        return self.address

    def private_ip(self, machine: Machine) -> str:
        return "10.1.0.4"

    def inbound_from_internet(self, machine: Machine, source_ip: str, port: int, protocol: str = "Tcp") -> bool:
        return True

    def between(self, src: Machine, dst_private_ip: str, port: int, protocol: str) -> str | None:
        return None

    def has_egress(self, machine: Machine) -> bool:
        return True


@contextlib.contextmanager
def _simulator() -> Iterator[dict[str, Any]]:
    """One server with flannel and kube-proxy, so that pods run without an add-on."""
    address = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}.8"
    world = World(clock=Clock(400), seed=1)
    world.network = cast("Network", Flat(address))
    config: dict[str, Any] = {
        "cluster-cidr": "10.101.0.0/16",
        "service-cidr": "10.201.0.0/16",
        "cluster-dns": "10.201.0.10",
        "cluster-domain": "cluster.local",
        "flannel-backend": "vxlan",
        "disable-network-policy": True,
        "disable-kube-proxy": False,
        "disable": ["traefik", "servicelb"],
    }
    store = Store(world.clock)
    store.configure(service_cidr=config["service-cidr"])
    cluster = Cluster("c1", "secret", config, "v1.36.4+k3s1", Authority(), store)
    machine = Machine("vm", "vm", "eastus", "1", "Standard_D4s_v5", 4, 16.0, "eastus-1", "azure", [], b"", "nic")
    machine.booted_at = world.clock.now()
    machine.disk.files = FileSystem(world.lock, world.clock.now)
    world.machines[machine.key] = machine
    now = world.clock.now()
    own = {"node-ip": "10.1.0.4", "tls-san": [address]}
    cluster.members["eastus-1"] = Member(machine, "eastus-1", "server", own, "v1.36.4+k3s1", now, now)
    world.clusters.append(cluster)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    controllers = Controllers(world, start_program=Web)
    doors = KubeDoors(world, loop)
    controllers.start()
    doors.start()
    doors.tick()
    try:
        admin = kubeconfig.parse(cluster.authority.kubeconfig(now=now))
        yield kubeconfig.rewrite(admin, server=f"https://{address}:6443", context="simulator")
    finally:
        doors.stop()
        controllers.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert [unknown.what for unknown in world.unknown if "nosuch" not in unknown.what] == []


@contextlib.contextmanager
def _cluster() -> Iterator[dict[str, Any]]:
    path = os.environ.get("CRDBMESH_TEST_KUBECONFIG")
    if not path:
        pytest.skip("CRDBMESH_TEST_KUBECONFIG names no cluster")
    yield kubeconfig.parse(Path(path).read_text())


@pytest.fixture(scope="module", params=["simulator", "cluster"])
def api(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A whole Kubernetes API, as a kubeconfig."""
    with {"simulator": _simulator, "cluster": _cluster}[request.param]() as found:
        yield found


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


@pytest.fixture(scope="module")
def web_pod(kube: Kube, namespace: str) -> str:
    """A running pod that serves HTTP on 8080."""
    script = "echo serving; mkdir /tmp/www; echo hello > /tmp/www/health; exec httpd -f -p 8080 -h /tmp/www"
    container = {"name": "web", "image": "busybox:1.36", "command": ["sh", "-c", script]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }

    def until(found: dict[str, Any] | None) -> str | None:
        phase = (found or {}).get("status", {}).get("phase")
        return None if phase == "Running" else f"phase {phase}"

    kube.wait("v1", "ServiceAccount", "default", namespace, lambda found: None if found else "absent",
              awaited="the service account", deadline_s=60)  # fmt: skip
    kube.apply(pod)
    kube.wait("v1", "Pod", "web", namespace, until, awaited="the pod", deadline_s=120)
    return "web"
