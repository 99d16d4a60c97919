"""HTTPS to one Kubernetes API server: trust, credentials, retries, and errors without secrets.

The official client's `ApiClient` sends the requests, over a connection pool with a TLS context made here: the client's
own way leaves the private key in temporary files for as long as it lives. What may be retried, and the Status object
that carries an error, are from Kubernetes' API conventions and client-go (rest/request.go).
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import os
import random
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration

import crdbmesh
from crdbmesh.clients.clock import REAL, Clock
from crdbmesh.errors import ConfigError, Finding, KubeError
from crdbmesh.local import kubeconfig

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
APPLY_PATCH = "application/apply-patch+yaml"

TRANSIENT = frozenset({429, 500, 502, 503, 504})
_ATTEMPTS = 5
_ATTEMPTS_AT_500 = 3
"""Fewer: it may also mean that the server will never accept what was sent."""
_RETRY_BUDGET_S = 20.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_MESSAGE_CHARACTERS = 600

Query = Mapping[str, str | int | list[str]]


class NoAnswerError(KubeError):
    """There was no HTTP answer: refused, timed out, broken off."""


class UntrustedError(KubeError):
    """The server's certificate is not one that the kubeconfig's CA vouches for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300

    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        with contextlib.suppress(ValueError):
            document = json.loads(self.body)
            if isinstance(document, dict):
                return document
        return {}


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server and be let in."""

    server: str
    tls: ssl.SSLContext
    server_name: str | None
    headers: Mapping[str, str] = field(repr=False)
    proxy: str | None


def access(config: Mapping[str, Any], environ: Mapping[str, str]) -> Access:
    """What the current context of a kubeconfig says, with inline data only.

    Raises:
        ConfigError: something is missing, or of a kind that is not supported.
    """
    chosen = kubeconfig.current(config)
    cluster, user = chosen["cluster"], chosen["user"]
    server = str(cluster.get("server", "")).rstrip("/")
    if urlsplit(server).scheme != "https":
        raise _wrong("server", server, "is not an https URL")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.set_alpn_protocols(["http/1.1"])
    try:
        tls.load_verify_locations(cadata=_inline(cluster, "certificate-authority-data"))
    except ssl.SSLError:
        raise _wrong("certificate-authority-data", "…", "is not a PEM certificate") from None
    headers = {}
    if user.get("token"):
        headers["Authorization"] = f"Bearer {user['token']}"
    elif user.get("client-certificate-data"):
        _load_pair(tls, _inline(user, "client-certificate-data"), _inline(user, "client-key-data"))
    else:
        raise _wrong("user", "…", "has neither a token nor client-certificate-data")
    return Access(server, tls, cluster.get("tls-server-name"), headers, proxy_for(server, environ))


def proxy_for(server: str, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for a URL; never one for this machine itself.

    Raises:
        ConfigError: it is no HTTP proxy.
    """
    host = urlsplit(server).hostname or ""
    proxy = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not proxy or _is_local(host) or any(_matches(host, exception) for exception in exceptions.split(",")):
        return None
    scheme, found, _ = proxy.partition("://")
    if not found:
        return f"http://{proxy}"
    if scheme.lower() not in ("http", "https"):
        # Its login may be in the rest of it.
        reason = "is no HTTP proxy, and the Kubernetes API is reached through one only"
        raise ConfigError([Finding("HTTPS_PROXY", f"{scheme}://…", reason, "name an HTTP proxy, or unset it")])
    return proxy


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _matches(host: str, exception: str) -> bool:
    """Whether an entry of `no_proxy` (a domain, an address, a range, `*`) means a host."""
    exception = exception.strip().lower().removeprefix("*.").lstrip(".")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception, strict=False)
    return bool(exception) and (exception in ("*", host) or host.endswith(f".{exception}"))


