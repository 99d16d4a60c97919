"""The certificates directory of CockroachDB, loaded and checked as the binary does.

After `pkg/security/certificate_loader.go`, `certificate_manager.go` and `permission_check_unix.go`: a key file's mode
must be 0700 at most, or 0740 when root and the process's own group own it.
"""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdbmesh_simulator.workloads import trust

if TYPE_CHECKING:
    import datetime as dt

    from crdbmesh_simulator.workloads.files import Files

_MAX_MODE = 0o700
_MAX_GROUP_MODE = 0o740


class CertificateError(Exception):
    """The certificates cannot be used; the text is what the binary says."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, and the CA of the directory."""

    cert: bytes
    key: bytes
    ca: bytes


def load(files: Files, folder: str, user: str, *, skip_permissions: bool = False) -> Pair:
    """The CA, and the certificate of a user: `node`, or a client such as `root`.

    Raises CertificateError: something is missing, unreadable, too open, or does not belong together.
    """
    if not files.is_dir(folder):
        raise CertificateError(
            f"problem using security settings: no certificates found; does certs dir exist?\n(no folder {folder})"
        )
    ca = _read(files, folder, "ca.crt", "problem with CA certificate: not found")
    _parsed(ca, "ca.crt")
    base = "node" if user == "node" else f"client.{user}"
    what = "node certificate" if user == "node" else f"client cert for user {user}"
    missing = f"problem with {what}: not found"
    cert = _read(files, folder, f"{base}.crt", missing)
    path = posixpath.join(folder, f"{base}.key")
    if not files.is_file(path):
        raise CertificateError(f"problem with {what}: could not find key file {path}")
    if not skip_permissions:
        _check_mode(files, path)
    key = _read(files, folder, f"{base}.key", missing)
    leaf = _parsed(cert, f"{base}.crt")
    mismatch = trust.key_matches(cert, key)
    if mismatch:
        raise CertificateError(f"problem with {what}: {mismatch}")
    principals = [trust.common_name(leaf), *trust.names(leaf)[0]]
    if user not in principals:
        kind = "server/client node" if user == "node" else "client"
        shown = " ".join(f'"{name}"' for name in principals if name)
        raise CertificateError(f'problem with {what}: {kind} certificate has principals [{shown}], expected "{user}"')
    return Pair(cert, key, ca)


def _read(files: Files, folder: str, name: str, missing: str) -> bytes:
    try:
        return files.read(posixpath.join(folder, name))
    except FileNotFoundError:
        raise CertificateError(missing) from None
    except PermissionError:
        raise CertificateError(f"open {posixpath.join(folder, name)}: permission denied") from None


def _parsed(pem: bytes, name: str) -> trust.Certificate:
    try:
        return trust.parse(pem)[0]
    except ValueError:
        raise CertificateError(f"failed to parse {name}: no certificates found in file") from None


def _check_mode(files: Files, path: str) -> None:
    mode = files.mode(path) if path in files.modes else 0o600
    allowed = _MAX_GROUP_MODE if files.owner(path) == files.group else _MAX_MODE
    if mode & ~allowed:
        shown, limit = (stat.filemode(stat.S_IFREG | bits) for bits in (mode, allowed))
        raise CertificateError(f"key file {path} has permissions {shown}, exceeds {limit}")


def check_node(pair: Pair, now: dt.datetime) -> str | None:
    """Return why a node's own certificate is of no use for serving and for dialling; None when it is."""
    for usage in ("server", "client"):
        reason = trust.verify(pair.cert, pair.ca, now=now, usage=usage)
        if reason and "incompatible key usage" in reason:
            return reason
    return None


def handshake(client: Pair, server: Pair, host: str, now: dt.datetime) -> str | None:
    """Return why TLS between a client and a server fails; None when it does not. As the client sees it."""
    reason = trust.verify(server.cert, client.ca, now=now, usage="server", host=host)
    if reason:
        return f"tls: failed to verify certificate: {reason}"
    reason = trust.verify(client.cert, server.ca, now=now, usage="client")
    return trust.refusal(reason) if reason else None
