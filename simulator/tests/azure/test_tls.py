"""The authority of the simulator's doors, and the address service behind one of its certificates."""

from __future__ import annotations

import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from crdbmesh_simulator import tls
from crdbmesh_simulator.server import create_address_app


def test_the_caller_is_told_its_address_over_tls(authority: tls.CertificateAuthority, serve_app: Any) -> None:
    context = ssl.create_default_context(cadata=authority.ca_pem)
    with (
        serve_app(create_address_app(), authority.server_context(["127.0.0.1"])) as url,
        urllib.request.urlopen(f"{url}/", context=context, timeout=10) as response,
    ):
        assert response.read() == b"127.0.0.1"
        assert response.headers["Content-Type"].startswith("text/plain")


def test_another_authoritys_certificate_is_not_trusted(authority: tls.CertificateAuthority, serve_app: Any) -> None:
    context = ssl.create_default_context(cadata=tls.CertificateAuthority.create("stranger").ca_pem)
    with (
        serve_app(web.Application(), authority.server_context(["127.0.0.1"])) as url,
        pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        urllib.request.urlopen(f"{url}/", context=context, timeout=10)


def test_a_certificate_names_its_server_and_chains_to_its_authority(authority: tls.CertificateAuthority) -> None:
    pem, key = authority.issue(["sim.example", "127.0.0.1", "::1"])
    certificate = x509.load_pem_x509_certificate(pem.encode())
    issuer = x509.load_pem_x509_certificate(authority.ca_pem.encode())
    certificate.verify_directly_issued_by(issuer)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["sim.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    assert "BEGIN PRIVATE KEY" in key


def test_no_key_is_left_on_disk(authority: tls.CertificateAuthority) -> None:
    before = set(Path(tempfile.gettempdir()).glob("crdbmesh-*.pem"))
    authority.server_context(["127.0.0.1"])
    assert set(Path(tempfile.gettempdir()).glob("crdbmesh-*.pem")) <= before
