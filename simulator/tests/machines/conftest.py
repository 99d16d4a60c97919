"""A world with machines and no ARM: the network is a table that tests set."""

from __future__ import annotations

import contextlib
import io
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import paramiko
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.kubernetes.api.cluster import Member
from crdbmesh_simulator.machines.server import Hosts
from crdbmesh_simulator.userland.table import COMMANDS
from crdbmesh_simulator.world import Machine, World

if TYPE_CHECKING:
    from crdbmesh_simulator.network import Network

PORT = 2222
ADMIN = "azureuser"
UNIT = """\
[Unit]
Description=Lightweight Kubernetes
[Install]
WantedBy=multi-user.target
[Service]
Type=notify
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStart=/usr/local/bin/k3s {role}
"""
_blocks = itertools.count(1)


@dataclass
class Wiring:
    """Stands where the network computed from ARM state stands: same questions, answers from tables.

    Attributes:
        denied: ports closed to the internet.
        dropped: pairs of private addresses between which nothing passes.
        closed: ports closed on a private address.
    """

    public: dict[str, str] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    denied: set[int] = field(default_factory=set)
    dropped: set[tuple[str, str]] = field(default_factory=set)
    closed: set[tuple[str, int]] = field(default_factory=set)
    egress: bool = True
    machines: list[Machine] = field(default_factory=list)

    def public_ip(self, machine: Machine) -> str | None:
        return self.public.get(machine.name)

    def private_ip(self, machine: Machine) -> str | None:
        return self.private.get(machine.name)

    def machine_at_private(self, ip: str, seen_from: Machine) -> Machine | None:
        return next((machine for machine in self.machines if self.private_ip(machine) == ip), None)

    def inbound_from_internet(self, machine: Machine, source_ip: str, port: int, protocol: str = "Tcp") -> bool:
        return port not in self.denied

    def between(self, src: Machine, dst_private_ip: str, port: int, protocol: str = "Tcp") -> str | None:
        own = self.private_ip(src) or ""
        lost = {(own, dst_private_ip), (dst_private_ip, own)} & self.dropped or (dst_private_ip, port) in self.closed
        return "dropped by NSG rule" if lost else None

    def has_egress(self, machine: Machine) -> bool:
        return self.egress


def new_key() -> tuple[str, str]:
    """A new ed25519 key: OpenSSH private key text and public line."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


def _pkey(private: str) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key(io.StringIO(private))


@dataclass(frozen=True)
class Result:
    """How a command over SSH ended."""

    stdout: str
    stderr: str
    status: int


@dataclass
class Town:
    """Machines of a test, and how to talk to them."""

    world: World
    hosts: Hosts
    wiring: Wiring
    login: tuple[str, str]
    host_key: tuple[str, str]
    block: str
    clients: list[paramiko.SSHClient] = field(default_factory=list)

    def cloud_config(self, extra: str = "") -> bytes:
        """User data that gives the machine its host key and puts sshd on a port that needs no privilege."""
        private = self.host_key[0].strip().replace("\n", "\n    ")
        return (
            f"#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n    {private}\n"
            f"  ed25519_public: {self.host_key[1]} host\n"
            f"bootcmd:\n- [mkdir, -p, /etc/ssh/sshd_config.d]\n"
            f"- [sh, -c, 'echo Port {PORT} > /etc/ssh/sshd_config.d/port.conf']\n"
            f"- [systemctl, daemon-reload]\n{extra}"
        ).encode()

    def add(self, name: str, *, user_data: bytes | None = None, size: str = "Standard_D2s_v5") -> Machine:
        """Make a machine and switch it on."""
        number = len(self.wiring.machines) + 1
        machine = Machine(
            vm_id=f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}",
            name=name, location="westus", zone=None, size=size, vcpus=2, memory_gib=8.0,
            computer_name=name, admin=ADMIN,
            authorized_keys=[self.login[1]], nic_id=f"/nics/{name}",
            custom_data=self.cloud_config() if user_data is None else user_data,
        )  # fmt: skip
        self.wiring.machines.append(machine)
        self.wiring.public[name] = f"{self.block}.{number}"
        self.wiring.private[name] = f"10.1.0.{number + 3}"
        self.world.machines[machine.key] = machine
        self.hosts.boot(machine)
        return machine

    def address(self, name: str) -> str:
        return self.wiring.public[name]

    def connect(
        self, name: str, *, port: int = PORT, user: str = ADMIN, deadline_s: float = 20.0, **more: Any
    ) -> paramiko.SSHClient:
        """Log in, trying again while the machine boots."""
        until = time.monotonic() + deadline_s
        while True:
            client = paramiko.SSHClient()
            entry = f"[{self.address(name)}]:{port}" if port != 22 else self.address(name)
            client.get_host_keys().add(
                entry, "ssh-ed25519", paramiko.Ed25519Key.from_private_key(io.StringIO(self.host_key[0]))
            )
            options: dict[str, Any] = {
                "username": user, "pkey": _pkey(self.login[0]),
                "allow_agent": False, "look_for_keys": False, "timeout": 5, "banner_timeout": 5, "auth_timeout": 5,
            }  # fmt: skip
            try:
                client.connect(self.address(name), port=port, **(options | more))
            except (ConnectionError, paramiko.ssh_exception.NoValidConnectionsError, EOFError):
                client.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
                continue
            except BaseException:
                client.close()
                raise
            self.clients.append(client)
            return client

    def run(self, name: str, command: str, *, stdin: bytes | None = None, sudo: bool = False) -> Result:
        """Run a command as the admin user, or as root."""
        if sudo:
            command = "sudo bash -c '" + command.replace("'", "'\\''") + "'"
        client = self.client(name)
        try:
            given, out, err = client.exec_command(command, timeout=60)
        except (EOFError, OSError, paramiko.SSHException):  # the machine went down meanwhile
            client.close()
            given, out, err = self.connect(name).exec_command(command, timeout=60)
        if stdin is not None:
            given.write(stdin)
        given.channel.shutdown_write()
        stdout, stderr = out.read().decode(), err.read().decode()
        status = out.channel.recv_exit_status()
        for stream in (given, out, err):
            stream.close()
        return Result(stdout, stderr, status)

    def client(self, name: str) -> paramiko.SSHClient:
        """A connection to a machine, kept for the test."""
        for client in self.clients:
            transport = client.get_transport()
            if transport and transport.is_active() and transport.getpeername()[0] == self.address(name):
                return client
        return self.connect(name)

    def settle(self, name: str) -> None:
        """Wait for cloud-init."""
        self.run(name, "cloud-init status --wait")

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = 20.0) -> None:
        """Wait for something."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, f"still not: {what}"
            time.sleep(0.02)

    def put(self, name: str, path: str, text: str) -> None:
        """Write a file as root."""
        done = self.run(name, f"mkdir -p {path.rpartition('/')[0]} && cat > {path}", stdin=text.encode(), sudo=True)
        assert done.status == 0, done

    def install_k3s(self, name: str, settings: dict[str, Any], *, role: str = "server") -> None:
        """Put k3s, its unit and its configuration on a machine, without starting it."""
        url = "https://github.com/k3s-io/k3s/releases/download/v1.36.4%2Bk3s1/k3s"
        unit = "k3s" if role == "server" else "k3s-agent"
        done = self.run(name, f"curl -fsSLo /usr/local/bin/k3s {url} && chmod 755 /usr/local/bin/k3s", sudo=True)
        assert done.status == 0, done
        self.put(name, "/etc/rancher/k3s/config.yaml", yaml.safe_dump(settings))
        self.put(name, f"/etc/systemd/system/{unit}.service", UNIT.format(role=role))
        assert self.run(name, f"systemctl daemon-reload; systemctl enable {unit}", sudo=True).status == 0

    def start_k3s(self, name: str, settings: dict[str, Any], *, role: str = "server") -> Result:
        """Install k3s and start it; the result of `systemctl start`."""
        self.install_k3s(name, settings, role=role)
        return self.run(name, f"systemctl start {'k3s' if role == 'server' else 'k3s-agent'}", sudo=True)

    def journal(self, name: str, unit: str = "k3s") -> str:
        return self.run(name, f"sudo journalctl -u {unit} --no-pager -o cat").stdout

    def member(self, node: str) -> Member:
        return next(cluster.members[node] for cluster in self.world.clusters if node in cluster.members)


