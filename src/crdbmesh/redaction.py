"""Keeps the secrets that this process knows out of its output and journals.

Nothing in crdbmesh puts a secret into a message. But messages quote others: the end of a command's output, a line of a
service's log, an API's answer. Code that reads or makes a secret calls `learn`; errors, gaps, events, results, findings
and journals pass their text through `hide`, which does so before anything is cut. A secret is recognised as a whole and
by any run of 16 of its characters, whatever their case and whatever white space is between them, in hexadecimal, in
base64, in base64 of it and in URLs; a private key by its private numbers, in whatever format they stand.
"""

import base64
import binascii
import re
import threading
from collections.abc import Iterator

HIDDEN = "(secret)"

_LEAST = 16
"""The length in characters of a run of a secret that is recognised; a shorter secret is, as a whole."""
_SHORTEST = 12
"""The length in characters below which a text is not taken for a secret: ordinary words would contain it."""
_PART = 8
"""Half of it: in any run of `_LEAST` characters there is a whole part of a secret that was cut into parts of this."""
_MARGIN = 4096
"""More than any secret is long, in characters."""
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_LICENSE = re.compile(r"crl-0-[\w+/=-]+")
"""A license key of CockroachDB, which everyone takes for a secret without having learnt it."""
_FIELD = re.compile(r"^\s*(?:client-key-data|token|password)\s*:\s*['\"]?([^\s'\"]+)", re.MULTILINE)
_SPACE_OR_QUOTED = re.compile(r"(?P<space>\s+|\\[nrt])|%(?P<quoted>[0-9a-fA-F]{2})")
_CHARACTER = re.compile(rf"{_SPACE_OR_QUOTED.pattern}|.")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{22,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_URLSAFE = str.maketrans("-_", "+/")
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_lock = threading.Lock()
_lines: dict[str, None] = {}
"""Whole lines of private keys, also in base64: they hold public numbers too, which alone are no secret."""
_parts: dict[str, tuple[str, int]] = {}
"""The parts of every form of every secret, each with the form, in lower case, and its place in it."""


def learn(text: str, *, whole: bool = False) -> None:
    """Hide from now on the private keys in `text` and a kubeconfig's credentials; all of it when `whole` is set."""
    if whole:
        _remember(text.strip().encode())
    for secret in _secrets(text):
        _remember(secret)


def hide(text: str) -> str:
    """Return `text` without the secrets known so far, and without license keys."""
    text = _LICENSE.sub(HIDDEN, text)
    with _lock:
        lines = list(_lines)
    for line in lines:
        text = text.replace(line, HIDDEN)
    if not _parts:
        return text
    joined = _SPACE_OR_QUOTED.sub(lambda match: chr(int(match["quoted"], 16)) if match["quoted"] else "", text)
    if not (spans := _merged(_spans(joined, encoded=True))):
        return text
    found = [match for match in _CHARACTER.finditer(text) if match["space"] is None]
    for start, end in reversed(spans):
        text = f"{text[: found[start].start()]}{HIDDEN}{text[found[end - 1].end() :]}"
    return text


def cut(text: str, most: int = 20_000) -> str:
    """Return the beginning of a text without the secrets known so far, which are hidden before it is cut."""
    text = hide(text[: most + _MARGIN])
    return text if len(text) <= most else f"{text[:most]}…"


def cut_apart(one: str, other: str, most: int) -> tuple[str, str]:
    """Return two texts that differ, without the secrets known so far, each cut so that the difference shows."""
    one, other = hide(one), hide(other)
    alike = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    start = alike - most // 3 if alike > most * 2 // 3 else 0
    before = "…" if start else ""
    return before + cut(one[start:], most), before + cut(other[start:], most)


def hide_in(value: object, *fields: str) -> None:
    """Hide the secrets known so far in fields of a frozen dataclass that is being made, and cut what is too long."""
    for field in fields:
        text = getattr(value, field)
        if isinstance(text, str):
            object.__setattr__(value, field, cut(text))


def _remember(secret: bytes) -> None:
    if len(secret) < _SHORTEST:
        return
    forms = [secret.decode("latin-1"), secret.hex(), *_in_base64(secret)]
    found = {
        form[at : at + _PART].lower(): (form.lower(), at)
        for form in forms
        for at in range(0, len(form) - _PART + 1, _PART)
    }
    with _lock:
        _parts.update(found)


def _secrets(text: str) -> Iterator[bytes]:
    for block in _PEM.finditer(text):
        _remember_lines(block[1].split())
        try:
            yield from _private_numbers(base64.b64decode(block[1]))
        except (ValueError, IndexError):  # it is no key
            continue
    for match in _FIELD.finditer(text):
        try:
            inner = base64.b64decode(match[1], validate=True).decode("ascii")
        except ValueError:  # it is no base64, or no text
            inner = ""
        if _PEM.search(inner):
            _remember_lines([match[1]])
            yield from _secrets(inner)
        else:
            yield match[1].encode()


def _remember_lines(lines: list[str]) -> None:
    forms = [form for line in lines for form in (line, *_in_base64(line.encode())) if len(form) >= _LEAST]
    with _lock:
        _lines.update(dict.fromkeys(forms))


def _in_base64(raw: bytes) -> Iterator[str]:
    """Yield the part of a secret that any base64 of a larger text with it must contain, for each place of it there."""
    for offset in range(3):
        inner = raw[-offset % 3 :]
        yield base64.b64encode(inner[: len(inner) // 3 * 3]).decode()


def _private_numbers(key: bytes) -> Iterator[bytes]:
    """Yield what is private in a key: OpenSSH's own format, PKCS#1, SEC 1, PKCS#8 (RFC 8017, 5915, 5958)."""
    if key.startswith(b"openssh-key-v1"):
        # Of an ed25519 key: the seed and the public key, together 64 bytes.
        yield key.partition(b"\0\0\0\x40")[2][:32]
        return
    ((_, content),) = _elements(key)
    fields = list(_elements(content))
    # RSA: version, modulus and public exponent are no secrets.
    yield from [value for tag, value in fields if tag == _INTEGER][3:]
    for value in [value for tag, value in fields if tag == _OCTETS]:
        if value[0] == _SEQUENCE:
            yield from _private_numbers(value)
        else:
            yield value[2:] if value[0] == _OCTETS and value[1] == len(value) - 2 else value


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element of a DER text."""
    while der:
        size, begins = der[1], 2
        if size > 127:
            begins += size - 128
            size = int.from_bytes(der[2:begins], "big")
        yield der[0], der[begins : begins + size]
        der = der[begins + size :]


def _spans(text: str, *, encoded: bool) -> Iterator[tuple[int, int]]:
    """Yield where something secret stands in a text without white space; `encoded` says, also in a further encoding."""
    lowered, end = text.lower(), 0
    if len(lowered) != len(text):
        # The lower case of some letters is longer, and places would no longer fit.
        lowered = "".join(low if len(low := one.lower()) == 1 else one for one in text)
    for at in range(len(text) - _PART + 1):
        found = _parts.get(lowered[at : at + _PART])
        if found is None or at + _PART <= end:
            continue
        (form, place), start, end = found, at, at + _PART
        while start and place - (at - start) and lowered[start - 1] == form[place - (at - start) - 1]:
            start -= 1
        while end < len(text) and form[place + end - at :][:1] == lowered[end]:
            end += 1
        if end - start >= min(_LEAST, len(form)):
            yield start, end
    for run in _HEX.finditer(text) if encoded else ():
        inner = bytes.fromhex(run[0][: len(run[0]) // 2 * 2]).decode("latin-1")
        yield from ((run.start() + 2 * first, run.start() + 2 * last) for first, last in _spans(inner, encoded=False))
    for run in _BASE64.finditer(text) if encoded else ():
        for begins in range(run.start(), run.start() + 4):
            length = (run.end() - begins) // 4 * 4
            inner = binascii.a2b_base64(text[begins : begins + length].translate(_URLSAFE)).decode("latin-1")
            for first, last in _spans(inner, encoded=False):
                yield begins + first * 4 // 3, min(begins + -(-last * 4 // 3), run.end())


def _merged(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
