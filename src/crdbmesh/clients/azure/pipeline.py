"""Changes of the SDK's HTTP pipeline: connections, retries, and the polling of operations.

Imports the Azure SDK and requests when it is imported, so `session` imports it late and in one thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from azure.core.pipeline.policies import CustomHookPolicy, RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.core.polling.arm_polling import ARMPolling
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError
from urllib3.util.retry import Retry

from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import failures
from crdbmesh.clients.clock import Clock
from crdbmesh.clients.waiting import jittered
from crdbmesh.errors import CloudError, StoppedError

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse

_TRACE = logging.getLogger("crdbmesh.trace")
_CONNECTIONS = 64
"""More than the threads of a run: requests drops, with a warning, what does not fit its pool (10 by default)."""
_CONNECT_TIMEOUT_S = 15
_READ_TIMEOUT_S = 90
_LONGEST_RETRY_AFTER_S = 60.0
_MOST_BYTES = 32 * 2**20


class Retries(RetryPolicy[Any, Any]):
    """The SDK's retries (429, 5xx, broken connections), which a server cannot make too long, nor outlive `stop`."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(
            retry_total=10,
            retry_connect=4,
            retry_read=4,
            retry_status=6,
            retry_backoff_factor=0.5,
            retry_backoff_max=20,
        )
        self._stop = stop

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        """Return the server's Retry-After in seconds, or None for the growing pauses of our own."""
        asked_s = failures.asked_pause_s(response.http_response.headers)
        return min(asked_s, _LONGEST_RETRY_AFTER_S) or None

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Return the pause before the next try, jittered: threads throttled together do not come back together."""
        return jittered(super().get_backoff_time(settings))

    def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:
        """Pause before the next try; raise StoppedError when the operator interrupted."""
        if response is not None:
            # Else the connection of an answer that nobody reads to its end is lost to the pool.
            response.http_response.close()
        super().sleep(settings, transport, response)
        if self._stop.is_set():
            seen = "no answer" if response is None else f"HTTP {response.http_response.status_code}"
            raise StoppedError("an answer from Azure", last_seen=seen)


def pacing(pace_s: float, hear: Callable[[str], None] = lambda _date: None) -> CustomHookPolicy[Any, Any]:
    """Return a policy that lets no server ask for a longer pause than `pace_s` between two looks at an operation.

    Compute's 35 s would be lost on a VM that is ready after one more second. A shorter pause is followed. `hear` takes
    each answer's `Date` header.
    """

    def pace(response: PipelineResponse[Any, Any]) -> None:
        answer = response.http_response
        hear(answer.headers.get("Date") or "")
        if answer.status_code < 300:
            asked_s = failures.asked_pause_s(answer.headers)
            allowed_s = asked_s if 0 < asked_s < pace_s else jittered(pace_s)
            # In milliseconds: the SDK takes Retry-After for a whole number.
            answer.headers.pop("Retry-After", None)
            answer.headers["retry-after-ms"] = str(round(allowed_s * 1000))

    return CustomHookPolicy(raw_response_hook=pace)


class Following(ARMPolling):
    """Follows one long-running operation to its end.

    `look` is told its status before each request for it; what that raises leaves the operation to go on without us.
    `endpoint` stands before status links without a host.
    """

    def __init__(self, endpoint: str, look: Callable[[str], None]) -> None:
        super().__init__(path_format_arguments={"endpoint": endpoint})
        self._look = look

    def update_status(self) -> None:
        """Ask how the operation is doing."""
        self._look(self.status())
        super().update_status()


class _Transport(RequestsTransport):  # type: ignore[misc]  # azure-core has no types for its transports
    """The SDK's transport, which sends the token to the cloud's own host only.

    Its pauses are those of the cloud's clock, and end when the operator interrupts.
    """

    def __init__(self, http: requests.Session, cloud: clouds.Cloud, stop: threading.Event) -> None:
        verify = str(cloud.ca_file) if cloud.ca_file else True
        timeouts = {"connection_timeout": _CONNECT_TIMEOUT_S, "read_timeout": _READ_TIMEOUT_S}
        super().__init__(session=http, session_owner=False, connection_verify=verify, **timeouts)
        self._host, self._clock, self._stop = urlsplit(cloud.arm_url).hostname or "", Clock(cloud.time_scale), stop

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; raise CloudError where a link of the server's would take the token to another host."""
        host = urlsplit(request.url).hostname or ""
        if "Authorization" in request.headers and host != self._host and not host.endswith(f".{self._host}"):
            raise CloudError(f"an answer of {self._host} leads to {host}, which is not sent your token")
        _TRACE.debug("%s %s", request.method, request.url)
        return super().send(request, **options)

    def sleep(self, duration: float) -> None:
        """Pause before a request is sent again, or an operation looked at again."""
        self._clock.wait(self._stop, duration)


class _Adapter(HTTPAdapter):
    """Sends requests as requests does, and reads no more than `_MOST_BYTES` of an answer."""

    def build_response(self, req: requests.PreparedRequest, resp: HTTPResponse) -> requests.Response:
        """Return the answer, whose body ends with an error where it is too large."""
        response = super().build_response(req, resp)
        whole = resp.stream

        def stream(*arguments: Any, **options: Any) -> Iterator[bytes]:
            left = _MOST_BYTES
            for chunk in whole(*arguments, **options):
                if (left := left - len(chunk)) < 0:
                    raise ProtocolError(f"an answer of more than {_MOST_BYTES // 2**20} MiB")
                yield chunk

        response.raw.stream = stream
        return response


class Connections:
    """The HTTP connections that all clients of a session share.

    requests takes proxies from the environment, for loopback addresses too; so for those it does not look there.
    A CA file given here wins over REQUESTS_CA_BUNDLE.
    """

    def __init__(self, cloud: clouds.Cloud, stop: threading.Event) -> None:
        self._cloud, self._stop = cloud, stop
        self._http = requests.Session()
        self._http.trust_env = not clouds.is_loopback(cloud.arm_url)
        # Else requests would put a login of ~/.netrc in the place of the token.
        self._http.auth = lambda request: request
        retry = Retry(total=False, redirect=False, raise_on_status=False)
        adapter = _Adapter(pool_maxsize=_CONNECTIONS, max_retries=retry)
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def transport(self) -> RequestsTransport:
        """Return a transport for one client."""
        return _Transport(self._http, self._cloud, self._stop)

    def close(self) -> None:
        """Close them."""
        self._http.close()
