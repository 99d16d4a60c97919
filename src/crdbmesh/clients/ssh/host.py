"""A machine reached over SSH: run commands on it, write and read its files.

The host key is known beforehand and verified from the first connection on; see `connect`. A command that may have
run is never run again behind the caller's back. Secrets travel by standard input, never in a command.
"""

import hashlib
import posixpath
import shlex
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import paramiko
import tenacity

from crdbmesh.clients import waiting
from crdbmesh.clients.clock import REAL, Clock
from crdbmesh.clients.kube.exec import Ends
from crdbmesh.clients.output import CommandResult, Output
from crdbmesh.clients.retrying import retrying
from crdbmesh.clients.ssh import connect as ssh_connect
from crdbmesh.clients.ssh import exec as ssh_exec
from crdbmesh.clients.ssh.attach import attach
from crdbmesh.errors import CommandError, HostError, UnreachableError

COMMAND_TIMEOUT_S = 120.0
LONGEST_LINE = 128 * 1024

_CONNECT_ATTEMPTS = 3
_CONNECT_PAUSE_S = 0.5
_LOGIN_PATIENCE_S = 180.0
"""The time that a new machine may refuse the login key: sshd can start before cloud-init writes authorized_keys."""
_ABSENT = 66
"""Exit status by which our own commands say that a file does not exist (EX_NOINPUT of sysexits.h)."""


