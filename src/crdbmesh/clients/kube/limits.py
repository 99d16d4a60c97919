"""Limits of what an API server may send: whoever controls a machine is its server, and may send without end.

The timeouts of urllib3 and websocket-client are for one silence: a byte now and then outlasts them all.
"""

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

from crdbmesh.spec.documents import MOST_BYTES

_PATIENCE_S = 2.0
"""The time beyond a deadline at which a connection that still sends is broken off."""
_now = threading.local()


class LimitedSocket(ssl.SSLSocket):
    """A TLS connection from which a thread reads within the limits of its `limited` block."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - it is SSLSocket's own
        """Return what came, as SSLSocket does; raise OSError when the block has taken too long or read too much."""
        if (limit := getattr(_now, "limit", None)) is None:
            return super().read(len, buffer)
        ends, left = limit
        if time.monotonic() > ends:
            raise OSError("it still sends after its time")
        found: Any = super().read(len, buffer)
        left -= found if isinstance(found, int) else memoryview(found).nbytes
        if left < 0:
            raise OSError(f"it sends more than {MOST_BYTES // 2**20} MiB")
        _now.limit = (ends, left)
        return found


@contextlib.contextmanager
def limited(timeout_s: float) -> Iterator[None]:
    """Let this thread read for little longer than `timeout_s` real seconds, and not too much."""
    before = getattr(_now, "limit", None)
    _now.limit = (time.monotonic() + timeout_s + _PATIENCE_S, MOST_BYTES)
    try:
        yield
    finally:
        _now.limit = before
