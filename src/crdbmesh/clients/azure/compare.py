"""Is what we want covered by what Azure has, and what must be sent so that it is? Both are REST bodies.

What Azure has may hold more: fields it filled in, other people's fields and objects, further address ranges. Where ARM
returns a value in another form than it was given (case of ids and enumerations, order of lists, numbers as texts, a
list of one as a plain value), the forms count as equal.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from crdbmesh.redaction import cut, cut_apart

_WRITE_ONLY = frozenset({"customdata", "adminpassword", "userdata"})
"""Azure takes these and never gives them back."""

_LEFT_OUT = ("osdisk.disksizegb", "manageddisk.storageaccounttype", "publicipaddress.properties.deleteoption")
"""Azure leaves these out at times: the disk's when its VM is deallocated, an address's own when a NIC quotes it."""

_ANY_CASE = re.compile(
    "access|caching|(create|delete)option|direction|name|offer|(private|public)ip(addressversion|allocationmethod)"
    "|protocol|publisher|sku|storageaccounttype|tier|type|vmsize"
)
"""Fields whose values ARM compares without regard to case."""

_TWINS = {
    "addressprefix": "addressprefixes",
    "sourceaddressprefix": "sourceaddressprefixes",
    "sourceportrange": "sourceportranges",
    "destinationaddressprefix": "destinationaddressprefixes",
    "destinationportrange": "destinationportranges",
}
_TWIN_OF = {**_TWINS, **{plural: single for single, plural in _TWINS.items()}}
"""Pairs of fields of which ARM may answer with the other: one value, or a list of one."""

_RANGES = frozenset({"addressprefix", "addressprefixes"})
"""Address ranges of VNets and subnets: others may add to them."""

_KEYS = ("name", "id", "path")
"""The field that tells the objects of a list apart."""

_ADDRESSES = re.compile(r"(?<=source|nation)addressprefix(es)?")
"""A rule has either addresses or application security groups."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_LONGEST = 60


