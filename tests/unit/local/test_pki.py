"""The certificates and keys we make, read by cryptography, OpenSSL and OpenSSH."""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crdbmesh.local import pki

NOW = dt.datetime(2026, 11, 23, 4, 0, tzinfo=dt.UTC)
NODE_NAMES = [
    "localhost",
    "127.0.0.1",
    "::1",
    "cockroachdb-public",
    "cockroachdb-public.eastus",
    "cockroachdb-public.eastus.svc",
    "cockroachdb-public.eastus.svc.cluster.local",
    "*.cockroachdb",
    "*.cockroachdb.eastus",
    "*.cockroachdb.eastus.svc",
    "*.cockroachdb.eastus.svc.cluster.local",
]


@functools.cache
def ca() -> pki.KeyPair:
    return pki.make_cockroach_ca(now=NOW)


@functools.cache
def node() -> pki.KeyPair:
    return pki.issue_cockroach_node(ca(), "eastus", now=NOW)


@functools.cache
def root() -> pki.KeyPair:
    return pki.issue_cockroach_client(ca(), "root", now=NOW)


def parsed(pair: pki.KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert_pem.encode())


def subject(pair: pki.KeyPair) -> str:
    return parsed(pair).subject.rfc4514_string()


def extension(pair: pki.KeyPair, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    return parsed(pair).extensions.get_extension_for_class(kind)


def usages(pair: pki.KeyPair) -> set[str]:
    usage = extension(pair, x509.KeyUsage).value
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    )
    return {name for name in names if getattr(usage, name)}


def test_the_cockroach_ca_is_as_cockroach_cert_makes_it() -> None:
    assert subject(ca()) == "CN=Cockroach CA,O=Cockroach"
    assert usages(ca()) == {"digital_signature", "content_commitment", "key_encipherment", "key_cert_sign"}
    constraints = extension(ca(), x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=1)
    assert parsed(ca()).not_valid_before_utc == NOW - dt.timedelta(hours=24)
    assert ca().key_pem.startswith("-----BEGIN RSA PRIVATE KEY-----")


def test_the_cilium_ca_can_sign_and_lasts_at_least_three_years() -> None:
    pair = pki.make_cilium_ca(now=NOW)
    assert "key_cert_sign" in usages(pair)
    assert extension(pair, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=None)
    assert pki.expires(pair.cert_pem) >= NOW + dt.timedelta(days=3 * 365)


def test_a_node_certificate_is_as_cockroach_cert_makes_it() -> None:
    assert subject(node()) == "CN=node,O=Cockroach"
    assert usages(node()) == {"digital_signature", "key_encipherment"}
    extended = extension(node(), x509.ExtendedKeyUsage).value
    assert extended == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    assert extension(node(), x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    assert parsed(node()).not_valid_before_utc == NOW - dt.timedelta(hours=24)


def test_a_node_certificate_names_its_own_region_and_nothing_else() -> None:
    found = parsed(node()).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = found.get_values_for_type(x509.DNSName)
    addresses = found.get_values_for_type(x509.IPAddress)
    assert sorted([*dns, *map(str, addresses)]) == sorted(NODE_NAMES)
    assert ipaddress.ip_address("::1") in addresses
    assert len(found) == len(NODE_NAMES)


def test_a_client_certificate_is_for_one_user_and_only_as_a_client() -> None:
    assert subject(root()) == "CN=root,O=Cockroach"
    extended = extension(root(), x509.ExtendedKeyUsage).value
    assert extended == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    with pytest.raises(x509.ExtensionNotFound):
        extension(root(), x509.SubjectAlternativeName)


@pytest.mark.parametrize("leaf", [node, root], ids=["node", "root"])
def test_a_leaf_names_its_issuers_key(leaf: functools._lru_cache_wrapper[pki.KeyPair]) -> None:
    authority = parsed(leaf()).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = parsed(ca()).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == own.digest
    assert pki.is_issued_by(leaf().cert_pem, ca().cert_pem)


def test_serial_numbers_are_random_and_at_most_128_bits() -> None:
    serials = {parsed(pair).serial_number for pair in (ca(), node(), root())}
    assert len(serials) == 3
    assert all(0 < serial < 2**128 for serial in serials)


def test_a_leaf_never_outlives_its_ca() -> None:
    short = pki.make_ca("Cockroach CA", "Cockroach", days=10, now=NOW, key="ec256")
    leaf = pki.issue_cockroach_node(short, "eastus", now=NOW, key="ec256")
    assert pki.expires(leaf.cert_pem) == pki.expires(short.cert_pem) == NOW + dt.timedelta(days=10)


def test_elliptic_curve_keys_can_be_asked_for() -> None:
    pair = pki.make_ca("Cilium CA", None, days=1100, now=NOW, key="ec256")
    key = parsed(pair).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert parsed(pair).subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME) == []


