"""The certificate authorities of one k3s cluster, and the credentials they vouch for.

As k3s makes them on the first start of a cluster (`pkg/daemons/control/deps`): one CA for servers, one for clients,
ECDSA P-256, and a key for service account tokens (a JWT signed with ES256).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import json
import secrets
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = "https://kubernetes.default.svc.cluster.local"
_YEAR = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, both PEM."""

    certificate_pem: str
    key_pem: str


class _CA:
    """A self-signed certificate authority."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + 10 * _YEAR)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(
        self, common_name: str, orgs: Iterable[str], usage: x509.ObjectIdentifier, sans: Sequence[x509.GeneralName]
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, org) for org in orgs]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + _YEAR)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Issued(
            certificate.public_bytes(serialization.Encoding.PEM).decode() + self.pem,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            ).decode(),
        )


class Authority:
    """The trust of one cluster."""

    def __init__(self) -> None:
        stamp = int(time.time())
        self._server = _CA(f"k3s-server-ca@{stamp}")
        self._client = _CA(f"k3s-client-ca@{stamp}")
        self._signer = ec.generate_private_key(ec.SECP256R1())
        self._key_id = secrets.token_urlsafe(32)

    @property
    def ca_pem(self) -> str:
        """The CA of the servers: what `/cacerts` answers, and what a kubeconfig trusts."""
        return self._server.pem

    @property
    def client_ca_pem(self) -> str:
        """The CA of the clients."""
        return self._client.pem

    @property
    def ca_hash(self) -> str:
        """The hash in a token that starts with K10: SHA-256 of the CA's PEM file."""
        return hashlib.sha256(self.ca_pem.encode()).hexdigest()

    def server_certificate(self, sans: Iterable[str]) -> Issued:
        """A serving certificate for these host names and addresses."""
        names = [_general_name(text) for text in dict.fromkeys(sans)]
        return self._server.issue("k3s", ["k3s"], ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client_certificate(self, cn: str, orgs: Iterable[str] = ()) -> Issued:
        """A client certificate for a user in these groups."""
        return self._client.issue(cn, orgs, ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def kubeconfig(self, server_url: str = "https://127.0.0.1:6443") -> str:
        """The administrator's kubeconfig, as k3s writes `/etc/rancher/k3s/k3s.yaml`."""
        admin = self.client_certificate("system:admin", ["system:masters"])
        return (
            "apiVersion: v1\n"
            "clusters:\n"
            "- cluster:\n"
            f"    certificate-authority-data: {_base64(self.ca_pem)}\n"
            f"    server: {server_url}\n"
            "  name: default\n"
            "contexts:\n"
            "- context:\n"
            "    cluster: default\n"
            "    user: default\n"
            "  name: default\n"
            "current-context: default\n"
            "kind: Config\n"
            "users:\n"
            "- name: default\n"
            "  user:\n"
            f"    client-certificate-data: {_base64(admin.certificate_pem)}\n"
            f"    client-key-data: {_base64(admin.key_pem)}\n"
        )

    def service_account_token(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        now: float,
        lifetime_s: float = 3600.0,
        audiences: Sequence[str] = (),
    ) -> str:
        """A bearer token for a service account, valid from `now` (seconds since the epoch)."""
        claims = {
            "aud": list(audiences) or [ISSUER, "k3s"],
            "exp": int(now + lifetime_s),
            "iat": int(now),
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
            "nbf": int(now),
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        header = {"alg": "ES256", "kid": self._key_id, "typ": "JWT"}
        signed = f"{_part(header)}.{_part(claims)}"
        r, s = utils.decode_dss_signature(self._signer.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def verify_token(self, token: str, *, now: float) -> dict[str, Any] | None:
        """The claims of a token that this cluster issued and that is valid at `now`; None for any other."""
        signed, _, signature = token.rpartition(".")
        try:
            raw = _decoded(signature)
            r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
            self._signer.public_key().verify(
                utils.encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256())
            )
            claims: dict[str, Any] = json.loads(_decoded(signed.split(".")[1]))
        except (InvalidSignature, ValueError, IndexError):
            return None
        return claims if claims["nbf"] - 60 <= now <= claims["exp"] else None


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _part(value: dict[str, Any]) -> str:
    return _url64(json.dumps(value, separators=(",", ":")).encode())


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
