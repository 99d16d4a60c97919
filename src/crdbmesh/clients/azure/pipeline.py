"""Changes of the SDK's HTTP pipeline: connections, retries, and the polling of operations.

Imports the Azure SDK and requests when it is imported, so `session` imports it late and in one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import requests
from azure.core.pipeline.policies import RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.core.polling.arm_polling import ARMPolling
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.clock import Clock
from crdbmesh.clients.waiting import Say, jittered
from crdbmesh.errors import StoppedError, WaitError

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse

_CONNECTIONS = 64
"""More than the threads of a run: requests drops, with a warning, what does not fit its pool (10 by default)."""
_CONNECT_TIMEOUT_S = 15
_READ_TIMEOUT_S = 90
_LONGEST_RETRY_AFTER_S = 60.0


class Retries(RetryPolicy[Any, Any]):
    """The SDK's retries (429, 5xx, broken connections), bounded also in how long a server may make us wait."""

    def __init__(self) -> None:
        super().__init__(
            retry_total=10,
            retry_connect=4,
            retry_read=4,
            retry_status=6,
            retry_backoff_factor=0.5,
            retry_backoff_max=20,
        )

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        """The server's Retry-After in seconds, or None for the growing pauses of our own."""
        try:
            asked_s = super().get_retry_after(response)
        except (ValueError, TypeError):
            return None
        return min(asked_s, _LONGEST_RETRY_AFTER_S) if asked_s else None

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """The pause before the next try, jittered: threads that were throttled together do not come back together."""
        return jittered(super().get_backoff_time(settings))


class Following(ARMPolling):
    """Follows one long-running operation to its end.

    The server's Retry-After is a ceiling here, not an order: Compute's 35 s would be lost on a VM that is ready after
    one more second, and a smaller value (`retry-after-ms`) is followed.

    Args:
        doing: for messages.
        endpoint: of Azure Resource Manager, for status links without a host.
        pace_s: longest pause between two looks.
        deadline: a moment on `clock`.
        say: told at each look.
        stop: once set, the operation goes on without us.
        clock: the cloud's.
    """

    def __init__(
        self,
        *,
        doing: str,
        endpoint: str,
        pace_s: float,
        deadline: float,
        say: Say,
        stop: threading.Event,
        clock: Clock,
    ) -> None:
        super().__init__(pace_s, path_format_arguments={"endpoint": endpoint})
        self._doing = doing
        self._pace_s = pace_s
        self._deadline = deadline
        self._say = say
        self._stop = stop
        self._clock = clock
        self._started = clock.now()

    def _extract_delay(self) -> float:
        try:
            asked_s = float(super()._extract_delay())
        except (ValueError, TypeError):
            asked_s = self._pace_s
        return asked_s if asked_s < self._pace_s else jittered(self._pace_s)

    def run(self) -> None:
        """Follow the operation, which has begun but not ended with its first answer."""
        self._left_s()
        super().run()

    def _delay(self) -> None:
        if self._clock.wait(self._stop, min(self._extract_delay(), self._left_s())):
            raise StoppedError(self._doing, last_seen=self.status())

    def _left_s(self) -> float:
        """Say where the operation is; how much time is left for it."""
        now = self._clock.now()
        if now >= self._deadline:
            raise WaitError(self._doing, seconds=now - self._started, last_seen=self.status())
        self._say(f"{self._doing}: {self.status()}, {now - self._started:.0f} s")
        return self._deadline - now


class _Transport(RequestsTransport):  # type: ignore[misc]  # azure-core has no types for its transports
    """The SDK's transport, which also makes the pauses of its retries."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    def sleep(self, duration: float) -> None:
        """Pause before a request is sent again."""
        self._clock.sleep(duration)


class Connections:
    """The HTTP connections that all clients of a session share.

    requests takes proxies from the environment, for loopback addresses too; so for those it does not look there.
    A CA file given here wins over REQUESTS_CA_BUNDLE.
    """

    def __init__(self, cloud: clouds.Cloud) -> None:
        self._clock = Clock(cloud.time_scale)
        self._verify: str | bool = str(cloud.ca_file) if cloud.ca_file else True
        self._http = requests.Session()
        self._http.trust_env = not clouds.is_loopback(cloud.arm_url)
        # Else requests would put a login of ~/.netrc in the place of the token.
        self._http.auth = lambda request: request
        adapter = HTTPAdapter(
            pool_maxsize=_CONNECTIONS, max_retries=Retry(total=False, redirect=False, raise_on_status=False)
        )
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def transport(self) -> RequestsTransport:
        """A transport for one client."""
        return _Transport(
            self._clock,
            session=self._http,
            session_owner=False,
            connection_verify=self._verify,
            connection_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
        )

    def close(self) -> None:
        """Close them."""
        self._http.close()


Begin = Callable[[ARMPolling], Any]
"""Starts an operation that the given polling method then follows."""