def test_another_ca_of_the_same_name_did_not_issue_it() -> None:
    other = pki.make_cockroach_ca(now=NOW)
    assert not pki.is_issued_by(node().cert_pem, other.cert_pem)
    assert pki.is_issued_by(node().cert_pem, other.cert_pem + ca().cert_pem)


def test_missing_names_are_listed_in_order() -> None:
    asked = [
        "*.cockroachdb.eastus.svc.cluster.local",
        "*.cockroachdb.westus.svc.cluster.local",
        "*.cockroachdb.eastus",
        "10.1.2.3",
        "127.0.0.1",
        "a.b.cockroachdb.eastus",
    ]
    missing = pki.covers(node().cert_pem, asked)
    assert missing == [asked[1], "10.1.2.3", "a.b.cockroachdb.eastus"]
    assert pki.covers(root().cert_pem, ["localhost"]) == ["localhost"]


def test_private_parts_are_not_shown() -> None:
    assert "PRIVATE" not in repr(ca())
    assert "PRIVATE" not in repr(pki.make_login_key("crdbmesh"))


def test_an_ssh_key_is_an_openssh_ed25519_pair() -> None:
    key = pki.make_login_key("crdbmesh")
    assert key.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert key.public.startswith("ssh-ed25519 AAAA")
    assert key.public.endswith(" crdbmesh")
    assert pki.read_ssh_key(key.private, "crdbmesh") == key
    assert pki.make_host_key("eastus-1") != pki.make_host_key("eastus-1")


def test_what_is_no_ssh_key_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="not an unencrypted OpenSSH private key") as caught:
        pki.read_ssh_key("hunter2", "x")
    assert "hunter2" not in str(caught.value)


def test_a_token_has_the_length_asked_for() -> None:
    assert len(pki.make_token(32)) == 64
    assert pki.make_token(32) != pki.make_token(32)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
class TestOpenSSL:
    """OpenSSL's own judgement."""

    def openssl(self, *arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name, pair in {"ca": ca(), "node": node(), "root": root()}.items():
            (tmp_path / f"{name}.crt").write_text(pair.cert_pem)
            (tmp_path / f"{name}.key").write_text(pair.key_pem)
        return tmp_path

    def test_it_verifies_both_leaves_for_their_purposes(self, folder: Path) -> None:
        at = str(int(NOW.timestamp()) + 60)
        common = ("verify", "-x509_strict", "-attime", at, "-CAfile", str(folder / "ca.crt"))
        host = "cockroachdb-0.cockroachdb.eastus.svc.cluster.local"
        node_certificate = str(folder / "node.crt")
        self.openssl(*common, "-purpose", "sslserver", "-verify_hostname", host, node_certificate)
        self.openssl(*common, "-purpose", "sslclient", node_certificate)
        self.openssl(*common, "-purpose", "sslclient", str(folder / "root.crt"))
        refused = subprocess.run(
            ["openssl", *common, "-purpose", "sslserver", str(folder / "root.crt")], capture_output=True, check=False
        )
        assert refused.returncode != 0

    @pytest.mark.parametrize("name", ["ca", "node", "root"])
    def test_key_and_certificate_belong_together(self, folder: Path, name: str) -> None:
        of_certificate = self.openssl("x509", "-in", str(folder / f"{name}.crt"), "-noout", "-pubkey")
        of_key = self.openssl("pkey", "-in", str(folder / f"{name}.key"), "-pubout")
        assert of_certificate == of_key


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_openssh_reads_the_private_key_and_derives_the_same_public_key(tmp_path: Path) -> None:
    key = pki.make_login_key("crdbmesh")
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(key.private)
    done = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == key.public.split()[:2]


def test_a_pair_is_read_from_one_text() -> None:
    assert pki.read_key_pair(f"{node().cert_pem}{node().key_pem}") == node()
    with pytest.raises(ValueError, match="expected a certificate and its private key"):
        pki.read_key_pair(node().cert_pem)
