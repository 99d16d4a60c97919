"""Address prefixes, read as Microsoft.Network reads them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from crdbmesh_simulator.azure.errors import refusal

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

_NEVER = [
    ipaddress.ip_network(text)
    for text in ("224.0.0.0/4", "255.255.255.255/32", "127.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32")
]


def read(text: str, resource_id: str) -> Prefix:
    """The prefix. Raises ArmError: 400, it is none, or has bits set beyond its length."""
    try:
        prefix = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise refusal("InvalidAddressPrefixFormat", text=text, resource_id=resource_id) from None
    if "/" not in text or prefix != _strict(text):
        raise refusal("InvalidCIDRNotation", text=text, resource_id=resource_id, prefix=prefix)
    return prefix


def require_allowed(spaces: Iterable[Prefix], vnet_id: str) -> None:
    """Refuse ranges that a VNet cannot have (Microsoft's virtual network FAQ). Raises ArmError: 400."""
    for prefix in spaces:
        if common([prefix], _NEVER):
            raise refusal("NetcfgInvalidIPAddressPrefix", prefix=prefix, vnet_id=vnet_id, never=listed(_NEVER))


def contains(outer: Iterable[Prefix], inner: Prefix) -> bool:
    """Whether one of `outer` holds all of `inner`."""
    return any(_within(inner, prefix) for prefix in outer)


def common(first: Iterable[Prefix], second: Iterable[Prefix]) -> list[Prefix]:
    """Where two address spaces overlap."""
    others = list(second)
    shared: list[Prefix] = []
    for one in first:
        for other in others:
            if _within(one, other):
                shared.append(one)
            elif _within(other, one):
                shared.append(other)
    return shared


def listed(prefixes: Iterable[Prefix]) -> str:
    """As error messages list them."""
    return ", ".join(str(prefix) for prefix in prefixes)


def _within(inner: Prefix, outer: Prefix) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _strict(text: str) -> Prefix | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
