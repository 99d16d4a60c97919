"""A small world of explicit objects: machines in virtual networks, clusters with stores, pods with their programs.

Time moves only when a test says so (`bench.advance`), or when a command waits.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.kubernetes.api.authority import Authority
from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member, Pods, Sandbox
from crdbmesh_simulator.kubernetes.api.store import Store
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, Program
from crdbmesh_simulator.workloads import registry
from crdbmesh_simulator.world import Machine, World

COREDNS = "rancher/mirrored-coredns-coredns:1.14.4"
CILIUM = "quay.io/cilium/cilium:v1.20.0"
MESH = "quay.io/cilium/clustermesh-apiserver:v1.20.0"
COCKROACH = "cockroachdb/cockroach:v26.2.6"
COREFILE = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
    forward . /etc/resolv.conf
}
import /etc/coredns/custom/*.server
"""
_AUTHORITY = Authority()


class HandClock(Clock):
    """A clock that stands still until it is moved; whoever sleeps moves it."""

    def __init__(self) -> None:
        super().__init__(60.0)
        self._now = super().now()
        self.moved: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self._now

    def sleep(self, simulated_s: float) -> None:
        """Let time pass, a second at a time, and everything happen that it brings."""
        until = self._now + simulated_s
        while self._now < until:
            self._now = min(self._now + 1.0, until)
            self.moved()


@dataclass
class Wires:
    """The network between machines, as state: addresses, and what is dropped."""

    addresses: dict[str, str] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    drops: list[Callable[[str, str, int, str], str | None]] = field(default_factory=list)
    egress: bool = True
    public: dict[str, str] = field(default_factory=dict)
    closed: set[tuple[int, str]] = field(default_factory=set)

    def private_ip(self, machine: Machine) -> str | None:
        return self.addresses.get(machine.key)

    def machine_at_private(self, ip: str, seen_from: Machine) -> Machine | None:
        return self.machines.get(ip)

    def between(self, src: Machine, dst_private_ip: str, port: int, protocol: str = "Tcp") -> str | None:
        if dst_private_ip not in self.machines:
            return "no route"
        for drop in self.drops:
            reason = drop(self.addresses[src.key], dst_private_ip, port, protocol)
            if reason:
                return reason
        return None

    def public_ip(self, machine: Machine) -> str | None:
        return self.public.get(machine.key)

    def inbound_from_internet(self, _machine: Machine, _source: str, port: int, protocol: str) -> bool:
        return (port, protocol) not in self.closed

    def has_egress(self, machine: Machine) -> bool:
        return self.egress


