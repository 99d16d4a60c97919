"""A template deployment at work: what it has put, what still waits, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.azure import authorization, locks
from crdbmesh_simulator.azure.call import Answer, Call
from crdbmesh_simulator.azure.errors import ArmError, Body
from crdbmesh_simulator.azure.expressions import TemplateError
from crdbmesh_simulator.azure.template import Item, Template, path_of

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.operations import Operation
    from crdbmesh_simulator.azure.state import Provider


@dataclass(slots=True)
class Work:
    """A resource that is being deployed: `state` is `Waiting`, `Running`, `Succeeded` or `Failed`."""

    item: Item
    state: str = "Waiting"
    operation: Operation | None = None
    error: Body | None = None
    started_at: float = 0.0
    ended_at: float = 0.0


@dataclass(slots=True)
class Deployment:
    """A deployment, running or ended.

    Attributes:
        call: the request that made it: what it puts is put as its caller.
    """

    id: str
    name: str
    group: str
    tags: dict[str, str]
    template: Template
    hash: str
    call: Call
    started_at: float
    correlation_id: str
    works: list[Work] = field(default_factory=list)
    state: str = "Accepted"
    ended_at: float | None = None
    error: Body | None = None
    outputs: Body = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("Accepted", "Running")

    def providers(self) -> list[Provider]:
        """The resource providers whose resources it deploys."""
        namespaces = dict.fromkeys(work.item.type.partition("/")[0].lower() for work in self.works)
        known = self.call.subscription.providers
        return [known[namespace] for namespace in namespaces if namespace in known]

    def advance(self) -> None:
        """Begin what can be begun, and see what has ended. With `world.lock` held."""
        if not self.running:
            return
        self.state = "Running"
        if any(provider.state == "Registering" for provider in self.providers()):
            return
        for work in self.works:
            self._follow(work)
        ended = {work.item.id.lower(): work.state for work in self.works}
        for work in self.works:
            before = [ended[each] for each in work.item.waits_for if each in ended]
            if work.state == "Waiting" and all(state == "Succeeded" for state in before):
                self._begin(work)
        if any(work.state == "Running" for work in self.works):
            return
        if any(work.state == "Failed" for work in self.works):
            self._end("Failed", _failed(self))
        elif all(work.state == "Succeeded" for work in self.works):
            self._finish()

    def cancel(self) -> None:
        """Begin nothing more."""
        self._end("Canceled", {"code": "DeploymentCanceled", "message": f"The deployment '{self.name}' was canceled."})

    def _begin(self, work: Work) -> None:
        subscription = self.call.subscription
        work.started_at = subscription.now
        try:
            answer = self._request("PUT", work.item, self.template.body(work.item, self._reference))
        except (ArmError, TemplateError) as error:
            found = error.error() if isinstance(error, ArmError) else {"code": "InvalidTemplate", "message": str(error)}
            self._stop(work, "Failed", {key: value for key, value in found.items() if value != []})
            return
        work.operation = subscription.operations.find(_operation_id(answer))
        work.state = "Running"
        self._follow(work)

    def _follow(self, work: Work) -> None:
        if work.state == "Running" and (work.operation is None or not work.operation.running):
            failed = work.operation is not None and work.operation.error
            self._stop(work, "Failed" if failed else "Succeeded", failed or None)

    def _stop(self, work: Work, state: str, error: Body | None) -> None:
        work.state, work.error, work.ended_at = state, error, self.call.subscription.now

    def _finish(self) -> None:
        try:
            self.outputs = self.template.outputs(self._reference)
        except TemplateError as error:
            self._end("Failed", {"code": "DeploymentOutputEvaluationFailed", "message": str(error)})
            return
        self._end("Succeeded", None)

    def _end(self, state: str, error: Body | None) -> None:
        self.state, self.error, self.ended_at = state, error, self.call.subscription.now

    def _reference(self, name: str, api_version: str = "", full: str = "") -> Any:
        """What a GET of a resource answers: its properties, or all of it."""
        key = name.strip("/").lower()
        item = next(
            (
                work.item
                for work in self.works
                if key in (work.item.id.strip("/").lower(), work.item.name.lower(), work.item.symbol.lower() or None)
            ),
            Item(f"/{name.strip('/')}", "", name, api_version, {}),
        )
        try:
            body = self._request("GET", item, None).body
        except ArmError as error:
            raise TemplateError(error.message) from error
        return body if full.lower() == "full" else body.get("properties", {})

    def _request(self, method: str, item: Item, content: Any) -> Answer:
        from crdbmesh_simulator.azure import routes  # it routes to this module

        call = Call(
            subscription=self.call.subscription,
            method=method,
            path=path_of(item),
            names={},
            query={"api-version": item.api_version},
            headers={},
            base_url=self.call.base_url,
            content=content,
        )
        found = routes.find(method, call.path)
        if found is None:
            self.call.subscription.world.not_known("arm", f"{method} {call.path} of a deployment")
            message = f"The resource type '{item.type}' is not part of this simulation of Azure."
            raise ArmError(501, "NotImplemented", message)
        route, call.names = found
        authorization.require_allowed(call)
        if route.changes:
            locks.require_unlocked(call)
        return route.handler(call)


def _failed(deployment: Deployment) -> Body:
    details = [
        {**work.error, "target": work.error.get("target") or work.item.id} for work in deployment.works if work.error
    ]
    return {
        "code": "DeploymentFailed",
        "target": deployment.id,
        "message": "At least one resource deployment operation failed. Please list deployment operations for details. "
        "Please see https://aka.ms/arm-deployment-operations for usage details.",
        "details": details,
    }


def _operation_id(answer: Answer) -> str:
    url = answer.headers.get("Azure-AsyncOperation", "")
    return url.partition("?")[0].rpartition("/")[2]
