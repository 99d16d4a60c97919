"""Certificates for the simulator's HTTPS doors: one authority, and server certificates signed by it.

ECDSA P-256 throughout; profiles as in RFC 5280 with the server names in the subject alternative name (RFC 9525).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALIDITY = dt.timedelta(days=365)
_BACKDATED = dt.timedelta(days=1)
_OTHER_USAGES = (
    "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only",
)  # fmt: skip


class CertificateAuthority:
    """A self-signed authority. Its key never leaves the process."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, common_name: str) -> Self:
        """A new authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name)
        certificate = _builder(subject, subject, key.public_key(), signs=True).sign(key, hashes.SHA256())
        return cls(certificate, key)

    @property
    def ca_pem(self) -> str:
        """The authority's certificate, which clients are told to trust."""
        return _certificate_pem(self._certificate)

    def issue(self, names_and_ips: Iterable[str]) -> tuple[str, str]:
        """A server certificate for these DNS names and addresses.

        Returns the certificate and its private key, both PEM. Raises ValueError: no name given.
        """
        names = list(names_and_ips)
        if not names:
            raise ValueError("a server certificate needs at least one name or address")
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = _builder(_name(names[0]), self._certificate.subject, key.public_key(), signs=False)
        certificate = (
            builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _certificate_pem(certificate), _key_pem(key)

    def server_context(self, names_and_ips: Iterable[str]) -> ssl.SSLContext:
        """A context to serve with, holding a new certificate for these names."""
        certificate, key = self.issue(names_and_ips)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The ssl module loads keys from files only; this one is private to the user and gone at once.
        descriptor, path = tempfile.mkstemp(prefix="crdbmesh-", suffix=".pem")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(certificate + key)
            context.load_cert_chain(path)
        finally:
            Path(path).unlink()
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, *, signs: bool
) -> x509.CertificateBuilder:
    now, no = dt.datetime.now(dt.UTC), dict.fromkeys(_OTHER_USAGES, False)
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=signs, crl_sign=signs, **no)
    return (
        x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.BasicConstraints(ca=signs, path_length=0 if signs else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
