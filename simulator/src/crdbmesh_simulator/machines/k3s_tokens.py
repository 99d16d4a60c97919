"""k3s tokens: the short form `<password>` and the full `K10<CA hash>::<user>:<password>` (docs.k3s.io, cli/token)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; `ca_hash` is empty in the short form."""

    ca_hash: str
    user: str
    password: str


def parse(text: str) -> Token:
    """Take a token apart. Raises ValueError: it starts like a full one and is none."""
    if not text.startswith("K10"):
        return Token("", "server", text)
    match = re.fullmatch(r"K10([0-9a-f]{64})::(?:([^:]+):)?(.+)", text)
    if not match:
        raise ValueError("token must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
    return Token(match[1], match[2] or "server", match[3])


def full(ca_hash: str, password: str) -> str:
    """The full form, as k3s writes it to /var/lib/rancher/k3s/server/token."""
    return f"K10{ca_hash}::server:{password}"