class Http:
    """Requests to one API server; safe to share between threads.

    Args:
        access: how to reach it.
        name: what to call the cluster in messages.
        clock: the cloud's.
    """

    def __init__(self, access: Access, *, name: str, clock: Clock = REAL) -> None:
        self.clock = clock
        self.access = access
        self.name = name
        configuration = Configuration(host=access.server)
        self._client = ApiClient(configuration)
        self._client.rest_client.pool_manager = _pool(access)
        self._headers = {
            "Accept": "application/json",
            "User-Agent": f"crdbmesh/{crdbmesh.__version__}",
            **access.headers,
        }

    def close(self) -> None:
        """Close idle connections."""
        manager: urllib3.PoolManager = self._client.rest_client.pool_manager
        pools = [manager.pools.get(key) for key in manager.pools.keys()]  # noqa: SIM118 - it is no mapping to iterate
        manager.clear()
        for pool in pools:
            if pool is not None:
                pool.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str | None = None,
        accept: str | None = None,
        attempts: int = _ATTEMPTS,
        retry_statuses: frozenset[int] = TRANSIENT,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Answer:
        """Send a request that may safely be sent twice, and again while the server is briefly unable to answer.

        Raises:
            NoAnswerError: there was no answer, also not to the last attempt.
            UntrustedError: the server's certificate is not trusted.
        """
        give_up_at = self.clock.after(_RETRY_BUDGET_S)
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                answer = self._once(method, path, query, body, content_type, accept, timeout_s)
            except NoAnswerError:
                pause_s = _pause_s(attempt, None)
                if last or self.clock.now() + pause_s > give_up_at:
                    raise
            else:
                pause_s = _pause_s(attempt, answer.headers.get("Retry-After"))
                last = last or (answer.status == 500 and attempt >= _ATTEMPTS_AT_500)
                if answer.status not in retry_statuses or last or self.clock.now() + pause_s > give_up_at:
                    return answer
            self.clock.sleep(pause_s)
        raise AssertionError("the loop ends by returning or raising")

    @contextlib.contextmanager
    def stream(self, path: str, *, query: Query, timeout_s: float) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A GET whose answer is read while it comes: its status, and an iterator over its lines.

        Args:
            path: absolute.
            query: parameters.
            timeout_s: the longest silence.

        Raises:
            NoAnswerError: there was no answer, or it broke off.
        """
        with self._translated("watch"):
            response = self._send("GET", path, query, None, None, None, timeout_s)
            try:
                yield response.status, _lines(response)
            finally:
                response.close()

    def checked(self, answer: Answer, doing: str, *, secret: bool = False) -> dict[str, Any]:
        """The object in a successful answer.

        Raises:
            KubeError: it was none; see `error`.
        """
        if not answer.ok:
            raise self.error(doing, answer, secret=secret)
        document = answer.document()
        if not document:
            raise KubeError(f"{self.name}: {doing}: the answer is not a JSON object", status=answer.status)
        return document

    def error(self, doing: str, answer: Answer, *, secret: bool = False) -> KubeError:
        """What an answer other than a success means.

        Args:
            doing: what was asked, `apply apps/v1 Deployment eastus/web`.
            answer: the answer.
            secret: the server's own words may quote what was sent, and that must not be shown.
        """
        status = answer.document()
        if status.get("kind") != "Status":
            text = "" if secret else _trimmed(answer.body.decode("utf-8", errors="replace"))
            return KubeError(f"{self.name}: {doing}: HTTP {answer.status} {text}".strip(), status=answer.status)
        reason = str(status.get("reason") or "")
        causes = (status.get("details") or {}).get("causes") or []
        conflicts = [cause for cause in causes if cause.get("reason") == "FieldManagerConflict"]
        if conflicts:
            return KubeError(
                f"{self.name}: {doing}: conflict: {_conflict_text(conflicts)}",
                status=answer.status,
                reason=reason,
                hint="Undo the other change, or give the field up",
            )
        if secret:
            fields = ", ".join(str(cause["field"]) for cause in causes if cause.get("field"))
            text = f"{reason or answer.status} {f'({fields})' if fields else ''}".strip()
        else:
            text = _trimmed(str(status.get("message") or reason or answer.status))
        return KubeError(f"{self.name}: {doing}: {text}", status=answer.status, reason=reason)

    def _once(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        content_type: str | None,
        accept: str | None,
        timeout_s: float,
    ) -> Answer:
        with self._translated(f"{method} {path}"):
            response = self._send(method, path, query, body, content_type, accept, timeout_s)
            try:
                return Answer(response.status, response.headers, response.data)
            finally:
                response.release_conn()

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        content_type: str | None,
        accept: str | None,
        timeout_s: float,
    ) -> urllib3.BaseHTTPResponse:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        if accept:
            headers["Accept"] = accept
        url = f"{self.access.server}{path}"
        if query:
            url += f"?{urlencode(query, doseq=True)}"
        timeout = (CONNECT_TIMEOUT_S, timeout_s)
        try:
            answer = self._client.call_api(method, url, header_params=headers, body=body, _request_timeout=timeout)
        except ApiException as error:
            if isinstance(error.__context__, urllib3.exceptions.SSLError):
                raise error.__context__ from None
            raise
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.SSLError as error:
            cause = error.args[0] if error.args else None
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise UntrustedError(
                    f"{self.name}: the API server's certificate is not trusted: {cause.verify_message}"
                ) from None
            raise NoAnswerError(f"{self.name}: {doing}: {_words(error)}").as_retryable() from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NoAnswerError(f"{self.name}: {doing}: {_words(error)}").as_retryable() from None


def is_race(answer: Answer) -> bool:
    """Whether an apply lost a race against another writer, so that the same apply may now succeed."""
    if answer.status != 409:
        return False
    causes = (answer.document().get("details") or {}).get("causes") or []
    return not any(cause.get("reason") == "FieldManagerConflict" for cause in causes)


def _pool(access: Access) -> urllib3.PoolManager:
    options: dict[str, Any] = {"ssl_context": access.tls, "retries": False, "maxsize": 32}
    if access.server_name:
        options |= {"server_hostname": access.server_name, "assert_hostname": access.server_name}
    if access.proxy:
        parts = urlsplit(access.proxy)
        if parts.username:
            basic = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            options["proxy_headers"] = urllib3.util.make_headers(proxy_basic_auth=basic)
        return urllib3.ProxyManager(access.proxy, **options)
    return urllib3.PoolManager(**options)


def _inline(entry: Mapping[str, Any], name: str) -> str:
    encoded = entry.get(name)
    if not encoded:
        raise _wrong(name, "", "is missing; only inline data is supported")
    try:
        return base64.b64decode(str(encoded), validate=True).decode("ascii")
    except ValueError:
        raise _wrong(name, "…", "is not base64 of PEM text") from None


def _load_pair(tls: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python's ssl module reads keys from files only: from two pipes, so that they are never on a disk."""
    try:
        with _piped(certificate) as certificate_path, _piped(key) as key_path:
            tls.load_cert_chain(certificate_path, key_path, password="")
    except ssl.SSLError:
        raise _wrong("client-key-data", "…", "is not the key of client-certificate-data") from None


