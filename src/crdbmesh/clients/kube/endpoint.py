"""A Kubernetes API server's address, trust and credentials, from a kubeconfig and the environment's proxies.

The private key is never written to a disk: the package `kubernetes` would keep it in a temporary file for as long as
its client lives, so the TLS context is made here. Proxies are chosen as `requests` chooses them, which the Azure SDK
sends by, so that one `NO_PROXY` means the same for both.

Whoever controls a machine is its server, and may send without end. The timeouts of urllib3 and websocket-client are for
one silence, and a byte now and then outlasts them all, so the socket itself limits what is read.
"""

import base64
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests.utils

from crdbmesh.clients.cloud import is_loopback
from crdbmesh.errors import ConfigError
from crdbmesh.local import kubeconfig
from crdbmesh.spec.documents import MOST_BYTES

_PATIENCE_S = 2.0
"""The time beyond a deadline at which a connection that still sends is broken off."""
_now = threading.local()


class _LimitedSocket(ssl.SSLSocket):
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API server, and what it takes to be let in.

    Attributes:
        server: its URL, https.
        tls: trusts its CA and shows our client certificate.
        server_name: the name its certificate must carry, when that is not the URL's host.
        proxy: the URL of the HTTP proxy on the way, with its login; None when there is none.
    """

    server: str
    tls: ssl.SSLContext
    server_name: str | None
    proxy: str | None = field(repr=False)

    def proxy_login(self) -> tuple[str, str]:
        """Return the proxy's user and password, both empty when it asks for none."""
        user, password = requests.utils.get_auth_from_url(self.proxy or "")
        return user, password


def read(config: Mapping[str, Any]) -> Endpoint:
    """Return what the current context of a kubeconfig with inline data says; raise ConfigError for one without."""
    chosen = kubeconfig.current(config)
    cluster, user = chosen["cluster"], chosen["user"]
    server = str(cluster.get("server", "")).rstrip("/")
    if urlsplit(server).scheme != "https":
        raise _wrong("server", server, "is not an https URL")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.sslsocket_class = _LimitedSocket
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.set_alpn_protocols(["http/1.1"])
    try:
        tls.load_verify_locations(cadata=_inline(cluster, "certificate-authority-data"))
    except ssl.SSLError:
        raise _wrong("certificate-authority-data", "…", "is not a PEM certificate") from None
    _load_pair(tls, _inline(user, "client-certificate-data"), _inline(user, "client-key-data"))
    return Endpoint(server, tls, cluster.get("tls-server-name"), find_proxy(server))


@contextlib.contextmanager
def limited(timeout_s: float) -> Iterator[None]:
    """Let this thread read for little longer than `timeout_s` real seconds, and not too much."""
    before = getattr(_now, "limit", None)
    _now.limit = (time.monotonic() + timeout_s + _PATIENCE_S, MOST_BYTES)
    try:
        yield
    finally:
        _now.limit = before


def find_proxy(server: str) -> str | None:
    """Return the environment's proxy for a URL, or None, as for this machine; raise ConfigError for no HTTP proxy."""
    if is_loopback(server):
        return None
    found = requests.utils.select_proxy(server, requests.utils.get_environ_proxies(server))
    if not found:
        return None
    proxy = str(requests.utils.prepend_scheme_if_needed(found, "http"))
    scheme = urlsplit(proxy).scheme.lower()
    if scheme not in ("http", "https"):
        # Its login may be in the rest of it.
        reason = "is no HTTP proxy, and the Kubernetes API is reached through one only"
        raise ConfigError.of("HTTPS_PROXY", f"{scheme}://…", reason, "name an HTTP proxy, or unset it")
    return proxy


def _inline(entry: Mapping[str, Any], name: str) -> str:
    encoded = entry.get(name)
    if not encoded:
        raise _wrong(name, "", "is missing; only inline data is supported")
    try:
        return base64.b64decode(str(encoded), validate=True).decode("ascii")
    except ValueError:
        raise _wrong(name, "…", "is not base64 of PEM text") from None


def _load_pair(tls: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a key pair by two pipes: Python's ssl module reads keys from files only."""
    try:
        with _piped(certificate) as certificate_path, _piped(key) as key_path:
            tls.load_cert_chain(certificate_path, key_path, password="")
    except ssl.SSLError:
        raise _wrong("client-key-data", "…", "is not the key of client-certificate-data") from None


@contextlib.contextmanager
def _piped(text: str) -> Iterator[str]:
    """Give a path from which `text` can be read once."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0) as file:
        # All of it at once, before anyone reads: what a pipe holds is enough for keys and certificate chains.
        os.set_blocking(writing, False)
        if file.write(text.encode()) != len(text.encode()):
            raise _wrong("client-key-data", "…", "is longer than any key or certificate")
        file.close()
        yield f"/dev/fd/{reading}"


def _wrong(field_name: str, value: str, reason: str) -> ConfigError:
    return ConfigError.of(f"kubeconfig {field_name}", value, reason, "fetch the kubeconfig again")
