"""One SSH connection to a machine: key exchange, login by public key, channels.

Passwords and root are refused, as on Azure's Ubuntu image with `disablePasswordAuthentication`. Port forwarding is
refused and recorded: this world has no sockets inside.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_SUCCESS,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from crdbmesh_simulator.machines.session import Session
from crdbmesh_simulator.resets import reset_on_close

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.machine_os import MachineOS

_BANNER = "SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13.14"
_MAX_SESSIONS = 10
_LOG = "crdbmesh_simulator.machines.paramiko"
_UNANSWERED_S = 0.2


logging.getLogger(_LOG).addHandler(logging.NullHandler())


def quick_ack(sock: socket.socket) -> None:
    """Acknowledge what comes at once: clients that leave Nagle's algorithm on wait 40 ms per command otherwise."""
    option = getattr(socket, "TCP_QUICKACK", None)
    if option is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a KEXINIT prefers, and whether a guess of the first packet of the exchange follows it (RFC 4253, 7)."""

    kex: str
    key: str
    follows: bool


def _offer(payload: bytes) -> _Offer:
    """Read a KEXINIT, from its cookie on."""
    message = paramiko.Message(payload)
    message.get_bytes(16)
    lists = [message.get_list() for _ in range(10)]
    return _Offer(str(lists[0][0]), str(lists[1][0]), message.get_boolean())


class _WrongGuess:
    """A key exchange whose first packet is to be ignored: it was sent in a guess that was wrong, as dropbear does."""

    def __init__(self, transport: Any, engine: Any) -> None:
        self._transport = transport
        self._engine = engine

    def start_kex(self) -> None:
        """Wait for the first packet."""
        self._engine.start_kex()
        self._awaited = self._transport._expected_packet  # noqa: SLF001 - paramiko has no hook for it

    def parse_next(self, _ptype: int, _message: paramiko.Message) -> None:
        """Ignore it, and wait for the next."""
        self._transport.kex_engine = self._engine
        self._transport._expect_packet(*self._awaited)  # noqa: SLF001 - neither for this


class _Transport(paramiko.Transport):
    """A transport that says when the answer to a channel request has been sent."""

    answered: Callable[[int], None]
    deferred: Callable[[paramiko.Channel], bool]

    def _parse_kex_init(self, m: paramiko.Message) -> None:
        offered = _offer(m.asbytes())
        super()._parse_kex_init(m)  # type: ignore[misc]
        own = _offer(self._latest_kex_init[1:])  # type: ignore[attr-defined]
        if offered.follows and (offered.kex, offered.key) != (own.kex, own.key):
            self.kex_engine: Any = _WrongGuess(self, self.kex_engine)

    def _send_message(self, data: paramiko.Message) -> None:
        super()._send_message(data)  # type: ignore[misc]
        quick_ack(cast(socket.socket, self.sock))

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        raw = data.asbytes()
        if raw[0] == MSG_CHANNEL_SUCCESS:
            self.answered(int.from_bytes(raw[1:5], "big"))


def _on_close(channel: Any, message: paramiko.Message) -> None:
    """Answer a client's CLOSE at once only if nothing runs on the channel: else the exit status has to go first."""
    if channel.transport.deferred(channel):
        channel._handle_eof(message)  # noqa: SLF001 - paramiko has no hook for it
    else:
        channel._handle_close(message)  # noqa: SLF001 - neither for this


_Transport._channel_handler_table = {  # type: ignore[attr-defined]  # noqa: SLF001 - nor for this
    **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]  # noqa: SLF001
    MSG_CHANNEL_CLOSE: _on_close,
}


