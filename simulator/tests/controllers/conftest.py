"""A cluster of three servers without the doors in front of it: store, controllers, and small programs."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
import trustme
import yaml

from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.filesystem import Actor, FileSystem
from crdbmesh_simulator.kubernetes.api.authority import Authority
from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member, Pods
from crdbmesh_simulator.kubernetes.api.managed import DeleteOptions
from crdbmesh_simulator.kubernetes.api.store import Store
from crdbmesh_simulator.kubernetes.controllers import Controllers
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, Program, Stdin
from crdbmesh_simulator.world import Machine, World

if TYPE_CHECKING:
    from crdbmesh_simulator.network import Network

Obj = dict[str, Any]
CHART = "/var/lib/rancher/k3s/server/static/charts/cilium-1.20.0.tgz"


class Flat:
    """A network in which everything reaches everything."""

    def __init__(self) -> None:
        self.egress = True

    def private_ip(self, machine: Machine) -> str:
        return f"10.1.0.{4 + int(machine.name[-1])}"

    def has_egress(self, machine: Machine) -> bool:
        return self.egress

    def between(self, src: Machine, dst_private_ip: str, port: int, protocol: str) -> str | None:
        return None


class Small(Program):
    """A program that does what its arguments say: `exit N`, `then N` from the second time on, `port N`, `after S`."""

    started: ClassVar[set[str]] = set()
    """Of which pods one was started before."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        words = container.argv
        self.log.append("started")
        self.port = int(words[words.index("port") + 1]) if "port" in words else 0
        self.code = int(words[words.index("exit") + 1]) if "exit" in words else None
        if "then" in words and container.pod["metadata"]["uid"] in self.started:
            self.code = int(words[words.index("then") + 1])
        self.started.add(container.pod["metadata"]["uid"])
        after = float(words[words.index("after") + 1]) if "after" in words else 1.0
        self.at = container.world.clock.now() + after

    def tick(self) -> None:
        if self.code is not None and self.container.world.clock.now() >= self.at:
            self.exit_code = self.code

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:
        if port != self.port and port not in (9878, 9879, 9234, 9880, 9881, 8080, 8181, 10250):
            return None
        healthy = self.container.world.clock.now() >= self.at and "/sick" not in path
        if self.container.name == "cilium-agent" and self.container.env["KUBERNETES_SERVICE_HOST"] != "127.0.0.1":
            healthy = False
        return HttpAnswer(200 if healthy else 503)

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:
        return ExecResult(b"yes\n", exit_code=0 if argv[0] == "true" else 1)


class Once(Small):
    """A program that ends well at once."""

    def tick(self) -> None:
        self.exit_code = 0


def start(container: Container) -> Program:
    """The registry of these tests."""
    image = container.image
    if "absent" in image:
        raise LookupError(image)
    if container.name in ("config", "mount-cgroup", "apply-sysctl-overwrites", "mount-bpf-fs", "clean-cilium-state",
                          "install-cni-binaries", "etcd-init"):  # fmt: skip
        return Once(container)
    return Small(container)


