"""SSH host keys: made, read, and given to the SSH server."""

from __future__ import annotations

import asyncssh

KINDS = {"rsa": "ssh-rsa", "ecdsa": "ecdsa-sha2-nistp256", "ed25519": "ssh-ed25519"}
"""The kinds of keys that sshd has by default, as its files name them and as the protocol does."""


def generate(kind: str, comment: str) -> tuple[bytes, bytes]:
    """A new key as ssh-keygen writes it: OpenSSH private key and public line."""
    key = asyncssh.generate_private_key(KINDS[kind], comment=comment)
    return key.export_private_key("openssh"), key.export_public_key("openssh")


def public_of(private: str) -> bytes | None:
    """The public line of a private key, or None when it cannot be read."""
    key = load(private)
    return key.export_public_key("openssh") if key else None


def load(private: str) -> asyncssh.SSHKey | None:
    """A private key in any of the formats that sshd reads, or None."""
    try:
        return asyncssh.import_private_key(private.strip() + "\n")
    except asyncssh.KeyImportError:
        return None
