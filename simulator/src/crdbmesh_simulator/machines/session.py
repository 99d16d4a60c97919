"""One session of an SSH connection: a command or a shell, run in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING

import asyncssh

from crdbmesh_simulator.filesystem import Ledger
from crdbmesh_simulator.machines import faults
from crdbmesh_simulator.machines.machine_os import KERNEL, PATH
from crdbmesh_simulator.shell.interpreter import Shell
from crdbmesh_simulator.shell.process import Killed, Process, Signalled, Sink, Source

if TYPE_CHECKING:
    from crdbmesh_simulator.machines.connection import Connection

_SLICE_S = 0.1
_CHUNK = 32768


class Input(Source):
    """Standard input that comes through a channel; pieces are put into `pieces`, an empty one at the end."""

    def __init__(self, stop: threading.Event) -> None:
        self.pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        super().__init__()
        self._stop = stop
        self._rest = b""
        self._ended = False

    def readline(self) -> bytes:
        """The next line."""
        while b"\n" not in self._rest and not self._ended:
            self._rest += self._receive()
        line, newline, self._rest = self._rest.partition(b"\n")
        return line + newline

    def _receive(self) -> bytes:
        while True:
            if self._stop.is_set():
                raise Killed
            with contextlib.suppress(queue.Empty):
                piece = self.pieces.get(timeout=_SLICE_S)
                self._ended = not piece
                return piece


class Output(Sink):
    """Standard output or error that goes through a channel."""

    def __init__(self, session: Session, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._session = session
        self._writer = writer

    def write(self, data: bytes) -> None:
        """Send; a closed channel ends the process as SIGPIPE would."""
        session = self._session
        if session.broken or session.stop.is_set():
            raise Killed
        if session.terminal:
            data = data.replace(b"\n", b"\r\n")
        session.broken = session.doom == faults.MIDST
        try:
            session.loop.call_soon_threadsafe(self._send, data, session.broken)
        except RuntimeError:  # the door is closed
            raise Killed from None

    def _send(self, data: bytes, last: bool) -> None:
        with contextlib.suppress(OSError):
            self._writer.write(data)
        if last:
            self._session.server.reset()


class Session:
    """What a client asked for on one channel.

    `terminal`: it has a terminal. `doom`: when the connection is to be reset, of `faults`; empty when it is not.
    `broken`: nothing that is written arrives any more. `stop`: set when the machine goes down, and when a terminal is
    hung up.
    """

    def __init__(self, server: Connection, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.server = server
        self.terminal = process.term_type is not None
        self.doom = faults.of_command(server.machine)
        self.broken = False
        self.stop = threading.Event() if self.terminal else server.machine.powered_off
        self.loop = asyncio.get_running_loop()
        self._machine = server.machine
        self._process = process
        self._input = Input(self.stop)

    async def run(self) -> None:
        """Do it, to the end of the channel."""
        process, ledger = self._process, Ledger()
        if self.doom == faults.EARLY:
            self._break()
        pump = asyncio.ensure_future(self._pump())
        self._machine.hangups.add(self.stop)
        try:
            status = await self.loop.run_in_executor(self.server.threads, self._execute, ledger)
        finally:
            pump.cancel()
            self._machine.hangups.discard(self.stop)
            if ledger.changed(self._machine.files):
                self._machine.world.wrote("ssh")
        if self.doom in (faults.MIDST, faults.LATE):
            self._break()
        with contextlib.suppress(OSError):
            if isinstance(status, str):
                process.exit_with_signal(status)
            elif status is None:
                process.close()
            else:
                process.channel.write_eof()
                process.exit(status & 0xFF)

    def _break(self) -> None:
        self.broken = True
        self.server.reset()
        if self.terminal:
            self.stop.set()

    async def _pump(self) -> None:
        """Hand over what the client sends, until it goes."""
        try:
            while not self._process.stdin.at_eof():
                try:
                    data = await self._process.stdin.read(_CHUNK)
                except (asyncssh.TerminalSizeChanged, asyncssh.SignalReceived, asyncssh.BreakReceived):
                    continue
                if data:
                    self._input.pieces.put(data.replace(b"\r", b"\n") if self.terminal else data)
            self._input.pieces.put(b"")
            await self._process.channel.wait_closed()
        finally:
            self._input.pieces.put(b"")
            self.broken = self.broken or self._process.channel.is_closing()

    def _execute(self, ledger: Ledger) -> int | str | None:
        """Run in a thread; the exit status, the signal that ended it, or None when nobody will be told."""
        try:
            status = self._run(ledger)
        except Killed:
            return None
        except Signalled as signal:
            return signal.name
        return None if self._machine.powered_off.is_set() else status

    def _run(self, ledger: Ledger) -> int:
        machine, user = self._machine, self.server.user
        account = machine.users[user]
        out, err = Output(self, self._process.stdout), Output(self, self._process.stderr)
        process = Process(
            machine,
            ["-bash"],
            self._environment(),
            account.home,
            machine.actor(user, ledger),
            self._input,
            out,
            out if self.terminal else err,
        )
        shell, command = Shell(process), self._process.command
        if command is not None:
            # sshd starts the login shell so.
            machine.world.ran(machine.hostname, ["bash", "-c", command])
            work = shell.run_text(command)
        else:
            out.write(f"Welcome to Ubuntu 24.04.3 LTS (GNU/Linux {KERNEL} {machine.uname_arch})\n\n".encode())
            work = shell.run_source(self._input)
        try:
            while not machine.world.clock.wait(self.stop, next(work)):
                pass
        except StopIteration as end:
            return int(end.value)
        raise Killed

    def _environment(self) -> dict[str, str]:
        server, account = self.server, self._machine.users[self.server.user]
        host, port = server.peer
        own = self._machine.private_ip() or "127.0.0.1"
        env = {
            "SHELL": account.shell,
            "PWD": account.home,
            "LOGNAME": server.user,
            "HOME": account.home,
            "USER": server.user,
            "LANG": "C.UTF-8",
            "PATH": f"{PATH}:/usr/games:/usr/local/games:/snap/bin",
            "SSH_CLIENT": f"{host} {port} {server.port}",
            "SSH_CONNECTION": f"{host} {port} {own} {server.port}",
            "XDG_SESSION_TYPE": "tty",
        }
        # What sshd_config's AcceptEnv takes over.
        env |= {key: value for key, value in self._process.env.items() if key == "LANG" or key.startswith("LC_")}
        return env | ({"TERM": "xterm-256color", "SSH_TTY": "/dev/pts/0"} if self.terminal else {})
