"""One channel of an SSH connection: a command, a shell or the SFTP subsystem, run in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from crdbmesh_simulator.machines import faults
from crdbmesh_simulator.machines import process as processes
from crdbmesh_simulator.machines.commands.system import KERNEL
from crdbmesh_simulator.machines.filesystem import Ledger
from crdbmesh_simulator.machines.process import Expired, Killed, Process, Signalled, Sink, Source
from crdbmesh_simulator.machines.sftp import Files, Subsystem
from crdbmesh_simulator.machines.shell import Shell

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.connection import Connection
    from crdbmesh_simulator.machines.machine_os import MachineOS

_SLICE_S = 0.1
_CHUNK = 32768


class ChannelSource(Source):
    """Standard input that comes through a channel."""

    def __init__(self, channel: paramiko.Channel, stop: threading.Event) -> None:
        self._channel = channel
        self._stop = stop
        self._buffer = bytearray()
        channel.settimeout(_SLICE_S)

    def readline(self) -> bytes:
        """The next line."""
        while b"\n" not in self._buffer:
            data = self._receive()
            if not data:
                line, self._buffer = bytes(self._buffer), bytearray()
                return line
            self._buffer += data
        end = self._buffer.index(b"\n") + 1
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line

    def read(self) -> bytes:
        """All up to the end."""
        while data := self._receive():
            self._buffer += data
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes, or fewer at the end."""
        while len(self._buffer) < count:
            data = self._receive()
            if not data:
                break
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _receive(self) -> bytes:
        while True:
            if self._stop.is_set():
                raise Killed
            try:
                return self._channel.recv(_CHUNK)
            except TimeoutError:
                continue


class Terminal(Source):
    """Standard input typed at a terminal: echoes, edits a little, ends a line at Return."""

    def __init__(self, source: ChannelSource, echo: Sink, prompt: Callable[[], str]) -> None:
        self._source = source
        self._echo = echo
        self._prompt = prompt

    def readline(self) -> bytes:
        """Ask for a line."""
        self._echo.write(self._prompt().encode())
        line = bytearray()
        while True:
            key = self._source.take(1)
            if key in (b"", b"\x04") and not line:
                return b""
            if key in (b"\r", b"\n", b""):
                self._echo.write(b"\n")
                return bytes(line) + b"\n"
            if key == b"\x03":
                self._echo.write(b"^C\n")
                return b"\n"
            if key in (b"\x7f", b"\b"):
                self._echo.write(b"\b \b" if line else b"")
                del line[-1:]
                continue
            line += key
            self._echo.write(key)


class ChannelSink(Sink):
    """Standard output or error that goes through a channel."""

    def __init__(self, session: Session, stop: threading.Event, *, error: bool) -> None:
        self._session = session
        self._channel = session.channel
        self._stop = stop
        self._error = error and not session.terminal
        self._terminal = session.terminal

    def write(self, data: bytes) -> None:
        """Send; a closed channel ends the process as SIGPIPE would."""
        rest = memoryview(data.replace(b"\n", b"\r\n") if self._terminal else data)
        while rest:
            if self._stop.is_set() or self._session.left:
                raise Killed
            try:
                sent = (
                    self._channel.send_stderr(bytes(rest[:_CHUNK]))
                    if self._error
                    else self._channel.send(bytes(rest[:_CHUNK]))
                )
            except TimeoutError:
                continue
            except (OSError, EOFError):
                raise Killed from None
            if sent == 0:
                raise Killed
            rest = rest[sent:]
            self._session.break_at(faults.MIDST)


