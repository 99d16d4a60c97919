"""The world of one run: its connections to Azure, the machines and the clusters.

Everything is found by name when it is asked for, and kept for the run: an SSH connection per machine, a Kubernetes
client per region. Secrets are read from the mesh's local folder; `steps.secrets` makes them.
"""

import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

from crdbmesh.clients import waiting
from crdbmesh.clients.azure import kinds
from crdbmesh.clients.azure import resources as arm
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.ssh.host import Host
from crdbmesh.desired import Body
from crdbmesh.desired import azure as resources
from crdbmesh.errors import CloudError, CrdbmeshError, KubeError, RefusedError, StoppedError, UnreachableError
from crdbmesh.local import contents, kubeconfig, pki
from crdbmesh.local.folder import LocalFolder
from crdbmesh.spec import names
from crdbmesh.spec.documents import scalar
from crdbmesh.spec.mesh import Machine, Mesh

T = TypeVar("T")

LOST_FOLDER = "restore the mesh's local folder, or run `crdbmesh down` and start again"


class World(AbstractContextManager["World", None]):
    """The world as one mesh sees it.

    Attributes:
        stop: once set, every wait ends with StoppedError; it is the session's.
        clock: the cloud's; it is the session's.
        keeps_rules: whether firewall rules of other people that let in more than the spec stay.
        prunes: those to remove: what each lets in, by its id. Any other stops its firewall's step.
        client_region: the region whose client pod answered last.
        allows_outage: whether a rollout goes on although the database cannot bear it.
        rollout_ended: the reason why nothing more is disturbed; empty while there is none.
    """

    def __init__(self, mesh: Mesh, session: Session, folder: LocalFolder) -> None:
        self.mesh = mesh
        self.session = session
        self.folder = folder
        self.stop = session.stop
        self.clock = session.clock
        self.keeps_rules = False
        self.prunes: Mapping[str, str] = {}
        self.client_region: str | None = None
        self.allows_outage = False
        self.rollout_ended = ""
        self._lock = threading.Lock()
        self._kept: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._turn = threading.Condition()
        self._waiting: dict[str, list[tuple[int, ...]]] = {}
        self._taken: set[str] = set()
        self._failed: dict[str, tuple[float, CrdbmeshError]] = {}

    @classmethod
    def open(cls, mesh: Mesh, cloud: Cloud, folder: LocalFolder, *, stop: threading.Event | None = None) -> Self:
        """Return the world through a new session. Call it in the main thread: the SDK's first imports must not race.

        Once `stop` is set, every wait ends with StoppedError.
        """
        return cls(mesh, Session(cloud, stop=stop), folder)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for thing in kept.values():
            if isinstance(thing, Host | Kube):
                thing.close()
        self.session.close()

    @property
    def group(self) -> str:
        """The resource group's name."""
        return self.mesh.group_name

    def deadline(self, deadline_s: float) -> float:
        """Return a deadline multiplied by the spec's patience."""
        return deadline_s * self.mesh.patience

    def wait_until(
        self, probe: Callable[[], tuple[T | None, str]], *, awaited: str, deadline_s: float, say: waiting.Say
    ) -> T:
        """Ask about every second, as patiently as the spec says; see `clients.waiting.wait_until`."""
        deadline_s = self.deadline(deadline_s)
        return self.session.wait_until(probe, 1.0, awaited=awaited, deadline_s=deadline_s, say=say)

    def login_key(self) -> pki.SSHKey:
        """Return the key pair that crdbmesh logs in with, made for this mesh."""
        comment = f"crdbmesh-{self.mesh.name}"
        return self._read(contents.LOGIN_KEY, lambda text: pki.read_ssh_key(text, comment))

    def host_key(self, machine: Machine) -> pki.SSHKey:
        """Return the host key pair that a machine gets from us at its birth."""
        return self._read(contents.host_key(machine.node), lambda text: pki.read_ssh_key(text, machine.node))

    def host_keys(self, machine: Machine) -> list[str]:
        """Return the public key lines by which a machine is known.

        That is the one it has made itself; before it has, that of its birth and those that it was about to take.
        """
        if own := self.folder.read(contents.own_host_key(machine.node)):
            return own.splitlines()
        next_ones = self.folder.read(contents.next_host_keys(machine.node)) or ""
        return [self.host_key(machine).public, *next_ones.splitlines()]

    def renew_host_key(self, machine: Machine) -> None:
        """Make the host key for the birth of a machine that is made anew; its predecessor's tells nothing of it."""
        own, next_ones = contents.own_host_key(machine.node), contents.next_host_keys(machine.node)
        if self.folder.read(own) or self.folder.read(next_ones):
            self.folder.write(contents.host_key(machine.node), pki.make_host_key(machine.node).private)
            self.folder.delete(next_ones)
            self.folder.delete(own)
            with self._lock:
                self._kept.pop(contents.host_key(machine.node), None)
        self.forget_host(machine)

    def token(self, region: str) -> str:
        """Return the secret with which machines join a region's cluster."""
        return self._secret(contents.token(region)).strip()

    def cilium_ca(self) -> pki.KeyPair:
        """Return the CA of every cluster's Cilium."""
        return self._read(contents.CILIUM_CA, pki.read_key_pair)

    def cockroach_ca(self) -> pki.KeyPair:
        """Return the CA of CockroachDB. Its key never leaves the local folder."""
        return self._read(contents.COCKROACH_CA, pki.read_key_pair)

    def record(self, kind: str, *path: str) -> None:
        """Record in the local folder a resource that is about to be made: it is the mesh's from then on."""
        made = resources.resource_id(self.session.subscription_id, self.group, kind, *path)
        self.folder.append(contents.CREATED, made)

    def forget_world(self) -> None:
        """Drop from the local folder what it knows of a world that is gone, as when `down` ran on another machine."""
        self.folder.delete(contents.CLUSTER_ID)
        for region in self.mesh.regions:
            self.folder.delete(contents.kubeconfig(region.name))
            self.folder.delete(contents.begun(region.name))

    def public_address(self, machine: Machine) -> str | None:
        """Return a machine's public address, or None while it has none. One that was found is not asked for again.

        An answer of Azure's that is no IPv4 address is a CloudError: addresses go into command lines and URLs.
        """
        name = names.address(self.mesh.name, machine.region, machine.number)

        def find() -> str:
            found = kinds.PUBLIC_IP.find(self.session, self.group, name) or {}
            address = found.get("properties", {}).get("ipAddress")
            if not address:
                raise UnreachableError(f"{machine.node} has no public address")
            try:
                return str(ipaddress.IPv4Address(str(address)))
            except ValueError:
                said = f"{machine.node}: Azure answered with {scalar(address)!r} as the address of {name}"
                raise CloudError(f"{said}, which is no IPv4 address", hint="look at it in the Azure portal") from None

        try:
            return self.once(f"address/{machine.node}", find)
        except UnreachableError:
            return None

    def sizes(self, location: str) -> dict[str, Body]:
        """Return the VM sizes that Azure lists in a location, as ARM's SKUs by name in lower case."""
        return self._offered(location, "virtualMachines")

    def capabilities(self, machine: Machine) -> dict[str, str]:
        """Return what a machine's size can do, by name, as Azure's SKU list tells; empty when it does not list it."""
        return resources.capabilities(self.sizes(machine.region).get(machine.size.lower()) or {})

    def fault_domains(self, location: str) -> int:
        """Return the most fault domains that an availability set has in a location."""
        sku = self._offered(location, "availabilitySets").get("aligned") or {}
        return int(resources.capabilities(sku).get("MaximumPlatformFaultDomainCount", 2))

    def place_of(self, machine: Machine) -> str | None:
        """Return a machine's zone or, in an availability set, its fault domain: `fd0`; None if it has neither."""
        zone = self.zone_of(machine)
        if zone is not None or self.mesh.layout < 2:
            return zone
        name = names.machine(self.mesh.name, machine.region, machine.number)
        vm = kinds.VM.find(self.session, self.group, name, expand="instanceView") or {}
        domain = ((vm.get("properties") or {}).get("instanceView") or {}).get("platformFaultDomain")
        return None if domain is None else f"fd{domain}"

    def disk_zones(self, location: str, kind: str) -> tuple[str, ...]:
        """Return the zones in which Azure offers a type of disk to this subscription; empty when in none."""
        sku = self._offered(location, "disks").get(kind.lower())
        return resources.usable_zones(sku, location) if sku is not None else ()

    def _offered(self, location: str, kind: str) -> dict[str, Body]:
        def read() -> dict[str, dict[str, Body]]:
            found: dict[str, dict[str, Body]] = {}
            for sku in arm.list_skus(self.session, location):
                found.setdefault(str(sku.get("resourceType")), {})[str(sku["name"]).lower()] = sku
            return found

        return self.once(f"skus/{location}", read).get(kind, {})

    def zones(self, location: str, size: str) -> tuple[str, ...]:
        """Return the zones in which Azure offers a VM size to this subscription; empty when in none."""
        sku = self.sizes(location).get(size.lower())
        return resources.usable_zones(sku, location) if sku is not None else ()

    def zone_of(self, machine: Machine) -> str | None:
        """Return the zone a machine is in, or should be made in: one that is there, or whose disk is, stays there."""
        name = names.machine(self.mesh.name, machine.region, machine.number)
        known = f"zone/{machine.node}"
        with self._lock:
            if known in self._kept:
                zone: str | None = self._kept[known]
                return zone
        if (found := kinds.VM.find(self.session, self.group, name)) is not None:
            return self.once(known, lambda: next(iter(found.get("zones") or []), None))
        if self.mesh.layout > 1:
            left = names.disk(self.mesh.name, machine.region, machine.number, "data")
            if (disk := kinds.DISK.find(self.session, self.group, left)) is not None:
                return next(iter(disk.get("zones") or []), None)
        if machine.zone is not None:
            return machine.zone
        if self.mesh.region(machine.region).zones is not None:
            return None
        offered = self.zones(machine.region, machine.size)
        return offered[(machine.number - 1) % len(offered)] if offered else None

    def host(self, machine: Machine) -> Host:
        """Return a machine over SSH; raise UnreachableError when it has no public address."""
        address = self.public_address(machine)
        if address is None:
            raise UnreachableError(f"{machine.node} has no public address")

        def connect() -> Host:
            return Host(
                address,
                port=self.mesh.ssh.port,
                user=self.mesh.ssh.user,
                login_key=self.login_key().private,
                host_keys=self.host_keys(machine),
                name=machine.node,
                stop=self.stop,
                clock=self.clock,
            )

        return self.once(f"host/{machine.node}/{address}", connect)

    def kube(self, region: str, *, manager: str = "crdbmesh") -> Kube:
        """Return a region's Kubernetes API, through the first of its servers that answers.

        Objects are applied in the name of `manager`. Without a kubeconfig, or a server that answers, it is a KubeError.
        """
        text = self.folder.read(contents.kubeconfig(region))
        if text is None:
            raise KubeError(f"{region}: no kubeconfig in {self.folder.path}", hint=LOST_FOLDER)
        return self.once(f"kube/{region}/{manager}/{hash(text)}", lambda: self._answering(region, text, manager))

    def forget_host(self, machine: Machine) -> None:
        """Drop a machine's connection, so that the next use looks at which keys it is known by."""
        self._forget(f"host/{machine.node}/")

    def forget_kube(self, region: str) -> None:
        """Drop a region's client, so that the next use looks for a server that answers."""
        self._forget(f"kube/{region}/")

    def _forget(self, prefix: str) -> None:
        with self._lock:
            forgotten = [self._kept.pop(key) for key in list(self._kept) if key.startswith(prefix)]
        for connection in forgotten:
            connection.close()

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Compute something once per run; concurrent callers share the result or the error."""
        asked_s = time.monotonic()
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                if key in self._kept:
                    kept: T = self._kept[key]
                    return kept
                failed_s, error = self._failed.get(key, (asked_s, None))
            if error is not None and failed_s > asked_s:
                # It failed while this one waited for its turn; to try at once again would only make all wait longer.
                raise error
            try:
                made = make()
            except CrdbmeshError as error:
                with self._lock:
                    self._failed[key] = (time.monotonic(), error)
                raise
            with self._lock:
                self._kept[key] = made
            return made

    def _answering(self, region: str, text: str, manager: str) -> Kube:
        config = kubeconfig.parse(text)
        seen = "no server has a public address"
        for server in self.mesh.region(region).servers:
            address = self.public_address(server)
            if address is None:
                continue
            url = f"https://{address}:{resources.KUBE_PORT}"
            reached = kubeconfig.rewrite(config, server=url, context=names.context(region))
            kube = Kube(reached, name=region, stop=self.stop, clock=self.clock, field_manager=manager)
            try:
                kube.version()
            except KubeError as error:
                kube.close()
                seen = f"{server.node} at {url}: {error}"
                continue
            return kube
        raise KubeError(f"{region}: the Kubernetes API does not answer ({seen})").as_retryable()

    def _read(self, file: str, read: Callable[[str], T]) -> T:
        """Read a secret once, as what it stands for."""

        def understood() -> T:
            text = self._secret(file)
            try:
                return read(text)
            except ValueError as error:
                # Not the cause as such: it may quote the file.
                reason = "is empty" if not text.strip() else f"is damaged ({error})"
                raise RefusedError(f"{self.folder.path / file} {reason}", hint="restore it from a backup") from None

        return self.once(file, understood)

    def _secret(self, file: str) -> str:
        text = self.folder.read(file)
        if text is None:
            raise lost_folder(file)
        return text

    @contextlib.contextmanager
    def turn(self, name: str, order: tuple[int, ...] = ()) -> Iterator[None]:
        """Let one step at a time do something, of those that wait the lowest in `order`.

        It is a StoppedError when the operator interrupts before its turn.
        """
        with self._turn:
            waiting = self._waiting.setdefault(name, [])
            waiting.append(order)
            try:
                while name in self._taken or order > min(waiting):
                    if self.stop.is_set():
                        raise StoppedError(f"its turn to {name}", last_seen="another region's")
                    self._turn.wait(1)
                self._taken.add(name)
            finally:
                waiting.remove(order)
        try:
            yield
        finally:
            with self._turn:
                self._taken.discard(name)
                self._turn.notify_all()


def lost_folder(what: str) -> RefusedError:
    """Return the refusal to go on with something made with secrets that the local folder no longer has."""
    return RefusedError(f"{what} was made with secrets that are not in the local folder", hint=LOST_FOLDER)