class Connection(paramiko.ServerInterface):
    """A client's connection.

    Args:
        machine: whose sshd it reached.
        sock: accepted socket.
        address: public address of the machine that was called.
        port: of the sshd.
        keys: host keys to show.
    """

    def __init__(
        self, machine: MachineOS, sock: socket.socket, address: str, port: int, keys: list[paramiko.PKey]
    ) -> None:
        self.machine = machine
        self.address = address
        self._boot = machine.boots
        self._user = ""
        self._peer = sock.getpeername()[:2]
        self._port = port
        self._sessions: dict[int, Session] = {}
        self._pending: dict[int, float] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._transport = _Transport(sock)
        self._transport.answered = self._begin
        self._transport.deferred = self._defer_close
        self._transport.local_version = _BANNER
        self._transport.daemon = True
        self._transport.set_log_channel(_LOG)
        for key in keys:
            self._transport.add_server_key(key)
        self._transport.start_server(event=threading.Event(), server=self)

    @property
    def alive(self) -> bool:
        """Whether the connection is up, or something it started still runs."""
        return self._transport.is_alive() or any(thread.is_alive() for thread in self._threads)

    @property
    def outlived(self) -> bool:
        """Whether the machine has booted again since."""
        return self.machine.boots != self._boot

    def poke(self) -> None:
        """Begin sessions whose client wanted no answer."""
        now = time.monotonic()
        for chanid in [chanid for chanid, since in list(self._pending.items()) if now - since > _UNANSWERED_S]:
            self._start(chanid)
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def drop(self) -> None:
        """Cut the line, without a word to the client."""
        with contextlib.suppress(OSError):
            self._transport.sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break the line as a network does (RST)."""
        sock = cast(socket.socket, self._transport.sock)
        reset_on_close(sock)
        sock.close()

    def close(self, deadline_s: float) -> None:
        """Cut the line and wait for what runs on it."""
        self.drop()
        self._transport.close()
        for thread in self._threads:
            thread.join(deadline_s)

    # --- what paramiko asks ---

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        """How one may try to log in; no account here has a password."""
        with self.machine.world.lock:
            return self.machine.sshd.methods()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Whether a key may log in."""
        with self.machine.world.lock:
            accepted = self.machine.sshd.accepts(username, key)
        if accepted:
            self._user = username
        return AUTH_SUCCESSFUL if accepted else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        """Whether a channel may be opened: sessions only, ten at most."""
        running = [session for session in self._sessions.values() if not session.channel.closed]
        if kind != "session" or len(running) >= _MAX_SESSIONS:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        return OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(
        self,
        chanid: int,  # noqa: ARG002
        origin: tuple[str, int],  # noqa: ARG002
        destination: tuple[str, int],
    ) -> int:
        """Refuse `-L`, `-W`, `-D` and `-J`, as with `AllowTcpForwarding no`."""
        self.machine.world.not_known("ssh", f"forwarding to {destination[0]}:{destination[1]}")
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_port_forward_request(self, address: str, port: int) -> int:
        """Refuse `-R`."""
        self.machine.world.not_known("ssh", f"forwarding from {address}:{port}")
        return 0

    def check_channel_env_request(self, channel: paramiko.Channel, name: bytes, value: bytes) -> bool:
        """Accept what sshd_config's AcceptEnv does: LANG and LC_*."""
        key = name.decode("utf-8", "replace")
        if key != "LANG" and not key.startswith("LC_"):
            return False
        self._session(channel).env[key] = value.decode("utf-8", "replace")
        return True

    def check_channel_pty_request(self, channel: paramiko.Channel, *_: object) -> bool:
        """Give a terminal."""
        self._session(channel).terminal = True
        return True

    def check_channel_window_change_request(self, *_: object) -> bool:
        """A terminal's size does not matter here."""
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Run a command."""
        session = self._session(channel)
        session.kind, session.command = "exec", command.decode("utf-8", "surrogateescape")
        return self._expect(channel)

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        """Run a shell."""
        self._session(channel).kind = "shell"
        return self._expect(channel)

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        """Run SFTP."""
        if name != "sftp":
            return False
        self._session(channel).kind = "sftp"
        return self._expect(channel)

    # --- inside ---

    def _session(self, channel: paramiko.Channel) -> Session:
        session = self._sessions.get(channel.chanid)
        if session is None or session.channel is not channel:
            session = Session(self.machine, channel, self, self._user, self._peer, self._port)
            self._sessions[channel.chanid] = session
        return session

    def _expect(self, channel: paramiko.Channel) -> bool:
        # The session must not say or close anything before the answer to this very request has been sent.
        self._pending[channel.chanid] = time.monotonic()
        return True

    def _begin(self, remote_chanid: int) -> None:
        for chanid, session in list(self._sessions.items()):
            if session.channel.remote_chanid == remote_chanid and chanid in self._pending:
                self._start(chanid)

    def _defer_close(self, channel: paramiko.Channel) -> bool:
        session = self._sessions.get(channel.chanid)
        return session is not None and session.channel is channel and session.leave()

    def _start(self, chanid: int) -> None:
        with self._lock:
            if self._pending.pop(chanid, None) is None:
                return
            session = self._sessions[chanid]
            session.started = True
            name = f"ssh {session.kind} on {self.machine.hostname}"
            thread = threading.Thread(target=session.run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