@contextlib.contextmanager
def _piped(text: str) -> Iterator[str]:
    """A path from which `text` can be read once."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0) as file:
        # All of it at once, before anyone reads: what a pipe holds is enough for keys and certificate chains.
        os.set_blocking(writing, False)
        if file.write(text.encode()) != len(text.encode()):
            raise _wrong("client-key-data", "…", "is longer than any key or certificate")
        file.close()
        yield f"/dev/fd/{reading}"


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    chunks = response.stream(None) if getattr(response, "chunked", False) else iter(response.read1, b"")
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def _pause_s(attempt: int, retry_after: str | None) -> float:
    pause_s: float = min(_FIRST_PAUSE_S * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S)
    if retry_after and retry_after.isdigit():
        pause_s = max(pause_s, float(retry_after))
    return pause_s * random.uniform(1, 1.3)  # noqa: S311 - spreads load, guards nothing


def _conflict_text(causes: list[dict[str, Any]]) -> str:
    by_manager: dict[str, list[str]] = {}
    for cause in causes:
        message = str(cause.get("message") or "")
        manager = message.removeprefix("conflict with ").split(" using ")[0].strip('"') or "another manager"
        by_manager.setdefault(manager, []).append(str(cause.get("field") or "?"))
    return "; ".join(f"{manager} owns {', '.join(fields)}" for manager, fields in by_manager.items())


def _words(error: BaseException) -> str:
    match error:
        case urllib3.exceptions.NewConnectionError():
            return re.sub(r"^\[Errno -?\d+\] ", "", str(error).rsplit(": ", 1)[-1]).lower()
        case urllib3.exceptions.TimeoutError() | TimeoutError():
            return "timed out"
        case _:
            return str(error) or type(error).__name__


def _trimmed(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}…"


def _wrong(field_name: str, value: str, reason: str) -> ConfigError:
    return ConfigError([Finding(f"kubeconfig {field_name}", value, reason, "fetch the kubeconfig again")])