class Host(AbstractContextManager["Host", None]):
    """One machine. One connection is kept and shared; meant for one thread at a time.

    `login_key` is OpenSSH private key text, `host_keys` are public key lines (`ssh-ed25519 AAAA…`): the only one
    offered, and the only ones accepted. A user other than root needs sudo without a password. Each stage of connecting
    may take `connect_timeout_s`. Once `stop` is set, waits end, and commands that take longer than seconds are left to
    themselves, with StoppedError.
    """

    def __init__(
        self,
        address: str,
        *,
        port: int,
        user: str,
        login_key: str,
        host_keys: Iterable[str],
        name: str,
        connect_timeout_s: float = 10.0,
        stop: threading.Event | None = None,
        clock: Clock = REAL,
    ) -> None:
        self.name = name
        self._stop = stop or threading.Event()
        self._clock = clock
        self._target = ssh_connect.Target(
            name=name,
            address=address,
            port=port,
            user=user,
            login_key=ssh_connect.read_login_key(login_key),
            host_keys=tuple(ssh_connect.read_host_key(line) for line in host_keys),
        )
        self._connect_timeout_s = connect_timeout_s
        self._transport: paramiko.Transport | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Host({self._target})"

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect. The host can be used again: it then connects anew."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def wait_ready(self, deadline_s: float, say: waiting.Say = waiting.unsaid) -> None:
        """Wait until logging in works; the WaitError of a deadline that passes says what stood in the way last.

        A host key that is not one of those given, and a login key that is refused for minutes, are an UnreachableError.
        """
        give_up_at: float | None = None

        def probe() -> tuple[bool | None, str]:
            nonlocal give_up_at
            try:
                self._connection(attempts=1)
            except ssh_connect.HostKeyError:
                raise
            except ssh_connect.LoginError as error:
                give_up_at = give_up_at or self._clock.after(_LOGIN_PATIENCE_S)
                if self._clock.now() > give_up_at:
                    raise
                return None, str(error)
            except UnreachableError as error:
                give_up_at = None
                return None, str(error)
            return True, "logged in"

        awaited = f"SSH login to {self.name}"
        waiting.wait_until(
            probe, awaited=awaited, deadline_s=deadline_s, interval_s=1.0, say=say, stop=self._stop, clock=self._clock
        )

    def run(
        self,
        command: str,
        *,
        timeout_s: float = COMMAND_TIMEOUT_S,
        stdin: bytes | None = None,
        sudo: bool = False,
        check: bool = True,
        describe: str | None = None,
    ) -> CommandResult:
        """Run a shell command to its end; return its outputs as text, and its exit status (255 when a signal ended it).

        The command is for the login user's shell, or for root's with `sudo`. It shows in process lists and errors,
        where `describe` stands for it: no secrets in it. It reads `stdin` and then the end of its input.

        With `check`, a status that is not 0 is a CommandError; one with a status of None says that the connection
        broke, and nobody knows whether the command ran to its end. A WaitError or StoppedError says that it did not end
        in time, or soon after the operator interrupted; a HostError, that there is no connection or the server refused,
        and nothing ran.
        """
        output = Output()
        shown = describe or command
        status = self._execute(command, output, stdin=stdin or b"", sudo=sudo, timeout_s=timeout_s, shown=shown)
        result = output.result(status)
        if check and status != 0:
            raise CommandError(shown, host=self.name, status=status, tail=output.tail())
        return result

    def shown_host_key(self) -> ssh_connect.HostKey:
        """Return the one of the accepted host keys that the machine has shown; raises as `run` does."""
        key = self._connection(attempts=_CONNECT_ATTEMPTS).get_remote_server_key()
        return ssh_connect.HostKey(key.get_name(), key.asbytes())

    def follow(self, command: str) -> Iterator[str]:
        """Yield the lines of a command of root's until it ends; raise HostError when it cannot run, or breaks off.

        A line of more than `LONGEST_LINE` bytes comes in parts. The command must write nothing to its standard error.
        """
        channel = self._channel()
        try:
            ssh_exec.begin(channel, self._line(command, sudo=True), host=self.name, shown=command)
            with channel.makefile("rb") as output:
                while line := output.readline(LONGEST_LINE):
                    yield line.decode("utf-8", errors="replace").rstrip("\n")
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(f"{self.name}: the connection broke: {error or type(error).__name__}") from error
        finally:
            ssh_exec.close(channel)

    def attach(self, command: str | None, ends: Ends) -> int:
        """Run the login user's command, or shell, at the operator's ends; return its exit status."""
        channel = self._channel()
        try:
            return attach(channel, command, ends)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(f"{self.name}: the connection broke: {error or type(error).__name__}") from error
        finally:
            ssh_exec.close(channel)

    def write_file(self, path: str, content: bytes, *, mode: int) -> bool:
        """Make a file of root's have this content and mode; readers see the old file or the new one.

        The content goes by standard input; missing parent directories are made. Return True when anything had to
        change. Raises as `run` does.
        """
        if not posixpath.isabs(path) or not posixpath.basename(path):
            raise HostError(f"{self.name}: {path!r} is not the absolute path of a file")
        digest, quoted = hashlib.sha256(content).hexdigest(), shlex.quote(path)
        look = f'test -f {quoted} && stat -c "%a %U:%G" {quoted} && sha256sum < {quoted}'
        found = self.run(look, sudo=True, check=False, describe=f"look at {path}")
        if found.status == 0 and found.stdout.split() == [f"{mode:o}", "root:root", digest, "-"]:
            return False
        folder, name = posixpath.split(path)
        install = [
            "set -eu",
            f"mkdir -p {shlex.quote(folder)}",
            f"part=$(mktemp {shlex.quote(posixpath.join(folder, f'.{name}.XXXXXX'))})",
            "trap 'rm -f \"$part\"' EXIT",
            'cat > "$part"',
            f'test "$(sha256sum < "$part")" = "{digest}  -" || {{ echo "not all of it arrived" >&2; exit 1; }}',
            f'chmod {mode:04o} "$part"',
            f'mv -fT "$part" {quoted}',
        ]
        self.run("\n".join(install), stdin=content, sudo=True, describe=f"write {path}")
        return True

    def read_file(self, path: str) -> bytes | None:
        """Return a file's content, read as root, or None when there is no such file; raises as `run` does."""
        quoted = shlex.quote(path)
        output = Output()
        command = f"test -e {quoted} || exit {_ABSENT}; cat {quoted}"
        shown = f"read {path}"
        status = self._execute(command, output, stdin=b"", sudo=True, timeout_s=COMMAND_TIMEOUT_S, shown=shown)
        if status == _ABSENT:
            return None
        if status != 0:
            raise CommandError(shown, host=self.name, status=status, tail=output.tail())
        return bytes(output.stdout)

    def _execute(self, command: str, output: Output, *, stdin: bytes, sudo: bool, timeout_s: float, shown: str) -> int:
        channel = self._channel()
        try:
            own: dict[str, Any] = {"host": self.name, "stop": self._stop, "clock": self._clock}
            line = self._line(command, sudo=sudo)
            return ssh_exec.execute(channel, line, output, stdin=stdin, timeout_s=timeout_s, shown=shown, **own)
        except CommandError:
            self._drop(channel.get_transport())
            raise

    def _line(self, command: str, *, sudo: bool) -> str:
        return f"sudo -n sh -c {shlex.quote(command)}" if sudo and self._target.user != "root" else command

    def _channel(self) -> paramiko.Channel:
        """Open a session channel. Nothing has run when this fails, so a dead connection is replaced once."""
        for last in (False, True):
            transport = self._connection(attempts=_CONNECT_ATTEMPTS)
            try:
                return transport.open_session(timeout=self._connect_timeout_s)
            except paramiko.ChannelException as error:
                raise HostError(f"{self.name} refused another SSH session: {error.text}") from error
            except (paramiko.SSHException, EOFError, OSError) as error:
                self._drop(transport)
                if last:
                    raise UnreachableError(f"{self._target} does not open a session: {error}") from error
        raise AssertionError("the loop ends by returning or raising")

    def _drop(self, transport: paramiko.Transport) -> None:
        """Disconnect, unless another thread already did and connected anew."""
        with self._lock:
            if self._transport is transport:
                self._transport = None
        transport.close()

    def _connection(self, *, attempts: int) -> paramiko.Transport:
        with self._lock:
            if self._transport is not None:
                if self._transport.is_active():
                    return self._transport
                self._transport.close()
                self._transport = None
            again = retrying(
                when=tenacity.retry_if_exception(lambda error: isinstance(error, UnreachableError) and error.retryable),
                attempts=attempts,
                pause_s=lambda _state: waiting.jittered(_CONNECT_PAUSE_S),
                stop=self._stop,
                clock=self._clock,
                budget_s=attempts * 3 * self._connect_timeout_s,
            )
            transport: paramiko.Transport = again(ssh_connect.connect, self._target, timeout_s=self._connect_timeout_s)
            self._transport = transport
            return transport
