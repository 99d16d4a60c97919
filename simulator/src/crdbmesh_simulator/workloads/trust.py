"""TLS as Go's crypto/x509 and crypto/tls judge it: chains, names, usages, validity; with their error texts."""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Certificate = x509.Certificate

_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_ANY = "2.5.29.37.0"
_MAX_DEPTH = 5


@functools.lru_cache(maxsize=512)
def parse(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file. Raises ValueError: there is none, or one cannot be parsed."""
    return tuple(x509.load_pem_x509_certificates(pem))


def common_name(certificate: x509.Certificate) -> str:
    """The subject's CN, or empty."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """DNS names and IP addresses among the alternative names."""
    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    return value.get_values_for_type(x509.DNSName), [str(ip) for ip in value.get_values_for_type(x509.IPAddress)]


def covers(certificate: x509.Certificate, host: str) -> bool:
    """Return whether the certificate is valid for a host name or address."""
    hosts, addresses = names(certificate)
    try:
        return str(ipaddress.ip_address(host.strip("[]"))) in addresses
    except ValueError:
        return any(_matches(pattern.lower().rstrip("."), host.lower().rstrip(".")) for pattern in hosts)


def _matches(pattern: str, host: str) -> bool:
    if not pattern or not host:
        return False
    wanted, given = pattern.split("."), host.split(".")
    if len(wanted) != len(given):
        return False
    first = wanted[0] in ("*", given[0])
    return first and wanted[1:] == given[1:]


def verify(pem: bytes, ca_pem: bytes, *, now: dt.datetime, usage: str, host: str | None = None) -> str | None:
    """Return why a peer that trusts `ca_pem` rejects a certificate chain; None when it accepts it.

    `pem`: the leaf, then intermediates. `ca_pem`: the trusted CAs. `now`: the time. `usage`: `server` or `client`, what
    the leaf is shown as. `host`: the name that was dialled, for a server.
    """
    try:
        chain, roots = parse(pem), parse(ca_pem)
    except ValueError:
        return "x509: malformed certificate"
    leaf = chain[0]
    if host is not None and not covers(leaf, host):
        return _name_error(leaf, host)
    expired = _expired(leaf, now)
    if expired:
        return expired
    reason = _chain(leaf, chain[1:], roots, now, 0)
    if reason:
        return reason
    if not _has_usage(leaf, usage):
        return "x509: certificate specifies an incompatible key usage"
    return None


def _name_error(leaf: x509.Certificate, host: str) -> str:
    hosts, addresses = names(leaf)
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if not hosts and not addresses and common_name(leaf):
            return "x509: certificate relies on legacy Common Name field, use SANs instead"
        if not hosts:
            return f"x509: certificate is not valid for any names, but wanted to match {host}"
        return f"x509: certificate is valid for {', '.join(hosts)}, not {host}"
    if not addresses:
        return f"x509: cannot validate certificate for {host} because it doesn't contain any IP SANs"
    return f"x509: certificate is valid for {', '.join(addresses)}, not {host}"


def _expired(certificate: x509.Certificate, now: dt.datetime) -> str | None:
    base = "x509: certificate has expired or is not yet valid: current time"
    if now < certificate.not_valid_before_utc:
        return f"{base} {_time(now)} is before {_time(certificate.not_valid_before_utc)}"
    if now > certificate.not_valid_after_utc:
        return f"{base} {_time(now)} is after {_time(certificate.not_valid_after_utc)}"
    return None


def _time(when: dt.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _chain(
    certificate: x509.Certificate,
    others: tuple[x509.Certificate, ...],
    roots: tuple[x509.Certificate, ...],
    now: dt.datetime,
    depth: int,
) -> str | None:
    hint = ""
    if certificate in roots:
        return None
    for root in roots:
        if root.subject != certificate.issuer:
            continue
        if not _is_ca(root):
            continue
        if _signed(certificate, root):
            return _expired(root, now)
        hint = "crypto/rsa: verification error" if _is_rsa(root) else "x509: ECDSA verification failure"
        candidate = f'candidate authority certificate "{common_name(root)}"'
        hint = f'possibly because of "{hint}" while trying to verify {candidate}'
    if depth < _MAX_DEPTH:
        for parent in others:
            if parent.subject == certificate.issuer and _is_ca(parent) and _signed(certificate, parent):
                return _expired(parent, now) or _chain(parent, others, roots, now, depth + 1)
    return "x509: certificate signed by unknown authority" + (f" ({hint})" if hint else "")


@functools.lru_cache(maxsize=1024)
def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_rsa(certificate: x509.Certificate) -> bool:
    return type(certificate.public_key()).__name__.startswith("RSA")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _has_usage(certificate: x509.Certificate, usage: str) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return _USAGES[usage] in found or any(oid.dotted_string == _ANY for oid in found)


@functools.lru_cache(maxsize=512)
def key_matches(pem: bytes, key_pem: bytes) -> str | None:
    """Return why a key does not go with a certificate, as Go's `tls.X509KeyPair` says it; None when it does."""
    try:
        leaf = parse(pem)[0]
    except ValueError:
        return "tls: failed to find any PEM data in certificate input"
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        return "tls: failed to find any PEM data in key input"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return "tls: private key does not match public key"
    return None


def refusal(reason: str) -> str:
    """Return the TLS alert by which Go tells a client that its certificate was rejected for `reason`."""
    if "unknown authority" in reason:
        return "remote error: tls: unknown certificate authority"
    if "expired" in reason:
        return "remote error: tls: expired certificate"
    return "remote error: tls: bad certificate"
