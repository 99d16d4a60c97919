"""License keys: `crl-0-` and a protobuf in base64 (`pkg/ccl/utilccl/licenseccl/license.go` and `license.proto`)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from crdbmesh_simulator.workloads.cockroachdb.sql import SqlError

_PREFIX = "crl-0-"
_VALID_UNTIL = 2
_VARINT, _BYTES = 0, 2


def ends_at(key: str) -> int | None:
    """Return when a license ends, in seconds since 1970; None for no key. Raises SqlError: it is no license."""
    if not key:
        return None
    refused = SqlError("invalid license string", "22023")
    if not key.startswith(_PREFIX):
        raise refused
    encoded = key.removeprefix(_PREFIX)
    try:
        data = iter(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
        fields: dict[int, int] = {}
        for tag in data:
            value = _varint(data)
            if tag & 7 == _BYTES:
                for _ in range(value):
                    next(data)
            elif tag & 7 == _VARINT:
                fields[tag >> 3] = value
            else:
                raise refused
    except (binascii.Error, StopIteration):
        raise refused from None
    return fields.get(_VALID_UNTIL, 0)


def _varint(data: Iterator[int]) -> int:
    value = shift = 0
    while True:
        byte = next(data)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
