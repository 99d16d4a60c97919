"""Keeps the secrets that this process knows out of its output and journals.

Nothing in crdbmesh puts a secret into a message. But messages quote others: the end of a command's output, a line of a
service's log, an API's answer. Code that reads or makes a secret calls `learn`; errors, gaps, events, results, findings
and journals pass their text through `hide`. A secret is recognised as a whole, in base64 at any offset, and by any line
of its PEM.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator

HIDDEN = "(secret)"

_LEAST = 16
"""The length in characters below which a text is not taken for a secret: ordinary words would contain it."""
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_FIELD = re.compile(r"^\s*(?:client-key-data|token|password)\s*:\s*['\"]?([^\s'\"]+)", re.MULTILINE)
_lock = threading.Lock()
_known: dict[str, None] = {}


def learn(text: str, *, whole: bool = False) -> None:
    """Hide the secrets in `text` from now on.

    Args:
        text: a document; its private keys in PEM are secret, and the fields of a kubeconfig that hold credentials.
        whole: True when all of it is secret, as a token is.
    """
    if whole:
        _remember(text.strip())
    for secret in _secrets(text):
        _remember(secret)


def hide(text: str) -> str:
    """Return `text` without the secrets known so far."""
    with _lock:
        known = list(_known)
    for secret in known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def hide_in(value: object, *fields: str) -> None:
    """Hide the secrets known so far in fields of a frozen dataclass that is being made."""
    for field in fields:
        text = getattr(value, field)
        if isinstance(text, str):
            object.__setattr__(value, field, hide(text))


def _remember(secret: str) -> None:
    found = dict.fromkeys(form for form in _forms(secret) if len(form) >= _LEAST)
    with _lock:
        _known.update(found)


def _secrets(text: str) -> Iterator[str]:
    for block in _PEM.finditer(text):
        yield block[0]
        yield from block[1].split()
    for match in _FIELD.finditer(text):
        yield match[1]
        try:
            yield from _secrets(base64.b64decode(match[1], validate=True).decode("ascii"))
        except ValueError:  # it is no base64, or no text
            continue


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and the part of it that any base64 of a larger text with it must contain."""
    yield secret
    raw = secret.encode()
    for offset in range(3):
        inner = raw[-offset % 3 :]
        yield base64.b64encode(inner[: len(inner) // 3 * 3]).decode()
