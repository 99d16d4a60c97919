"""Template deployments to a resource group (`Microsoft.Resources/deployments`), as `az vm create` makes one.

Each resource of the template is put as any other client would put it, once what it depends on is there; what fails
stops what waits for it. Only literal templates are known: no parameters, expressions, loops or outputs. After
learn.microsoft.com, "Deployments" of the Resource Management REST API.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crdbmesh_simulator.azure import about, authorization, errors
from crdbmesh_simulator.azure.call import Answer, Call, not_here
from crdbmesh_simulator.azure.catalog import KINDS
from crdbmesh_simulator.azure.disks import timestamp
from crdbmesh_simulator.azure.errors import ArmError, Body, refusal
from crdbmesh_simulator.azure.kinds import find_group, open_group

if TYPE_CHECKING:
    from crdbmesh_simulator.azure.operations import Operation
    from crdbmesh_simulator.azure.state import Group, Provider

_RETRY_S = 5.0
_TYPE = "Microsoft.Resources/deployments"
_OWN = {"dependson", "type", "name", "apiversion", "comments"}
_UNKNOWN = {"copy", "condition", "resources", "existing", "scope"}
_KINDS = {kind.type.lower(): kind for kind in KINDS}


@dataclass(slots=True)
class Work:
    """A resource that is being deployed.

    `body`: what is sent. `waits_for`: ids, in lower case, of the resources of the template that have to be there first.
    `state`: `Waiting`, `Running`, `Succeeded` or `Failed`.
    """

    id: str
    type: str
    name: str
    api_version: str
    body: Body
    waits_for: frozenset[str] = frozenset()
    state: str = "Waiting"
    operation: Operation | None = None
    error: Body | None = None


@dataclass(slots=True)
class Deployment:
    """A deployment, running or ended. `call`: the request that made it: what it puts is put as its caller."""

    id: str
    name: str
    group: str
    call: Call
    started_at: float
    correlation_id: str
    works: list[Work]
    state: str = "Accepted"
    ended_at: float | None = None
    error: Body | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("Accepted", "Running")

    def providers(self) -> list[Provider]:
        """The resource providers whose resources it deploys."""
        namespaces = dict.fromkeys(work.type.partition("/")[0].lower() for work in self.works)
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
        ended = {work.id.lower() for work in self.works if work.state == "Succeeded"}
        for work in self.works:
            if work.state == "Waiting" and work.waits_for <= ended:
                self._begin(work)
        states = {work.state for work in self.works}
        if "Running" not in states and states != {"Waiting", "Succeeded"}:
            self.state = "Failed" if "Failed" in states else "Succeeded"
            self.error = self._failed() if "Failed" in states else None
            self.ended_at = self.call.subscription.now

    def _begin(self, work: Work) -> None:
        try:
            answer = self._put(work)
        except ArmError as error:
            work.state, work.error = "Failed", {key: value for key, value in error.error().items() if value != []}
            return
        url = answer.headers.get("Azure-AsyncOperation", "")
        work.operation = self.call.subscription.operations.find(url.partition("?")[0].rpartition("/")[2])
        work.state = "Running"
        self._follow(work)

    def _follow(self, work: Work) -> None:
        if work.state == "Running" and (work.operation is None or not work.operation.running):
            work.error = work.operation.error if work.operation is not None else None
            work.state = "Failed" if work.error else "Succeeded"

    def _put(self, work: Work) -> Answer:
        names, query = {"group": self.group, "name": work.name}, {"api-version": work.api_version}
        call = Call(self.call.subscription, "PUT", work.id, names, query, {}, self.call.base_url, work.body)
        authorization.require_allowed(call)
        authorization.require_unlocked(call)
        return _KINDS[work.type.lower()].put(call)

    def _failed(self) -> Body:
        details = [{**work.error, "target": work.error.get("target") or work.id} for work in self.works if work.error]
        return errors.body("deployment_failed", id=self.id, details=details)  # type: ignore[no-any-return]


def put(call: Call) -> Answer:
    """Deploy a template."""
    group = open_group(call.subscription, call.names["group"])
    existing = _find(call, group)
    deployment = _read(call, group)
    # A deployment registers the providers that it needs (learn.microsoft.com, "Azure resource providers and types").
    for provider in deployment.providers():
        about.begin_registration(call.subscription, provider)
    call.subscription.deployments[deployment.id.lower()] = deployment
    headers = {"Azure-AsyncOperation": call.url(f"{deployment.id}/operationStatuses/{deployment.correlation_id}")}
    return Answer(200 if existing else 201, _render(deployment), headers, retry_after_s=_RETRY_S)


def get(call: Call) -> Answer:
    """A deployment."""
    return Answer(200, _render(_require(call)))


def operation_status(call: Call) -> Answer:
    """How far a deployment is, for who waits for it."""
    deployment = _require(call)
    body: Body = {"status": deployment.state}
    if deployment.error is not None:
        body["error"] = deployment.error
    return Answer(200, body, retry_after_s=_RETRY_S if deployment.running else None)


def _read(call: Call, group: Group) -> Deployment:
    """The deployment that a request asks for.

    Raises ArmError: 400, it is not valid; 501, it needs what this world does not have.
    """
    given = call.body().get("properties")
    properties: Body = given if isinstance(given, dict) else {}
    template = properties.get("template")
    if not isinstance(template, dict) or str(properties.get("mode", "")).lower() != "incremental":
        raise not_here(call, "a deployment but an incremental one of a template in its body")
    scope = f"/subscriptions/{call.subscription.id}/resourceGroups/{group.name}"
    works = [_read_work(call, scope, entry) for entry in template.get("resources") or []]
    for work, entry in zip(works, template.get("resources") or [], strict=True):
        work.waits_for = frozenset(_resolve(works, str(text)) for text in entry.get("dependsOn") or [])
    try:
        graphlib.TopologicalSorter({work.id.lower(): work.waits_for for work in works}).prepare()
    except graphlib.CycleError as error:
        raise _invalid(f"Circular dependency detected on resource: '{error.args[1][0]}'.") from error
    return Deployment(
        id=f"{scope}/providers/{_TYPE}/{call.names['name']}",
        name=call.names["name"],
        group=group.name,
        call=call,
        started_at=call.subscription.now,
        correlation_id=call.subscription.guid(),
        works=works,
    )


def _read_work(call: Call, scope: str, entry: Body) -> Work:
    kind, name = str(entry.get("type", "")), str(entry.get("name", ""))
    if kind.lower() not in _KINDS or _UNKNOWN & {key.lower() for key in entry}:
        raise not_here(call, f"{kind} {name} of a template")
    body = {key: value for key, value in entry.items() if key.lower() not in _OWN}
    return Work(f"{scope}/providers/{kind}/{name}", kind, name, str(entry["apiVersion"]), body)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def _resolve(works: list[Work], text: str) -> str:
    """The id of the resource that an entry of `dependsOn` names: by its id, its type and name, or its name."""
    key = text.strip("/").lower()
    for work in works:
        if key in (work.id.strip("/").lower(), f"{work.type}/{work.name}".lower(), work.name.lower()):
            return work.id.lower()
    raise _invalid(f"The resource '{text}' is not defined in the template.")


def _invalid(reason: str) -> ArmError:
    return refusal("InvalidTemplate", reason=reason)


def _find(call: Call, group: Group) -> Deployment | None:
    scope = f"/subscriptions/{call.subscription.id}/resourceGroups/{group.name}"
    return call.subscription.deployments.get(f"{scope}/providers/{_TYPE}/{call.names['name']}".lower())


def _require(call: Call) -> Deployment:
    found = _find(call, find_group(call.subscription, call.names["group"]))
    if found is None:
        raise refusal("DeploymentNotFound", call=call)
    return found


def _render(deployment: Deployment) -> Body:
    properties: Body = {
        "parameters": {},
        "mode": "Incremental",
        "provisioningState": deployment.state,
        "timestamp": timestamp(deployment.ended_at or deployment.call.subscription.now),
        "correlationId": deployment.correlation_id,
        "providers": [{"namespace": provider.namespace} for provider in deployment.providers()],
    }
    if deployment.state == "Succeeded":
        properties["outputResources"] = [{"id": work.id} for work in deployment.works]
    if deployment.error is not None:
        properties["error"] = deployment.error
    return {"id": deployment.id, "name": deployment.name, "type": _TYPE, "properties": properties}
