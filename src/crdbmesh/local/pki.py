"""Keys and certificates that crdbmesh makes, by functions that keep and read nothing.

CockroachDB's are as `cockroach cert` makes them (cockroachdb/cockroach, pkg/security/x509.go: subjects, key usages,
back-dating, serial numbers, a leaf never outliving its CA), with subject and authority key identifiers added. A node
is dialled by its own region's names only, so its certificate carries only those. SSH keys are OpenSSH ed25519 ones.
"""

import datetime as dt
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crdbmesh.spec import names

CA_DAYS = 3660
"""`cockroach cert create-ca`'s own default, 87840 h."""
LEAF_DAYS = 1830
ROOT_DAYS = 90
"""The life of root's client certificate from layout 2 on; `up` issues it anew in its last month."""
RENEW_BEFORE = dt.timedelta(days=30)
"""The time before its end at which a certificate is issued anew."""
_BACKDATED = dt.timedelta(hours=24)
"""Machines' clocks may be behind ours."""

KeyKind = Literal["rsa2048", "ec256"]
_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    cert_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SSHKey:
    """An SSH key pair: OpenSSH private key PEM, and the public key line."""

    private: str = field(repr=False)
    public: str


def make_ca(
    common_name: str,
    organization: str | None,
    *,
    days: int = CA_DAYS,
    now: dt.datetime,
    key: KeyKind = "rsa2048",
    path_length: int | None = None,
) -> KeyPair:
    """Make a self-signed certificate authority, valid for `days` from `now`.

    Its subject has no organization when that is None. `path_length` is how many CAs may stand between it and a leaf.
    """
    private = _make_key(key)
    subject = _name(common_name, organization)
    usage = _usage(content_commitment=True, key_encipherment=True, key_cert_sign=True)
    certificate = (
        _builder(subject, private, now)
        .issuer_name(subject)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .sign(private, hashes.SHA256())
    )
    return _pair(certificate, private)


def make_cilium_ca(*, now: dt.datetime) -> KeyPair:
    """Make the CA of all the mesh's clusters, for Cilium's chart (`tls.ca`)."""
    return make_ca("Cilium CA", "Cilium", now=now)


def make_cockroach_ca(*, now: dt.datetime) -> KeyPair:
    """Make the CA of all regions' CockroachDB nodes and clients."""
    return make_ca("Cockroach CA", "Cockroach", now=now, path_length=1)


def issue_cockroach_node(ca: KeyPair, region: str, *, now: dt.datetime, key: KeyKind = "rsa2048") -> KeyPair:
    """Make the certificate that all nodes of a region share, as servers and as clients of each other."""
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _issue(ca, "node", usages, now=now, key=key, hosts=cockroach_node_names(region))


def issue_cockroach_client(
    ca: KeyPair, user: str, *, now: dt.datetime, days: int = LEAF_DAYS, key: KeyKind = "rsa2048"
) -> KeyPair:
    """Make the certificate with which `user` logs in to CockroachDB, for `days` at most."""
    return _issue(ca, user, (ExtendedKeyUsageOID.CLIENT_AUTH,), now=now, days=days, key=key, hosts=())


def cockroach_node_names(region: str) -> list[str]:
    """Return the names and addresses by which a region's nodes are reached."""
    zone = names.zone(region)
    suffixes = ("", f".{region}", f".{region}.svc", f".{zone}")
    return [
        "localhost",
        "127.0.0.1",
        "::1",
        *(f"{names.COCKROACH_PUBLIC}{suffix}" for suffix in suffixes),
        *(f"*.{names.COCKROACH}{suffix}" for suffix in suffixes),
    ]


def make_login_key(comment: str) -> SSHKey:
    """Make a key to log in to machines with."""
    return _make_ssh_key(comment)


def make_host_key(comment: str) -> SSHKey:
    """Make a key by which a machine proves its identity."""
    return _make_ssh_key(comment)


def read_ssh_key(private: str, comment: str) -> SSHKey:
    """Return the key pair of an OpenSSH private key; raise ValueError, which quotes none of it, when it is none."""
    try:
        key = serialization.load_ssh_private_key(private.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("not an unencrypted OpenSSH private key") from None
    return SSHKey(private, _public_line(key.public_key(), comment))


def read_key_pair(text: str) -> KeyPair:
    """Parse a certificate and its key from one PEM text, the certificate first; raise ValueError for anything else."""
    certificate, marker, rest = text.partition("-----END CERTIFICATE-----\n")
    if not marker or "PRIVATE KEY-----" not in rest:
        raise ValueError("expected a certificate and its private key, PEM")
    try:
        _read(certificate + marker)
        serialization.load_pem_private_key(rest.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("the certificate or its private key cannot be read") from None
    return KeyPair(certificate + marker, rest)


def make_token(nbytes: int) -> str:
    """Return `nbytes` random bytes in hexadecimal."""
    return secrets.token_hex(nbytes)


def is_issued_by(cert_pem: str, ca_pem: str) -> bool:
    """Return True when a certificate was signed by a CA, or by one of a bundle."""
    certificate = _read(cert_pem)
    for ca in x509.load_pem_x509_certificates(ca_pem.encode()):
        try:
            certificate.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def covers(cert_pem: str, hosts: Iterable[str]) -> list[str]:
    """Return those of `hosts` (names, addresses, `*.` names) that a certificate does not have, in order."""
    try:
        found = _read(cert_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return list(hosts)
    return [host for host in hosts if _general_name(host) not in found]


def expires(cert_pem: str) -> dt.datetime:
    """Return the time at which a certificate ends."""
    return _read(cert_pem).not_valid_after_utc


def _issue(
    ca: KeyPair,
    common_name: str,
    usages: tuple[x509.ObjectIdentifier, ...],
    *,
    now: dt.datetime,
    key: KeyKind,
    hosts: Iterable[str],
    days: int = LEAF_DAYS,
) -> KeyPair:
    authority = _read(ca.cert_pem)
    signer = serialization.load_pem_private_key(ca.key_pem.encode(), password=None)
    if not isinstance(signer, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError("a CA's key must be RSA or elliptic curve")
    private = _make_key(key)
    until = min(now + dt.timedelta(days=days), authority.not_valid_after_utc)
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_name(common_name, "Cockroach"), private, now)
        .issuer_name(authority.subject)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(content_commitment=False, key_encipherment=True, key_cert_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
    )
    if alternatives := [_general_name(host) for host in hosts]:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return _pair(builder.sign(signer, hashes.SHA256()), private)


def _builder(subject: x509.Name, private: _PrivateKey, now: dt.datetime) -> x509.CertificateBuilder:
    public = private.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(secrets.randbits(128) or 1)
        .not_valid_before(now - _BACKDATED)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _make_key(kind: KeyKind) -> _PrivateKey:
    if kind == "ec256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(common_name: str, organization: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, content_commitment: bool, key_encipherment: bool, key_cert_sign: bool) -> x509.KeyUsage:
    never = ("data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=content_commitment,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        **dict.fromkeys(never, False),
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(certificate: x509.Certificate, private: _PrivateKey) -> KeyPair:
    # PKCS#1 and SEC 1, as `cockroach cert` and Helm write them: everything that reads PEM keys reads these.
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM).decode(), key.decode())


def _read(cert_pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(cert_pem.encode())


def _make_ssh_key(comment: str) -> SSHKey:
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return SSHKey(private.decode(), _public_line(key.public_key(), comment))


def _public_line(key: serialization.SSHPublicKeyTypes, comment: str) -> str:
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return f"{line} {comment}".strip()
