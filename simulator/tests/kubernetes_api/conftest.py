"""A minimal world for the Kubernetes API: one cluster of one server, a small network, and pods that answer."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import urllib3
import yaml

from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.kubernetes.api.authority import Authority
from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member
from crdbmesh_simulator.kubernetes.api.door import KubeDoors
from crdbmesh_simulator.kubernetes.api.store import Store
from crdbmesh_simulator.kubernetes.programs import ExecResult, HttpAnswer, LogLine, Stdin
from crdbmesh_simulator.workloads.dialogue import Dialogue, Http
from crdbmesh_simulator.world import Machine, World

Obj = dict[str, Any]
PORT = 6443


@dataclass
class SmallNetwork:
    """The questions that the API's door asks of a network."""

    addresses: dict[str, str] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)

    def public_ip(self, machine: Machine) -> str | None:
        return self.addresses.get(machine.name)

    def private_ip(self, machine: Machine) -> str | None:
        return "10.1.0.4"

    def inbound_from_internet(self, machine: Machine, source_ip: str, port: int, protocol: str = "Tcp") -> bool:
        return machine.name not in self.denied


@dataclass
class SmallRuntime:
    """Pods whose only container echoes: what was run, and what came in."""

    log: list[str] = field(default_factory=lambda: ["one", "two", "three"])
    first: float = 0.0

    def exec(self, namespace: str, pod: str, container: str | None, argv: Sequence[str], stdin: Stdin) -> ExecResult:
        if argv[0] == "cat":
            return ExecResult(stdout=stdin if isinstance(stdin, bytes) else b"")
        if argv[0] == "false":
            return ExecResult(stderr=b"no\n", exit_code=3)
        if argv[0] == "absent":
            text = 'OCI runtime exec failed: exec: "absent": executable file not found in $PATH'
            return ExecResult(stderr=text.encode(), exit_code=127)
        if argv[0] == "gone":
            raise LookupError(f'container not found ("{container}")')
        return ExecResult(stdout=(" ".join([namespace, pod, str(container), *argv]) + "\n").encode())

    def logs(self, namespace: str, pod: str, container: str | None, previous: bool = False) -> list[LogLine]:
        if previous:
            raise LookupError(f'previous terminated container "{container}" in pod "{pod}" not found')
        return [LogLine(number, self.first + number, text) for number, text in enumerate(self.log)]

    def connect(self, namespace: str, pod: str, port: int) -> Dialogue | None:
        return Http(lambda path: self.http_get(namespace, pod, port, path, tls=False)) if port == 8080 else None

    def http_get(self, namespace: str, pod: str, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        if port != 8080:
            return None
        return HttpAnswer(200, json.dumps({"pod": pod, "path": path, "tls": tls}).encode())


@dataclass
class Api:
    """A served cluster, and ways to talk to it."""

    world: World
    cluster: Cluster
    network: SmallNetwork
    address: str
    kubeconfig: Path
    session: requests.Session
    doors: KubeDoors

    @property
    def store(self) -> Store:
        return self.cluster.store

    @property
    def url(self) -> str:
        return f"https://{self.address}:{PORT}"

    def call(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", **options: Any
    ) -> requests.Response:
        """One request, as the cluster's administrator."""
        headers = {"Content-Type": media, **options.pop("headers", {})}
        data = None if body is None else body if isinstance(body, str | bytes) else json.dumps(body)
        return self.session.request(method, self.url + path, data=data, headers=headers, timeout=10, **options)

    def apply(self, path: str, body: Obj, manager: str, *, force: bool = False) -> requests.Response:
        """Apply a configuration server-side."""
        params = {"fieldManager": manager, "force": str(force).lower()}
        return self.call("PATCH", path, body, media="application/apply-patch+yaml", params=params)

    def merge(self, path: str, body: Obj) -> requests.Response:
        """Merge into an object."""
        return self.call("PATCH", path, body, media="application/merge-patch+json")

    def make(self, path: str, body: Obj) -> Obj:
        """Create an object that must be accepted."""
        answer = self.call("POST", path, body)
        assert answer.status_code == 201, answer.text
        return cast(Obj, answer.json())

    def run_pod(self, name: str, namespace: str = "default", labels: Mapping[str, str] | None = None) -> Obj:
        """A pod that has been scheduled, and whose container runs."""
        self.make(f"/api/v1/namespaces/{namespace}/pods", pod(name, labels))
        kind = self.store.resource("Pod")

        def bind(obj: Obj) -> Obj:
            obj["spec"]["nodeName"] = "node1"
            return obj

        self.store.modify(kind, namespace, name, bind)
        running = {"name": "main", "ready": True, "restartCount": 0, "image": "app:1", "imageID": "",
                   "state": {"running": {"startedAt": self.store.timestamp()}}}  # fmt: skip
        conditions = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": "10.42.0.5", "containerStatuses": [running], "conditions": conditions}
        return cast(Obj, self.merge(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status}).json())


