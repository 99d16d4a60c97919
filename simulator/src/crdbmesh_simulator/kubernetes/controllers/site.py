"""The base of a controller, and what the controllers of one cluster share."""

from __future__ import annotations

import contextlib
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from crdbmesh_simulator.filesystem import Actor
from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.api.status import StatusError
from crdbmesh_simulator.kubernetes.controllers import objects

if TYPE_CHECKING:
    from crdbmesh_simulator.kubernetes.api.cluster import Cluster, Member, Pods
    from crdbmesh_simulator.kubernetes.controllers.api import Api
    from crdbmesh_simulator.kubernetes.programs import Container, Program
    from crdbmesh_simulator.world import Machine, World

_T = TypeVar("_T")


@dataclass
class Site:
    """One cluster, as its controllers see it.

    `world`: everything. `cluster`: the cluster. `api`: its objects. `pods`: its running pods. `start`: starts a
    container's program; LookupError for an image that no registry has. `networked`: machines (with their boot time) on
    which a CNI configuration lies. `tokens`: of service accounts, with when they were issued, by pod uid, account uid
    and audience.
    """

    world: World
    cluster: Cluster
    api: Api
    pods: Pods
    start: Callable[[Container], Program]
    networked: set[tuple[str, float]] = field(default_factory=set)
    tokens: dict[tuple[str, str, str], tuple[float, bytes]] = field(default_factory=dict)

    def now(self) -> float:
        """Simulated seconds since the epoch."""
        return self.world.clock.now()

    def timestamp(self) -> str:
        """The simulated time as Kubernetes writes it."""
        return objects.rfc3339(self.now())

    def powered(self, member: Member) -> bool:
        """Return whether the member's machine exists and is on."""
        return self.world.machines.get(member.machine.key) is member.machine

    def alive(self, member: Member) -> bool:
        """Return whether the member's kubelet runs."""
        return member.running and self.powered(member)

    def private_ip(self, member: Member) -> str:
        """The address by which the node is known: `node-ip`, or its NIC's."""
        configured = member.config.get("node-ip")
        if configured:
            return str(configured[0] if isinstance(configured, list) else configured).split(",")[0]
        return self.world.network.private_ip(member.machine) or ""

    def service_ip(self, index: int) -> str:
        """An address of the service range: 1 is the API's."""
        ranges = str(self.cluster.config.get("service-cidr", "10.43.0.0/16")).split(",")
        return str(ipaddress.ip_network(ranges[0])[index])

    def disabled(self, name: str) -> bool:
        """Return whether `disable` holds a packaged component."""
        listed = self.cluster.config.get("disable") or []
        words = listed.split(",") if isinstance(listed, str) else [w for entry in listed for w in str(entry).split(",")]
        return name in [word.strip() for word in words]

    def flannel(self) -> bool:
        """Return whether k3s's own flannel makes the pod network."""
        return str(self.cluster.config.get("flannel-backend", "vxlan")) != "none"

    def kube_proxy(self) -> bool:
        """Return whether k3s runs kube-proxy."""
        return not _truth(self.cluster.config.get("disable-kube-proxy"))

    def agent(self, node_name: str) -> Obj | None:
        """The Cilium agent's pod on a node."""
        for pod in self.api.list("Pod", "kube-system", {"k8s-app": "cilium"}):
            if objects.spec(pod).get("nodeName") == node_name and not objects.deleting(pod):
                return pod
        return None

    def agent_ready(self, node_name: str) -> bool:
        """Return whether the Cilium agent on a node is ready now."""
        pod = self.agent(node_name)
        if pod is None:
            return False
        box = self.pods.sandboxes.get(objects.uid(pod))
        if box is None or "cilium-agent" not in box.programs:
            return False
        statuses = objects.status(pod).get("containerStatuses") or []
        return any(entry["name"] == "cilium-agent" and entry.get("ready") for entry in statuses)

    def pod_range(self, node_name: str) -> ipaddress.IPv4Network | None:
        """The range from which the node's pods get addresses, once there is one."""
        text = None
        if not self.flannel():
            config = self.api.find("ConfigMap", "kube-system", "cilium-config") or {}
            if (config.get("data") or {}).get("ipam") != "kubernetes":
                owner = self.api.find("CiliumNode", None, node_name)
                ranges = ((objects.spec(owner or {}).get("ipam") or {}).get("podCIDRs")) or []
                if not ranges:
                    return None
                text = ranges[0]
        if text is None:
            text = objects.spec(self.api.find("Node", None, node_name) or {}).get("podCIDR")
        return ipaddress.IPv4Network(text) if text else None

    def network_ready(self, member: Member) -> bool:
        """Return whether a pod sandbox can be given a network on this node now."""
        if self.flannel():
            return self.pod_range(member.node_name) is not None
        return self.agent_ready(member.node_name) and self.pod_range(member.node_name) is not None

    def networked_on(self, member: Member) -> bool:
        """Return whether a CNI configuration lies on the node (since it last booted)."""
        return self.flannel() or (member.machine.key, member.machine.booted_at) in self.networked

    def services_reachable(self, node_name: str, *, host: bool) -> bool:
        """Return whether Service addresses are translated: for the node itself (`host`), or for its pods.

        Without kube-proxy, Cilium does so for pods always, for the node only as kube-proxy's replacement.
        """
        if self.kube_proxy():
            return True
        config = (self.api.find("ConfigMap", "kube-system", "cilium-config") or {}).get("data") or {}
        replaced = config.get("kube-proxy-replacement") == "true"
        return (replaced or not host) and self.agent_ready(node_name)


