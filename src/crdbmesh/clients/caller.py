"""The caller's own IPv4 address, as services on the internet see it."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from crdbmesh.clients.cloud import Cloud, is_loopback
from crdbmesh.errors import CloudError


@dataclass(frozen=True, slots=True)
class Own:
    """This computer's IPv4 address as the internet sees it.

    Attributes:
        sure: True when two services agree on it.
        told: the answer of each service that was asked.
    """

    address: str
    sure: bool
    told: str


def find_address(cloud: Cloud, timeout_s: float = 10.0) -> Own:
    """Ask the cloud's `address_urls`, each for `timeout_s` real seconds at most, until two agree; none is an error."""
    told, seen = [], []
    for url in cloud.address_urls:
        try:
            answer = _fetch(url, str(cloud.ca_file) if cloud.ca_file else True, timeout_s).strip()
        except (OSError, ValueError) as error:
            told.append(f"{url}: {error}")
            continue
        told.append(f"{url}: answered {answer[:60]!r}")
        try:
            seen.append(str(ipaddress.IPv4Address(answer)))
        except ValueError:
            told[-1] += ", which is not an IPv4 address"
        if len(seen) > len(set(seen)):
            break
    if not seen:
        reason = f"cannot find out your own address ({'; '.join(told) or 'no service may be asked for it'})"
        raise CloudError(reason, hint="name the addresses that may reach the machines with --allow-from")
    return Own(max(seen, key=seen.count), len(seen) > len(set(seen)), "; ".join(told))


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
