"""The caller's own IPv4 address, as services on the internet see it."""

import ipaddress
from dataclasses import dataclass

from crdbmesh.clients import web
from crdbmesh.clients.cloud import Cloud
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
            content = web.read(url, cloud.ca_file, most_bytes=256, timeout_s=timeout_s, asked={}, Accept="text/plain")
        except (OSError, ValueError) as error:
            told.append(f"{url}: {error}")
            continue
        answer = content.decode("utf-8", "replace").strip()
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