def free_block() -> str:
    """A loopback block nobody listens in."""
    for second in range(40 + next(_blocks) % 50, 250):
        block = f"127.{second}.{time.monotonic_ns() % 250}"
        with contextlib.closing(socket.socket()) as sock:
            try:
                sock.bind((f"{block}.1", PORT))
            except OSError:
                continue
        return block
    raise AssertionError("no free loopback block")


def make_town(scale: float) -> Iterator[Town]:
    world = World(clock=Clock(scale), seed=7)
    wiring = Wiring()
    world.network = cast("Network", wiring)
    hosts = Hosts(world, COMMANDS)
    town = Town(world, hosts, wiring, new_key(), new_key(), free_block())
    hosts.start()
    try:
        yield town
    finally:
        for client in town.clients:
            client.close()
        hosts.stop()


@pytest.fixture
def town() -> Iterator[Town]:
    """An empty town; a simulated minute takes 75 ms."""
    yield from make_town(800.0)


@pytest.fixture(scope="module")
def inn() -> Iterator[Town]:
    """A town with one machine, `inn`, ready; shared by tests that leave nothing behind."""
    for town in make_town(300.0):
        town.add("inn")
        town.settle("inn")
        yield town


@pytest.fixture(scope="module")
def full_town() -> Iterator[Town]:
    """A fast town with two machines; shared by tests that put things back."""
    for town in make_town(1500.0):
        for name in ("s1", "s2"):
            town.add(name)
        for name in ("s1", "s2"):
            town.settle(name)
        yield town


@pytest.fixture
def fast_town() -> Iterator[Town]:
    """A town where a simulated minute takes 40 ms, for what takes minutes."""
    yield from make_town(1500.0)


@pytest.fixture
def identity(town: Town, tmp_path: Path) -> list[str]:
    """Options of OpenSSH programs that log in to the town's machines."""
    return openssh_options(town, tmp_path)


def openssh_options(town: Town, folder: Path) -> list[str]:
    """Options with which OpenSSH's programs know the town's login and host keys."""
    key, known = folder / "key", folder / "known_hosts"
    key.write_text(town.login[0])
    key.chmod(0o600)
    known.write_text(f"* {town.host_key[1]}\n")
    return ["-i", str(key), "-F", "/dev/null", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes",
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]  # fmt: skip
