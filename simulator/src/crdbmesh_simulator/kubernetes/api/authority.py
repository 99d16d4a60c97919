"""The certificate authorities of one k3s cluster, the credentials they vouch for, and what their bearers may do.

As k3s makes them on the first start of a cluster (`pkg/daemons/control/deps`): one CA for servers, one for clients,
ECDSA P-256, and a key for service account tokens (a JWT signed with ES256). Certificates last a year, and k3s renews
its own only when it starts within 90 days of their end.

A certificate carries dates of the machine that the simulator runs on, since the TLS of clients asks that machine's
clock; whether it has expired is decided by the simulated time at which it was issued.

A client is known by its certificate (common name and organizations), after
`staging/src/k8s.io/apiserver/pkg/authentication/request/x509` of Kubernetes 1.36; k3s starts its API server with
`--anonymous-auth=false`. Only administrators (`system:masters`) may do anything: roles and their bindings
are kept and count for nothing, and no token is taken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID

from crdbmesh_simulator import tables
from crdbmesh_simulator.kubernetes.api import status
from crdbmesh_simulator.tls import CertificateAuthority

_ISSUER = "https://kubernetes.default.svc.cluster.local"
_DAY_S = 86400.0
_LASTS_S = 365 * _DAY_S
_RENEWED_S = 90 * _DAY_S
_FORM = serialization.PrivateFormat.TraditionalOpenSSL


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its issuer's, and its private key, both PEM.

    `ends`: when it expires, in simulated seconds since the epoch. `names`: the host names and addresses that it is
    valid for.
    """

    certificate_pem: str
    key_pem: str
    serial: int
    ends: float
    names: tuple[str, ...] = ()


class Authority:
    """The trust of one cluster."""

    def __init__(self) -> None:
        stamp = int(time.time())
        self._server = CertificateAuthority.create(f"k3s-server-ca@{stamp}")
        self._client = CertificateAuthority.create(f"k3s-client-ca@{stamp}")
        self._signer = ec.generate_private_key(ec.SECP256R1())
        self._key_id = secrets.token_urlsafe(32)
        self._serving: dict[str, Issued] = {}
        self._admin: Issued | None = None
        self._ends: dict[int, float] = {}

    @property
    def ca_pem(self) -> str:
        """The CA of the servers: what `/cacerts` answers, and what a kubeconfig trusts."""
        return self._server.ca_pem

    @property
    def client_ca_pem(self) -> str:
        """The CA of the clients."""
        return self._client.ca_pem

    @property
    def ca_hash(self) -> str:
        """The hash in a token that starts with K10: SHA-256 of the CA's PEM file."""
        return hashlib.sha256(self.ca_pem.encode()).hexdigest()

    def server_certificate(self, node: str, names: Iterable[str], *, now: float) -> Issued:
        """Return the certificate of a server that starts now: the one that it has, or a new one when that ends soon.

        `node`: the server's node name. `names`: the host names and addresses that it is valid for. `now`: simulated
        seconds since the epoch.
        """
        wanted = tuple(dict.fromkeys(names))
        held = self._serving.get(node)
        if held is None or held.names != wanted or held.ends - now < _RENEWED_S:
            held = self._serving[node] = self._serve(now, wanted)
        return held

    def expired_twin(self, held: Issued) -> Issued:
        """Return what a server shows whose certificate has expired: one that a client's TLS refuses as expired."""
        return self._serve(held.ends, held.names, expired=True)

    def _serve(self, now: float, names: tuple[str, ...], *, expired: bool = False) -> Issued:
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        signed = self._server.sign("k3s", usage, orgs=["k3s"], names=names, expired=expired, form=_FORM)
        return Issued(signed.certificate_pem + self.ca_pem, signed.key_pem, signed.serial, now + _LASTS_S, names)

    def client_certificate(self, cn: str, orgs: Iterable[str] = (), *, now: float) -> Issued:
        """Issue a client certificate for a user in these groups, at a simulated time."""
        signed = self._client.sign(cn, ExtendedKeyUsageOID.CLIENT_AUTH, orgs=orgs, form=_FORM)
        self._ends[signed.serial] = now + _LASTS_S
        chain = signed.certificate_pem + self.client_ca_pem
        return Issued(chain, signed.key_pem, signed.serial, now + _LASTS_S)

    def is_expired(self, serial: int, now: float) -> bool:
        """Tell whether the client certificate with this serial number has expired at a simulated time."""
        return now >= self._ends.get(serial, 0.0)

    def kubeconfig(self, server_url: str = "https://127.0.0.1:6443", *, now: float) -> str:
        """Return the administrator's kubeconfig, as k3s writes `/etc/rancher/k3s/k3s.yaml` when it starts."""
        if self._admin is None or self._admin.ends - now < _RENEWED_S:
            self._admin = self.client_certificate("system:admin", ["system:masters"], now=now)
        admin = self._admin
        blanks = {
            "ca": _base64(self.ca_pem),
            "server": server_url,
            "certificate": _base64(admin.certificate_pem),
            "key": _base64(admin.key_pem),
        }
        template = tables.read_yaml("crdbmesh_simulator.kubernetes.controllers", "manifests/kubeconfig")
        return str(yaml.dump(tables.fill(template, blanks), sort_keys=False, Dumper=yaml.CSafeDumper))

    def service_account_token(
        self, namespace: str, name: str, uid: str, *, now: float, lifetime_s: float, audiences: Sequence[str] = ()
    ) -> str:
        """Sign a bearer token for a service account, valid from `now` (seconds since the epoch)."""
        claims = {
            "aud": list(audiences) or [_ISSUER, "k3s"],
            "exp": int(now + lifetime_s),
            "iat": int(now),
            "iss": _ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
            "nbf": int(now),
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        header = {"alg": "ES256", "kid": self._key_id, "typ": "JWT"}
        signed = f"{_part(header)}.{_part(claims)}"
        r, s = utils.decode_dss_signature(self._signer.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _part(value: dict[str, Any]) -> str:
    return _url64(json.dumps(value, separators=(",", ":")).encode())


_MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """The user that a request comes from."""

    name: str
    groups: frozenset[str]


def identify(authority: Authority, certificate: Mapping[str, Any] | None, now: float) -> User:
    """Return the user that a client certificate names.

    `authority`: the cluster's. `certificate`: as `ssl.SSLSocket.getpeercert` gives it, or None when the client sent
    none. `now`: simulated seconds since the epoch. Raises StatusError: 401, there is no certificate, or it has expired.
    """
    if not certificate or authority.is_expired(int(str(certificate["serialNumber"]), 16), now):
        raise status.unauthorized()
    names = [pair for group in certificate.get("subject", ()) for pair in group]
    common = next((value for key, value in names if key == "commonName"), "")
    return User(common, frozenset(value for key, value in names if key == "organizationName"))


def check(user: User, method: str, path: str) -> None:
    """Refuse whoever is no administrator. Raises StatusError: 403."""
    if _MASTERS not in user.groups:
        message = f'forbidden: User "{user.name}" cannot {method.lower()} path "{path}"'
        raise status.StatusError(403, "Forbidden", message, empty_details=True)
