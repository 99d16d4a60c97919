"""SQL users' client certificates in a mesh's local folder, named as in a folder for `cockroach`'s `--certs-dir`."""

import datetime as dt
from pathlib import Path

from crdbmesh.local import pki
from crdbmesh.local.folder import LocalFolder
from crdbmesh.local.pki import KeyPair


def certificate(folder: LocalFolder, ca: KeyPair, user: str, *, now: dt.datetime) -> KeyPair:
    """Return a user's client certificate; one that is absent, about to end or of another CA is issued anew."""
    ca_file, cert_file, key_file = _files(user).values()
    cert, key = folder.read(cert_file), folder.read(key_file)
    if not cert or not key or not pki.is_issued_by(cert, ca.cert_pem) or pki.expires(cert) - now < pki.RENEW_BEFORE:
        pair = pki.issue_cockroach_client(ca, user, now=now)
        cert, key = pair.cert_pem, pair.key_pem
        folder.write(key_file, key)
        folder.write(cert_file, cert)
    if folder.read(ca_file) != ca.cert_pem:
        folder.write(ca_file, ca.cert_pem)
    return KeyPair(cert, key)


def paths(folder: LocalFolder, user: str) -> dict[str, Path]:
    """Return a user's files by the names of libpq's connection parameters."""
    return {parameter: folder.path / name for parameter, name in _files(user).items()}


def _files(user: str) -> dict[str, str]:
    files = {"sslrootcert": "ca.crt", "sslcert": f"client.{user}.crt", "sslkey": f"client.{user}.key"}
    return {parameter: f"sql/{name}" for parameter, name in files.items()}
