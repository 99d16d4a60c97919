"""SSH host keys: made, read, and given to the SSH server."""

from __future__ import annotations

import io

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

KINDS = ("rsa", "ecdsa", "ed25519")


def generate(kind: str, comment: str) -> tuple[bytes, bytes]:
    """A new key as ssh-keygen writes it: OpenSSH private key and public line."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    elif kind == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private, public + f" {comment}\n".encode()


def public_of(private: str) -> bytes | None:
    """The public line of a private key, or None when it cannot be read."""
    key = load(private)
    return f"{key.get_name()} {key.get_base64()}\n".encode() if key else None


def load(private: str) -> paramiko.PKey | None:
    """A private key in any of the formats that sshd reads, or None."""
    kinds: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
    for kind in kinds:
        try:
            return kind.from_private_key(io.StringIO(private.strip() + "\n"))
        except (paramiko.SSHException, ValueError, IndexError, UnsupportedAlgorithm):
            continue
    return None
