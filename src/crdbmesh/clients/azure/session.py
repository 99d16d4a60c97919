"""One run's way into Azure: the SDK's clients, made once, and what is done with them.

`find` gives a dict or None, `list_all` every page, `run_operation` starts a long-running operation and follows it,
`remove` takes absent as done. Dicts in and out have the shape of ARM's REST bodies: the SDK sends a dict verbatim,
and its models keep the JSON they were made from. Everything raised is a CrdbmeshError.
"""

from __future__ import annotations

import contextlib
import email.utils
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from crdbmesh import __version__
from crdbmesh.clients import cloud as clouds
from crdbmesh.clients.azure import failures
from crdbmesh.clients.clock import Clock
from crdbmesh.clients.waiting import Say, unsaid, wait_until
from crdbmesh.desired import Body
from crdbmesh.errors import CloudError, ConfigError, StoppedError, WaitError

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.network import NetworkManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient
    from azure.mgmt.resource.subscriptions import SubscriptionClient

T = TypeVar("T")

QUICK_PACE_S = 3.0
COMPUTE_PACE_S = 6.0
"""Longest pauses between two looks at an operation: Compute allows 15 looks a minute at one VM."""


class Session(AbstractContextManager["Session", None]):
    """The SDK's clients for one cloud and one subscription.

    Make it in one thread, before others use it: two threads that import SDK packages at once deadlock. The clients
    themselves are shared by all threads. Once `stop` is set, waits for Azure end with StoppedError.

    When no subscription was named, it is a ConfigError if the credential does not see exactly one, and a CloudError if
    they cannot be listed. `ahead_s` is by how many seconds Azure's clock is ahead of this computer's, to about one, by
    the last answer's `Date` header; None until one was heard.
    """

    resources: ResourceManagementClient
    subscriptions: SubscriptionClient
    network: NetworkManagementClient
    compute: ComputeManagementClient

    def __init__(self, cloud: clouds.Cloud, *, stop: threading.Event | None = None) -> None:
        from azure.mgmt.compute import ComputeManagementClient
        from azure.mgmt.network import NetworkManagementClient
        from azure.mgmt.resource.resources import ResourceManagementClient
        from azure.mgmt.resource.subscriptions import SubscriptionClient

        from crdbmesh.clients.azure import pipeline

        # The SDK's own accounts of failed requests stay off the terminal; crdbmesh tells its user itself.
        logger = logging.getLogger("azure")
        logger.setLevel(logger.level or logging.ERROR)
        self.cloud = cloud
        self.stop = stop or threading.Event()
        self.clock = Clock(cloud.time_scale)
        self.ahead_s: float | None = None
        credential = cloud.credential
        if isinstance(credential, clouds.LazyCredential):
            credential.load()
        self._connections = pipeline.Connections(cloud, self.stop)

        def options(pace_s: float = QUICK_PACE_S) -> dict[str, Any]:
            # Policies and transports belong to one client: each is linked into one pipeline.
            return {
                "base_url": cloud.arm_url,
                "credential_scopes": list(cloud.scopes),
                "retry_policy": pipeline.Retries(self.stop),
                "custom_hook_policy": pipeline.pacing(pace_s, self._hear),
                "transport": self._connections.transport(),
                "user_agent": f"crdbmesh/{__version__}",
            }

        self._following = pipeline.Following
        self.subscriptions = SubscriptionClient(credential, **options())
        self.subscription_id = cloud.subscription_id or self._only_subscription()
        self.resources = ResourceManagementClient(credential, self.subscription_id, **options(COMPUTE_PACE_S))
        self.network = NetworkManagementClient(credential, self.subscription_id, **options())
        self.compute = ComputeManagementClient(credential, self.subscription_id, **options(COMPUTE_PACE_S))

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def find(self, doing: str, call: Callable[[], Any]) -> Body | None:
        """Return the result of `call`, or None when the resource does not exist."""
        return self._read(doing, lambda: _body(call()), None)

    def list_all(self, doing: str, call: Callable[[], Iterable[Any]]) -> list[Body]:
        """Everything `call` lists, over all pages; nothing when what holds it does not exist."""
        return self._read(doing, lambda: [_body(item) for item in call()], [])

    def _read(self, doing: str, call: Callable[[], T], absent: T) -> T:
        from azure.core.exceptions import AzureError

        try:
            return call()
        except AzureError as error:
            if failures.is_absent(error):
                return absent
            raise failures.translate(error, doing) from error

    def read_pages(self, path: str, api_version: str) -> list[Body]:
        """Return every page of a list that no SDK package installed here knows, or whose models it fills for seconds.

        The path is below the subscription: `providers/Microsoft.Authorization/permissions`.
        """
        path = f"/subscriptions/{quote(self.subscription_id)}/{path}"
        return self.list_all(f"GET {path}", lambda: self._pages(f"{path}?api-version={api_version}"))

    def wait_until(self, probe: Callable[[], tuple[T | None, str]], interval_s: float = 0.5, **options: Any) -> T:
        """Ask until `probe` gives a value, by this session's clock, until it is stopped; see `waiting.wait_until`."""
        return wait_until(probe, interval_s=interval_s, stop=self.stop, clock=self.clock, **options)

    def run_operation(
        self, doing: str, begin: Callable[..., Any], *args: Any, say: Say = unsaid, deadline_s: float, **options: Any
    ) -> Body:
        """Start an operation, again if something else is in the way, follow it to its end, and return the resource.

        `begin` is the SDK's method that starts it, called with the rest of the arguments; one whose name does not start
        with `begin_` ends at once, and `polling=False` leaves another to itself. `doing` names it in messages, `PUT
        virtualNetworks/x`, and `say` is told its status at each look. A deletion returns an empty body. A failure is a
        CloudError, a deadline that passes a WaitError; after the StoppedError of an interrupt the operation goes on.
        """
        from azure.core.exceptions import AzureError

        started, ends = self.clock.now(), self.clock.after(deadline_s)

        def look(status: str) -> None:
            now = self.clock.now()
            if self.stop.is_set():
                raise StoppedError(doing, last_seen=status)
            if now >= ends:
                raise WaitError(doing, seconds=now - started, last_seen=status)
            say(f"waiting for Azure: {doing.partition(' ')[2]} is {status} ({now - started:.0f} s)")

        tries = failures.Tries(doing, say=say, deadline_s=deadline_s, stop=self.stop, clock=self.clock)
        is_long = begin.__name__.startswith("begin_")
        while True:
            try:
                following = {"polling": self._following(self.cloud.arm_url, look)} if is_long else {}
                begun = begin(*args, **{**following, **options})
                return _body(begun.result() if is_long else begun)
            except AzureError as error:
                tries.pause_after(error)

    def remove(self, doing: str, begin: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Run an operation that deletes something, as `run_operation` does; absent is done."""
        try:
            self.run_operation(doing, begin, *args, **options)
        except CloudError as error:
            if error.status != 404 or error.code.lower() not in failures.ABSENT:
                raise

    def _pages(self, url: str) -> Iterator[Body]:
        from azure.core.rest import HttpRequest

        while url:
            response = self.resources.send_request(HttpRequest("GET", url))
            response.raise_for_status()
            page = response.json()
            yield from page.get("value") or ()
            url = page.get("nextLink") or ""

    def _hear(self, date: str) -> None:
        with contextlib.suppress(ValueError):
            self.ahead_s = email.utils.parsedate_to_datetime(date).timestamp() - time.time()

    def _only_subscription(self) -> str:
        listed = self.list_all("GET subscriptions", self.subscriptions.subscriptions.list)
        seen = [one for one in listed if one.get("state", clouds.USABLE[0]) in clouds.USABLE]
        if len(seen) == 1:
            return str(seen[0]["subscriptionId"])
        shown = ", ".join(f"{one.get('subscriptionId')} ({one.get('displayName')})" for one in seen)
        reason, remedy = f"the login sees {len(seen)}: {shown}", "set it to one of them"
        if not seen:
            other = f"log in to {urlsplit(self.cloud.arm_url).hostname} with another account"
            reason, remedy = "the login sees none", other
        raise ConfigError.of(clouds.SUBSCRIPTION, "(absent)", f"is not set, and {reason}", remedy)


def _body(result: Any) -> Body:
    if result is None:
        return {}
    body: Body = result if isinstance(result, dict) else result.as_dict()
    return body
