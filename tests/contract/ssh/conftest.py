"""SSH servers that the client's claims are checked against: OpenSSH itself, and the simulator's."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from crdbmesh.clients.ssh import host as ssh
from crdbmesh.local import pki
from crdbmesh_simulator.clock import Clock
from crdbmesh_simulator.machines.server import Hosts
from crdbmesh_simulator.userland.table import COMMANDS
from crdbmesh_simulator.world import Machine, World

if TYPE_CHECKING:
    from crdbmesh_simulator.network import Network

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
SCALE = 300
NO_SUCH_COMMAND = "crdbmesh-has-no-such-command"
IN_CI = os.environ.get("CI", "").lower() == "true"


class Relay:
    """A TCP relay in front of a server, whose connections can be cut and which can refuse new ones."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def cut(self) -> None:
        with self._lock:
            ends, self._open = self._open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.refuse()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open += [near, far]
            left = [2]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink, left), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, left: list[int]) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            left[0] -= 1
            if left[0] == 0:
                source.close()
                sink.close()


@dataclass
class Door:
    """An SSH server and what is needed to log in to it.

    Attributes:
        elsewhere: a folder that root can write to, and the login user perhaps only through sudo.
        scale: seconds of its commands per real second.
        restart: stop the server, so that every connection breaks, and start it again; None when it cannot be.
    """

    relay: Relay
    user: str
    login_key: pki.SSHKey
    host_key: pki.SSHKey
    elsewhere: str
    scale: int = 1
    restart: Callable[[], None] | None = None
    hosts: list[ssh.Host] = field(default_factory=list)

    def host(self, *, login_key: str | None = None, host_key: str | None = None, user: str | None = None) -> ssh.Host:
        host = ssh.Host(
            "127.0.0.1",
            port=self.relay.port,
            user=user or self.user,
            login_key=login_key or self.login_key.private,
            host_keys=[host_key or self.host_key.public],
            name="eastus-1",
            connect_timeout_s=5,
        )
        self.hosts.append(host)
        return host


class OpenSSH:
    """A real sshd as an ordinary process, with a configuration, keys and port of its own."""

    def __init__(self, folder: Path, user: str, login_key: pki.SSHKey, host_key: pki.SSHKey) -> None:
        self.port = _free_port()
        (folder / "host_key").touch(0o600)
        (folder / "host_key").write_text(host_key.private)
        (folder / "authorized_keys").write_text(f"{login_key.public}\n")
        self._config = folder / "sshd_config"
        self._log = folder / "sshd.log"
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": folder / "host_key",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "AllowUsers": user,
            "LogLevel": "ERROR",
        }
        self._config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert SSHD is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self._config)], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module", params=["openssh", "simulator"])
def server(request: pytest.FixtureRequest) -> Iterator[Door]:
    """A server of each kind, for a whole file of claims."""
    with {"openssh": _openssh, "simulator": _simulator}[request.param]() as door:
        yield door


@pytest.fixture
def door(server: Door) -> Iterator[Door]:
    """The server, and no connection left from another test."""
    yield server
    for host in server.hosts:
        host.close()
    server.hosts.clear()


@pytest.fixture
def host(door: Door) -> ssh.Host:
    return door.host()


@contextlib.contextmanager
def _openssh() -> Iterator[Door]:
    if SSHD is None:
        if IN_CI:
            pytest.fail("sshd is not installed; .ci/run installs it")
        pytest.skip("sshd is not installed (apt-get install openssh-server)")
    if IN_CI and os.geteuid() == 0 and shutil.which("sudo"):
        with _sudoer() as user, _running(user) as door:
            yield door
        return
    if os.geteuid() != 0 and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root, or sudo without a password")
    user = getpass.getuser()
    with _running(user) as door:
        yield door


@contextlib.contextmanager
def _sudoer() -> Iterator[str]:
    """A user who is not root but may become it, as on the machines of a mesh."""
    user = f"crdbmesh-{secrets.token_hex(3)}"
    sudoers = Path("/etc/sudoers.d") / user
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", user], check=True)
    try:
        sudoers.write_text(f"{user} ALL=(ALL) NOPASSWD:ALL\n")
        sudoers.chmod(0o440)
        yield user
    finally:
        sudoers.unlink(missing_ok=True)
        # By force: a command that a test gave up may still run for a few seconds.
        subprocess.run(["userdel", "--force", "--remove", user], capture_output=True, check=False)


@contextlib.contextmanager
def _running(user: str) -> Iterator[Door]:
    login_key, host_key = pki.make_login_key("crdbmesh"), pki.make_host_key("eastus-1")
    # Not in pytest's own folders, which only their owner may enter: sshd reads authorized_keys as the login user.
    with tempfile.TemporaryDirectory(prefix="crdbmesh-sshd-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir(mode=0o755)
        sshd = OpenSSH(folder, user, login_key, host_key)
        sshd.start()
        relay = Relay(("127.0.0.1", sshd.port))

        def restart() -> None:
            sshd.stop()
            relay.cut()
            sshd.start()

        try:
            yield Door(relay, user, login_key, host_key, str(elsewhere), restart=restart)
        finally:
            relay.close()
            sshd.stop()


class Flat:
    """A network in which one machine has a loopback address of its own and everything is allowed."""

    def __init__(self, address: str) -> None:
        self.address = address

    def public_ip(self, machine: Machine) -> str:
        return self.address

    def private_ip(self, machine: Machine) -> str:
        return "10.1.0.4"

    def machine_at_private(self, ip: str, seen_from: Machine) -> Machine | None:
        return None

    def inbound_from_internet(self, machine: Machine, source_ip: str, port: int, protocol: str = "Tcp") -> bool:
        return True

    def between(self, src: Machine, dst_private_ip: str, port: int, protocol: str) -> str | None:
        return None

    def has_egress(self, machine: Machine) -> bool:
        return True


@contextlib.contextmanager
def _simulator() -> Iterator[Door]:
    login_key, host_key = pki.make_login_key("crdbmesh"), pki.make_host_key("eastus-1")
    port = 2222
    user_data: dict[str, Any] = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "write_files": [{"path": "/etc/ssh/sshd_config.d/10-port.conf", "content": f"Port {port}\n"}],
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "restart", "ssh.socket"]],
    }
    address = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}.7"
    world = World(clock=Clock(SCALE), seed=1)
    world.network = cast("Network", Flat(address))
    machine = Machine(
        vm_id="/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/eastus-1",
        name="eastus-1",
        location="eastus",
        zone="1",
        size="Standard_D4s_v5",
        vcpus=4,
        memory_gib=16.0,
        computer_name="eastus-1",
        admin="crdbmesh",
        authorized_keys=[login_key.public],
        custom_data=f"#cloud-config\n{yaml.safe_dump(user_data)}".encode(),
        nic_id="nic",
    )
    hosts = Hosts(world, COMMANDS)
    hosts.start()
    relay = Relay((address, port))
    try:
        with world.lock:
            world.machines[machine.key] = machine
        world.boot(machine)
        door = Door(relay, "crdbmesh", login_key, host_key, "/srv/elsewhere", scale=SCALE)
        with door.host() as host:
            host.wait_ready(60)
            host.run("mkdir /srv/elsewhere", sudo=True)
        door.hosts.clear()
        yield door
    finally:
        relay.close()
        hosts.stop()
    assert [unknown.what for unknown in world.unknown if unknown.what != NO_SUCH_COMMAND] == []