@dataclass
class Session:
    """What a client asked for on one channel.

    Attributes:
        kind: `exec`, `shell` or `sftp`.
        left: the client has closed the channel.
        doom: when the connection is to be reset, of `faults`; empty when it is not.
        env: variables that the client sent and sshd_config accepts.
    """

    machine: MachineOS
    channel: paramiko.Channel
    server: Connection
    user: str
    peer: tuple[str, int]
    port: int
    kind: str = ""
    command: str = ""
    terminal: bool = False
    env: dict[str, str] = field(default_factory=dict)
    started: bool = False
    left: bool = False
    doom: str = ""
    _over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def leave(self) -> bool:
        """The client has closed the channel. Whether something still runs, which will close it from this side."""
        with self._lock:
            if self._over or not self.started:
                return False
            self.left = True
            return True

    def break_at(self, moment: str) -> bool:
        """Reset the connection if that is when it is to break. Whether it is broken by now."""
        if self.doom == moment:
            self.doom = faults.BROKEN
            self.server.reset()
        return self.doom == faults.BROKEN

    def run(self) -> None:
        """Do it, to the end of the channel."""
        ledger, stop = Ledger(), self.machine.powered_off
        if self.kind != "sftp" and (doom := faults.of_command(self.machine)):
            self.doom, stop = doom, faults.Hangup(self.machine) if self.terminal else stop
        try:
            if self.kind == "sftp":
                self._sftp()
            else:
                self._finish(self._execute(ledger, stop), ledger)
        except (Killed, Expired):
            self._count(ledger)
        except Signalled as signal:
            self._count(ledger)
            self._send_signal(signal.name)
        except (EOFError, OSError, paramiko.SSHException):
            self._count(ledger)
        finally:
            with self._lock, contextlib.suppress(EOFError, OSError, paramiko.SSHException):
                self._over = True
                self.channel.close()
                if self.left:
                    transport: Any = self.channel.get_transport()
                    transport._unlink_channel(self.channel.chanid)  # noqa: SLF001 - its CLOSE has come already

    def _finish(self, status: int, ledger: Ledger) -> None:
        self._count(ledger)
        if self.break_at(faults.MIDST) or self.break_at(faults.LATE):
            return
        if not self.machine.powered_off.is_set():
            self.channel.send_exit_status(status & 0xFF)

    def _count(self, ledger: Ledger) -> None:
        if ledger.changed(self.machine.files):
            self.machine.world.wrote("ssh")

    def _execute(self, ledger: Ledger, stop: threading.Event) -> int:
        if self.break_at(faults.EARLY) and self.terminal:
            stop.set()
        source = ChannelSource(self.channel, stop)
        out = ChannelSink(self, stop, error=False)
        err = ChannelSink(self, stop, error=True)
        account = self.machine.users[self.user]
        process = Process(self.machine, self.machine.actor(self.user, ledger), self._environment(), account.home,
                          source, out, err, stop)  # fmt: skip
        shell = Shell(process, name="bash")
        if self.kind == "exec":
            # sshd starts the login shell so.
            self.machine.world.ran(self.machine.hostname, ["bash", "-c", self.command])
            return shell.run_text(self.command)
        out.write(f"Welcome to Ubuntu 24.04.3 LTS (GNU/Linux {KERNEL} {self.machine.uname_arch})\n\n".encode())
        if not self.terminal:
            return shell.run_source(source)
        home = account.home

        def prompt() -> str:
            where = process.cwd.replace(home, "~", 1) if process.cwd.startswith(home) else process.cwd
            return f"{self.user}@{self.machine.hostname}:{where}$ "

        process.stdin = Terminal(source, out, prompt)
        return shell.run_source(process.stdin)

    def _environment(self) -> dict[str, str]:
        account = self.machine.users[self.user]
        host, port = self.peer
        own = self.machine.private_ip() or "127.0.0.1"
        env = {
            "SHELL": account.shell, "PWD": account.home, "LOGNAME": self.user, "HOME": account.home, "USER": self.user,
            "LANG": "C.UTF-8", "PATH": processes.PATH, "SSH_CLIENT": f"{host} {port} {self.port}",
            "SSH_CONNECTION": f"{host} {port} {own} {self.port}", "XDG_SESSION_TYPE": "tty", **self.env,
        }  # fmt: skip
        return env | ({"TERM": "xterm-256color", "SSH_TTY": "/dev/pts/0"} if self.terminal else {})

    def _sftp(self) -> None:
        actor = self.machine.actor(self.user)
        home = self.machine.users[self.user].home
        self.channel.settimeout(None)
        handler = Subsystem(self.channel, "sftp", self.server, Files, self.machine, actor, home)
        handler.start_subsystem("sftp", self.channel.get_transport(), self.channel)
        self.channel.send_exit_status(0)  # finishing closes the channel
        handler.finish_subsystem()

    def _send_signal(self, name: str) -> None:
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self.channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)
        message.add_string(name)
        message.add_boolean(False)
        message.add_string("")
        message.add_string("")
        transport: Any = self.channel.get_transport()
        transport._send_user_message(message)  # noqa: SLF001 - paramiko has no call for it
