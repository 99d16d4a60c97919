"""One SSH connection to a machine: login by public key, and its sessions.

Passwords and root are refused, as on Azure's Ubuntu image with `disablePasswordAuthentication`. Port forwarding is
refused and recorded: this world has no sockets inside.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncssh

from crdbmesh_simulator.machines.session import Session
from crdbmesh_simulator.machines.sftp import Files
from crdbmesh_simulator.resets import reset_on_close

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

_VERSION = "OpenSSH_9.6p1 Ubuntu-3ubuntu13.14"

logging.getLogger("asyncssh").setLevel(logging.CRITICAL)


class Connection(asyncssh.SSHServer):
    """A client's connection.

    `machine`: whose sshd it reached. `address`: public address of the machine that was called. `port`: of the sshd.
    `threads`: where commands run. `all_connections`: where the connection is as long as it is up. `peer`: address and
    port of the client.
    """

    def __init__(
        self, machine: MachineOS, address: str, port: int, threads: ThreadPoolExecutor, all_connections: set[Connection]
    ) -> None:
        self.machine = machine
        self.port = port
        self.threads = threads
        self.user = ""
        self.peer = ("", 0)
        self._address = address
        self._boot = machine.boots
        self._all = all_connections
        self._transport: asyncssh.SSHServerConnection | None = None

    async def serve(self, sock: socket.socket, keys: list[asyncssh.SSHKey]) -> None:
        """Serve an accepted socket, showing these host keys."""
        with contextlib.suppress(asyncssh.Error, OSError):
            await asyncssh.run_server(
                sock,
                server_factory=lambda: self,
                server_version=_VERSION,
                server_host_keys=keys,
                process_factory=lambda process: Session(self, process).run(),
                encoding=None,
                sftp_factory=lambda channel: Files(self, channel),
                allow_scp=True,
                line_editor=False,
                agent_forwarding=False,
            )

    def reachable(self) -> bool:
        """Whether packets of the connection still get to the system that accepted it."""
        machine = self.machine
        return machine.running and machine.boots == self._boot and machine.public_ip() == self._address

    def drop(self) -> None:
        """Cut the line, without a word to the client."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Break the line as a network does (RST)."""
        if self._transport is not None:
            reset_on_close(self._transport.get_extra_info("socket"))
            self._transport.abort()

    # --- what asyncssh asks ---

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """The socket is open."""
        self._transport = conn
        self.peer = conn.get_extra_info("peername")[:2]
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The socket is closed."""
        self._all.discard(self)

    def begin_auth(self, username: str) -> bool:
        """Remember who logs in, who has to prove it."""
        self.user = username
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys may log in."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether a key may log in."""
        with self.machine.world.lock:
            return self.machine.sshd.accepts(username, key.public_data)

    def password_auth_supported(self) -> bool:
        """Whether sshd asks for passwords; no account here has one."""
        with self.machine.world.lock:
            return "password" in self.machine.sshd.methods()

    def validate_password(self, username: str, password: str) -> bool:  # noqa: ARG002
        """No account has a password."""
        return False

    def kbdint_auth_supported(self) -> bool:
        """Sshd asks for nothing else."""
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:  # noqa: ARG002
        """Refuse `-L`, `-W`, `-D` and `-J`, as with `AllowTcpForwarding no`."""
        self.machine.world.not_known("ssh", f"forwarding to {dest_host}:{dest_port}")
        return False

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """Refuse `-R`."""
        self.machine.world.not_known("ssh", f"forwarding from {listen_host}:{listen_port}")
        return False
