"""CockroachDB's license key in the file that the spec names."""

import re
import stat
from pathlib import Path

from crdbmesh import redaction
from crdbmesh.errors import ConfigError

_KEY = re.compile(r"crl-0-[A-Za-z0-9+/=_-]+")
_MOST_BYTES = 64 * 1024
"""The size of a license file beyond which it is not read."""


def read_key(path: Path) -> str:
    """Return the key in a file; raise ConfigError, which quotes none of it, when it cannot be read or holds none."""
    try:
        text = _beginning(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
        raise ConfigError.of("license_file", str(path), reason, "correct license_file in the spec") from None
    if not _KEY.fullmatch(text):
        remedy = "save the whole key, which begins with crl-0-, in it: cockroachlabs.cloud, Organization, Licenses"
        raise ConfigError.of("license_file", str(path), "holds no license key of CockroachDB", remedy)
    redaction.learn(text, whole=True)
    return text


def _beginning(path: Path) -> str:
    """Return the text of a regular file, as far as it is read at most: of another kind it may never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "it is no regular file")
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode().strip()