def differences(desired: Mapping[str, Any], actual: Mapping[str, Any] | None) -> list[str]:
    """Return the paths at which `actual` lacks what `desired` asks for; empty when it lacks nothing.

    Each is a line such as `securityRules[ssh, node-ports].sourceAddressPrefixes: lacks 203.0.113.9/32`: `properties` is
    left out of paths, and objects of a list that differ alike are named together.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for line in (one.replace("properties.", "") for one in _in_object("", desired, actual or {})):
        head, _, rest = line.partition("[")
        label, bracket, tail = rest.partition("]")
        alike.setdefault((head, bracket + tail) if bracket else (line, ""), []).append(label)
    return [f"{head}[{', '.join(labels)}{tail}" if tail else head for (head, tail), labels in alike.items()]


def merge(found: Any, wanted: Any, key: str = "") -> Any:
    """Return `found` with `wanted` laid over it: what `wanted` does not name stays as it is.

    Objects are merged member by member, lists of objects by the members' names, address ranges as sets; anything else
    that differs is replaced. Read-only members stay in the result: Azure ignores them but for the `etag`.
    """
    if isinstance(wanted, Mapping):
        return _merged_object(found if isinstance(found, Mapping) else {}, wanted, is_tags=key == "tags")
    if isinstance(wanted, list | tuple):
        present = list(found) if isinstance(found, list | tuple) else []
        if any(isinstance(one, Mapping) for one in wanted):
            return _merged_list(present, wanted)
        if not any(_in_list("", key, list(wanted), present)):
            return present
        kept = [one for one in present if one not in wanted] if key in _RANGES else []
        return [*wanted, *kept]
    return wanted if found is None or _plain(key, wanted) != _plain(key, found) else found


def _merged_object(found: Mapping[str, Any], wanted: Mapping[str, Any], *, is_tags: bool) -> dict[str, Any]:
    merged, spelled = dict(found), {key.lower(): key for key in found}
    for key, value in wanted.items():
        lowered = key.lower()
        at = spelled.get(lowered, key)
        if lowered in _TWIN_OF and not is_tags:
            twin = spelled.get(_TWIN_OF[lowered], "")
            has_twin = found.get(twin) and not found.get(at)
            if has_twin and not any(_in_list("", lowered, _listed(value), _listed(found[twin]))):
                continue
            for instead in (twin, spelled.get(_ADDRESSES.sub("applicationsecuritygroups", lowered), "")):
                merged.pop(instead, None)
        merged[at] = merge(found.get(at), value, "" if is_tags else lowered)
    return merged


def _in_object(path: str, desired: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[str]:
    by_key = {key.lower(): value for key, value in actual.items()}
    for key, wanted in desired.items():
        at = f"{path}.{key}" if path else key
        lowered = key.lower()
        found = actual.get(key, by_key.get(lowered))
        if path == "tags":
            # Whoever tags chooses the keys: none of them means a field of ARM's.
            yield from _in_value(at, "", wanted, found)
            continue
        if lowered in _WRITE_ONLY:
            continue
        if not found and _TWIN_OF.get(lowered) in by_key:
            wanted, found = _listed(wanted), _listed(by_key[_TWIN_OF[lowered]])
        yield from _in_value(at, lowered, wanted, found)


def _in_value(path: str, key: str, wanted: Any, found: Any) -> Iterator[str]:
    if wanted is None or (found is None and path.lower().endswith(_LEFT_OUT)):
        return
    if isinstance(wanted, Mapping) and (isinstance(found, Mapping) or found is None):
        inside = _in_object(path, wanted, found or {})
        if found is not None:
            yield from inside
        elif any(inside):
            yield f"{path}: wanted, nothing found"
    elif isinstance(wanted, list | tuple) and (isinstance(found, list | tuple) or found is None):
        yield from _in_list(path, key, list(wanted), list(found or ()))
    elif _plain(key, wanted) != _plain(key, found):
        ours, theirs = cut_apart(_text(wanted), _text(found), _LONGEST)
        yield f"{path}: {ours} wanted, {theirs} found"


def _in_list(path: str, key: str, wanted: list[Any], found: list[Any]) -> Iterator[str]:
    if not any(isinstance(one, Mapping) for one in wanted):
        ours, theirs = {_plain(key, one) for one in wanted}, {_plain(key, one) for one in found}
        lacking = [one for one in wanted if _plain(key, one) not in theirs]
        surplus = [] if key in _RANGES else [one for one in found if _plain(key, one) not in ours]
        parts = [
            f"{verb} {cut(_text(some), _LONGEST)}" for verb, some in (("lacks", lacking), ("has", surplus)) if some
        ]
        if parts:
            yield f"{path}: {', '.join(parts)}"
        return
    for index, one in enumerate(wanted):
        if not isinstance(one, Mapping):
            yield f"{path}[{index}]: {cut(_text(one), _LONGEST)} wanted among objects"
            continue
        label, same = _like(one)
        at = f"{path}[{label or index}]"
        matching = [other for other in found if isinstance(other, Mapping) and same(other)]
        if not matching:
            yield f"{at}: wanted, nothing found"
            continue
        # The nearest of those that match: without a name to go by, that is the one with the fewest differences.
        yield from min((list(_in_object(at, one, other)) for other in matching), key=len)


def _merged_list(found: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    merged = list(found)
    for one in wanted:
        _, same = _like(one)
        at = next((at for at, other in enumerate(merged) if isinstance(other, Mapping) and same(other)), len(merged))
        merged[at : at + 1] = [merge(merged[at] if at < len(merged) else None, one)]
    return merged


def _like(one: Mapping[str, Any]) -> tuple[str, Callable[[Mapping[str, Any]], bool]]:
    for key in _KEYS:
        if (value := one.get(key)) is not None:
            wanted = _plain("id", value)
            label = str(value).rpartition("/")[2]
            return label, lambda other, key=key, wanted=wanted: _plain("id", other.get(key)) == wanted
    return "", lambda _other: True


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain(key: str, value: Any) -> Any:
    """A form of `value` in which equal things are equal."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return repr(value)
    text = value.strip()
    if key == "location":
        return text.lower().replace(" ", "")
    if key == "id" or text.lower().startswith("/subscriptions/"):
        return text.lower().rstrip("/")
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return text.lower() if _ANY_CASE.fullmatch(key) else text


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value) or "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return "an object" if isinstance(value, Mapping) else str(value)
