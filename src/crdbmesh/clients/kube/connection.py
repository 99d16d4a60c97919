"""HTTPS to one Kubernetes API server, by the official client's `ApiClient`: requests, retries and streams.

What may be asked again is from Kubernetes' API conventions and client-go (rest/request.go).
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import tenacity
import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration

import crdbmesh
from crdbmesh.clients.clock import Clock
from crdbmesh.clients.kube import failures
from crdbmesh.clients.kube.endpoint import Endpoint, limited
from crdbmesh.clients.kube.failures import Answer
from crdbmesh.clients.retrying import retrying
from crdbmesh.desired import Object
from crdbmesh.errors import KubeError
from crdbmesh.spec.documents import MOST_BYTES

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0

TRANSIENT = frozenset({429, 500, 502, 503, 504})
_ATTEMPTS = 5
_CHUNK = 64 * 1024
_LEAST_OF_PAGE = 16 * 1024
"""The bytes that a page counts for at least, so that small ones without an end come to an end too."""
"""The bytes read at once: Python makes room for all that is asked for, which the server says."""

_TRACE = logging.getLogger("crdbmesh.trace")

Query = Mapping[str, str | int]

_backoff = tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0, 0.1)


class Connection:
    """Requests to one API server; safe to share between threads.

    Once `stop` is set, nothing is asked again; `name` stands for the cluster in messages.
    """

    def __init__(self, endpoint: Endpoint, *, name: str, stop: threading.Event, clock: Clock) -> None:
        self.endpoint = endpoint
        self.name = name
        self.stop = stop
        self.clock = clock
        configuration = Configuration(
            host=endpoint.server,
            tls_server_name=endpoint.server_name,
            proxy=endpoint.proxy or "",
            no_proxy="",
            proxy_headers=_proxy_headers(endpoint),
            retries=False,
            connection_pool_maxsize=32,
        )
        self._api = ApiClient(configuration)
        self._api.user_agent = f"crdbmesh/{crdbmesh.__version__}"
        self._api.rest_client.pool_manager.connection_pool_kw["ssl_context"] = endpoint.tls

    def close(self) -> None:
        """Close idle connections; the next request opens new ones."""
        manager: urllib3.PoolManager = self._api.rest_client.pool_manager
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
        content_type: str = "application/json",
        accept: str = "application/json",
        attempts: int = _ATTEMPTS,
        retry_statuses: frozenset[int] = TRANSIENT,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Answer:
        """Send a request that may be sent twice, again while the server is unable; raise NoAnswerError at last."""

        def once() -> Answer:
            with self._translated(f"{method} {path}"), limited(timeout_s):
                response = self._send(method, path, query or {}, body, content_type, accept, timeout_s)
                return Answer(response.status, response.headers, b"".join(response.stream(_CHUNK)))

        again = retrying(
            when=tenacity.retry_if_exception_type(failures.NoAnswerError)
            | tenacity.retry_if_result(lambda answer: answer.status in retry_statuses),
            attempts=attempts,
            pause_s=_pause_s,
            stop=self.stop,
            clock=self.clock,
        )
        answer: Answer = again(once)
        return answer

    def list(
        self,
        path: str,
        query: Query,
        doing: str,
        *,
        secret: bool = False,
        attempts: int = _ATTEMPTS,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> tuple[list[Object], str] | None:
        """Return the objects of a collection, page by page, and its version; None when the API has no such path.

        A refusal, no answer, a list without an end and a page that expired (status 410) are KubeErrors.
        """
        found: list[Object] = []
        token: dict[str, str] = {}
        left = MOST_BYTES
        while left > 0:
            asked = {**query, **token}
            answer = self.request("GET", path, query=asked, attempts=attempts, timeout_s=timeout_s)
            if answer.status == 404:
                return None
            left -= max(len(answer.body), _LEAST_OF_PAGE)
            document = answer.checked(doing, secret=secret)
            kind = str(document.get("kind", "")).removesuffix("List")
            header = {"apiVersion": document.get("apiVersion"), "kind": kind}
            found += [{**header, **item} for item in document.get("items") or []]
            metadata = document.get("metadata") or {}
            if not metadata.get("continue"):
                return found, metadata.get("resourceVersion") or "0"
            token = {"continue": metadata["continue"]}
        raise KubeError(f"{doing}: the list is more than {MOST_BYTES // 2**20} MiB, or has no end")

    @contextlib.contextmanager
    def stream(
        self, path: str, *, query: Query, timeout_s: float, accept: str = "application/json"
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Send a GET whose answer is read while it comes; gives its status, and an iterator over its lines.

        `timeout_s` is the longest silence, and the longest that all of it may take; what breaks off is a NoAnswerError.
        """
        with self._translated(f"GET {path}"), limited(timeout_s):
            response = self._send("GET", path, query, None, "", accept, timeout_s)
            try:
                yield response.status, _lines(response)
            finally:
                response.close()

    def _send(
        self, method: str, path: str, query: Query, body: Any, content_type: str, accept: str, timeout_s: float
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        request = self._api.param_serialize(
            method, path, query_params=[*query.items()], header_params=headers, body=body
        )
        _TRACE.debug("%s: %s %s", self.name, *request[:2])
        answer = self._api.call_api(*request, _request_timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s))
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            if not isinstance(error.__context__, urllib3.exceptions.SSLError):
                raise
            raise failures.no_answer(self.name, doing, error.__context__) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise failures.no_answer(self.name, doing, error) from None


def _proxy_headers(endpoint: Endpoint) -> dict[str, str] | None:
    user, password = endpoint.proxy_login()
    return dict(urllib3.util.make_headers(proxy_basic_auth=f"{user}:{password}")) if user else None


def _pause_s(state: tenacity.RetryCallState) -> float:
    asked = None
    if state.outcome is not None and not state.outcome.failed:
        asked = state.outcome.result().headers.get("Retry-After")
    return max(_backoff(state), float(asked) if asked and asked.isdigit() else 0.0)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    chunks = response.stream(_CHUNK) if getattr(response, "chunked", False) else iter(response.read1, b"")
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > MOST_BYTES:
            raise urllib3.exceptions.HTTPError(f"a line is more than {MOST_BYTES // 2**20} MiB")
    if rest.strip():
        yield rest
