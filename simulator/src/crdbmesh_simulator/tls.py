"""Certificates and TLS of the simulator's doors: authorities, what they sign, and contexts to serve with.

ECDSA P-256 throughout; profiles as in RFC 5280 with the server names in the subject alternative name (RFC 9525).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_YEAR = dt.timedelta(days=365)
_BACKDATED = dt.timedelta(hours=1)


class Signed(NamedTuple):
    """A certificate and its private key, both PEM, and its serial number."""

    certificate_pem: str
    key_pem: str
    serial: int


class CertificateAuthority:
    """A self-signed authority. Its key never leaves the process."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, common_name: str) -> Self:
        """A new authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        end = dt.datetime.now(dt.UTC) + 10 * _YEAR
        builder = _builder(subject, subject, key.public_key(), end, lasts=10 * _YEAR, ca=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def ca_pem(self) -> str:
        """The authority's certificate, which clients are told to trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def sign(
        self,
        common_name: str,
        usage: x509.ObjectIdentifier,
        *,
        orgs: Iterable[str] = (),
        names: Sequence[str] = (),
        expired: bool = False,
        form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    ) -> Signed:
        """A certificate for a new key, valid for a year from now on, or until an hour ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = dt.datetime.now(dt.UTC) + (-_BACKDATED if expired else _YEAR)
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, org) for org in orgs]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]))
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(x509.Name(subject), self._certificate.subject, key.public_key(), end, lasts=_YEAR, ca=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(authority, critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        key_pem = key.private_bytes(pem, form, serialization.NoEncryption())
        return Signed(signed.public_bytes(pem).decode(), key_pem.decode(), signed.serial_number)

    def issue(self, names_and_ips: Iterable[str]) -> tuple[str, str]:
        """A server certificate for these DNS names and addresses.

        Returns the certificate and its private key, both PEM. Raises ValueError: no name given.
        """
        names = list(names_and_ips)
        signed = self.sign(names[0], ExtendedKeyUsageOID.SERVER_AUTH, names=names)
        return signed.certificate_pem, signed.key_pem

    def server_context(self, names_and_ips: Iterable[str]) -> ssl.SSLContext:
        """A context to serve with, holding a new certificate for these names."""
        return server_context(*self.issue(names_and_ips))


def server_context(certificate_pem: str, key_pem: str, client_ca_pem: str | None = None) -> ssl.SSLContext:
    """A context to serve with; it asks for client certificates of an authority if one is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_ca_pem is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_ca_pem)
    # The ssl module loads keys from files only; this one is private to the user and gone at once.
    descriptor, path = tempfile.mkstemp(prefix="crdbmesh-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(certificate_pem + key_pem)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
    return context


def general_name(name: str) -> x509.GeneralName:
    """A host name or address as it stands among the alternative names of a certificate."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """The usage of an authority's key, or of a server's or client's."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    end: dt.datetime,
    *,
    lasts: dt.timedelta,
    ca: bool,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(end - lasts - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(key_usage(ca=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
