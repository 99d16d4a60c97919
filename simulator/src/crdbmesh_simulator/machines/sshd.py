"""The SSH daemon of a machine as configuration: where it listens, its host keys, who may log in.

Ubuntu 24.04 listens through `ssh.socket`, whose ports a generator takes from sshd_config whenever systemd reads its
units (at boot and at `systemctl daemon-reload`); they take effect when the socket is started again (sshd_config(5),
sshd-socket-generator of Ubuntu's openssh package).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

import asyncssh

from crdbmesh_simulator.filesystem import Actor

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

KINDS = {"rsa": "ssh-rsa", "ecdsa": "ecdsa-sha2-nistp256", "ed25519": "ssh-ed25519"}
"""The kinds of keys that sshd has by default, as its files name them and as the protocol does."""


def generate_key(kind: str, comment: str) -> tuple[bytes, bytes]:
    """A new key as ssh-keygen writes it: OpenSSH private key and public line."""
    key = asyncssh.generate_private_key(KINDS[kind], comment=comment)
    return key.export_private_key("openssh"), key.export_public_key("openssh")


def public_of(private: str) -> bytes | None:
    """The public line of a private key, or None when it cannot be read."""
    key = load_key(private)
    return key.export_public_key("openssh") if key else None


def load_key(private: str) -> asyncssh.SSHKey | None:
    """A private key in any of the formats that sshd reads, or None."""
    try:
        return asyncssh.import_private_key(private.strip() + "\n")
    except asyncssh.KeyImportError:
        return None


_KEY_LINE = re.compile(
    r"(?:^|\s)((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+|sk-[\w-]+@openssh\.com))\s+([A-Za-z0-9+/=]+)"
)


class Sshd:
    """The SSH daemon of one machine. `ports`: where it listens now; empty when it does not."""

    def __init__(self, machine: MachineOS) -> None:
        self._machine = machine
        self._generated: tuple[int, ...] = (22,)
        self._keys: list[asyncssh.SSHKey] = []
        self.ports: tuple[int, ...] = ()

    def generate(self) -> None:
        """What the socket generator does: remember the ports of the configuration for the next start of the socket."""
        self._generated = self._configured()

    def unit_started(self, name: str) -> None:
        """Told by the service manager; sshd reads its keys when it starts, which the first connection has it do."""
        if name in ("ssh.socket", "ssh.service", "sshd.service"):
            self._keys = []
        if name == "ssh.socket":
            self.ports = self._generated
        elif name in ("ssh.service", "sshd.service") and not self._socket_active():
            self.ports = self._configured()

    def unit_stopped(self, name: str) -> None:
        """Told by the service manager."""
        if name == "ssh.socket" or (name == "ssh.service" and not self._socket_active()):
            self.ports = ()

    def host_keys(self) -> list[asyncssh.SSHKey]:
        """The host keys it shows: those whose private files only root could read when it started."""
        self._keys = self._keys or self._readable_keys()
        return self._keys

    def _readable_keys(self) -> list[asyncssh.SSHKey]:
        found = []
        for kind in KINDS:
            inode = self._machine.files.find(f"/etc/ssh/ssh_host_{kind}_key", Actor())
            if inode is None or inode.permissions & 0o077:
                continue
            key = load_key(bytes(inode.content).decode("utf-8", "replace"))
            if key is not None:
                found.append(key)
        return found

    def accepts(self, user: str, key: bytes) -> bool:
        """Whether a public key (its SSH wire form) may log in as a user: root may not, as Azure's images have it."""
        account = self._machine.users.get(user)
        if account is None or account.uid == 0 or account.shell.endswith(("nologin", "false")):
            return False
        inode = self._machine.files.find(f"{account.home}/.ssh/authorized_keys", Actor())
        if inode is None:
            return False
        for line in bytes(inode.content).decode("utf-8", "replace").splitlines():
            match = None if line.lstrip().startswith("#") else _KEY_LINE.search(line)
            try:
                if match and base64.b64decode(match[2]) == key:
                    return True
            except binascii.Error:
                continue
        return False

    def methods(self) -> str:
        """How one may try to log in, as the server's list of methods says it."""
        offered = ["publickey"]
        offered += ["password"] if self._setting("PasswordAuthentication", "yes") == "yes" else []
        offered += ["keyboard-interactive"] if self._setting("KbdInteractiveAuthentication", "yes") == "yes" else []
        return ",".join(offered)

    def _socket_active(self) -> bool:
        service = self._machine.systemd.services.get("ssh.socket")
        return service is not None and service.active == "active"

    def _configured(self) -> tuple[int, ...]:
        ports = [int(number) for text in self._texts() for number in re.findall(r"(?im)^\s*Port\s+(\d{1,5})\s*$", text)]
        return tuple(dict.fromkeys(ports)) or (22,)

    def _setting(self, name: str, default: str) -> str:
        """A keyword's value in lower case; the first one found counts."""
        for text in self._texts():
            if found := re.search(rf"(?im)^\s*{name}\s+(\S+)", text):
                return found[1].lower()
        return default

    def _texts(self) -> list[str]:
        """The configuration's files in the order in which sshd reads them: sshd_config includes the others first."""
        root = Actor()
        paths = [*self._machine.files.glob("/etc/ssh/sshd_config.d/*.conf", root), "/etc/ssh/sshd_config"]
        found = [self._machine.files.find(path, root) for path in paths]
        return [bytes(inode.content).decode("utf-8", "replace") for inode in found if inode is not None]
