"""SSH: the host is the one we made, the login key is all that is offered, what machines say is not repeated blindly."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import io
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from crdbmesh.clients.ssh import host as ssh
from crdbmesh.errors import HostError, UnreachableError
from crdbmesh.local import pki

pytestmark = pytest.mark.timeout(240)
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
NEWKEYS = 21


class Relay:
    """Passes one connection on to a server and keeps what the client sends."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.sent = bytearray()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            with near, socket.create_connection(self._target, timeout=5) as far:
                back = threading.Thread(target=self._copy, args=(far, near, None), daemon=True)
                back.start()
                self._copy(near, far, self.sent)
                back.join(5)

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket, keep: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if keep is not None:
                    keep += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def packets(sent: bytes) -> tuple[list[int], bytes]:
    """The numbers of the messages that a client sent in clear (RFC 4253, 6), and what came encrypted after them."""
    _, _, rest = sent.partition(b"\r\n")
    numbers: list[int] = []
    while rest and NEWKEYS not in numbers:
        length = int.from_bytes(rest[:4], "big")
        numbers.append(rest[5])
        rest = rest[4 + length :]
    return numbers, rest


class OpenSSH:
    """A real sshd that offers every method there is and writes down what was tried."""

    def __init__(self, folder: Path, authorized: str) -> None:
        self.user, self.folder = getpass.getuser(), folder
        self.host_key = pki.make_host_key("eastus-1")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        (folder / "host_key").touch(0o600)
        (folder / "host_key").write_text(self.host_key.private)
        (folder / "authorized_keys").write_text(f"{authorized}\n")
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": folder / "host_key",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "yes" if os.geteuid() == 0 else "no",
            "PasswordAuthentication": "yes",
            "KbdInteractiveAuthentication": "yes",
            "PermitRootLogin": "yes",
            "LogLevel": "DEBUG3",
        }
        (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        assert SSHD is not None
        with (self.folder / "log").open("wb") as log:
            command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
            with subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process:
                try:
                    wait_for(lambda: _listens(self.port))
                    yield
                finally:
                    process.terminate()

    def tried(self) -> list[str]:
        return re.findall(r"userauth-request for user \S+ service ssh-connection method (\S+)", self.log())

    def offered_keys(self) -> set[str]:
        return set(re.findall(r"(SHA256:[A-Za-z0-9+/]{43})", self.log())) - {fingerprint(self.host_key.public)}

    def log(self) -> str:
        return (self.folder / "log").read_text()


def fingerprint(public: str) -> str:
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(probe: Callable[[], bool], deadline_s: float = 10) -> None:
    deadline = time.monotonic() + deadline_s
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def login_key() -> pki.SSHKey:
    return pki.make_login_key("crdbmesh")


@pytest.fixture
def sshd(login_key: pki.SSHKey) -> Iterator[OpenSSH]:
    if SSHD is None:
        pytest.skip("sshd is not installed (apt-get install openssh-server)")
    with tempfile.TemporaryDirectory(prefix="crdbmesh-sshd-") as name:
        Path(name).chmod(0o711)
        server = OpenSSH(Path(name), login_key.public)
        with server.running():
            yield server


@pytest.fixture
def operators_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A home with keys of its owner's, and an agent; what the agent is asked is noted."""
    folder = tmp_path / "operator" / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    for name in ("id_ed25519", "id_rsa", "id_ecdsa"):
        key = pki.make_host_key("operator")
        (folder / name).write_text(key.private)
        (folder / name).chmod(0o600)
        (folder / f"{name}.pub").write_text(key.public)
    asked: list[str] = []
    place = Path(tempfile.mkdtemp(prefix="a")) / "agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    asked.append("agent")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setenv("HOME", str(folder.parent))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    shutil.rmtree(place.parent)


def client(server: Any, login_key: pki.SSHKey, *, port: int | None = None, host_key: str | None = None) -> ssh.Host:
    return ssh.Host(
        "127.0.0.1",
        port=port or server.port,
        user=server.user,
        login_key=login_key.private,
        host_keys=[host_key or server.host_key.public],
        name="eastus-1",
        connect_timeout_s=5,
    )


def test_the_login_key_is_all_that_a_real_sshd_is_offered(
    sshd: OpenSSH, login_key: pki.SSHKey, operators_keys: list[str]
) -> None:
    with client(sshd, login_key) as host:
        assert host.run("echo in").stdout == "in\n"
    assert set(sshd.tried()) == {"publickey"}
    assert sshd.offered_keys() == {fingerprint(login_key.public)}
    assert operators_keys == []


def test_a_refused_key_is_followed_by_nothing_though_passwords_are_offered(
    sshd: OpenSSH, operators_keys: list[str]
) -> None:
    other = pki.make_login_key("other")
    with client(sshd, other) as host, pytest.raises(UnreachableError, match="refuses the login key") as refused:
        host.run("true")
    wait_for(lambda: "Connection closed" in sshd.log() or "Connection reset" in sshd.log())
    assert sshd.tried() == ["publickey"]
    assert sshd.offered_keys() == {fingerprint(other.public)}
    assert operators_keys == []
    assert "PRIVATE" not in str(refused.value)


def test_another_host_key_is_refused_before_anything_is_encrypted_for_it(sshd: OpenSSH, login_key: pki.SSHKey) -> None:
    relay = Relay(("127.0.0.1", sshd.port))
    ours = pki.make_host_key("eastus-1")
    with client(sshd, login_key, port=relay.port, host_key=ours.public) as host:
        with pytest.raises(UnreachableError, match="the host key is not the one we know") as refused:
            host.write_file("/etc/rancher/k3s/config.yaml", b"token: planted-token", mode=0o600)
        assert "Find out what answers" in str(refused.value.hint)
    relay.close()
    numbers, rest = packets(bytes(relay.sent))
    assert numbers[0] == 20
    assert rest == b""
    assert b"planted" not in relay.sent
    assert sshd.tried() == []


def test_the_first_connection_is_verified_like_any_other(sshd: OpenSSH, login_key: pki.SSHKey, tmp_path: Path) -> None:
    with client(sshd, login_key, host_key=pki.make_host_key("x").public) as host, pytest.raises(HostError):
        host.wait_ready(5)
    assert sshd.tried() == []
    assert list(tmp_path.rglob("known_hosts*")) == []


# --- the machines of a mesh ---


def log_in(mesh: Any, machine: str) -> paramiko.SSHClient:
    opened = paramiko.SSHClient()
    opened.set_missing_host_key_policy(paramiko.AutoAddPolicy)
    key = (mesh.ground.home / "login.key").read_text()
    opened.connect(
        mesh.ground.machine_addresses()[machine],
        mesh.ground.coordinates["ssh_port"],
        "crdbmesh",
        pkey=paramiko.Ed25519Key.from_private_key(io.StringIO(key)),
        allow_agent=False,
        look_for_keys=False,
    )
    return opened


def root(opened: paramiko.SSHClient, script: str) -> str:
    stdin, stdout, _ = opened.exec_command("sudo -n sh -s", timeout=60)
    stdin.write(script)
    stdin.channel.shutdown_write()
    return stdout.read().decode()


def test_machines_offer_public_keys_only(mesh: Any) -> None:
    for address in mesh.ground.machine_addresses().values():
        for user in ("crdbmesh", "root", "ubuntu"):
            for log_in_by in ("none", "password"):
                transport = paramiko.Transport((address, mesh.ground.coordinates["ssh_port"]))
                try:
                    transport.start_client(timeout=10)
                    words = [] if log_in_by == "none" else ["password"]
                    with pytest.raises(paramiko.BadAuthenticationType) as refused:
                        getattr(transport, f"auth_{log_in_by}")(user, *words)
                    assert refused.value.allowed_types == ["publickey"]
                finally:
                    transport.close()


def test_a_machine_is_told_to_take_no_passwords_in_its_user_data_and_by_azure(mesh: Any) -> None:
    with log_in(mesh, "eastus-1") as opened:
        assert "PasswordAuthentication no" in root(opened, "cat /etc/ssh/sshd_config.d/50-cloud-init.conf")
    for machine in mesh.ground.arm("/providers/Microsoft.Compute/virtualMachines")["value"]:
        profile = machine["properties"]["osProfile"]
        assert profile["linuxConfiguration"]["disablePasswordAuthentication"] is True
        assert "adminPassword" not in profile


def test_a_machine_with_another_host_key_is_refused_by_up_and_no_secret_goes_to_it(mesh: Any) -> None:
    path = "/etc/ssh/ssh_host_ed25519_key"
    with log_in(mesh, "westus-1") as opened:
        ours = root(opened, f"cat {path}")
        root(opened, f"cat > {path} <<'END'\n{pki.make_host_key('impostor').private}END\nsystemctl restart ssh")
        try:
            run = mesh.ground.run("up", "--yes", "--output", "json")
        finally:
            root(opened, f"cat > {path} <<'END'\n{ours}END\nsystemctl restart ssh")
    assert run.code == 1
    failed = {step["step"]: step for step in run.document()["steps"] if step["outcome"] == "failed"}
    assert list(failed) == ["westus/node1/host"]
    assert "the host key is not the one we know" in failed["westus/node1/host"]["detail"]
    assert failed["westus/node1/host"]["error"]["remedy"]
    assert mesh.ground.leaks(mesh.ground.around(run)) == []


def test_what_a_failing_command_prints_is_shown_without_the_secrets_in_it(mesh: Any) -> None:
    planted = secrets.token_hex(8)
    tell = "cat /etc/rancher/k3s/config.yaml /etc/ssh/ssh_host_ed25519_key; base64 -w0 /etc/ssh/ssh_host_ed25519_key"
    wrapper = f"#!/bin/sh\n{{ echo told {planted}; {tell}; }} >&2\nexit 22\n"
    with log_in(mesh, "westus-1") as opened:
        root(opened, f"mv /usr/bin/curl /usr/bin/curl.kept\ncat > /usr/bin/curl <<'END'\n{wrapper}END\n")
        root(opened, "chmod 755 /usr/bin/curl\nmv /usr/local/bin/k3s /usr/local/bin/k3s.kept")
        try:
            run = mesh.ground.run("up", "--yes", "--output", "json")
        finally:
            root(opened, "mv -f /usr/bin/curl.kept /usr/bin/curl\nmv -f /usr/local/bin/k3s.kept /usr/local/bin/k3s")
    assert run.code == 1
    (failed,) = [step for step in run.document()["steps"] if step["outcome"] == "failed"]
    assert "token: (secret)" in failed["detail"]
    assert "service-cidr: 10.202.0.0/16" in failed["detail"]
    assert mesh.ground.leaks(mesh.ground.around(run)) == []