@dataclass
class Bench:
    """A world with one cluster, and short ways to ask and change it."""

    world: World
    cluster: Cluster
    network: Flat
    controllers: Controllers
    members: list[Member] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.cluster.store

    @property
    def pods(self) -> Pods:
        assert isinstance(self.cluster.runtime, Pods)
        return self.cluster.runtime

    def find(self, kind: str, name: str, namespace: str | None = "default") -> Obj | None:
        with self.world.lock:
            try:
                resource = self.store.resource(kind)
            except LookupError:
                return None
            found = self.store.find(resource, namespace if resource.namespaced else None, name)
            return None if found is None else {"status": {}, **found}

    def list(self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Obj]:
        with self.world.lock:
            try:
                return [
                    {"status": {}, **obj} for obj in self.store.peek_all(self.store.resource(kind), namespace, labels)
                ]
            except LookupError:
                return []

    def create(self, obj: Obj) -> Obj:
        with self.world.lock:
            return self.store.create(self.store.resource(obj["kind"], obj["apiVersion"]), obj)

    def change(self, kind: str, name: str, change: Callable[[Obj], None], namespace: str | None = "default") -> None:
        def changed(obj: Obj) -> Obj:
            change(obj)
            return obj

        with self.world.lock:
            resource = self.store.resource(kind)
            self.store.modify(resource, namespace if resource.namespaced else None, name, changed)

    def delete(self, kind: str, name: str, namespace: str | None = "default", propagation: str = "Background") -> None:
        with self.world.lock:
            resource = self.store.resource(kind)
            self.store.delete(resource, namespace if resource.namespaced else None, name, DeleteOptions(propagation))

    def wait(self, what: str, probe: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until `probe` holds."""
        ends = time.monotonic() + timeout_s
        while not probe():
            if time.monotonic() > ends:
                raise AssertionError(f"waited {timeout_s} s for {what}; {self.picture()}")
            time.sleep(0.01)

    def stays(self, simulated_s: float, probe: Callable[[], object]) -> None:
        """`probe` holds now and for a while."""
        ends = self.world.clock.now() + simulated_s
        while self.world.clock.now() < ends:
            assert probe(), self.picture()
            time.sleep(0.02)

    def picture(self) -> str:
        """What there is, for a failure's message."""
        pods = [
            f"{p['metadata']['namespace']}/{p['metadata']['name']}@{p['spec'].get('nodeName')}:"
            f"{p['status'].get('phase')}:{[c.get('state') for c in p['status'].get('containerStatuses', [])]}"
            for p in self.list("Pod")
        ]
        events = [f"{e['involvedObject']['name']}: {e['reason']}: {e['message']}" for e in self.list("Event")]
        return "\n".join(["", *pods, *events[-30:], *(f"{u.door}: {u.what}" for u in self.world.unknown)])

    def ready(self, kind: str, name: str, namespace: str = "default") -> bool:
        found = self.find(kind, name, namespace)
        if found is None:
            return False
        if kind == "Pod":
            return any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"].get("conditions", []))
        if kind == "DaemonSet":
            status = found.get("status", {})
            return bool(0 < status.get("desiredNumberScheduled", 0) == status.get("numberReady"))
        return bool(found["spec"].get("replicas", 1) == found.get("status", {}).get("readyReplicas", 0))

    def nodes_ready(self) -> int:
        return sum(
            any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
            for node in self.list("Node")
        )

    def write(self, member: Member, path: str, data: bytes) -> None:
        files = member.machine.disk.files
        assert files is not None
        files.mkdir(path.rsplit("/", 1)[0], Actor(), parents=True)
        files.write(path, data, Actor())


def make_bench(
    *, flannel: str, scale: float = 400.0, disable_kube_proxy: bool = True, disable: str = "traefik"
) -> Bench:
    world = World(clock=Clock(scale), seed=7)
    network = Flat()
    world.network = cast("Network", network)
    config: Obj = {
        "cluster-cidr": "10.101.0.0/16", "service-cidr": "10.201.0.0/16", "cluster-dns": "10.201.0.10",
        "cluster-domain": "cluster.local", "flannel-backend": flannel, "disable-network-policy": True,
        "disable-kube-proxy": disable_kube_proxy, "disable": [disable, "servicelb"],
    }  # fmt: skip
    store = Store(world.clock)
    store.configure(service_cidr="10.201.0.0/16")
    cluster = Cluster("c1", "secret", config, "v1.36.4+k3s1", Authority(), store)
    for number in range(3):
        name = f"node-{number}"
        machine = Machine(
            name, name, "eastus", str(number + 1), "Standard_D4s_v5", 4, 16.0, name, "azure", [], b"", name
        )
        machine.booted_at = world.clock.now()
        machine.disk.files = FileSystem(world.lock, world.clock.now)
        world.machines[machine.key] = machine
        labels = [f"topology.kubernetes.io/zone=eastus-{number + 1}", "topology.kubernetes.io/region=eastus"]
        cluster.members[name] = Member(
            machine, name, "server", {"node-ip": f"10.1.0.{4 + number}", "node-label": labels}, "v1.36.4+k3s1",
            world.clock.now(), world.clock.now(),
        )  # fmt: skip
    world.clusters.append(cluster)
    controllers = Controllers(world, start_program=start, period_s=3.0)
    return Bench(world, cluster, network, controllers, list(cluster.members.values()))


@pytest.fixture
def bare() -> Iterator[Bench]:
    """A cluster without a pod network."""
    bench = make_bench(flannel="none")
    bench.controllers.start()
    yield bench
    bench.controllers.stop()


def _flannel() -> Iterator[Bench]:
    bench = make_bench(flannel="vxlan", disable_kube_proxy=False)
    bench.controllers.start()
    try:
        bench.wait("three ready nodes", lambda: bench.nodes_ready() == 3)
        bench.wait("the provisioner", lambda: bench.ready("Deployment", "local-path-provisioner", "kube-system"))
        yield bench
    finally:
        bench.controllers.stop()
    assert bench.world.unknown == []


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A cluster of one's own with flannel and kube-proxy, whose nodes are ready."""
    yield from _flannel()


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    """As `bench`, for tests that leave it as it was; each takes a namespace of its own."""
    yield from _flannel()


@pytest.fixture
def space(shared: Bench, request: pytest.FixtureRequest) -> str:
    """A namespace for one test."""
    name = str(request.node.name).lower().replace("_", "-").replace("[", "-").replace("]", "")[-60:].strip("-")
    shared.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    shared.wait("its service account", lambda: shared.find("ServiceAccount", "default", name))
    return name


@pytest.fixture
def pod() -> Callable[..., Obj]:
    """Make a Pod object: `pod("name", "namespace", args=[...], **spec)`."""

    def make(name: str, namespace: str, *args: str, image: str = "example/app:1", **spec: Any) -> Obj:
        container = {"name": "app", "image": image, "args": list(args), **spec.pop("container", {})}
        patience = [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9999}
            for key in ("not-ready", "unreachable")
        ]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 5, "containers": [container], "tolerations": patience, **spec},
        }

    return make