class Controller(ABC):
    """Something that makes the state of a cluster follow from its objects.

    `run` is called when an object of a kind in `watches` has changed, or when the time that the last run asked for has
    come; always under `world.lock`. `refused`: the API has refused something in this run; it is tried again before
    long.
    """

    watches: tuple[str, ...] = ()

    def __init__(self, site: Site) -> None:
        self.site = site
        self.api = site.api
        self.refused = False

    @abstractmethod
    def run(self, now: float) -> float | None:
        """Do what is due; return when to run again at the latest, or None."""

    def tolerating(self, obj: Obj, work: Callable[[], _T]) -> _T | None:
        """Work on one object; what the API refuses is told in an event about it, and the others go on."""
        try:
            return work()
        except StatusError as error:
            self.refused = True
            component = f"{str(obj.get('kind', '')).lower()}-controller"
            self.api.event(obj, "Warning", "FailedCreate", f"Error creating: {error}", component=component)
            return None


def api_unreachable(site: Site, container: Container) -> str | None:
    """Return why a container cannot reach the Kubernetes API where its environment says it is; None when it can."""
    host = container.env.get("KUBERNETES_SERVICE_HOST", site.service_ip(1))
    port = int(container.env.get("KUBERNETES_SERVICE_PORT") or 443)
    member, cluster = container.node, site.cluster
    at = f"dial tcp {host}:{port}"
    if not cluster.has_quorum():
        return f"{at}: connect: connection refused"
    on_host = bool(objects.spec(container.pod).get("hostNetwork"))
    if host in ("127.0.0.1", "localhost"):
        listening = (port == 6443 and member.role == "server") or port == 6444
        return None if on_host and listening and member.running else f"{at}: connect: connection refused"
    if host in (site.service_ip(1), "kubernetes.default.svc", "kubernetes.default"):
        if port == 443 and site.services_reachable(member.node_name, host=on_host):
            return None
        return f"{at}: i/o timeout"
    for server in cluster.servers():
        if host in (site.private_ip(server), site.world.network.private_ip(server.machine)):
            if port != 6443 or not site.alive(server):
                return f"{at}: connect: connection refused"
            if server is member:
                return None
            reason = site.world.network.between(member.machine, host, 6443, "Tcp")
            return None if reason is None else f"{at}: i/o timeout ({reason})"
    return f"{at}: i/o timeout"


def _truth(value: object) -> bool:
    return value is True or str(value).lower() in ("true", "1", "yes")


def find_file(machine: Machine, path: str) -> bytes | None:
    """The content of a file, or None when there is none."""
    with contextlib.suppress(OSError):
        return bytes(machine.disk.files.read(path, Actor())) if machine.disk.files else None
    return None


def list_files(machine: Machine, folder: str) -> dict[str, bytes]:
    """Every regular file below a folder: absolute path -> content."""
    with contextlib.suppress(OSError):
        found = machine.disk.files.walk(folder, Actor()) if machine.disk.files else ()
        return {path: bytes(inode.content) for path, inode in found if inode.is_file}
    return {}


def is_folder(machine: Machine, path: str) -> bool:
    """Return whether a folder is there."""
    found = machine.disk.files.find(path, Actor()) if machine.disk.files else None
    return found is not None and found.is_dir


def make_folder(machine: Machine, path: str) -> None:
    """Make a folder, with those above it."""
    if machine.disk.files:
        machine.disk.files.mkdir(path, Actor(), mode=0o777, parents=True)


def remove_folder(machine: Machine, path: str) -> None:
    """Remove a folder with everything in it; absent is fine."""
    with contextlib.suppress(OSError):
        if machine.disk.files:
            machine.disk.files.remove(path, Actor(), recursive=True)
    machine.kept(("host", path)).clear()
