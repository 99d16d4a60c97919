"""A request as the rules see it, and what they answer."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.azure.errors import ArmError, Body, refusal

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.operations import Operation
    from crdbmesh_simulator.azure.state import Subscription


@dataclass(slots=True)
class Call:
    """A request.

    `names`: what stood in the variable parts of the path, case as given. `query`: the query, names in lower case.
    `headers`: names in lower case. `base_url`: scheme and host as the caller used them; every URL in an answer starts
    with it.
    """

    subscription: Subscription
    method: str
    path: str
    names: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    base_url: str
    content: Any = None

    @property
    def api_version(self) -> str:
        """The `api-version` asked for."""
        return self.query.get("api-version", "")

    def body(self) -> Body:
        """The request's JSON object. Raises ArmError: 400, it has none."""
        if not isinstance(self.content, dict):
            raise refusal("InvalidRequestContent", problem="a JSON object is required")
        return copy.deepcopy(self.content)

    def flag(self, name: str) -> bool:
        """Whether the query says `name=true`."""
        return self.query.get(name.lower(), "").lower() == "true"

    def url(self, path: str, **query: str) -> str:
        """An absolute URL, with this call's api-version."""
        extra = "".join(f"&{name}={value}" for name, value in query.items())
        return f"{self.base_url}{path}?api-version={self.api_version}{extra}"


def not_here(call: Call, what: str) -> ArmError:
    """501 for what this world does not know of Azure; it is recorded that somebody asked."""
    call.subscription.world.not_known("arm", what)
    return refusal("NotImplemented", what=what)


@dataclass(slots=True)
class Answer:
    """An answer.

    `body`: what is sent as JSON, an object nearly always; None for none. `retry_after_s`: simulated seconds after which
    to ask again, or None. `delay_s`: simulated seconds that the service takes to answer. `html`: what a gateway in
    front of the service says instead of `body`. `cut`: how the connection breaks before the answer has arrived
    (`resets`); empty when it does not.
    """

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    delay_s: float = 0.0
    html: str | None = None
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Tracking:
    """How a provider lets its operations be followed.

    `retry_after_s`: what the first answer asks to wait; `poll_after_s`: what polls ask, first poll first.
    """

    namespace: str
    retry_after_s: float
    poll_after_s: tuple[float, ...]


NETWORK = Tracking("Microsoft.Network", 3.0, (3.0, 10.0))
COMPUTE = Tracking("Microsoft.Compute", 10.0, (35.0, 10.0))


def accepted(call: Call, operation: Operation, status: int, body: Body | None) -> Answer:
    """The answer that starts a long-running operation: 200/201 with the resource, or 202 without."""
    headers = {"Azure-AsyncOperation": status_url(call, operation)}
    if operation.tracking is NETWORK:
        headers["x-ms-arm-service-request-id"] = operation.id
    if status != 202 and "Peering" not in operation.kind:
        headers["azure-asyncnotification"] = "Enabled"
    if status == 202:
        headers["Location"] = result_url(call, operation)
    return Answer(status, body, headers, retry_after_s=operation.tracking.retry_after_s)


def status_url(call: Call, operation: Operation) -> str:
    """`Azure-AsyncOperation`."""
    return _operation_url(call, operation, "operations")


def result_url(call: Call, operation: Operation) -> str:
    """`Location`."""
    if operation.tracking is COMPUTE:
        return _operation_url(call, operation, "operations", monitor="true")
    return _operation_url(call, operation, "operationResults")


def _operation_url(call: Call, operation: Operation, collection: str, **query: str) -> str:
    path = (
        f"/subscriptions/{call.subscription.id}/providers/{operation.tracking.namespace}"
        f"/locations/{operation.location}/{collection}/{operation.id}"
    )
    return call.url(path, **query)


@dataclass
class Recording:
    """An answer, and the requests that get it.

    `path`: what is in their path, as a regular expression, without regard to case. `times`: how many of them get it;
    all when negative.
    """

    method: str
    path: str
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    times: int = -1

    def fits(self, call: Call) -> bool:
        """Whether a request gets it."""
        found = re.search(self.path, call.path, re.IGNORECASE)
        return self.times != 0 and self.method == call.method and found is not None


class Recordings:
    """The answers that are to be given."""

    def __init__(self) -> None:
        self._left: list[Recording] = []

    def replace(self, document: object) -> None:
        """Take other answers instead: a list of objects with the fields of a `Recording`.

        Raises ValueError: it is something else.
        """
        if not isinstance(document, list):
            raise ValueError("it must be a list of recorded answers")  # noqa: TRY004 - one error for all
        try:
            self._left = [Recording(**one) for one in document]
        except TypeError as error:
            raise ValueError(f"it is no recorded answer: {error}") from error

    def find(self, call: Call) -> Answer | None:
        """The answer to a request, or None."""
        for one in self._left:
            if one.fits(call):
                one.times -= 1
                return Answer(one.status, one.body, dict(one.headers))
        return None
