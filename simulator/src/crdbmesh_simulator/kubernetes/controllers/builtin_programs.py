"""The programs that do the control plane's own chores, and so work on its objects: certgen and helm.

Certgen after cilium/certgen v0.4: it signs the certificates of `CILIUM_CERTGEN_CONFIG` with the CA in Secret
`cilium-ca`.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crdbmesh_simulator.kubernetes.api.jsonvalue import Obj
from crdbmesh_simulator.kubernetes.controllers.helm.job import HelmJob
from crdbmesh_simulator.kubernetes.controllers.site import Site, api_unreachable
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, Program, Stdin
from crdbmesh_simulator.tls import general_name, key_usage

_CERTGEN_S = 2.0


class Certgen(Program):
    """cilium-certgen."""

    def __init__(self, container: Container, site: Site) -> None:
        super().__init__(container)
        self.site = site
        self._due = site.now() + _CERTGEN_S

    def tick(self) -> None:
        """Write the certificates once, then exit."""
        if self.exit_code is not None or self.site.now() < self._due:
            return
        reason = api_unreachable(self.site, self.container)
        if reason is not None:
            self._fail(f"failed to get K8s client: {reason}")
            return
        try:
            authority = self._authority()
            wanted = yaml.load(self.container.env.get("CILIUM_CERTGEN_CONFIG", ""), Loader=yaml.CSafeLoader) or {}
            for leaf in wanted.get("certs") or []:
                cert, key = authority.sign(leaf)
                self._write(
                    str(leaf["namespace"]),
                    str(leaf["name"]),
                    "kubernetes.io/tls",
                    {"ca.crt": authority.cert_pem, "tls.crt": cert, "tls.key": key},
                )
                self.log.append(f'level=info msg="Created secret" name={leaf["name"]} namespace={leaf["namespace"]}')
        except (CertificateError, yaml.YAMLError) as error:
            self._fail(str(error))
            return
        self.exit_code = 0

    def exec(self, argv: Sequence[str], stdin: Stdin = b"") -> ExecResult:  # noqa: ARG002 - the interface
        """The image holds nothing but its program."""
        self.site.world.not_known("exec", f"{self.container.image}: {' '.join(argv)}")
        return ExecResult(stderr=f'exec: "{argv[0]}": executable file not found in $PATH\n'.encode(), exit_code=127)

    def _fail(self, why: str) -> None:
        self.log.append(f'level=error msg="{why}"')
        self.exit_code = 1

    def _authority(self) -> Authority:
        options = dict(word.removeprefix("--").partition("=")[::2] for word in self.container.argv[1:])
        space, name = options.get("ca-secret-namespace", "kube-system"), options.get("ca-secret-name", "cilium-ca")
        secret = self.site.api.find("Secret", space, name)
        if secret is not None and "ca-reuse-secret" in options:
            data = {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}
            return Authority.load(data["ca.crt"], data["ca.key"])
        raise CertificateError("no CA: not found, and making one is not part of this simulated world")

    def _write(self, space: str, name: str, kind: str, files: dict[str, bytes]) -> None:
        data = {key: base64.b64encode(content).decode() for key, content in files.items()}
        existing = self.site.api.find("Secret", space, name)
        if existing is not None:
            changed = self.site.api.copy(existing)
            changed["data"] = data
            self.site.api.replace(changed)
            return
        secret: Obj = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": space},
            "type": kind,
            "data": data,
        }
        self.site.api.create(secret)


_PROGRAMS: tuple[tuple[str, Callable[[Container, Site], Program]], ...] = (
    ("rancher/klipper-helm", HelmJob),
    ("cilium/certgen", Certgen),
)


def start(site: Site, container: Container, other: Callable[[Container], Program]) -> Program:
    """The container's program: one of these, or whatever `other` knows.

    Raises LookupError: no registry has the image.
    """
    image = container.image.split("@")[0].rsplit(":", 1)[0]
    for name, make in _PROGRAMS:
        if image == name or image.endswith(f"/{name}"):
            return make(container, site)
    return other(container)


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
        """A CA from PEM. Raises CertificateError: this is no certificate, or no key."""
        try:
            cert = x509.load_pem_x509_certificate(cert_pem)
            key = serialization.load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
        except ValueError as error:
            raise CertificateError("failed to parse CA certificate or key") from error
        return cls(cert_pem, cert, key)

    def sign(self, leaf: dict[str, Any]) -> tuple[bytes, bytes]:
        """Certificate and key, in PEM, for one entry of certgen's configuration.

        Raises CertificateError: the CA cannot sign.
        """
        issuer, issuer_key = self.cert, self.key
        if not isinstance(issuer_key, _SIGNERS):
            raise CertificateError("CA private key is of an unsupported type")
        now = dt.datetime.now(tz=dt.UTC)
        end = now + _duration(str(leaf.get("validity", "8760h")))
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
