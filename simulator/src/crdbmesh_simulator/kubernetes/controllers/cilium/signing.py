"""Certificates as Cilium's certgen and helm's `genSignedCert` make them: ECDSA P-256 leaves under one CA."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crdbmesh_simulator.tls import general_name, key_usage

_SIGNERS = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)


class CertificateError(Exception):
    """A CA that cannot sign what it is asked to."""


@dataclass
class Authority:
    """A CA that signs leaves."""

    cert_pem: bytes
    cert: x509.Certificate
    key: PrivateKeyTypes

    @classmethod
    def load(cls, cert_pem: bytes, key_pem: bytes) -> Authority:
        """A CA from PEM.

        Raises:
            CertificateError: this is no certificate, no key, or they do not belong together.
        """
        try:
            cert = x509.load_pem_x509_certificate(cert_pem)
            key = serialization.load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
        except ValueError as error:
            raise CertificateError("failed to parse CA certificate or key") from error
        encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if cert.public_key().public_bytes(*encoding) != key.public_key().public_bytes(*encoding):
            raise CertificateError("CA private key does not match the CA certificate's public key")
        return cls(cert_pem, cert, key)

    def sign(self, leaf: dict[str, Any]) -> tuple[bytes, bytes]:
        """Certificate and key, in PEM, for one entry of certgen's configuration.

        Raises:
            CertificateError: the certificate would outlive its CA, or the CA is not one.
        """
        issuer, issuer_key = self.cert, self.key
        if not isinstance(issuer_key, _SIGNERS):
            raise CertificateError("CA private key is of an unsupported type")
        try:
            is_ca = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise CertificateError("certificate of Secret cilium-ca is not a CA")
        now = dt.datetime.now(tz=dt.UTC)
        end = now + _duration(str(leaf.get("validity", "8760h")))
        if end > issuer.not_valid_after_utc:
            raise CertificateError(
                f"failed to generate certificate {leaf['name']}: its validity exceeds that of the CA "
                f"({issuer.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ})"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(leaf["commonName"]))])
        usage = [
            oid
            for word, oid in (
                ("server auth", ExtendedKeyUsageOID.SERVER_AUTH),
                ("client auth", ExtendedKeyUsageOID.CLIENT_AUTH),
            )
            if word in leaf.get("usage", [])
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(ca=False), critical=True)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        hosts = [general_name(str(host)) for host in leaf.get("hosts") or []]
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        algorithm = (
            None if isinstance(issuer_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
        )
        cert = builder.sign(issuer_key, algorithm)
        return cert.public_bytes(serialization.Encoding.PEM), _pem(key)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _duration(text: str) -> dt.timedelta:
    units = {"h": 3600, "m": 60, "s": 1}
    total = sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)([hms])", text))
    return dt.timedelta(seconds=total)
