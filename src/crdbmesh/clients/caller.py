"""The caller's own IPv4 address, as services on the internet see it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from crdbmesh.clients.cloud import Cloud, is_loopback
from crdbmesh.errors import CloudError


def find_address(cloud: Cloud, timeout_s: float = 10.0) -> str:
    """Return this computer's IPv4 address as the internet sees it.

    `address_url` and `address_fallbacks` are asked in turn, each for at most `timeout_s` real seconds.

    Raises:
        CloudError: none of them gave an address.
    """
    seen = []
    for url in (cloud.address_url, *cloud.address_fallbacks):
        try:
            answer = _fetch(url, str(cloud.ca_file) if cloud.ca_file else True, timeout_s)
        except (OSError, ValueError) as error:
            seen.append(f"{url}: {error}")
            continue
        try:
            return str(ipaddress.IPv4Address(answer.strip()))
        except ValueError:
            seen.append(f"{url}: answered {answer[:60]!r}, which is not an IPv4 address")
    raise CloudError(
        f"cannot find out your own address ({'; '.join(seen)})",
        hint="name the addresses that may reach the machines with --allow-from",
    )


def _fetch(url: str, trust: str | bool, timeout_s: float) -> str:
    import requests

    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise ValueError("is not an https URL")
    with requests.Session() as session:
        session.trust_env = not is_loopback(url)
        session.headers = requests.structures.CaseInsensitiveDict({"User-Agent": "crdbmesh", "Accept": "text/plain"})
        with session.get(url, timeout=timeout_s, verify=trust, stream=True) as response:
            response.raise_for_status()
            return next(response.iter_content(256), b"").decode("utf-8", "replace")
