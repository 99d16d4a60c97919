"""Reads what is not Azure's management: public lists and addresses on the internet, and the demo's report.

Nothing of the operator's is sent along, not even what `.netrc` has for the host.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from crdbmesh import __version__
from crdbmesh.clients.cloud import is_loopback


def read(
    url: str, ca_file: Path | None, *, most_bytes: int, timeout_s: float, asked: Mapping[str, str], **headers: str
) -> bytes:
    """Return the first bytes of what an https URL answers; `asked` is its query. An OSError says why there is none."""
    import requests

    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise OSError("is not an https URL")
    content, trust = bytearray(), str(ca_file) if ca_file else True
    with requests.Session() as session:
        session.auth, session.trust_env = lambda request: request, not is_loopback(url)
        session.headers.update({"User-Agent": f"crdbmesh/{__version__}", **headers})
        with session.get(url, params=asked, timeout=timeout_s, verify=trust, stream=True) as response:
            response.raise_for_status()
            for chunk in response.iter_content(most_bytes):
                content += chunk
                if len(content) >= most_bytes:
                    break
    return bytes(content[:most_bytes])
