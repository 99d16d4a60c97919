"""How the steps and probes of one run reach the world: Azure, the machines, the clusters.

Everything is found by name when it is asked for, and kept for the run: an SSH connection per machine, a Kubernetes
client per region. Secrets come from the mesh's local folder. They are made there, all of them at once and before the
first machine; one that is missing although a machine was made with it is lost, and never made anew.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from crdbmesh.clients.azure import compute, network
from crdbmesh.clients.azure.session import Session
from crdbmesh.clients.cloud import Cloud
from crdbmesh.clients.kube.client import Kube
from crdbmesh.clients.ssh.host import Host
from crdbmesh.desired import azure as resources
from crdbmesh.errors import CrdbmeshError, KubeError, RefusedError, StoppedError, UnreachableError
from crdbmesh.local import contents, kubeconfig, pki
from crdbmesh.local.folder import LocalFolder
from crdbmesh.observe.inventory import list_machines
from crdbmesh.spec import names
from crdbmesh.spec.mesh import Machine, Mesh

T = TypeVar("T")

LOST_FOLDER = "restore the mesh's local folder, or run `crdbmesh down` and start again"


class World:
    """The world as one mesh sees it.

    Args:
        mesh: the spec.
        session: Azure.
        folder: the mesh's local folder.

    Attributes:
        stop: once set, every wait ends with StoppedError; it is the session's.
        clock: the cloud's; it is the session's.
    """

    def __init__(self, mesh: Mesh, session: Session, folder: LocalFolder) -> None:
        self.mesh = mesh
        self.session = session
        self.folder = folder
        self.stop = session.stop
        self.clock = session.clock
        self._lock = threading.Lock()
        self._kept: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._failed: dict[str, tuple[float, CrdbmeshError]] = {}

    @classmethod
    def open(cls, mesh: Mesh, cloud: Cloud, folder: LocalFolder, *, stop: threading.Event | None = None) -> Self:
        """The world through a new session. Call it in the main thread: the SDK's first imports must not race.

        Args:
            mesh: the spec.
            cloud: where Azure is.
            folder: the mesh's local folder.
            stop: once set, every wait ends with StoppedError.
        """
        return cls(mesh, Session(cloud, stop=stop), folder)

    def __enter__(self) -> Self:
        return self

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
        """A deadline as long as the spec's patience makes it."""
        return deadline_s * self.mesh.patience

    def login_key(self) -> pki.SSHKey:
        """The key pair that crdbmesh logs in with, made for this mesh."""
        return self._ssh_key(contents.LOGIN_KEY, f"crdbmesh-{self.mesh.name}")

    def host_key(self, machine: Machine) -> pki.SSHKey:
        """The host key pair that a machine gets from us."""
        return self._ssh_key(contents.host_key(machine.node), machine.node)

    def token(self, region: str) -> str:
        """The secret with which machines join a region's cluster."""
        return self._secret(contents.token(region)).strip()

    def cilium_ca(self) -> pki.KeyPair:
        """The CA of every cluster's Cilium."""
        return self._key_pair(contents.CILIUM_CA)

    def cockroach_ca(self) -> pki.KeyPair:
        """The CA of CockroachDB. Its key never leaves the local folder."""
        return self._key_pair(contents.COCKROACH_CA)

    def lost_secrets(self) -> tuple[contents.Secret, ...]:
        """The secrets that are not in the local folder although machines in Azure were made with them."""
        missing = self._missing_secrets()
        if not missing:
            return ()
        machines = list_machines(self.session, self.mesh.name, self.group)
        return tuple(secret for secret in missing if secret.is_used(machines))

    def forget_world(self) -> None:
        """Drop from the local folder what it knows of a world that is gone, as when `down` ran on another machine."""
        self.folder.delete(contents.CLUSTER_ID)
        for region in self.mesh.regions:
            self.folder.delete(contents.kubeconfig(region.name))
            self.folder.delete(contents.begun(region.name))

    def public_address(self, machine: Machine) -> str | None:
        """A machine's public address, or None while it has none."""
        found = network.find_public_ip(
            self.session, self.group, names.address(self.mesh.name, machine.region, machine.number)
        )
        address = (found or {}).get("properties", {}).get("ipAddress")
        return str(address) if address else None

    def zones(self, location: str, size: str) -> tuple[str, ...]:
        """The availability zones in which Azure offers this VM size to this subscription; empty when in none."""

        def find() -> tuple[str, ...]:
            for sku in compute.list_skus(self.session, location):
                if sku.get("resourceType") == "virtualMachines" and str(sku.get("name", "")).lower() == size.lower():
                    return resources.usable_zones(sku, location)
            return ()

        return self._once(f"zones/{location}/{size}", find)

    def zone_of(self, machine: Machine) -> str | None:
        """The zone a machine is in, or should be made in: one that is there stays where it is."""
        known = f"zone/{machine.node}"
        with self._lock:
            if known in self._kept:
                zone: str | None = self._kept[known]
                return zone
        found = compute.find_vm(self.session, self.group, names.machine(self.mesh.name, machine.region, machine.number))
        if found is not None:
            return self._once(known, lambda: next(iter(found.get("zones") or []), None))
        if machine.zone is not None:
            return machine.zone
        if self.mesh.region(machine.region).zones is not None:
            return None
        offered = self.zones(machine.region, machine.size)
        return offered[(machine.number - 1) % len(offered)] if offered else None

    def host(self, machine: Machine) -> Host:
        """A machine over SSH.

        Raises:
            UnreachableError: it has no public address.
        """
        address = self.public_address(machine)
        if address is None:
            raise UnreachableError(f"{machine.node} has no public address")

        def connect() -> Host:
            return Host(
                address,
                port=self.mesh.ssh.port,
                user=self.mesh.ssh.user,
                login_key=self.login_key().private,
                host_key=self.host_key(machine).public,
                name=machine.node,
                stop=self.stop,
                clock=self.clock,
            )

        return self._once(f"host/{machine.node}/{address}", connect)

    def kubeconfig_file(self, region: str) -> str:
        """Where, in the local folder, a region's kubeconfig is kept."""
        return contents.kubeconfig(region)

    def kube(self, region: str, *, manager: str = "crdbmesh") -> Kube:
        """A region's Kubernetes API, through the first of its servers that answers.

        Args:
            region: which.
            manager: in whose name objects are applied.

        Raises:
            KubeError: there is no kubeconfig yet, or no server answers.
        """
        text = self.folder.read(self.kubeconfig_file(region))
        if text is None:
            raise KubeError(f"{region}: no kubeconfig in {self.folder.path}", hint=LOST_FOLDER)
        return self._once(f"kube/{region}/{manager}/{hash(text)}", lambda: self._answering(region, text, manager))

    def forget_kube(self, region: str) -> None:
        """Drop a region's client, so that the next use looks for a server that answers."""
        with self._lock:
            forgotten = [self._kept.pop(key) for key in list(self._kept) if key.startswith(f"kube/{region}/")]
        for kube in forgotten:
            kube.close()

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

    def _key_pair(self, file: str) -> pki.KeyPair:
        return self._once(file, lambda: self._understood(file, pki.read_key_pair))

    def _ssh_key(self, file: str, comment: str) -> pki.SSHKey:
        return self._once(file, lambda: self._understood(file, lambda text: pki.read_ssh_key(text, comment)))

    def _understood(self, file: str, read: Callable[[str], T]) -> T:
        text = self._secret(file)
        try:
            return read(text)
        except ValueError as error:
            # Not the cause as such: it may quote the file.
            reason = "is empty" if not text.strip() else f"is damaged ({error})"
            raise RefusedError(f"{self.folder.path / file} {reason}", hint="restore it from a backup") from None

    def _secret(self, file: str) -> str:
        """A secret's text. The first use of any makes all that may still be made, before there is a machine."""
        self._once("secrets", self._make_secrets)
        text = self.folder.read(file)
        if text is None:
            raise lost_folder(file)
        return text

    def _make_secrets(self) -> None:
        missing = self._missing_secrets()
        if lost := self.lost_secrets():
            everything = len(missing) == len(contents.secrets(self.mesh))
            raise RefusedError(
                f"in {self.folder.path}: {contents.describe(lost, whole=everything)}",
                hint=contents.remedy(self.mesh.name, whole=everything),
            )
        for secret in missing:
            self.folder.find_or_make(secret.file, functools.partial(self._make_secret, secret))

    def _missing_secrets(self) -> tuple[contents.Secret, ...]:
        return tuple(secret for secret in contents.secrets(self.mesh) if self.folder.read(secret.file) is None)

    def _make_secret(self, secret: contents.Secret) -> str:
        if secret.file == contents.LOGIN_KEY:
            return pki.make_login_key(f"crdbmesh-{self.mesh.name}").private
        if secret.number is not None:
            return pki.make_host_key(secret.of).private
        if secret.region is not None:
            return pki.make_token(32)
        make = {contents.CILIUM_CA: pki.make_cilium_ca, contents.COCKROACH_CA: pki.make_cockroach_ca}[secret.file]
        pair = make(now=datetime.now(UTC))
        return f"{pair.cert_pem}{pair.key_pem}"

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Do something that only one step at a time may do.

        Raises:
            StoppedError: the operator interrupted before its turn came.
        """
        with self._lock:
            lock = self._locks.setdefault(f"turn/{name}", threading.Lock())
        while not lock.acquire(timeout=1):
            if self.stop.is_set():
                raise StoppedError(f"its turn to {name}", last_seen="another region's")
        try:
            yield
        finally:
            lock.release()

    def _once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` makes, kept for the run. Those who wait while one tries share how that ends."""
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


def lost_folder(what: str) -> RefusedError:
    """The world holds something made with secrets that the local folder no longer has."""
    return RefusedError(f"{what} was made with secrets that are not in the local folder", hint=LOST_FOLDER)