def pod(name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Obj:
    """A pod of one container, `main`."""
    container = {"name": "main", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}]}
    meta: Obj = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


@pytest.fixture
def make_pod() -> Callable[..., Obj]:
    return pod


def deployment(name: str, **spec: Any) -> Obj:
    """A deployment of pods of one container, `main`."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


@pytest.fixture
def make_deployment() -> Callable[..., Obj]:
    return deployment


def free_address() -> str:
    """A loopback address at which nobody listens."""
    for _ in range(64):
        address = f"127.{random.randint(20, 60)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((address, PORT))
            except OSError:
                continue
        return address
    raise OSError("no loopback address is free")


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop of the doors, in its thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def api(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Api]:
    """A cluster `up` and served, with its four namespaces and their default accounts."""
    world = World(clock=Clock(1.0))
    network = SmallNetwork({"vm1": free_address()})
    world.network = cast(Any, network)
    machine = Machine("/vm1", "vm1", "eastus", None, "Standard_D2s_v5", 2, 8.0, "node1", "admin", [], b"", "/nic1")
    world.machines[machine.key] = machine
    authority = Authority()
    cluster = Cluster("c1", "secret", {"service-cidr": "10.96.0.0/16"}, "v1.36.4+k3s1", authority, Store(world.clock))
    cluster.store.configure(service_cidr="10.96.0.0/16")
    cluster.runtime = SmallRuntime()  # type: ignore[assignment]  # stands in for the pods
    address = network.addresses["vm1"]
    now = world.clock.now()
    member = Member(machine, "node1", "server", {"tls-san": [address]}, "v1.36.4+k3s1", now, voter_at=now)
    cluster.members["node1"] = member
    _furnish(cluster.store)
    world.clusters.append(cluster)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(authority.kubeconfig(f"https://{address}:{PORT}", now=now))
    doors = KubeDoors(world, loop)
    doors.start()
    session = _session(kubeconfig, tmp_path)
    yield Api(world, cluster, network, address, kubeconfig, session, doors)
    session.close()
    doors.stop()


def _furnish(store: Store) -> None:
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        store.create(store.resource("Namespace"), {"metadata": {"name": name}})
        store.create(store.resource("ServiceAccount"), {"metadata": {"name": "default", "namespace": name}})


def _session(kubeconfig: Path, folder: Path) -> requests.Session:
    config = yaml.safe_load(kubeconfig.read_text())
    session = requests.Session()
    session.trust_env = False
    session.verify = str(folder / "ca.pem")
    (folder / "ca.pem").write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    user = config["users"][0]["user"]
    (folder / "client.pem").write_bytes(base64.b64decode(user["client-certificate-data"]))
    (folder / "client.key").write_bytes(base64.b64decode(user["client-key-data"]))
    session.cert = (str(folder / "client.pem"), str(folder / "client.key"))
    return session


@pytest.fixture(autouse=True)
def quiet() -> None:
    urllib3.disable_warnings()