class Ca:
    """A certificate authority, and the leaves it signs."""

    def __init__(self, name: str = "Cockroach CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key, -1, 3650)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, first: float, last: float
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(tz=dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=first))
            .not_valid_after(now + dt.timedelta(days=last))
        )

    def issue(
        self, cn: str, sans: Sequence[str] = (), *, usages: str = "server client", first: float = -1, last: float = 365
    ) -> tuple[bytes, bytes]:
        """Certificate and key, in PEM; validity in days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]), key, first, last)
        known = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
        if usages:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([known[word] for word in usages.split()]), critical=False
            )
        names: list[x509.GeneralName] = []
        for san in sans:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(san)))
            except ValueError:
                names.append(x509.DNSName(san))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return pem, key.private_bytes(*form)


class Bench:
    """A world under test."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.world = World(clock=self.clock, seed=7)
        self.wires = Wires()
        self.world.network = self.wires  # type: ignore[assignment]
        self.clock.moved = self.tick
        self._uids = itertools.count(1)

    # Time.

    def tick(self) -> None:
        """Every program acts once; one that has ended leaves its pod."""
        with self.world.lock:
            for cluster in self.world.clusters:
                pods = cluster.runtime
                assert isinstance(pods, Pods)
                for box, program in pods.programs():
                    if program.exit_code is None and self.world.machines.get(box.node.machine.key):
                        program.tick()

    def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.clock.sleep(seconds)

    # Clusters.

    def cluster(self, index: int, *, nodes: int = 1, kube_proxy: bool = True, pods: str | None = None) -> Cluster:
        """Cluster number `index`: nodes at 10.<index>.0.4 on, Services in 10.20<index>.0.0/16, a /24 of pods a node."""
        config = {
            "cluster-cidr": f"10.10{index}.0.0/16",
            "service-cidr": f"10.20{index}.0.0/16",
            "cluster-dns": f"10.20{index}.0.10",
            "cluster-domain": "cluster.local",
            "flannel-backend": "none",
            "disable-kube-proxy": not kube_proxy,
        }
        store = Store(self.clock)
        store.configure(service_cidr=f"10.20{index}.0.0/16")
        cluster = Cluster(f"c{index}", "token", config, "v1.36.4+k3s1", _AUTHORITY, store)
        cluster.runtime = Pods(self.world, cluster)
        self.world.clusters.append(cluster)
        self._put(
            cluster,
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            None,
            "ciliumnodes.cilium.io",
            spec={
                "group": "cilium.io",
                "scope": "Cluster",
                "names": {
                    "plural": "ciliumnodes",
                    "singular": "ciliumnode",
                    "kind": "CiliumNode",
                    "listKind": "CiliumNodeList",
                },
                "versions": [
                    {
                        "name": "v2",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            },
        )
        for space in ("kube-system", "default"):
            self.namespace(cluster, space)
        self._put(
            cluster,
            "v1",
            "Service",
            "default",
            "kubernetes",
            spec={"clusterIP": f"10.20{index}.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
        )
        for number in range(nodes):
            ip = f"10.{index}.0.{4 + number}"
            machine = Machine(
                f"/vm/{ip}", f"vm-{ip}", "eastus", "1", "D4", 4, 16.0, f"n{index}{number}", "azureuser", [], b"", "nic"
            )
            self.world.machines[machine.key] = machine
            self.wires.addresses[machine.key], self.wires.machines[ip] = ip, machine
            member = Member(machine, f"n{index}{number}", "server", {}, "v1.36.4+k3s1", 0.0, voter_at=0.0)
            cluster.members[member.node_name] = member
            addresses = [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": member.node_name}]
            spec, state = {"podCIDR": f"10.10{index}.{number}.0/24"}, {"addresses": addresses}
            self._put(cluster, "v1", "Node", None, member.node_name, spec=spec, status=state)
            range_ = pods or f"10.10{index}.{number}.0/24"
            self._put(
                cluster,
                "cilium.io/v2",
                "CiliumNode",
                None,
                member.node_name,
                spec={"addresses": [{"type": "InternalIP", "ip": ip}], "ipam": {"podCIDRs": [range_]}},
            )
        return cluster

    def _put(self, cluster: Cluster, version: str, kind: str, namespace: str | None, name: str, **fields: Any) -> Any:
        meta: dict[str, Any] = {"name": name, **fields.pop("meta", {})}
        if namespace:
            meta["namespace"] = namespace
        store = cluster.store
        obj = {"apiVersion": version, "kind": kind, "metadata": meta, **fields}
        return store.create(store.resource(kind, version), obj)

    def namespace(self, cluster: Cluster, name: str) -> None:
        self._put(cluster, "v1", "Namespace", None, name)

    def config_map(self, cluster: Cluster, name: str, data: dict[str, str]) -> None:
        self._put(cluster, "v1", "ConfigMap", "kube-system", name, data=data)

    def service(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        ports: list[dict[str, Any]],
        boxes: Sequence[Sandbox] = (),
        *,
        ready: bool = True,
        notes: dict[str, str] | None = None,
        **spec: Any,
    ) -> Any:
        """A Service with its endpoints."""
        made = self._put(
            cluster,
            "v1",
            "Service",
            namespace,
            name,
            meta={"annotations": notes or {}},
            spec={"ports": ports, "selector": {"app": name}, **spec},
        )
        endpoints = [
            {
                "addresses": [box.ip],
                "conditions": {"ready": ready},
                "nodeName": box.node.node_name,
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": box.name},
                **({"hostname": box.pod["spec"]["hostname"]} if box.pod["spec"].get("hostname") else {}),
            }
            for box in boxes
        ]
        slice_ports = [
            {
                "name": port.get("name", ""),
                "port": port.get("targetPort", port["port"]),
                "protocol": port.get("protocol", "TCP"),
            }
            for port in ports
        ]
        self._put(
            cluster,
            "discovery.k8s.io/v1",
            "EndpointSlice",
            namespace,
            f"{name}-1",
            meta={"labels": {"kubernetes.io/service-name": name}},
            addressType="IPv4",
            endpoints=endpoints,
            ports=slice_ports,
        )
        return made

    # Pods.

    def pod(
        self,
        cluster: Cluster,
        node: str,
        namespace: str,
        name: str,
        containers: list[dict[str, Any]],
        *,
        files: dict[str, bytes] | None = None,
        modes: dict[str, int] | None = None,
        env: dict[str, str] | None = None,
        **spec: Any,
    ) -> Sandbox:
        """A pod, with its programs started."""
        member = cluster.members[node]
        number = next(self._uids)
        host = bool(spec.get("hostNetwork"))
        route = next(
            each
            for each in cluster.store.peek_all(cluster.store.resource("CiliumNode"))
            if each["metadata"]["name"] == node
        )
        range_ = ipaddress.ip_network(route["spec"]["ipam"]["podCIDRs"][0])
        ip = self.wires.addresses[member.machine.key] if host else str(range_[10 + number])
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{number}"},
            "spec": {"containers": containers, **spec},
            "status": {"podIP": ip},
        }
        box = Sandbox(pod, member, ip, host, 0.0)
        pods = cluster.runtime
        assert isinstance(pods, Pods)
        pods.sandboxes[box.uid] = box
        for entry in containers:
            box.programs[entry["name"]] = self.start(cluster, box, entry, files or {}, modes or {}, env or {})
        return box

    def start(
        self,
        cluster: Cluster,
        box: Sandbox,
        entry: dict[str, Any],
        files: dict[str, bytes],
        modes: dict[str, int] | None = None,
        env: dict[str, str] | None = None,
    ) -> Program:
        spec, name = box.pod["spec"], box.name
        host = spec.get("hostname") or name
        subdomain = f"{host}.{spec['subdomain']}.{box.namespace}.svc.cluster.local\t" if spec.get("subdomain") else ""
        index = cluster.uid[1:]
        system = {
            "/etc/hostname": f"{host}\n".encode(),
            "/etc/hosts": f"127.0.0.1\tlocalhost\n{box.ip}\t{subdomain}{host}\n".encode(),
        }
        if spec.get("dnsPolicy", "ClusterFirst") == "ClusterFirst" and not box.host_network:
            search = f"{box.namespace}.svc.cluster.local svc.cluster.local cluster.local"
            system["/etc/resolv.conf"] = f"search {search}\nnameserver 10.20{index}.0.10\noptions ndots:5\n".encode()
        else:
            system["/etc/resolv.conf"] = b"nameserver 168.63.129.16\n"
        container = Container(
            world=self.world,
            cluster=cluster,
            node=box.node,
            pod=box.pod,
            spec=entry,
            argv=[*entry.get("command", []), *entry.get("args", [])],
            env={
                "HOSTNAME": host,
                "KUBERNETES_SERVICE_HOST": f"10.20{index}.0.1",
                "KUBERNETES_SERVICE_PORT": "443",
                **(env or {}),
            },
            files={**system, **files},
            modes=dict(modes or {}),
        )
        return registry.start(container)

    def remove(self, cluster: Cluster, box: Sandbox) -> None:
        """Tear a pod down."""
        pods = cluster.runtime
        assert isinstance(pods, Pods)
        pods.sandboxes.pop(box.uid)

    def shell(
        self, cluster: Cluster, node: str, namespace: str = "default", name: str = "shell", image: str = "busybox"
    ) -> Sandbox:
        """A pod that sleeps."""
        return self.pod(
            cluster, node, namespace, name, [{"name": "main", "image": image, "command": ["sleep", "infinity"]}]
        )

    @staticmethod
    def run(box: Sandbox, *argv: str, container: str | None = None) -> ExecResult:
        """A command in a pod."""
        program = box.programs[container] if container else next(iter(box.programs.values()))
        return program.exec(list(argv))

    # CoreDNS.

    def coredns(
        self,
        cluster: Cluster,
        *,
        custom: dict[str, str] | None = None,
        corefile: str = COREFILE,
        node_port: int | None = None,
        protocols: Sequence[str] = ("UDP", "TCP"),
    ) -> Sandbox:
        """CoreDNS on the first node with its Service, and one at a NodePort if wanted."""
        index = cluster.uid[1:]
        files = {"/etc/coredns/Corefile": corefile.encode(), "/etc/coredns/NodeHosts": b"10.0.0.9 node-nine\n"}
        files |= {f"/etc/coredns/custom/{name}": text.encode() for name, text in (custom or {}).items()}
        container = {"name": "coredns", "image": COREDNS, "args": ["-conf", "/etc/coredns/Corefile"]}
        box = self.pod(
            cluster,
            next(iter(cluster.members)),
            "kube-system",
            "coredns-1",
            [container],
            files=files,
            dnsPolicy="Default",
        )
        ports = [{"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
        self.service(cluster, "kube-system", "kube-dns", ports, [box], clusterIP=f"10.20{index}.0.10")
        if node_port:
            exposed = [
                {"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol, "nodePort": node_port}
                for protocol in protocols
            ]
            self.service(cluster, "kube-system", "dns-outside", exposed, [box], type="NodePort")
        return box

    # Cilium.

    def agents(
        self, cluster: Cluster, *, name: str, number: int, remotes: dict[str, bytes] | None = None, **config: str
    ) -> list[Sandbox]:
        """A Cilium agent on each node."""
        index = cluster.uid[1:]
        settings = {"cluster-name": name, "cluster-id": str(number), "kube-proxy-replacement": "true", **config}
        if cluster.store.find(cluster.store.resource("ConfigMap"), "kube-system", "cilium-config") is None:
            self.config_map(cluster, "cilium-config", settings)
        files = {f"/var/lib/cilium/clustermesh/{path}": data for path, data in (remotes or {}).items()}
        container = {
            "name": "cilium-agent",
            "image": CILIUM,
            "command": ["cilium-agent"],
            "args": ["--config-dir=/tmp/none"],
        }
        env = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "6444",
            "CILIUM_CLUSTERMESH_CONFIG": "/var/lib/cilium/clustermesh/",
        }
        return [
            self.pod(
                cluster,
                node,
                "kube-system",
                f"cilium-{index}-{node}",
                [container],
                files=files,
                env=env,
                hostNetwork=True,
            )
            for node in cluster.members
        ]

    def mesh(
        self, cluster: Cluster, *, name: str, number: int, ca: Ca, remotes: dict[str, dict[str, Any]], **changes: Any
    ) -> Sandbox:
        """clustermesh-apiserver with its Service on NodePort 32379, as the chart renders it.

        Changes: `server_sans`, `client_cn`, `client_ca`, `server_ca`, `server_last` (days), `users`, `node_port`.
        """
        folder = "/var/lib/cilium/clustermesh"
        sans = changes.get("server_sans", ["clustermesh-apiserver.kube-system.svc", "*.mesh.cilium.io", "127.0.0.1"])
        server = changes.get("server_ca", ca).issue(
            "clustermesh-apiserver", sans, usages="server", last=changes.get("server_last", 365)
        )
        client = changes.get("client_ca", ca).issue(changes.get("client_cn", f"remote-{name}"), usages="client")
        users = changes.get("users", [f"remote-{each}" for each in remotes])
        files = {
            "/var/lib/etcd-secrets/tls.crt": server[0],
            "/var/lib/etcd-secrets/tls.key": server[1],
            "/var/lib/etcd-secrets/ca.crt": ca.pem,
            f"{folder}/common-etcd-client.crt": client[0],
            f"{folder}/common-etcd-client.key": client[1],
            f"{folder}/common-etcd-client-ca.crt": ca.pem,
            "/var/lib/cilium/etcd-config/users.yaml": yaml.safe_dump(
                {"users": [{"name": user} for user in users]}
            ).encode(),
        }
        for remote, entry in remotes.items():
            host = f"{remote}.mesh.cilium.io"
            document = {
                "endpoints": [f"https://{host}:{entry.get('port', 32379)}"],
                "trusted-ca-file": f"{folder}/common-etcd-client-ca.crt",
                "key-file": f"{folder}/common-etcd-client.key",
                "cert-file": f"{folder}/common-etcd-client.crt",
                "cilium-host-aliases": [{"hostname": host, "ips": entry["ips"]}],
            }
            files[f"{folder}/{remote}"] = yaml.safe_dump(document).encode()
        identity = [f"--cluster-name={name}", f"--cluster-id={number}", "--max-connected-clusters=255"]
        command = "/usr/bin/clustermesh-apiserver"
        containers = [
            {
                "name": "etcd",
                "image": MESH,
                "command": ["/usr/bin/etcd"],
                "args": [
                    "--trusted-ca-file=/var/lib/etcd-secrets/ca.crt",
                    "--cert-file=/var/lib/etcd-secrets/tls.crt",
                    "--key-file=/var/lib/etcd-secrets/tls.key",
                ],
            },
            {
                "name": "apiserver",
                "image": MESH,
                "command": [command],
                "args": [
                    "clustermesh",
                    *identity,
                    "--health-port=9880",
                    "--cluster-users-enabled",
                    "--cluster-users-config-path=/var/lib/cilium/etcd-config/users.yaml",
                ],
            },
            {
                "name": "kvstoremesh",
                "image": MESH,
                "command": [command],
                "args": ["kvstoremesh", *identity, f"--clustermesh-config={folder}", "--health-port=9881"],
            },
        ]
        box = self.pod(cluster, next(iter(cluster.members)), "kube-system", f"mesh-{name}", containers, files=files)
        port = {"port": 2379, "targetPort": 2379, "nodePort": changes.get("node_port", 32379)}
        self.service(cluster, "kube-system", "clustermesh-apiserver", [port], [box], type="NodePort")
        return box

    @staticmethod
    def mesh_remotes(ca: Ca, name: str, remotes: Sequence[str]) -> dict[str, bytes]:
        """What the agents have mounted: the local clustermesh-apiserver for every remote."""
        cert, key = ca.issue(f"local-{name}", usages="client")
        folder = "/var/lib/cilium/clustermesh"
        document = {
            "endpoints": ["https://clustermesh-apiserver.kube-system.svc:2379"],
            "trusted-ca-file": f"{folder}/local-etcd-client-ca.crt",
            "key-file": f"{folder}/local-etcd-client.key",
            "cert-file": f"{folder}/local-etcd-client.crt",
        }
        text = yaml.safe_dump(document).encode()
        keys = {"local-etcd-client-ca.crt": ca.pem, "local-etcd-client.crt": cert, "local-etcd-client.key": key}
        return {**dict.fromkeys(remotes, text), **keys}

    # CockroachDB.

    def cockroach(
        self, cluster: Cluster, node: str, number: int, *, ca: Ca, namespace: str, join: Sequence[str], **changes: Any
    ) -> Sandbox:
        """A pod of a StatefulSet `cockroachdb`.

        Changes: `sans`, `node_cn`, `modes`, `flags`, `cluster_name`, `command`, `files`, `claim`, `last`, `locality`.
        """
        folder = "/cockroach/cockroach-certs"
        sans = changes.get(
            "sans",
            [
                "localhost",
                "127.0.0.1",
                "*.cockroachdb",
                f"*.cockroachdb.{namespace}",
                f"*.cockroachdb.{namespace}.svc.cluster.local",
                "cockroachdb-public",
            ],
        )
        cert, key = ca.issue(
            changes.get("node_cn", "node"),
            sans,
            last=changes.get("last", 365),
            usages=changes.get("usages", "server client"),
        )
        client, client_key = ca.issue("root", usages="client")
        files = {
            f"{folder}/ca.crt": ca.pem,
            f"{folder}/node.crt": cert,
            f"{folder}/node.key": key,
            f"{folder}/client.root.crt": client,
            f"{folder}/client.root.key": client_key,
        }
        files |= changes.get("files", {})
        modes = {path: changes.get("mode", 0o400) for path in files}
        flags = [
            "--logtostderr",
            f"--certs-dir={folder}",
            "--http-addr=0.0.0.0",
            "--cache=.25",
            "--max-sql-memory=.25",
            f"--locality={changes.get('locality', f'region={namespace},zone={namespace}-{number}')}",
            f"--join={','.join(join)}",
            *changes.get("flags", []),
        ]
        if changes.get("cluster_name"):
            flags.append(f"--cluster-name={changes['cluster_name']}")
        script = f"exec /cockroach/cockroach start --advertise-host $(hostname -f) {' '.join(flags)}"
        container = {
            "name": "db",
            "image": COCKROACH,
            "command": changes.get("command", ["/bin/bash", "-ecx", script]),
            "volumeMounts": [
                {"name": "datadir", "mountPath": "/cockroach/cockroach-data"},
                {"name": "certs", "mountPath": folder},
            ],
        }
        volumes: list[dict[str, Any]] = [{"name": "certs", "secret": {"secretName": "node"}}]
        volumes.append(
            {"name": "datadir", "persistentVolumeClaim": {"claimName": changes["claim"]}}
            if "claim" in changes
            else {"name": "datadir", "emptyDir": {}}
        )
        name = f"cockroachdb-{number}"
        return self.pod(
            cluster,
            node,
            namespace,
            name,
            [container],
            files=files,
            modes=modes,
            hostname=name,
            subdomain="cockroachdb",
            volumes=volumes,
            **changes.get("spec", {}),
        )

    def headless(self, cluster: Cluster, namespace: str, boxes: Sequence[Sandbox]) -> None:
        """The headless Service that names the pods."""
        ports = [{"name": "grpc", "port": 26257}, {"name": "http", "port": 8080}]
        self.service(cluster, namespace, "cockroachdb", ports, boxes, clusterIP="None", publishNotReadyAddresses=True)

    @staticmethod
    def secret(data: bytes) -> str:
        return base64.b64encode(data).decode()


@pytest.fixture
def bench() -> Bench:
    """A world with nothing in it."""
    return Bench()


@pytest.fixture(scope="session")
def ca() -> Ca:
    """The one CA of a test session."""
    return Ca()


@pytest.fixture(scope="session")
def other_ca() -> Ca:
    """Another CA, of the same name."""
    return Ca()