@pytest.fixture
def workload() -> Callable[..., Obj]:
    """Make a Deployment, StatefulSet or DaemonSet object."""

    def make(kind: str, name: str, namespace: str, *args: str, **spec: Any) -> Obj:
        container = {"name": "app", "image": "example/app:1", "args": list(args), **spec.pop("container", {})}
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 5, "containers": [container], **spec.pop("pod", {})},
        }
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
                "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}  # fmt: skip

    return make


@pytest.fixture
def new_bench() -> Iterator[Callable[..., Bench]]:
    """Make a cluster with other settings."""
    made: list[Bench] = []

    def make(**settings: Any) -> Bench:
        bench = make_bench(**settings)
        made.append(bench)
        bench.controllers.start()
        return bench

    yield make
    for bench in made:
        bench.controllers.stop()


def cilium_values() -> Obj:
    """The values of one side of a mesh of two."""
    return {
        "cluster": {"name": "eastus", "id": 1},
        "kubeProxyReplacement": True,
        "k8sServiceHost": "127.0.0.1",
        "k8sServicePort": 6444,
        "ipam": {"mode": "cluster-pool",
                 "operator": {"clusterPoolIPv4PodCIDRList": ["10.101.0.0/16"], "clusterPoolIPv4MaskSize": 24}},
        "operator": {"replicas": 2},
        "hubble": {"enabled": False},
        "clustermesh": {
            "useAPIServer": True,
            "apiserver": {"replicas": 2,
                          "service": {"type": "NodePort", "nodePort": 32379, "externalTrafficPolicy": "Cluster"},
                          "tls": {"authMode": "cluster",
                                  "auto": {"enabled": True, "method": "cronJob", "schedule": "0 0 1 */4 *"}}},
            "config": {"enabled": True, "domain": "mesh.cilium.io", "clusters": [
                {"name": "westus", "port": 32379, "ips": ["10.2.0.4", "10.2.0.5", "10.2.0.6"]}]},
        },
    }  # fmt: skip


@pytest.fixture
def values() -> Obj:
    """Chart values that a test may change."""
    return cilium_values()


@pytest.fixture
def install() -> Callable[..., None]:
    """Put the archive on every server and create the HelmChart with the CA in a Secret."""

    def go(bench: Bench, values: Obj, **spec: Any) -> None:
        for member in bench.members:
            bench.write(member, CHART, b"\x1f\x8b\x08\x00simulated archive: cilium-1.20.0.tgz\n")
        bench.wait("kube-system", lambda: bench.find("Namespace", "kube-system", None))
        bench.wait("the HelmChart kind", lambda: bench.store.resources.find_kind("HelmChart"))
        authority = trustme.CA()
        pair = {"cert": authority.cert_pem.bytes(), "key": authority.private_key_pem.bytes()}
        ca = {"tls": {"ca": {key: base64.b64encode(pem).decode() for key, pem in pair.items()}}}
        data = {"values.yaml": base64.b64encode(yaml.safe_dump(ca).encode()).decode()}
        meta = {"name": "cilium-values", "namespace": "kube-system"}
        bench.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
        chart = {"chart": "https://%{KUBERNETES_API}%/static/charts/cilium-1.20.0.tgz", "bootstrap": True,
                 "failurePolicy": "abort", "targetNamespace": "kube-system", "valuesContent": yaml.safe_dump(values),
                 "valuesSecrets": [{"name": "cilium-values", "keys": ["values.yaml"]}], **spec}  # fmt: skip
        bench.create({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart",
                      "metadata": {"name": "cilium", "namespace": "kube-system"}, "spec": chart})  # fmt: skip

    return go
