"""Opens an SSH connection to a machine whose host key is known beforehand.

Only a host key that is given is accepted, from the first connection on, and only the given login key is offered: no
agent, no password, no keyboard-interactive, no keys found in the user's home. Protocol: RFC 4251 to 4254; paramiko
speaks it.
"""

import base64
import contextlib
import io
import logging
import socket
from dataclasses import dataclass, field

import paramiko

from crdbmesh.errors import HostError, UnreachableError

KEEPALIVE_S = 15
"""The interval of messages on a quiet connection, by which its death is noticed."""
_DEAD_AFTER_S = 60
"""The time that bytes may stay unacknowledged before the kernel gives the connection up."""

_LOG = "crdbmesh.ssh"
# paramiko logs whole tracebacks of what is raised here as an error anyway.
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False


class HostKeyError(UnreachableError):
    """The host shows a host key that is not one of those given."""

    retryable = False


class LoginError(UnreachableError):
    """The host refuses the login key."""

    retryable = False


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key: algorithm name and wire format."""

    algorithm: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """The address, user and login key for a host, and the host keys of which one proves its identity."""

    name: str
    address: str
    port: int
    user: str
    login_key: paramiko.PKey = field(repr=False)
    host_keys: tuple[HostKey, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.address}:{self.port})"


def read_host_key(line: str) -> HostKey:
    """Return the key of a public key line, `ssh-ed25519 AAAA… comment`; raise HostError when it is none."""
    algorithm, _, rest = line.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split()[0], validate=True)
        named = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii")
    except (IndexError, ValueError):
        named = None
    if not algorithm or named != algorithm:
        raise HostError("the host key given is not a public key line such as `ssh-ed25519 AAAA…`")
    return HostKey(algorithm, blob)


def read_login_key(text: str) -> paramiko.PKey:
    """Return the ed25519 private key in an OpenSSH PEM text; raise HostError, which quotes none of it, for others."""
    with contextlib.suppress(Exception):
        return paramiko.Ed25519Key.from_private_key(io.StringIO(text))
    raise HostError("the login key given is not an unencrypted OpenSSH private key of the kind ed25519")


def connect(target: Target, *, timeout_s: float) -> paramiko.Transport:
    """Return a connection, host verified, logged in; connecting, key exchange and login may each take `timeout_s`.

    Another host key is a HostKeyError, and nothing was sent to it but the protocol's greeting. A login key that is
    refused is a LoginError; no answer, or none that is SSH, is an UnreachableError.
    """
    connection = _dial(target, timeout_s)
    try:
        transport = paramiko.Transport(connection)
    except BaseException:
        connection.close()
        raise
    try:
        transport.set_log_channel(_LOG)
        transport.banner_timeout = timeout_s
        transport.auth_timeout = timeout_s
        _verify(transport, target, timeout_s)
        _log_in(transport, target)
        transport.set_keepalive(KEEPALIVE_S)
    except BaseException:
        transport.close()
        raise
    return transport


def _dial(target: Target, timeout_s: float) -> socket.socket:
    try:
        connection = socket.create_connection((target.address, target.port), timeout=timeout_s)
    except TimeoutError:
        raise UnreachableError(f"{target} does not answer: connection timed out", hint=_FIREWALL) from None
    except OSError as error:
        raise UnreachableError(f"{target} does not answer: {_reason(error)}") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_S * 1000)
    return connection


def _verify(transport: paramiko.Transport, target: Target, timeout_s: float) -> None:
    try:
        algorithms = tuple(dict.fromkeys(key.algorithm for key in target.host_keys))
        transport.get_security_options().key_types = algorithms
        transport.start_client(timeout=timeout_s)
        shown = transport.get_remote_server_key()
    except paramiko.ssh_exception.IncompatiblePeer as error:
        if "host key" not in str(error):
            raise UnreachableError(f"{target} and crdbmesh have no SSH algorithms in common: {error}") from error
        raise HostKeyError(
            f"{target}: the host key is not the one we know: it has no {' or '.join(algorithms)} key", hint=_IMPOSTOR
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(f"{target} answers, but not as an SSH server: {_reason(error)}") from error
    if shown.asbytes() not in {key.blob for key in target.host_keys}:
        raise HostKeyError(f"{target}: the host key is not the one we know", hint=_IMPOSTOR)


def _log_in(transport: paramiko.Transport, target: Target) -> None:
    refused = f"{target} refuses the login key for user {target.user}"
    try:
        still_wanted = transport.auth_publickey(target.user, target.login_key)
    except paramiko.AuthenticationException as error:
        if not transport.is_active() and "timeout" in str(error).lower():
            raise UnreachableError(f"{target} does not answer: login timed out") from error
        raise LoginError(refused) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(f"{target} closed the connection during login: {_reason(error)}") from error
    if still_wanted:
        raise LoginError(f"{refused}: it also wants {', '.join(still_wanted)}")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


_FIREWALL = "Check that the firewall allows your address to the machine's SSH port"
_IMPOSTOR = (
    "Find out what answers at this address. If somebody else's `up` made the machine anew, take that computer's local "
    "folder; if the machine was rebuilt outside crdbmesh, delete it and run `up`"
)
